"""The built-in faces: planted truth holds, expressions show, how they are cut up is all one."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier

from nla.data import faces as drawing
from nla.data.faces import (
    EXPRESSION_UNITS,
    RAFDB_PROPORTIONS,
    UNITS,
    draw_traits,
    make_faces,
    render,
)
from nla.data.manifest import EXPRESSIONS, validate

P = [f"p_{e}" for e in EXPRESSIONS[:7]]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small drawings are as fast on one thread, and much faster than two on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def faces(one_thread):
    return make_faces(1000, seed=1, size=16, ambiguous=0.3, noisy=0.2, split="val")


def units_of(expression: str) -> torch.Tensor:
    return torch.tensor([EXPRESSION_UNITS[expression].get(k, (0.0, 0))[0] for k in UNITS])


def portraits(expressions, people=24, size=48) -> torch.Tensor:
    """Grey portraits (expressions, people, size, size), all with each expression, in the studio."""
    traits = draw_traits(people, torch.Generator().manual_seed(3), nuisance=0.0)
    return torch.stack(
        [render(units_of(e).repeat(people, 1), traits, size).float().mean(1) for e in expressions]
    )


def test_same_arguments_give_the_same_bytes():
    images, manifest = make_faces(40, seed=5)
    again, manifest_again = make_faces(40, seed=5)
    other, _ = make_faces(40, seed=6)
    assert images.shape == (40, 3, 48, 48) and images.dtype == torch.uint8
    assert torch.equal(images, again) and manifest.equals(manifest_again)
    assert not torch.equal(images, other)


def test_the_faces_of_a_seed_are_those_of_every_version():
    """Mean red, green, blue of each face, and what is planted: tables rest on these very faces."""
    images, manifest = make_faces(5, seed=2024, size=32, ambiguous=0.4, noisy=0.2)
    means = [
        [116.85, 88.35, 79.58],
        [137.99, 104.93, 86.85],
        [95.04, 84.32, 69.54],
        [167.32, 130.83, 114.43],
        [144.61, 117.58, 93.76],
    ]
    np.testing.assert_allclose(images.float().mean((2, 3)), means, atol=0.02)
    assert manifest[["label", "true_label"]].to_numpy().tolist() == [
        [0, 3],
        [4, 4],
        [1, 3],
        [0, 0],
        [6, 6],
    ]
    assert list(manifest["kind"]) == ["ambiguous", "ambiguous", "noisy", "clean", "clean"]
    assert manifest.attrs == {}


def test_a_part_can_be_added(monkeypatch):
    """As the module's docstring tells: a monocle for those who have one, and nothing else moves."""

    def monocle(c, f):
        far = drawing.length(c.x - f.eye_x, c.y - f.eye_y)
        ring = (far - 0.2).abs() - 0.02
        c.paint(f.monocle * c.inside(ring), f.frame)

    traits = draw_traits(8, torch.Generator().manual_seed(1), nuisance=0.0)
    traits["monocle"] = torch.arange(8) < 4
    units = torch.zeros(8, len(UNITS))
    before = render(units, traits, 64).int()
    monkeypatch.setattr(drawing, "PARTS", (*drawing.PARTS, monocle))
    changed = (render(units, traits, 64).int() != before).any(1)
    assert changed[:4].any((1, 2)).all() and not changed[4:].any()
    assert not changed[:, :, :32].any() and not changed[:, 44:].any()  # about the right eye only
    del traits["monocle"]
    with pytest.raises(AttributeError, match="these faces have no 'monocle', only .*glasses"):
        render(units, traits, 64)


@pytest.mark.parametrize("size", [21, 48])
def test_chunk_does_not_matter(size):
    images, manifest = make_faces(13, seed=2, size=size, chunk=13)
    for chunk in (1, 5):
        images_cut, manifest_cut = make_faces(13, seed=2, size=size, chunk=chunk)
        assert (images.int() - images_cut.int()).abs().max() <= 1  # rounding of the last bit
        assert manifest.equals(manifest_cut)


def test_noise_changes_labels_and_no_pixel():
    clean, before = make_faces(60, seed=4, noisy=0.0)
    noisy, after = make_faces(60, seed=4, noisy=0.5)
    assert torch.equal(clean, noisy) and before["true_label"].equals(after["true_label"])
    flipped = before["label"] != after["label"]
    assert flipped.sum() == (after["kind"] == "noisy").sum() == 30


def test_manifest_is_valid_and_complete(faces):
    images, manifest = faces
    validate(manifest)
    assert (
        list(manifest["row"]) == list(range(1000)) == list(manifest.index) and len(images) == 1000
    )
    assert set(manifest["split"]) == {"val"}
    units = manifest[[f"au_{name}" for name in UNITS.values()]]
    assert units.min().min() >= 0 and units.max().max() <= 1
    assert {"intensity", "yaw", "glasses", "hand"} <= set(manifest)


def test_kinds_have_their_fractions(faces):
    counts = faces[1]["kind"].value_counts()
    assert counts.to_dict() == {"clean": 500, "ambiguous": 300, "noisy": 200}


