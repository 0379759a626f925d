"""Each method against a value worked out by hand; p = (.6, .3, .1) and, mirrored, (.2, .5, .3)."""

import dataclasses
import math

import pytest
import torch
from conftest import TINY
from small_data import QUICK, pictures
from torch import nn
from torch.nn import functional as F

from nla import NAW, Config, NLALoss, Scores, fit
from nla.baselines import CrossEntropyLoss
from nla.methods import LOSSES, build, options_of
from nla.models import Output, resnet18, small_resnet
from nla.rema import gate

P, Q = torch.tensor([[0.6, 0.3, 0.1]]).double(), torch.tensor([[0.2, 0.5, 0.3]]).double()
Y = torch.tensor([0])
CE = -math.log(0.6)


class Tiny(nn.Module):
    """Images are features already; the classifier has the weights given, one row a class."""

    def __init__(self, weights):
        super().__init__()
        self.pool, self.fc = (
            nn.AdaptiveAvgPool2d(1),
            nn.Linear(len(weights[0]), len(weights), bias=False),
        )
        self.fc.weight.data = torch.tensor(weights)

    def forward(self, images):
        latent = self.pool(images).flatten(1)
        return Output(self.fc(latent), latent)


def loss_of(name, labels=None, targets=Y, progress=0.0):
    method = build(name)
    if labels is not None:
        method.attach(Tiny([[0.0], [0.0], [0.0]]), torch.tensor(labels))
    second = Q.log() if method.views == 2 else None
    return method(P.log(), second, targets, progress).total.item()


@pytest.mark.parametrize(
    "name, expected",
    [
        ("cross_entropy", 0.5108256),
        ("two_views", (0.5108256 + 1.6094379) / 2),
        ("label_smoothing", 0.5936558),
        ("focal", 0.16 * 0.5108256),
        ("gce", 0.4294743),
        # NAW at (.6, .3) with epsilon = 0: 1 / (2 pi .8) exp(-(.1^2 + .2^2) / (2 * .8)) = .1928229
        ("naw", 1.1928229 * 0.5108256),
        ("consistency_l1", (0.5108256 + 0.8) / 2),
        ("consistency_released", (0.5108256 - math.log(0.3464102 + 0.3872983 + 0.1732051)) / 2),
    ],
)
def test_by_hand(name, expected):
    assert loss_of(name) == pytest.approx(expected, rel=1e-5)


def test_class_balanced_by_hand():
    # three labels of class 0, one of class 1: 1 / (1 - .9999^n) = 3333.667 and 10000, to a sum of 2
    assert loss_of("class_balanced", [0, 0, 0, 1]) == pytest.approx(0.5000375 * CE, rel=1e-5)
    # and with one of class 2: to a sum of 3
    assert loss_of("class_balanced", [0, 0, 0, 1, 2]) == pytest.approx(0.4286082 * CE, rel=1e-5)
    rare = loss_of("class_balanced", [0, 0, 0, 1], torch.tensor([1]))
    assert rare == pytest.approx(1.4999625 * -math.log(0.3), rel=1e-5)


def test_ldam_by_hand():
    model, method = Tiny([[1.0, 0.0], [0.0, 2.0]]), build("ldam")
    method.attach(model, torch.tensor([0] * 16 + [1]))  # margins in proportion to 1/2 and 1
    output = model(torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1))
    assert output.logits.tolist() == [pytest.approx([30 * 0.6, 30 * 0.8])]
    for target, expected in ((0, 30 * (0.8 - (0.6 - 0.25))), (1, 30 * (0.6 - (0.8 - 0.5)))):
        total = method.on_outputs(
            output, None, torch.tensor([target]), 0.79, torch.tensor([0])
        ).total.item()
        assert total == pytest.approx(math.log(1 + math.exp(expected)), rel=1e-4)
        late = method.on_outputs(
            output, None, torch.tensor([target]), 0.8, torch.tensor([0])
        ).total.item()
        assert late == pytest.approx(method.class_weights[target].item() * total)


