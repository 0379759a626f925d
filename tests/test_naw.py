import math

import pytest
import torch
from scipy.stats import multivariate_normal

from nla.naw import NAW, Scores, scores

F64 = torch.float64


@pytest.mark.parametrize("dtype, tolerance", [(F64, 1e-6), (torch.float32, 1e-5)])
def test_golden_scores_and_weights(golden_cases, dtype, tolerance):
    for case in golden_cases:
        got = scores(torch.tensor(case["logits"], dtype=dtype), torch.tensor(case["targets"]))
        weights = NAW().weights(got, case["epoch"] / case["epochs"])
        for value, name in ((got.p_gt, "p_gt"), (got.p_nn, "p_nn"), (weights, "weight")):
            assert value.dtype == dtype
            torch.testing.assert_close(
                value.to(F64), torch.tensor(case[name], dtype=F64), rtol=tolerance, atol=0
            )
        assert got.correct.tolist() == case["correct"]


def test_epsilon_is_the_papers_schedule(golden_cases):
    for case in golden_cases:
        assert NAW().epsilon(case["epoch"] / case["epochs"]) == pytest.approx(
            case["epsilon"], rel=1e-12
        )
    assert NAW().epsilon(0.0) == 0.0
    assert NAW().epsilon(0.2) > 0.95  # most of the change is over early


@pytest.mark.parametrize("progress", [0.0, 0.02, 0.1, 0.5, 1.0])
def test_closed_form_is_the_bivariate_normal_density(progress):
    p_gt, p_nn = (
        torch.rand(2, 200, dtype=F64, generator=torch.Generator().manual_seed(0)).sort(0).values
    )
    naw = NAW()
    for correct, mu, sigma in zip(
        (True, False), (naw.mu_true, naw.mu_false), naw.covariances(progress)
    ):
        points = Scores(p_gt, p_nn, torch.full((200,), correct))
        expected = multivariate_normal(mu, sigma).pdf(torch.stack([p_gt, p_nn], 1).numpy())
        torch.testing.assert_close(
            naw.weights(points, progress), torch.tensor(expected), rtol=1e-10, atol=0
        )


def test_the_papers_numbers_for_correct_and_wrong_predictions():
    naw = NAW()

    def weight(p_gt, p_nn, progress):
        point = torch.tensor([p_gt], dtype=F64), torch.tensor([p_nn], dtype=F64)
        return naw.weights(Scores(*point, point[0] >= point[1]), progress).item()

    assert weight(1, 0, 0) == pytest.approx(0.146, abs=5e-4)
    assert weight(1, 0, 1) == pytest.approx(0.205, abs=5e-4)
    assert weight(0.5, 0.5, 0) == pytest.approx(0.199, abs=5e-4)
    assert weight(0.5, 0.5, 1) == pytest.approx(0.249, abs=5e-4)
    near, far = weight(0.4, 0.41, 1), weight(0.0, 1.0, 1)
    assert (
        0.35 < near < 0.5 and far < 0.01
    )  # wrong: near the diagonal against a confident contradiction


def test_scores_properties():
    generator = torch.Generator().manual_seed(1)
    logits, targets = (
        torch.randn(500, 7, generator=generator) * 3,
        torch.randint(0, 7, (500,), generator=generator),
    )
    got = scores(logits, targets)
    others = [
        [p for k, p in enumerate(row) if k != y]
        for row, y in zip(logits.softmax(1).tolist(), targets.tolist())
    ]
    torch.testing.assert_close(got.p_nn, torch.tensor([max(row) for row in others]))
    assert torch.equal(got.correct, logits.argmax(1) == targets)
    assert (got.p_gt + got.p_nn <= 1 + 1e-6).all()
    shift = torch.randn(500, 1, generator=generator)
    torch.testing.assert_close(scores(logits + shift, targets).p_gt, got.p_gt)


def test_two_classes_tie_and_batch_of_one():
    got = scores(torch.zeros(1, 2), torch.tensor([1]))
    assert got.p_gt.item() == got.p_nn.item() == 0.5
    assert got.correct.item()  # a tie counts as correct
    assert math.isfinite(NAW().weights(got, 0.0).item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits = torch.randn(32, 7, generator=torch.Generator().manual_seed(2)).to(dtype)
    targets = torch.arange(32) % 7
    got = scores(logits, targets)
    assert got.p_gt.dtype == torch.float32
    torch.testing.assert_close(got.p_gt, scores(logits.float(), targets).p_gt, rtol=0, atol=0)


@pytest.mark.parametrize("progress", [60, 1.001, -0.1, math.nan, math.inf])
def test_progress_is_a_fraction(progress):
    points = scores(torch.zeros(2, 3), torch.tensor([0, 1]))
    for call in (NAW().epsilon, NAW().covariances, lambda at: NAW().weights(points, at)):
        with pytest.raises(ValueError, match=f"epoch / epochs, got {progress}"):
            call(progress)
    assert NAW().epsilon(1) == 1 - math.exp(-15)


def test_scores_of_mismatched_shapes_are_refused():
    with pytest.raises(ValueError, match=r"3 class numbers, .* of shape \(2,\)"):
        scores(torch.zeros(3, 7), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="std_true must be positive"):
        NAW(std_true=0)
