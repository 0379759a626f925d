import math

import numpy as np
import pytest

from nla.metrics import accuracies, confusion

CLASSES = ("surprise", "fear", "disgust")


def test_hand_computed():
    labels, predictions = [0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 2, 0, 0]
    scores = accuracies(labels, predictions, CLASSES)
    assert scores == pytest.approx({"overall": 50, "mean": (75 + 50 + 0) / 3, "surprise": 75, "fear": 50, "disgust": 0})
    table = confusion(labels, predictions, CLASSES)
    assert table.loc["surprise", "fear"] == 1 and table.loc["disgust", "surprise"] == 2
    assert table.to_numpy().sum() == 8
    np.testing.assert_allclose(confusion(labels, predictions, CLASSES, "true").sum(axis=1), 1)


def test_mean_ignores_classes_that_do_not_occur():
    scores = accuracies([0, 1], [0, 2], CLASSES)
    assert scores["mean"] == 50 and math.isnan(scores["disgust"])
    with pytest.raises(ValueError, match="no sample"):
        accuracies([], [], CLASSES)