@pytest.mark.parametrize(
    "name, strength, expected",
    [
        ("label_smoothing", 0.2, 0.8 * CE + 0.2 * -math.log(0.6 * 0.3 * 0.1) / 3),
        ("focal", 1.0, 0.4 * CE),
        ("gce", 1.0, 0.4),
        ("logit_adjusted", 0.0001, CE),
    ],
)
def test_a_strength_of_ones_own_by_hand(name, strength, expected):
    method = build(name, strength=strength)
    method.attach(Tiny([[0.0]] * 3), torch.tensor([0, 0, 1, 2]))
    total = method(P.log(), None, Y, 0.0).total.item()
    assert total == pytest.approx(expected, rel=1e-3)
    assert type(method)(strength=None).strength != strength  # the paper's


@pytest.mark.parametrize("name", LOSSES)
def test_a_strength_that_nothing_depends_on_is_refused(name):
    if "strength" in options_of(name) and name not in ("ldam_no_margin", "cosine"):
        assert build(name, strength=0.3).strength == 0.3
        return
    with pytest.raises(ValueError, match="strength"):
        Config(loss=name, strength=0.3)
        build(name, strength=0.3)


def test_logit_adjustment_by_hand():
    # six labels of class 0, three of class 1, one of class 2: z + log pi is .6 x .6, .3 x .3 and
    # .1 x .1, of which .46 are the sum
    labels = [0] * 6 + [1] * 3 + [2]
    assert loss_of("logit_adjusted", labels) == pytest.approx(-math.log(0.36 / 0.46), rel=1e-5)
    rare = loss_of("logit_adjusted", labels, torch.tensor([2]))
    assert rare == pytest.approx(-math.log(0.01 / 0.46), rel=1e-5)
    assert loss_of("logit_adjusted", [0, 1, 2]) == pytest.approx(CE, rel=1e-5)  # even: no change


def test_deferred_reweighting_by_hand():
    labels = [0, 0, 0, 1]
    assert loss_of("ce_drw", labels, progress=0.79) == pytest.approx(CE, rel=1e-5)
    late = loss_of("ce_drw", labels, progress=0.8)
    assert late == pytest.approx(loss_of("class_balanced", labels)) and late < 0.6 * CE


def test_mixup_by_hand():
    method, labels = build("mixup_drw"), torch.tensor([0, 0, 0, 1])
    method.attach(Tiny([[0.0]] * 3), labels)
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    mixed = method.mix(images, torch.Generator().manual_seed(3))
    partners, share = method.partners, method.share
    assert sorted(partners.tolist()) == [0, 1, 2, 3] and 0 < share < 1
    expected = share * images + (1 - share) * images[partners]
    torch.testing.assert_close(mixed, expected)
    logits = P.log().repeat(4, 1)
    rows = torch.arange(4)
    losses = -torch.log(torch.tensor([0.6, 0.6, 0.6, 0.3]).double())
    for progress, weights in ((0.5, torch.ones(4)), (0.9, method.class_weights[labels])):
        terms = method.on_outputs(Output(logits, None), None, labels, progress, rows)
        weighted = weights * losses  # of each label; the others' losses are the same four
        assert terms.total.item() == pytest.approx(weighted.mean().item(), rel=1e-5)
    method.partners = torch.zeros(4, dtype=torch.long)  # all are mixed with the first
    terms = method.on_outputs(Output(logits, None), None, labels, 0.5, rows)
    by_hand = share * losses.mean() + (1 - share) * losses[0]
    assert terms.total.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_ldam_taken_apart():
    labels = torch.tensor([0] * 16 + [1])
    image = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
    target, rows = torch.tensor([1]), torch.tensor([0])
    totals = {}
    for name in ("ldam", "ldam_no_drw", "ldam_no_margin", "cosine"):
        model, method = Tiny([[1.0, 0.0], [0.0, 2.0]]), build(name)
        method.attach(model, labels)
        output = model(image)
        assert output.logits.tolist() == [pytest.approx([30 * 0.6, 30 * 0.8])]  # cosines all four
        for progress in (0.5, 0.9):
            totals[name, progress] = method.on_outputs(output, None, target, progress, rows).total
    weight = method.class_weights[1]
    margin, none = (math.log(1 + math.exp(30 * gap)) for gap in (0.6 - 0.3, 0.6 - 0.8))
    for name, early, late in (
        ("ldam", margin, weight * margin),
        ("ldam_no_drw", margin, margin),
        ("ldam_no_margin", none, weight * none),
        ("cosine", none, none),
    ):
        assert totals[name, 0.5].item() == pytest.approx(early, rel=1e-4)
        assert totals[name, 0.9].item() == pytest.approx(float(late), rel=1e-4)


