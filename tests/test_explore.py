"""The explorers' Python side: what the browser is sent, what answers a pick, how fast.

The browser: test_browser.py.
"""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import plant
from PIL import Image
from small_data import QUICK, tree
from test_views import drawn_run

from nla import cli, fit
from nla.analysis import explore, figures, parameters, pictures
from nla.analysis.widget import Explorer
from nla.naw import NAW
from nla.training.record import RunError


@pytest.fixture(scope="module")
def embedding(planted_run):
    rows = planted_run.latents[0]["index"]
    points = np.random.default_rng(0).normal(size=(4 * len(rows), 2))
    return (
        planted_run.manifest.loc[np.tile(rows, 4)]
        .reset_index(names="index")
        .assign(epoch=np.repeat([0, 1, 2, 5], len(rows)), x=points[:, 0], y=points[:, 1])
    )


def places(widget):
    content = widget.content
    return np.frombuffer(content["points"], "<u2").reshape(len(content["titles"]), -1, 2) / 65535


def history(widget, name):
    found = widget.content["history"]
    assert found["name"] == name
    values = np.frombuffer(found["values"], "<u2").reshape(len(widget.content["titles"]), -1)
    return values / 65535 * found["top"]


def codes(widget, name):
    return np.frombuffer(widget.content[name], "<u2")


def test_points_facts_and_weights_are_the_runs(planted_run):
    widget = explore.naw_explorer(planted_run)
    for epoch in (0, 4):
        samples = planted_run.samples(epoch)
        np.testing.assert_allclose(places(widget)[epoch], samples[["p_gt", "p_nn"]], atol=1e-5)
        np.testing.assert_allclose(history(widget, "w*")[epoch], samples["weight"], atol=1e-5)
    assert (codes(widget, "label") == samples["label"]).all() and (
        codes(widget, "true") == samples["true_label"]
    ).all()
    names = np.array(widget.content["kinds"])[codes(widget, "kind")]
    assert (names == samples["kind"]).all()
    assert len(widget.content["backgrounds"]) == len(widget.content["titles"]) == 5
    assert "epoch 5 of 5" in widget.content["titles"][4]
    assert widget.content["looks"]["kind"][0] == [
        figures.KIND_PALETTE[k] for k in widget.content["kinds"]
    ]


def test_cards_are_answered_with_their_faces(planted_run, planted_images):
    widget = explore.naw_explorer(planted_run, planted_images)
    assert widget.faces == {} and widget.content["pictured"]
    widget.wanted = [28, 3]
    assert set(widget.faces) == {"28", "3"}
    face = np.asarray(Image.open(io.BytesIO(base64.b64decode(widget.faces["28"].split(",")[1]))))
    assert face.shape == (16, 16, 3) and (face == 28).all()
    widget.wanted = list(range(100))
    assert len(widget.faces) == explore.CARDS
    bare = explore.naw_explorer(planted_run)
    bare.wanted = [1]
    assert bare.faces == {} and not bare.content["pictured"]


def test_what_is_selected_is_read_as_recorded(planted_run):
    widget = explore.naw_explorer(planted_run)
    assert len(widget.selected) == 0
    widget.picked, widget.step = [41, 3, 29], 4
    table, samples = widget.selected, planted_run.samples(4)
    assert list(table["index"]) == [41, 3, 29] and (table["epoch"] == 4).all()
    for name in ("label", "true_label", "p_gt", "p_nn", "weight", "correct", "cross_entropy"):
        assert list(table[name]) == list(samples[name].iloc[[41, 3, 29]])  # to the last digit
    assert list(table["kind"]) == ["clean", "clean", "noisy"]
    assert list(table["class"]) == ["fear", "surprise", "surprise"]
    assert list(table["source"]) == ["sample 41", "sample 3", "sample 29"]
    widget.hidden = {"kind": [2]}
    assert list(widget.selected["index"]) == [41, 3]
    widget.hidden = {"class": [1]}
    assert list(widget.selected["index"]) == [3, 29]


def test_samples_are_selected_by_their_rows(planted_run):
    widget = explore.naw_explorer(planted_run, points=50)
    there = list(widget.scene.index[[30, 2]])
    widget.select(there)
    assert list(widget.selected["index"]) == there
    gone = next(k for k in range(210) if k not in widget.scene.index)
    with pytest.raises(RunError, match=f"sample {gone} is not among the 50 of this explorer"):
        widget.select([gone])


def test_maps_and_confusions_are_read_with_their_predictions(planted_run, embedding):
    latent = explore.latent_explorer(planted_run, embedding)
    latent.step, latent.picked = 3, [4, 0]
    arrays = planted_run.latents[5]
    table = latent.selected
    assert list(table["prediction"]) == list(arrays["logits"].argmax(1)[[4, 0]])
    assert list(table["epoch"]) == [5, 5] and {"x", "y", "p_fear"} <= set(table)
    rows = planted_run.manifest.loc[arrays["index"][[4, 0]]]
    assert list(table["true_label"]) == list(rows["true_label"])
    confusion = explore.confusion_explorer(planted_run)
    confusion.picked = [0]
    table = confusion.selected
    assert table[["true_class", "predicted"]].to_numpy().tolist() == [["surprise", "fear"]]
    assert table["p_fear"].item() == 0.7