def test_label_rules(faces):
    manifest = faces[1]
    p = manifest[P].to_numpy()
    kind, label, true = (manifest[k].to_numpy() for k in ("kind", "label", "true_label"))
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    assert (p.argmax(1) == true).all()
    assert (label[kind == "clean"] == true[kind == "clean"]).all()
    assert (label[kind == "noisy"] != true[kind == "noisy"]).all()
    assert (p[kind != "ambiguous"].max(1) == 1).all()
    mixed = np.sort(p[kind == "ambiguous"], 1)
    assert (
        (mixed[:, :5] == 0).all()
        and mixed[:, 5].min() >= 0.35 - 1e-6
        and mixed[:, 6].max() <= 0.65 + 1e-6
    )
    assert (p[np.arange(1000), label][kind == "ambiguous"] > 0).all()


def test_labels_are_drawn_from_the_true_distribution():
    manifest = make_faces(1000, seed=8, size=16, ambiguous=1.0)[1]
    expected = manifest[P].max(axis=1).mean()
    agreement = (manifest["label"] == manifest["true_label"]).mean()
    assert abs(agreement - expected) < 4 * (expected * (1 - expected) / 1000) ** 0.5


def test_noisy_labels_are_uniform_over_the_other_classes():
    manifest = make_faces(
        900, seed=9, size=16, ambiguous=0, noisy=1.0, proportions=(0, 0, 0, 1, 0, 0, 0)
    )[1]
    counts = manifest["label"].value_counts()
    assert set(counts.index) == {0, 1, 2, 4, 5, 6} and counts.min() > 105 and counts.max() < 195


def test_class_proportions():
    true = make_faces(500, seed=0, size=16)[1]["true_label"]
    expected = np.array(RAFDB_PROPORTIONS) / sum(RAFDB_PROPORTIONS) * 500
    assert (np.abs(np.bincount(true, minlength=7) - expected) < 1).all()
    even = make_faces(70, seed=0, size=16, proportions=[1] * 7)[1]["true_label"]
    assert np.bincount(even).tolist() == [10] * 7


@pytest.mark.parametrize("factor", [2, 4])
def test_a_face_looks_the_same_at_every_size(factor):
    small = make_faces(8, seed=7, size=48)[0].float()
    large = torch.nn.functional.avg_pool2d(
        make_faces(8, seed=7, size=48 * factor)[0].float(), factor
    )
    assert ((small - large).abs().mean((1, 2, 3)) < 5).all()  # of 255
    other = make_faces(8, seed=8, size=48)[0].float()
    assert ((other - large).abs().mean((1, 2, 3)) > 15).all()


def test_the_units_move_the_face():
    happy, sad, surprised, neutral, angry = portraits(
        ("happiness", "sadness", "surprise", "neutral", "anger")
    )
    mouth, brows = slice(34, 43), slice(11, 21)
    assert (
        (happy - sad)[:, mouth].abs().mean((1, 2)) > 3 * (happy - sad)[:, :8].abs().mean((1, 2))
    ).all()
    assert (
        surprised[:, 36:42, 21:27].mean((1, 2)) < neutral[:, 36:42, 21:27].mean((1, 2))
    ).float().mean() > 0.9
    assert ((surprised - angry)[:, brows].abs().mean((1, 2)) > 3).all()


def test_an_expressionless_face_is_symmetric():
    """Only pose, light, hair and hand break the symmetry, so that no side gives a class away."""
    traits = draw_traits(6, torch.Generator().manual_seed(0), nuisance=0.0)
    traits["part"], traits["hand"] = traits["part"] * 0, torch.zeros(6)
    units = torch.stack([units_of(e) for e in EXPRESSIONS[:6]])
    face = render(units, traits).int()[:, :, 12:, 4:44]
    assert (face - face.flip(-1)).abs().float().mean() < 1.5


def test_expressions_can_be_told_apart():
    """A linear classifier on small grey pixels, which knows no faces, is far above chance (1/7)."""
    images, manifest = make_faces(1050, seed=11, ambiguous=0, proportions=[1] * 7)
    x = torch.nn.functional.avg_pool2d(images.float().mean(1, keepdim=True), 2).flatten(1)
    x = ((x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)).numpy()
    y = manifest["true_label"].to_numpy()
    model = RidgeClassifier(alpha=100).fit(x[:800], y[:800])
    assert model.score(x[800:], y[800:]) > 0.6


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"n": 0}, "n of drawn faces must be at least 1, got 0"),
        ({"size": 8}, "size of drawn faces must be at least 16, got 8"),
        ({"ambiguous": -0.1}, "ambiguous is -0.1"),
        ({"noisy": 1.2}, "noisy 1.2"),
        ({"ambiguous": 0.6, "noisy": 0.6}, "together up to 1"),
        ({"noisy": float("nan")}, "noisy nan"),
        ({"proportions": [1, 2]}, "seven numbers"),
        ({"proportions": [0] * 7}, "not all 0"),
        ({"split": "dev"}, "train, val, test"),
        ({"nuisance": -1}, "nuisance of drawn faces must be at least 0, got -1"),
        ({"chunk": 0}, "chunk of drawn faces must be at least 1, got 0"),
    ],
)
def test_bad_arguments(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_faces(**({"n": 10, "seed": 0} | wrong))