def test_elr_by_hand():
    method = build("elr")
    method.attach(Tiny([[0.0]] * 3), torch.tensor([0, 1]))
    for share in (0.3, 0.51):  # t = .3 p, then .7 t + .3 p = .51 p; <p, p> = .46
        terms = method.on_outputs(Output(P.log(), None), None, Y, 0.5, torch.tensor([1]))
        assert terms.total.item() == pytest.approx(CE + 3 * math.log(1 - share * 0.46), rel=1e-5)
    assert method.targets[0].tolist() == [0, 0, 0]
    assert method.targets[1].tolist() == pytest.approx([0.306, 0.153, 0.051], rel=1e-5)


def test_rema_by_hand():
    method = build("rema")
    labels = torch.tensor([0, 2, 1, 2])
    method.attach(Tiny([[0.0]] * 3), labels)
    views, rows = (Output(P.log().float(), None), Output(Q.log().float(), None)), torch.tensor([1])
    # the memory becomes .7 / 3 + .3 (.4, .4, .2); over the root of the mean of all four memories,
    # normalised: (.35097, .35097, .29806). For label 2 the margin is -.05292, w* = .45823, and
    # exp(-(.20292^2 - .15^2) / .18402) squared is the gate, .81630; the two views' cross-entropies
    # are 2.30259 and 1.20397, their divergence is .09112
    terms = method.on_outputs(*views, torch.tensor([2]), 0.3, rows)
    assert method.memory[0].tolist() == pytest.approx([1 / 3] * 3)
    assert method.memory[1].tolist() == pytest.approx([0.353333, 0.353333, 0.293333], rel=1e-5)
    assert terms.factor.item() == pytest.approx(1.45823 * 0.81630, rel=1e-4)
    assert terms.total.item() == pytest.approx(
        (1.45823 * 0.81630 * 1.753279 + 0.09112) / 2, rel=1e-4
    )
    consistent = build("rema", lam=0.2)
    consistent.attach(Tiny([[0.0]] * 3), labels)
    assert consistent.on_outputs(
        *views, torch.tensor([2]), 0.3, rows
    ).total.item() == pytest.approx(0.2 * 1.45823 * 0.81630 * 1.753279 + 0.8 * 0.09112, rel=1e-4)
    relative = build("rema_c")
    relative.attach(Tiny([[0.0]] * 3), labels)  # the other of label 2, not seen yet, is trusted: 1
    assert relative.on_outputs(*views, torch.tensor([2]), 0.3, rows).factor.item() == pytest.approx(
        1.45823 * 0.81630 / ((1 + 0.81630) / 2), rel=1e-4
    )
    assert relative.trust.tolist() == pytest.approx([1, 0.81630, 1, 1], rel=1e-4)
    trusting, forgetful, uneven = (
        build(f"rema_no_{part}") for part in ("gate", "memory", "balance")
    )
    for method in (trusting, forgetful, uneven):
        method.attach(Tiny([[0.0]] * 3), labels)
    assert trusting.on_outputs(*views, torch.tensor([2]), 0.3, rows).factor.item() == pytest.approx(
        1.45823, rel=1e-4
    )
    forgetful.on_outputs(*views, Y, 0.3, rows)
    assert forgetful.memory[1].tolist() == pytest.approx([0.4, 0.4, 0.2])
    scores = Scores(*(torch.tensor([x]) for x in (0.293333, 0.353333, False)))  # the memory itself
    expected = (1 + NAW().weights(scores, 0.3)) * gate(NAW(), scores, 0.3)
    torch.testing.assert_close(
        uneven.on_outputs(*views, torch.tensor([2]), 0.3, rows).factor, expected
    )


