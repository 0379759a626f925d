import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from nla.baselines import CrossEntropyLoss
from nla.consistency import js_divergence, released_divergence
from nla.losses import VARIANTS, NLALoss

F64 = torch.float64


def tensors(case, dtype):
    return (
        torch.tensor(case["logits"], dtype=dtype, requires_grad=True),
        torch.tensor(case["flipped_logits"], dtype=dtype, requires_grad=True),
        torch.tensor(case["targets"]),
        case["epoch"] / case["epochs"],
    )


def random_batch(batch=16, classes=7, scale=2.0, seed=0, dtype=F64):
    generator = torch.Generator().manual_seed(seed)
    z, q = torch.randn(2, batch, classes, generator=generator, dtype=dtype) * scale
    return z, q, torch.randint(0, classes, (batch,), generator=generator)


@pytest.mark.parametrize("dtype, tolerance", [(F64, 1e-6), (torch.float32, 1e-5)])
def test_golden_paper_variant(golden_cases, dtype, tolerance):
    for case in golden_cases:
        terms = NLALoss()(*tensors(case, dtype))
        assert terms.total.item() == pytest.approx(case["paper_total"], rel=tolerance)
        for name, expected in (
            ("weight", "weight"),
            ("cross_entropy", "cross_entropy"),
            ("divergence", "js_divergence"),
        ):
            # a divergence of 1e-3 in float32 is a difference of numbers near 1
            torch.testing.assert_close(
                getattr(terms, name).detach().to(F64),
                torch.tensor(case[expected], dtype=F64),
                rtol=tolerance,
                atol=0 if dtype == F64 else 3e-7,
            )


@pytest.mark.slow
def test_the_compiled_loss_is_the_same_and_compiled_once_for_all_epochs():
    z, q, y = random_batch(dtype=torch.float32)
    plain, compiled = NLALoss(), NLALoss(compile=True)
    torch._dynamo.utils.counters.clear()
    for progress in (0.0, 0.3, 0.31, 1.0):
        results = []
        for loss in (plain, compiled):
            leaves = z.clone().requires_grad_(), q.clone().requires_grad_()
            terms = loss(*leaves, y, progress)
            results.append(
                [terms.total, *terms[1:4], *terms.scores, *torch.autograd.grad(terms.total, leaves)]
            )
        torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-7)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_golden_released_variants_and_gradient(golden_cases):
    # these reference values were computed in float32, hence the tolerance
    cases = [case for case in golden_cases if "released_total" in case]
    assert len(cases) == 7
    for case in cases:
        z, q, targets, progress = tensors(case, F64)
        terms = NLALoss(variant="released")(z, q, targets, progress)
        assert terms.total.item() == pytest.approx(case["released_total"], rel=1e-6)
        assert terms.divergence.sum().item() == pytest.approx(
            case["released_divergence_sum"], rel=1e-6, abs=6e-7
        )
        (gradient,) = torch.autograd.grad(terms.total, z)
        torch.testing.assert_close(
            gradient,
            torch.tensor(case["released_total_grad_logits"], dtype=F64),
            rtol=1e-5,
            atol=2e-7,
        )
        first = NLALoss(variant="released_v1")(z, q, targets, progress)
        assert (first.weight * first.cross_entropy).mean().item() == pytest.approx(
            case["released_v1_weighted_ce_mean"], rel=5e-6
        )


def test_first_release_couples_the_samples_of_a_batch():
    z, q, y = random_batch(8)
    whole = NLALoss(variant="released_v1")(z, q, y, 0.3).weight
    alone = torch.cat(
        [
            NLALoss(variant="released_v1")(z[i : i + 1], q[i : i + 1], y[i : i + 1], 0.3).weight
            for i in range(8)
        ]
    )
    torch.testing.assert_close(
        alone, NLALoss()(z, q, y, 0.3).weight
    )  # a batch of one has nothing to couple
    assert (whole - alone).abs().max() > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_match_finite_differences(variant):
    z, q, y = random_batch(5, 4)
    loss = NLALoss(0.3, variant=variant)
    if variant == "paper":  # its weight is a constant: compare with the loss at frozen weights
        weight = loss(z, q, y, 0.2).weight
        z.requires_grad_(), q.requires_grad_()
        total = (
            0.3 * ((1 + weight) * torch.nn.functional.cross_entropy(z, y, reduction="none")).mean()
            + 0.7 * js_divergence(z, q).mean()
        )
        torch.testing.assert_close(
            torch.autograd.grad(7 * loss(z, q, y, 0.2).total, (z, q)),
            torch.autograd.grad(7 * total, (z, q)),
        )
    else:
        assert torch.autograd.gradcheck(
            lambda a, b: loss(a, b, y, 0.2).total, (z.requires_grad_(), q.requires_grad_())
        )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.float16, torch.bfloat16])
def test_saturated_logits_give_finite_loss_and_gradient(variant, dtype):
    z = torch.tensor(
        [[60, -60, -60], [-60, 60, -60], [60, 60, -60]], dtype=dtype, requires_grad=True
    )
    q = torch.tensor(
        [[-60, 60, -60], [60, -60, -60], [60, -60, 60]], dtype=dtype, requires_grad=True
    )
    terms = NLALoss(variant=variant)(z, q, torch.tensor([0, 0, 2]), 0.5)
    assert terms.total.dtype == (F64 if dtype == F64 else torch.float32)
    terms.total.backward()
    assert terms.total.isfinite() and z.grad.isfinite().all() and q.grad.isfinite().all()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("used", [("divergence",), ("cross_entropy", "p_gt"), ("p_nn", "total")])