def test_background_is_white_where_no_sample_can_be():
    url = pictures.surface_url(NAW(), 0.0)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))
    assert (image[:70, 130:] == 255).all()  # p_GT + p_NN > 1
    assert (
        image[-15, 9].sum() < image[60, 9].sum()
    )  # darker, so heavier, near the diagonal than far from it


def test_large_runs_are_thinned_and_rows_kept(planted_run, planted_images):
    widget = explore.naw_explorer(planted_run, planted_images, points=50)
    assert places(widget).shape == (5, 50, 2) and len(set(widget.scene.index)) == 50
    weights = planted_run.samples(2).set_index("index")["weight"]
    np.testing.assert_allclose(history(widget, "w*")[2], weights.loc[widget.scene.index], atol=1e-5)


def test_latent_explorer_tells_what_was_predicted(planted_run, embedding):
    widget = explore.latent_explorer(planted_run, embedding)
    assert (places(widget).min(), places(widget).max()) == pytest.approx((0.04, 0.96), abs=1e-4)
    guess = codes(widget, "guess").reshape(4, -1)
    assert (guess[3] == planted_run.latents[5]["logits"].argmax(1)).all()
    assert history(widget, "p(true)")[3].mean() > history(widget, "p(true)")[0].mean()
    assert widget.content["titles"][0] == "planted, before training"


def test_confusion_explorer_puts_faces_into_their_cells(planted_run):
    widget = explore.confusion_explorer(planted_run)
    rows = planted_run.predictions()
    column, row = np.floor(places(widget)[-1] * 7).T
    assert (column == rows["prediction"]).all() and (6 - row == rows["true_label"]).all()
    assert widget.content["cells"] == 7
    np.testing.assert_allclose(
        history(widget, "p(true)")[-1][rows["true_label"] > 0], 0.7, atol=1e-4
    )


def test_parameter_explorer_reweighs_the_recorded_run(planted_run):
    box = explore.parameter_explorer(planted_run)
    panel, plane = box.children
    controls, before, kept = (
        {c.description: c for c in panel.children[:-1]},
        plane.content["backgrounds"],
        panel.result,
    )
    np.testing.assert_allclose(kept["w* now"], kept["w* recorded"])
    controls["std_true"].value = 0.4
    assert plane.content["backgrounds"] != before
    now = panel.result["w* now"]
    assert (now != kept["w* now"]).any() and now["noisy"] != now["clean"]
    controls["epoch"].value = 0
    np.testing.assert_allclose(
        places(plane)[0], planted_run.samples(0)[["p_gt", "p_nn"]], atol=1e-5
    )
    assert "epoch 1 of 5" in plane.content["titles"][0]


def test_static_twin_travels_with_the_widget(planted_run, embedding):
    for widget in (
        explore.naw_explorer(planted_run),
        explore.latent_explorer(planted_run, embedding),
        explore.confusion_explorer(planted_run),
        explore.parameter_explorer(planted_run),
    ):
        data, _ = widget._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in data
        assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")


def map_of(run):
    """A map as :func:`latents.umap_steps` gives it, with any places."""
    steps = list(run.latents)
    facts = run.manifest.loc[np.tile(run.latents[0]["index"], len(steps))]
    table = facts.reset_index(names="index").assign(epoch=np.repeat(steps, len(run.manifest)))
    table[["x", "y"]] = np.random.default_rng(0).normal(size=(len(table), 2))
    return table


@pytest.fixture(scope="module", params=[("cat", "dog", "noisy"), tuple("abcdefghijkl")])
def unjudged_run(request, tmp_path_factory):
    """Three or twelve classes of a set's own, and nobody knows which labels are wrong."""
    return drawn_run(tmp_path_factory.mktemp("runs") / "unjudged", request.param, 3)


def test_without_truth_there_are_no_kinds_and_no_true_label(unjudged_run):
    run = unjudged_run
    widgets = [
        explore.naw_explorer(run),
        explore.latent_explorer(run, map_of(run)),
        explore.confusion_explorer(run),
        explore.parameter_explorer(run).children[1],
    ]
    for widget in widgets:
        content = widget.content
        assert content["kinds"] == [] and content["kind"] is content["true"] is None
        widget.picked = [0, 2]
        assert not {"kind", "true_label", "true_class"} & set(widget.selected)
        assert len(widget.selected) == 2 and widget.selected["source"].str.endswith(".jpg").all()
        assert content["classes"] == list(run.classes) and list(content["looks"]) == ["class"]
        colours, markers = content["looks"]["class"]
        assert len(colours) == len(markers) == len(run.classes)
    assert widgets[1].content["history"]["name"] == "p(label)"
    assert widgets[2].content["labels"] == ["predicted class", "label"]
    assert [text for _, text in widgets[2].content["xticks"]] == list(run.classes)
    weighed = explore.parameter_explorer(run).children[0].result
    assert list(weighed.index) == list(run.classes)