def test_malt_by_hand():
    labels = torch.tensor([0, 2, 1, 2])
    first, rows, target = Output(P.log().float(), None), torch.tensor([1]), torch.tensor([2])
    kept = {}
    for name in ("malt", "malt_raw_counts", "malt_no_gate", "malt_no_adjustment", "malt_no_weight"):
        method = build(name)
        method.attach(Tiny([[0.0]] * 3), labels)
        kept[name] = method, method.on_outputs(first, None, target, 0.3, rows)
    method, terms = kept["malt"]
    # the memory becomes .7 / 3 + .3 (.6, .3, .1) = (.413333, .323333, .263333): for label 2 the
    # margin is -.15 and the sum .676667. w* = exp(-(.676667 - .45)^2 / (4 (a + b)) - (-.15 - .15)^2
    # / (4 (a - b))) / (2 pi sqrt((a + b) (a - b))), a + b = 2 x .91^2 = 1.6562, a - b = .0460056
    weight = math.exp(-(0.226667**2) / 6.6248 - 0.09 / 0.1840222) / (
        2 * math.pi * math.sqrt(1.6562 * 0.0460056)
    )
    trust = math.exp(-(0.09 - 0.0225) / 0.1840222) ** 2  # over w* where the margin is 0
    assert method.memory[1].tolist() == pytest.approx([0.413333, 0.323333, 0.263333], rel=1e-5)
    assert method.trust.tolist() == pytest.approx([1, trust, 1, 1], rel=1e-4)
    assert method.trusted.tolist() == pytest.approx([1, 1, 1 + trust], rel=1e-4)
    assert terms.factor.item() == pytest.approx(trust * (1 + weight), rel=1e-4)
    # before it, labels count 1, 1 and 2 of 4: CE of (.6, .3, .2) for the last; the partner is even
    cross_entropy = -math.log(0.2 / 1.1)
    even = (1 / 3 + P[0]) / 2
    divergence = ((P[0] * (P[0] / even).log()).sum() - ((1 / 3) * (3 * even).log()).sum()) / 2
    expected = trust * (1 + weight) * cross_entropy / 2 + divergence.item() / 2
    assert terms.total.item() == pytest.approx(expected, rel=1e-4)
    # the second time, the trusted counts are in proportion to 1, 1 and .9 (1 + g) + .2
    again = method.on_outputs(first, None, target, 0.3, rows)
    share = 0.9 * (1 + trust) + 0.2
    adjusted = -math.log(0.1 * share / (0.6 + 0.3 + 0.1 * share))
    said = torch.tensor([0.413333, 0.323333, 0.263333]).double()
    mean = (P[0] + said) / 2
    divergence = ((P[0] * (P[0] / mean).log()).sum() + (said * (said / mean).log()).sum()) / 2
    expected = again.factor.item() * adjusted / 2 + divergence.item() / 2
    assert again.total.item() == pytest.approx(expected, rel=1e-4)
    assert kept["malt_no_gate"][1].factor.item() == pytest.approx(1 + weight, rel=1e-4)
    assert kept["malt_no_weight"][1].factor.item() == pytest.approx(trust, rel=1e-4)
    plain = kept["malt_no_adjustment"][1].total - terms.total
    by_hand = terms.factor.item() * (-math.log(0.1) - cross_entropy) / 2
    assert plain.item() == pytest.approx(by_hand, rel=1e-4)
    raw = kept["malt_raw_counts"][0]
    terms = raw.on_outputs(first, None, target, 0.3, rows)
    assert raw.trusted.tolist() != [1, 1, 2]  # kept, not used:
    expected = terms.factor.item() * cross_entropy / 2 + divergence.item() / 2
    assert terms.total.item() == pytest.approx(expected, rel=1e-4)