def test_a_loss_of_ones_own_made_of_the_terms_gets_their_gradient(variant, used):
    z, q, y = random_batch(6, 5)
    z.requires_grad_(), q.requires_grad_()

    def own(terms):
        facts = terms._asdict() | terms.scores._asdict()
        return sum((facts[name] ** 2).sum() for name in used)

    p = z.softmax(1)
    divergence = js_divergence if variant == "paper" else released_divergence
    total = NLALoss(variant=variant)(z, q, y, 0.2).total
    plain = {
        "cross_entropy": torch.nn.functional.cross_entropy(z, y, reduction="none"),
        "divergence": divergence(z, q),
        "p_gt": p.gather(1, y[:, None])[:, 0],
        "p_nn": p.scatter(1, y[:, None], 0).amax(1),
        "total": total,
    }
    expected = sum((plain[name] ** 2).sum() for name in used)
    found = own(NLALoss(variant=variant)(z, q, y, 0.2))
    for results in zip(
        *(torch.autograd.grad(x, (z, q), materialize_grads=True) for x in (found, expected))
    ):
        torch.testing.assert_close(*results)


def test_the_papers_weight_is_a_constant_and_terms_are_recorded_without_gradient():
    z, q, y = random_batch(4)
    terms = NLALoss()(z.requires_grad_(), q, y, 0.2)
    assert terms.divergence.requires_grad and not terms.weight.requires_grad
    assert not any(value.requires_grad for value in terms.record(z, y).values())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_any_integer_type(variant, dtype):
    z, q, y = random_batch(8)
    loss = NLALoss(variant=variant)
    terms = loss(z, q, y.to(dtype), 0.2)
    assert terms.total == loss(z, q, y, 0.2).total
    assert torch.equal(
        terms.record(z, y.to(dtype))["nearest"], loss(z, q, y, 0.2).record(z, y)["nearest"]
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_of_one_and_two_classes(variant):
    for classes in (2, 7):
        z, q, y = random_batch(1, classes)
        assert NLALoss(variant=variant)(z, q, y, 0.0).total.isfinite()


def test_js_divergence_against_scipy_and_its_bounds():
    z, q, _ = random_batch(200, 7, 4.0)
    expected = jensenshannon(z.softmax(1).numpy(), q.softmax(1).numpy(), axis=1) ** 2
    np.testing.assert_allclose(js_divergence(z, q).numpy(), expected, rtol=1e-9)
    torch.testing.assert_close(js_divergence(z, q), js_divergence(q, z))
    opposite = torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 200.0]])
    assert js_divergence(*opposite).item() == pytest.approx(math.log(2))
    assert js_divergence(z, z).abs().max() < 1e-12


def test_released_divergence_is_its_definition():
    z, q, _ = random_batch(100, 7, 3.0)
    m, p, r = ((z + q) / 2).softmax(1), z.softmax(1), q.softmax(1)
    expected = 0.5 * (m * (m / p).log()).sum(1) + 0.5 * (m * (m / r).log()).sum(1)
    torch.testing.assert_close(released_divergence(z, q), expected)
    assert released_divergence(z * 100, -z * 100).max() > math.log(
        2
    )  # unlike Jensen-Shannon, unbounded


def test_released_divergence_grows_with_the_batch_and_the_papers_does_not():
    z, q, y = random_batch(8)
    twice = (torch.cat([z, z]), torch.cat([q, q]), torch.cat([y, y]))
    paper, released = NLALoss(0.0), NLALoss(0.0, variant="released")
    torch.testing.assert_close(paper(*twice, 0.1).total, paper(z, q, y, 0.1).total)
    torch.testing.assert_close(released(*twice, 0.1).total, 2 * released(z, q, y, 0.1).total)


def test_wrong_input_is_named():
    z, q, y = random_batch(4)
    broken = z.clone()
    broken[2, 3] = float("nan")
    for call, message in [
        (
            lambda: NLALoss()(z, q, torch.tensor([0, 1, 7, 2]), 0),
            "target 7 in row 2 is outside 0..6",
        ),
        (lambda: NLALoss()(z, q, torch.tensor([0, -1, 3, 2]), 0), "target -1 in row 1"),
        (lambda: NLALoss()(z, q, y.float(), 0), "integers"),
        (lambda: NLALoss()(z, q, y[:3], 0), "one per row"),
        (lambda: NLALoss()(broken, q, y, 0), "row 2 are not finite"),
        (lambda: NLALoss()(z, broken, y, 0), "row 2 are not finite"),
        (lambda: NLALoss()(z, q[:, :6], y.clamp(max=5), 0), "same|must both"),
        (lambda: NLALoss()(z[:, :1], q[:, :1], y, 0), "classes >= 2"),
        (lambda: NLALoss(variant="revised"), "paper, released, released_v1"),
        (lambda: NLALoss(lam=1.5), r"\[0, 1\]"),
        (lambda: CrossEntropyLoss()(broken, None, y, 0), "row 2 are not finite"),
        (lambda: NLALoss()(z, None, y, 0), "compares two views"),
        (lambda: NLALoss(checked=False)(z, q, y, 60), "progress is a fraction"),
        (lambda: NLALoss(variant="released")(z, q, y, math.nan), "progress is a fraction"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_cross_entropy_baseline():
    z, _, y = random_batch(16)
    terms = CrossEntropyLoss()(z, None, y, 0.4)
    torch.testing.assert_close(terms.total, torch.nn.functional.cross_entropy(z, y))
    torch.testing.assert_close(terms.weight, NLALoss()(z, z, y, 0.4).weight)
    assert terms.divergence.isnan().all()
