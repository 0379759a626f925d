"""UMAP across steps: properties, never coordinates."""

import numpy as np
import pytest
from scipy.stats import ortho_group
from test_views import drawn_run

from nla.analysis import latents
from nla.training.record import RunError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def embedding(planted_run, tmp_path_factory):
    pytest.importorskip("umap")
    cache = tmp_path_factory.mktemp("cache")
    return cache, latents.umap_steps(planted_run, seed=1, neighbors=8, cache=cache)


def test_one_row_a_probe_sample_and_step_with_its_facts(planted_run, embedding):
    table = embedding[1]
    assert table.groupby("epoch").size().tolist() == [140] * 4 and list(
        table["epoch"].unique()
    ) == [0, 1, 2, 5]
    assert np.isfinite(table[["x", "y"]]).all(axis=None)
    row = table.iloc[33]
    assert row["true_label"] == planted_run.manifest.loc[row["index"], "true_label"]
    assert {"label", "split", "kind"} <= set(table)


def test_cached_by_content_and_the_same_for_a_seed(planted_run, embedding, monkeypatch):
    cache, table = embedding
    assert latents.umap_steps(planted_run, seed=1, neighbors=8, cache=None).equals(table)

    def computed(*_, **__):
        pytest.fail("the cache was not used")

    monkeypatch.setattr(
        latents.NearestNeighbors, "kneighbors", computed
    )  # a step of the computation
    assert latents.umap_steps(planted_run, seed=1, neighbors=8, cache=cache).equals(table)
    with pytest.raises(pytest.fail.Exception):  # another seed is another picture
        latents.umap_steps(planted_run, seed=2, neighbors=8, cache=cache)


@pytest.mark.slow
def test_aligned_steps_keep_their_neighbours_and_repeat(planted_run, tmp_path):
    pytest.importorskip("umap")
    table = latents.umap_steps(planted_run, "aligned", neighbors=8, steps=[1, 2, 5], cache=tmp_path)
    assert table.groupby("epoch").size().tolist() == [140] * 3 and np.isfinite(
        table[["x", "y"]]
    ).all(axis=None)
    quality = latents.quality(planted_run, table)
    assert quality["trustworthiness"].gt(0.7).all()
    assert latents.umap_steps(
        planted_run, "aligned", neighbors=8, steps=[1, 2, 5], cache=None
    ).equals(table)


def test_quality_follows_the_planted_separation(planted_run, embedding):
    table = latents.quality(planted_run, embedding[1], neighbors=10).set_index("epoch")
    assert table["purity"].is_monotonic_increasing and table.loc[5, "purity"] > 0.9
    assert table.loc[0, "purity"] == pytest.approx(1 / 7, abs=0.06)
    assert table["silhouette"].is_monotonic_increasing and table.loc[5, "silhouette"] > 0.2
    assert table["trustworthiness"].between(0, 1).all()
    assert table["drift"].iloc[1:].gt(0).all() and np.isnan(table["drift"].iloc[0])
    assert table["change"].iloc[1:].between(0, 1).all()


def test_alignment_undoes_shift_scale_and_rotation():
    class Turned:
        points = np.random.default_rng(0).normal(size=(50, 6))
        turn = ortho_group.rvs(6, random_state=1)
        latents = {0: {"latent": 7 + 3 * points @ turn}, 4: {"latent": points}}

    aligned = latents.aligned_latents(Turned())
    np.testing.assert_allclose(aligned[0], aligned[4], atol=1e-9)
    assert np.square(aligned[4]).sum(1).mean() == pytest.approx(1)


def test_cka_is_one_for_a_rotation_and_small_for_noise():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(400, 5))
    assert latents.cka(a, 2 + a @ ortho_group.rvs(5, random_state=0)) == pytest.approx(1)
    assert latents.cka(a, rng.normal(size=(400, 5))) < 0.1


def test_missing_snapshots_are_named(planted_run, tmp_path):
    from conftest import plant

    with pytest.raises(RunError, match="no latent snapshots"):
        latents.umap_steps(plant(tmp_path / "bare", epochs=1, latents=False))
    with pytest.raises(RunError, match="no snapshot at epoch 3; there are 0, 1, 2, 5"):
        latents.aligned_latents(planted_run, [0, 3])


def test_fewer_images_than_neighbours_have_a_map(tmp_path):
    pytest.importorskip("umap")
    run = drawn_run(tmp_path, per_class=1)  # two classes, one image each in training and test
    table = latents.umap_steps(run, cache=None)
    assert len(table) == 8 and np.isfinite(table[["x", "y"]]).all(axis=None)
    assert table.attrs["classes"] == ["cat", "dog"]
    quality = latents.quality(run, table)
    assert quality[["trustworthiness", "purity"]].stack().between(0, 1).all()


def test_too_few_images_or_steps_for_a_map_are_refused(tmp_path):
    run = drawn_run(tmp_path / "two", ("cat", "dog"), 1, present=[0])
    with pytest.raises(RunError, match="2 images, too few for a map; .* probe at least 4"):
        latents.umap_steps(run, cache=None)
    run = drawn_run(tmp_path / "four", per_class=1)
    with pytest.raises(RunError, match="use 'joint' for a single one"):
        latents.umap_steps(run, "aligned", steps=[2], cache=None)
    with pytest.raises(ValueError, match="must be 'joint' or 'aligned', got 'both'"):
        latents.umap_steps(run, "both", cache=None)