def test_the_gate_falls_from_one_with_the_margin_alone():
    p_gt, p_nn = torch.tensor([[0.5, 0.3, 0.4, 0.3, 0.3, 0.0], [0.2, 0.3, 0.5, 0.4, 0.6, 1.0]])
    trust = gate(NAW(), Scores(p_gt, p_nn, p_gt >= p_nn), 0.5)
    assert trust[:2].tolist() == [1, 1] and trust[2] == pytest.approx(trust[3].item(), rel=1e-5)
    assert (trust[2:-1].diff()[1:] < 0).all() and 0 <= trust[-1] < 1e-5


@pytest.mark.parametrize("lowest, penalty", [(0.4, 0.05), (0.2, 0.0)])
def test_scn_by_hand(lowest, penalty):
    method, attention = build("scn"), torch.tensor([0.5, 0.5, 0.5, lowest])
    method.attach(Tiny([[0.0]] * 3), torch.tensor([0, 1, 2, 2]))
    nn.init.ones_(method.attention.weight), nn.init.zeros_(method.attention.bias)
    logits = torch.tensor([[5.0, 0, 0], [0, 5, 0], [5, 0, 0], [5, 0, 0]])
    output, rows = Output(logits, attention.logit()[:, None]), torch.tensor([0, 1, 2, 3])
    scaled = attention[:, None] * logits
    expected = nn.functional.cross_entropy(scaled, torch.tensor([0, 1, 2, 2])).item() + penalty
    targets = torch.tensor([0, 1, 2, 2])
    assert method.on_outputs(output, None, targets, 0.24, rows).total.item() == pytest.approx(
        expected, rel=1e-5
    )
    assert method.labels.tolist() == [0, 1, 2, 2]
    method.on_outputs(output, None, targets, 0.25, rows)
    # of the two mislabelled only the fourth is of the lower 30 %
    assert method.labels.tolist() == [0, 1, 2, 0]


def test_rul_by_hand():
    method = build("rul")
    method.attach(Tiny([[0.0]] * 3), Y)
    method.log_u = nn.Identity()
    logits, targets = torch.cat([P, Q]).log(), torch.tensor([0, 1])
    output = Output(logits, torch.tensor([[3.0], [1.0]]).log())
    mixed = P**0.75 * Q**0.25  # three quarters of the first, which is three times as uncertain
    expected = -(mixed / mixed.sum()).log()[0, :2].mean().item()
    assert method.on_outputs(output, None, targets, 0.1, targets).total.item() == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("second, distance", [([3.0, 1.0], 0), ([1.0, 3.0], (4 + 4 + 16 + 16) / 4)])
def test_eac_by_hand(second, distance):
    model, method = Tiny([[1.0], [2.0]]), build("eac")
    method.attach(model, Y)
    output = model(torch.tensor([[1.0, 3.0], second]).reshape(2, 1, 1, 2))
    first, flipped = map(Output._make, zip(*(part.chunk(2) for part in output)))
    total = method.on_outputs(first, flipped, Y, 0.1, Y).total.item()
    assert total == pytest.approx(math.log(1 + math.exp(4 - 2)) + 5 * distance, rel=1e-5)
    assert not list(method.parameters())  # the model's classifier is not the method's


def batch(n=16, classes=7):
    generator = torch.Generator().manual_seed(0)
    z, q = torch.randn(2, n, classes, generator=generator, dtype=torch.float64) * 2
    return z, q, torch.randint(0, classes, (n,), generator=generator)