def test_without_truth_the_twin_is_a_picture_by_class(unjudged_run):
    for widget in (
        explore.naw_explorer(unjudged_run),
        explore.latent_explorer(unjudged_run, map_of(unjudged_run)),
        explore.confusion_explorer(unjudged_run),
        explore.parameter_explorer(unjudged_run),
    ):
        data, _ = widget._repr_mimebundle_()
        assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")


def test_cards_name_the_file_or_the_row(unjudged_run, planted_run, tiny_run):
    widget = explore.naw_explorer(unjudged_run)
    paths = unjudged_run.manifest.loc[widget.scene.index, "path"]
    assert widget.content["sources"] == list(paths)
    rows = tiny_run.manifest.loc[explore.naw_explorer(tiny_run).scene.index, "row"]
    assert explore.naw_explorer(tiny_run).content["sources"] == [f"row {row}" for row in rows]
    sources = explore.naw_explorer(planted_run).content["sources"]
    assert sources[7] == "sample 7"  # it names neither


def test_sliders_start_at_the_runs_own_values_wherever_they_are():
    naw = NAW(slope=-90.0, ratio_false=25.0, mu_true=(1.5, -0.5))
    values = {name: slider.value for name, slider in parameters.naw_sliders(naw).items()}
    assert parameters.naw_from(values) == naw


def test_four_rows_in_one_epoch(tmp_path):
    run = drawn_run(tmp_path, epochs=1)
    widget = explore.naw_explorer(run)
    assert places(widget).shape == (1, 4, 2)
    assert explore.confusion_explorer(run).content["cells"] == 2
    assert len(explore.latent_explorer(run, map_of(run)).content["titles"]) == 2
    assert explore.parameter_explorer(run).children[0].result["n"].sum() == 4
    assert explore.naw_html(run, tmp_path / "page.html").stat().st_size > 10_000


def test_what_was_not_recorded_is_named(tmp_path):
    run = drawn_run(tmp_path, record=False)
    for explorer in explore.naw_explorer, explore.parameter_explorer:
        with pytest.raises(RunError, match="no dynamics of epoch"):
            explorer(run)
    assert explore.confusion_explorer(run).content["cells"] == 2


def test_at_the_size_of_rafdb_a_page_of_faces_is_sent_and_sliders_answer(tmp_path):
    run = plant(
        tmp_path / "large", epochs=3, per_class=1753, test_per_class=400, latents=False
    )  # 12,271 samples
    images = np.random.default_rng(0).integers(0, 255, (15_100, 3, 48, 48), dtype=np.uint8)
    widget, box = explore.naw_explorer(run, images), explore.parameter_explorer(run)
    widget.wanted = list(range(0, 12_271, 3))
    assert list(widget.faces) == [str(3 * k) for k in range(24)]
    controls = {c.description: c for c in box.children[0].children[:-1]}
    plane = next(child for child in box.children if isinstance(child, Explorer))
    assert len(plane.scene.index) <= 4000
    for name, value in (("slope", -5.0), ("epoch", 1)):
        before = plane.content
        controls[name].value = value
        assert plane.content != before


def test_odd_runs_open(odd_run):
    widget = explore.naw_explorer(odd_run)
    widget.picked = widget.wanted = [0]
    assert len(widget.selected) == 1
    assert len(codes(widget, "label")) == len(odd_run.samples())
    assert explore.parameter_explorer(odd_run).children


@pytest.fixture(scope="module")
def page(planted_run, planted_images, tmp_path_factory):
    return explore.naw_html(
        planted_run, tmp_path_factory.mktemp("html") / "naw.html", planted_images, size=16
    )


def test_photographs_are_shown_on_request_and_never_beside_other_numbers(tmp_path):
    root = tree(tmp_path / "set", 2, ("cat", "dog"))
    config = replace(QUICK, root=str(root), classes=("cat", "dog"), cache="")
    run = fit(config, tmp_path / "run", progress=False)
    assert cli.images_of(run, False) is None
    images = cli.images_of(run, True)
    assert len(images) == len(run.manifest) == 8
    bare = explore.naw_html(run, tmp_path / "bare.html").read_text()
    faces = explore.naw_html(run, tmp_path / "faces.html", images).read_text()
    assert "data:image/jpeg" in faces and "data:image/jpeg" not in bare
    assert "train/cat/0.png" in bare  # names always
    (root / "train/cat/0.png").rename(root / "train/dog/0_cat.png")
    with pytest.raises(RunError, match="not what the run was trained on .* without the faces"):
        cli.images_of(run, True)


def test_export_is_whole_and_small(page):
    text = page.read_text()
    assert "/*" not in text.split("<script")[1] and "http" not in text.replace(
        "http://www.w3.org", ""
    )
    assert len(text) < 500_000 and not list(page.parent.glob(".*"))
    content = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert len(base64.b64decode(content["points"]["base64"])) == 5 * 210 * 2 * 2
    assert content["sprite"].startswith("data:image/jpeg;base64,")
