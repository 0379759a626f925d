import math

import numpy as np
import pytest

from nla.metrics import (
    accuracies,
    adjusted,
    calibration_error,
    confusion,
    other_prior,
    quality,
    with_prior,
)

CLASSES = ("surprise", "fear", "disgust")


def test_hand_computed():
    labels, predictions = [0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 2, 0, 0]
    scores = accuracies(labels, predictions, CLASSES)
    assert scores == pytest.approx(
        {"overall": 50, "mean": (75 + 50 + 0) / 3, "surprise": 75, "fear": 50, "disgust": 0}
    )
    table = confusion(labels, predictions, CLASSES)
    assert table.loc["surprise", "fear"] == 1 and table.loc["disgust", "surprise"] == 2
    assert table.to_numpy().sum() == 8
    np.testing.assert_allclose(confusion(labels, predictions, CLASSES, "true").sum(axis=1), 1)


def test_mean_ignores_classes_that_do_not_occur():
    scores = accuracies([0, 1], [0, 2], CLASSES)
    assert scores["mean"] == 50 and math.isnan(scores["disgust"])
    with pytest.raises(ValueError, match="no sample"):
        accuracies([], [], CLASSES)


def test_quality_by_hand():
    probabilities = np.array([[0.9, 0.05, 0.05], [0.6, 0.4, 0], [0.1, 0.6, 0.3], [0.5, 0.2, 0.3]])
    scores = quality([0, 0, 1, 1], probabilities, CLASSES)
    # predicted 0, 0, 1, 0: F1 of class 0 is 4/5, of class 1 2/3; class 2 does not occur
    assert scores["macro_f1"] == pytest.approx(100 * (4 / 5 + 2 / 3) / 2)
    assert (scores["overall"], scores["mean"], scores["worst"]) == (75, 75, 50)
    # confidences .9 right; .6, .6 right and .5 wrong are in bins of their own: (.1 + .8 + .5) / 4
    assert scores["ece"] == pytest.approx(100 * (0.1 + 0.8 + 0.5) / 4)


def test_calibration_error_is_zero_when_confidence_is_the_rate_of_being_right():
    assert calibration_error(np.arange(10) < 7, np.full(10, 0.7)) == pytest.approx(0)
    assert calibration_error(np.ones(4, bool), np.full(4, 1.0)) == 0
    # the edge 2/15 belongs to the lower bin
    assert calibration_error([True, False], [2 / 15, 2 / 15 + 1e-9]) == pytest.approx(
        (13 / 15 + 2 / 15) / 2
    )


def test_rates_of_a_class_that_does_not_occur_are_unknown():
    rates = confusion([0, 0, 1], [0, 2, 1], CLASSES, "true")
    assert rates.loc["surprise"].tolist() == [0.5, 0, 0.5] and rates.loc["disgust"].isna().all()


@pytest.mark.parametrize("classes", [1, 2, 9])
def test_any_number_of_classes(classes):
    names = [f"c{k}" for k in range(classes)]
    labels = np.arange(30) % classes
    scores = accuracies(labels, labels, names)
    assert list(scores) == ["overall", "mean", *names] and set(scores.values()) == {100}
    assert quality(labels, np.eye(classes)[labels], names)["macro_f1"] == 100


def test_what_is_no_class_is_refused():
    for labels, predictions, message in [
        ([0, 1, 3], [0, 1, 2], "label 3 in row 2 is outside 0..2"),
        ([0, 1, 2], [0, -1, 2], "prediction -1 in row 1"),
        ([0, 1.5], [0, 1], "label 1.5 in row 1"),
        ([0, math.nan], [0, 1], "label nan"),
        ([0, 1], [0], "2 labels, but 1 predictions"),
        ([], [], "no sample"),
    ]:
        for score in (confusion, accuracies):
            with pytest.raises(ValueError, match=message):
                score(labels, predictions, CLASSES)
    with pytest.raises(ValueError, match="row 1 are not finite"):
        quality([0, 1], np.array([[1.0, 0, 0], [math.nan, 0, 0]]), CLASSES)
    with pytest.raises(ValueError, match="no sample"):
        calibration_error([], [])


def test_logit_adjustment_after_training_by_hand():
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    # shares .6, .3, .1: each row over them is (1, 1, 1) and (1/3, 2/3, 6)
    even = adjusted(p, [6, 3, 1])
    np.testing.assert_allclose(even, [[1 / 3] * 3, [1 / 21, 2 / 21, 18 / 21]])
    np.testing.assert_allclose(adjusted(p, [2, 2, 2]), p)
    np.testing.assert_allclose(adjusted(p, [6, 3, 0]), adjusted(p, [6, 3, 3]))
    with pytest.raises(ValueError, match="no class has a training label"):
        adjusted(p, [0, 0, 0])


def test_the_prior_put_back_by_hand():
    p = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
    # shares .6, .3, .1: each row times them is (12, 9, 5) and (6, 3, 8) hundredths
    uneven = with_prior(p, [6, 3, 1])
    np.testing.assert_allclose(uneven, [[12 / 26, 9 / 26, 5 / 26], [6 / 17, 3 / 17, 8 / 17]])
    np.testing.assert_allclose(adjusted(uneven, [6, 3, 1]), p)
    told = other_prior([0, 0], p, [6, 3, 1], CLASSES, taken_out=1.0)
    assert told == {"with prior: overall": 50, "with prior: mean": 50}
    told = other_prior([0, 2], uneven, [6, 3, 1], CLASSES, taken_out=0.0)
    assert told == {"adjusted: overall": 50, "adjusted: mean": 50}


@pytest.mark.parametrize("tau", [0.3, 1.0, 1.7])
def test_what_a_loss_took_out_is_put_back_and_no_more(tau):
    """A model that knows the truth, trained with tau log pi added: exact once that is undone."""
    draw = np.random.default_rng(0)
    counts = np.array([60, 30, 10])
    truth = draw.choice(3, 4000, p=counts / 100)
    likelihood = np.exp(-((draw.normal(size=(4000, 1)) + truth[:, None] - np.arange(3)) ** 2) / 2)
    posterior = likelihood * counts
    answered = posterior / (counts / 100.0) ** tau
    best = 100 * (posterior.argmax(1) == truth).mean()
    told = other_prior(truth, answered, counts, CLASSES, taken_out=tau)
    assert told["with prior: overall"] == pytest.approx(best)