def test_ablations_are_nla_with_one_thing_changed():
    z, q, y = batch()
    nla = NLALoss()(z, q, y, 0.3)
    assert build("attached")(z, q, y, 0.3).total.item() == pytest.approx(nla.total.item())
    assert build("consistency_js")(z, q, y, 0.3).total.item() == pytest.approx(
        (nla.cross_entropy.mean() + nla.divergence.mean()).item() / 2
    )
    assert build("naw")(z, None, y, 0.3).total.item() == pytest.approx(
        NLALoss(1.0)(z, q, y, 0.3).total.item()
    )
    assert (
        build("naw", lam=0.1, variant="released")(z, None, y, 0.3).total
        == build("naw")(z, None, y, 0.3).total
    )
    assert build("consistency_js", lam=0.1)(z, q, y, 0.3).total.item() == pytest.approx(
        0.1 * nla.cross_entropy.mean().item() + 0.9 * nla.divergence.mean().item()
    )
    for name, progress in (("epsilon_0", 0.0), ("epsilon_1", 1.0)):
        assert build(name)(z, q, y, 0.3).total.item() == pytest.approx(
            NLALoss()(z, q, y, progress).total.item()
        )
    z.requires_grad_()
    gradients = [
        torch.autograd.grad(method(z, q, y, 0.3).total, z)[0]
        for method in (NLALoss(), build("attached"))
    ]
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3
    assert torch.autograd.gradcheck(lambda z: build("attached")(z, q, y, 0.3).total, z)


@pytest.mark.parametrize("network", [small_resnet, resnet18])
@pytest.mark.parametrize("name", LOSSES)
def test_every_method_trains_every_network_and_records_what_naw_weighs(name, network):
    torch.manual_seed(0)
    model, method, labels = network(), build(name), torch.arange(14) % 7
    method.attach(model, labels)
    rows = torch.tensor([3, 1, 12, 7])
    output = model(torch.randn(4 * method.views, 3, 48, 48))
    views = list(map(Output._make, zip(*(part.chunk(method.views) for part in output))))
    terms = method.on_outputs(
        views[0], views[1] if method.views == 2 else None, labels[rows], 0.9, rows
    )
    terms.total.backward()
    assert terms.total.isfinite() and any(
        p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters()
    )
    assert all(p.grad is not None for p in method.parameters())
    expected = NAW().weights(
        terms.scores, 1.0 if name == "epsilon_1" else 0.0 if name == "epsilon_0" else 0.9
    )
    torch.testing.assert_close(terms.weight, expected)  # the same column for every method
    assert (terms.factor is not None) == name.startswith(("rema", "malt"))
    assert terms.divergence.isnan().all() == (method.views == 1)


@pytest.mark.parametrize("absent", range(8))
def test_a_class_that_nobody_has_changes_nothing_for_the_others(absent):
    others = [k for k in range(8) if k != absent]  # CK+ has contempt and no neutral
    labels = torch.arange(7).repeat_interleave(torch.arange(1, 8))
    own = torch.tensor(others)[labels]
    rows = torch.tensor([0, 2, 9, 20, 27])
    z, q, _ = batch(5)
    eight = torch.full((2, 5, 8), -200.0)  # a network that never says the absent class
    eight[:, :, others] = torch.stack([z, q]).float()
    for name in ("class_balanced", "ce_drw", "ldam", "logit_adjusted", "rema", "rema_c", "malt"):
        seven_terms, eight_terms = [], []
        for terms, logits, classes, of in (
            (seven_terms, torch.stack([z, q]).float(), 7, labels),
            (eight_terms, eight, 8, own),
        ):
            method = build(name)
            method.attach(Tiny([[0.0]] * classes), of)
            views = [Output(view, None) for view in logits]
            for progress in (0.1, 0.9):
                found = method.on_outputs(*views, of[rows], progress, rows)
                terms += [found.total, found.weight]
        torch.testing.assert_close(eight_terms, seven_terms)


@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("name", LOSSES)
def test_every_method_takes_any_classes_batches_of_one_and_other_integers(name, classes):
    for size in (1, 2):
        torch.manual_seed(0)
        model = Tiny(torch.randn(classes, 5).tolist())
        method, labels = build(name), torch.arange(3 * classes) % classes
        method.attach(model, labels)
        rows = torch.arange(1, 1 + size)
        output = model(torch.randn(size * method.views, 5, 2, 2))
        views = list(map(Output._make, zip(*(part.chunk(method.views) for part in output))))
        second = views[1] if method.views == 2 else None
        for progress, dtype in ((0, torch.int64), (0.9, torch.uint8), (1, torch.int32)):
            targets = labels[rows].to(dtype)
            terms = method.on_outputs(views[0], second, targets, progress, rows)
            assert terms.total.isfinite() and terms.weight.isfinite().all()
            terms.record(views[0].logits, targets)
        terms.total.backward()
        assert model.fc.weight.grad.isfinite().all()
        with pytest.raises(ValueError, match="epoch / epochs, got 60"):
            method.on_outputs(views[0], second, labels[rows], 60, rows)


