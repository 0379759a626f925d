"""The explorers' Python side: what the browser is sent, and what answers a selection, and how fast."""

import base64
import time

import numpy as np
import pytest
from conftest import plant

from nla.analysis import explore, figures


def parts(widget):
    """slider, colours, filters by name, scatter, faces"""
    (play, slider, colour), kinds, classes, (scatter, faces) = (box.children for box in widget.children)
    return slider, colour, {b.description: b for b in (*kinds, *classes)}, scatter, faces


def test_points_are_where_the_run_says(planted_run):
    _, _, _, scatter, _ = parts(explore.naw_explorer(planted_run))
    sent = np.frombuffer(scatter.points, "<u2").reshape(5, 210, 2) / 65535
    for epoch in (0, 4):
        np.testing.assert_allclose(sent[epoch], planted_run.samples(epoch)[["p_gt", "p_nn"]], atol=1e-5)
    assert len(scatter.backgrounds) == len(scatter.titles) == 5
    assert "epoch 5 of 5" in scatter.titles[4]


def test_selection_shows_those_faces_and_follows_the_epoch(planted_run, planted_images):
    _, _, _, scatter, faces = parts(explore.naw_explorer(planted_run, planted_images))
    assert "Draw a loop" in faces.value
    scatter.selected = [28]  # surprise, noisy: truly fear
    assert "1 selected" in faces.value and "true: fear" in faces.value and "noisy" in faces.value
    assert explore.face_html(planted_images[28]) in faces.value
    assert explore.face_html(planted_images[27]) not in faces.value
    assert "p_GT 0.05" in faces.value
    scatter.step = 4
    assert "p_GT 0.70" in faces.value  # memorised
    scatter.selected = []
    assert "Draw a loop" in faces.value


def test_filters_and_colours(planted_run):
    _, colour, filters, scatter, _ = parts(explore.naw_explorer(planted_run))
    def visible():
        return np.frombuffer(scatter.visible, np.uint8).sum()
    assert visible() == 210
    filters["noisy"].value = False
    assert visible() == 168
    filters["fear"].value = False
    assert visible() == 144
    assert scatter.palette == [figures.KIND_PALETTE[k] for k in ("clean", "ambiguous", "noisy")]
    colour.value = "class"
    assert scatter.palette[0] == figures.PALETTE["surprise"]
    assert (np.frombuffer(scatter.codes, np.uint8) == planted_run.samples(0)["label"]).all()


def test_static_twin_travels_with_the_widget(planted_run):
    bundle = explore.naw_explorer(planted_run)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert len(explore.naw_explorer_static(planted_run, [0, 2, -1]).axes) == 4  # three planes and a colour bar


def test_latent_explorer_tells_what_was_predicted(planted_run):
    rows = planted_run.latents[0]["index"]
    points = np.random.default_rng(0).normal(size=(4 * len(rows), 2))
    embedding = planted_run.manifest.loc[np.tile(rows, 4)].reset_index(names="index").assign(
        epoch=np.repeat([0, 1, 2, 5], len(rows)), x=points[:, 0], y=points[:, 1])
    _, _, _, scatter, faces = parts(explore.latent_explorer(planted_run, embedding))
    sent = np.frombuffer(scatter.points, "<u2").reshape(4, len(rows), 2) / 65535
    assert sent.min() == pytest.approx(0.05, abs=1e-4) and sent.max() == pytest.approx(0.95, abs=1e-4)
    scatter.step, scatter.selected = 3, [20]
    logits = planted_run.latents[5]["logits"][20]
    assert f"predicted {planted_run.classes[logits.argmax()]}" in faces.value


def test_answers_within_150_ms_at_the_size_of_rafdb(tmp_path):
    run = plant(tmp_path / "large", epochs=3, per_class=1753, test_per_class=0, latents=False)  # 12,271 samples
    images = np.random.default_rng(0).integers(0, 255, (12_271, 3, 48, 48), dtype=np.uint8)
    slider, colour, filters, scatter, faces = parts(explore.naw_explorer(run, images))
    for act in (lambda: setattr(scatter, "selected", list(range(0, 12_271, 3))), lambda: setattr(scatter, "step", 2),
                lambda: setattr(colour, "value", "class"), lambda: setattr(filters["clean"], "value", False)):
        start = time.process_time()
        act()
        assert time.process_time() - start < 0.15


def test_odd_runs_open(odd_run):
    _, _, _, scatter, faces = parts(explore.naw_explorer(odd_run))
    scatter.selected = [0]
    assert "1 selected" in faces.value