@pytest.mark.parametrize("name", ["elr", "scn", "rul", "eac", "ldam", "rema", "mixup_drw", "malt"])
def test_an_interrupted_run_resumes_to_the_same_numbers(name, tmp_path, monkeypatch):
    config = dataclasses.replace(TINY, loss=name, train_faces=64, epochs=2, ema=0.8)
    whole, method = fit(config, tmp_path / "whole", progress=False), LOSSES[name]
    original = method.on_outputs

    def interrupted(self, first, second, targets, progress, rows):
        if progress == 0.5:
            raise KeyboardInterrupt
        return original(self, first, second, targets, progress, rows)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(method, "on_outputs", interrupted)
        fit(config, tmp_path / "half", progress=False)
    half = fit(config, tmp_path / "half", progress=False)
    assert (half.folder / "model.safetensors").read_bytes() == (
        whole.folder / "model.safetensors"
    ).read_bytes()
    assert half.samples().equals(whole.samples())


def test_attention_maps_are_of_both_views_and_average_to_the_logits():
    model, method, images = small_resnet(), build("eac"), torch.randn(2, 3, 48, 48)
    method.attach(model, Y)
    logits = model(torch.cat([images, images.flip(-1)])).logits - model.fc.bias
    maps = torch.einsum("bchw,kc->bkhw", method.features, method.weights())
    torch.testing.assert_close(maps.mean((2, 3)), logits, rtol=1e-3, atol=1e-4)


class Mean(CrossEntropyLoss):
    def losses(self, logits, targets, progress):
        return F.cross_entropy(logits, targets)


class Number(CrossEntropyLoss):
    def forward(self, logits, flipped_logits, targets, progress):
        return F.cross_entropy(logits, targets)


class Unsummed(CrossEntropyLoss):
    def forward(self, logits, flipped_logits, targets, progress):
        terms = self.observe(logits, flipped_logits, targets, progress)
        return terms._replace(total=terms.cross_entropy)


class Bare(CrossEntropyLoss):
    def __init__(self):
        super().__init__()


class Needy(CrossEntropyLoss):
    def __init__(self, margin, **options):
        super().__init__(**options)


class Strong(CrossEntropyLoss):
    strength = 2.0

    def __init__(self, naw=None, checked=True):
        super().__init__(naw, checked)


@pytest.mark.parametrize(
    "own, message",
    [
        (Mean, r"losses of Mean must give the loss of each sample, a tensor \(8,\).*it gave \(\)"),
        (Number, "Number gives a Tensor, not the nla.losses.LossTerms"),
        (Unsummed, r"Unsummed: total in its LossTerms must be a tensor of shape \(\), got \(8,\)"),
        (Bare, "'own' cannot be made.*takes naw and checked by name"),
        (Needy, "'own' cannot be made.*'margin'.*a default for everything else"),
        (Strong, "'own' cannot be made.*and strength, if it has one"),
        (CrossEntropyLoss(), "'own' cannot be made.*LOSSES holds the class"),
        (torch.nn.Identity, "makes a Identity, which is no method: derive it from"),
    ],
)
def test_a_loss_of_ones_own_that_breaks_the_contract_is_told_of_it(
    own, message, tmp_path, monkeypatch
):
    monkeypatch.setitem(LOSSES, "own", own)
    with pytest.raises(ValueError, match=message):
        fit(dataclasses.replace(QUICK, loss="own"), tmp_path / "run", False, pictures())


def test_a_loss_that_nobody_named_is_said_to_need_a_name():
    with pytest.raises(ValueError, match="unknown loss 'own'.*named in nla.methods.LOSSES"):
        Config(loss="own")
