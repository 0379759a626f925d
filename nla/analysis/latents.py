"""How the latent space forms: UMAP of a run's snapshots in shared axes, and numbers beside it.

The same probe images are embedded at every snapshot. Snapshots differ by shifts, scales and
rotations of the latent space, which carry no meaning; :func:`aligned_latents` removes these, and a
single UMAP (McInnes, Healy, Melville 2018) of all snapshots together then gives axes that all
steps share.
"""

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from nla.files import write
from nla.training.record import Run, RunError

CACHE = Path("data/cache")
DIMENSIONS = (
    32  # kept before UMAP: nearly all variance of a trained latent space, and half the time
)
FEWEST = 4  # images that a map can show something of

Points = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]


def aligned_latents(run: Run, steps: list[int] | None = None) -> dict[int, Points]:
    """Latents (P, D) of each snapshot, centred, scaled to unit spread, rotated onto the one after.

    Distances within a snapshot keep their proportions (a rotation changes none). RunError if the
    run has no snapshots, or not those asked for.
    """
    steps = sorted(run.latents if steps is None else steps)
    missing = set(steps) - set(run.latents)
    if missing:
        there = ", ".join(map(str, run.latents))
        raise RunError(f"no snapshot at epoch {min(missing)}; there are {there}")
    aligned: dict[int, Points] = {}
    target = None
    for step in reversed(steps):
        latent = run.latents[step]["latent"].astype(np.float64)
        latent = latent - latent.mean(0)
        latent /= max(np.sqrt(np.square(latent).sum(1).mean()), 1e-12)
        if target is not None:
            latent = latent @ orthogonal_procrustes(latent, target)[0]
        aligned[step] = target = latent
    return dict(sorted(aligned.items()))


def umap_steps(
    run: Run,
    method: str = "joint",
    seed: int = 0,
    steps: list[int] | None = None,
    neighbors: int = 15,
    cache: str | Path | None = CACHE,
) -> pd.DataFrame:
    """The snapshots on one map: epoch, index, x, y, and label, true_label, split, kind as known.

    ``method`` "joint" is one UMAP of all snapshots together; "aligned" is AlignedUMAP, a picture
    for each, drawn towards its neighbours in time, which shows more of each snapshot's own
    structure and costs several times as much. Where there are no more points than ``neighbors``,
    all are neighbours. Same run and seed, same picture; kept under ``cache`` by content (None: not
    kept). ``attrs["classes"]`` names the labels. Where nobody knows better (``run.knows_truth``),
    true_label is the label as given. RunError without snapshots, of fewer than four images, and
    for "aligned" of fewer than two steps.
    """
    if method not in ("joint", "aligned"):
        raise ValueError(f"method must be 'joint' or 'aligned', got {method!r}")
    latents = aligned_latents(run, steps)
    stacked = np.stack(list(latents.values())).astype(np.float32)  # (S, P, D)
    count = stacked.shape[1]
    if count < FEWEST:
        raise RunError(
            f"{run.folder} has snapshots of {count} images, too few for a map; train it anew with "
            f"probe at least {FEWEST}, on a set that has as many"
        )
    if method == "aligned" and len(latents) < 2:
        raise RunError("method 'aligned' takes two steps or more; use 'joint' for a single one")
    points = kept_map(stacked, method, seed, neighbors, cache)
    table = pd.DataFrame(
        {
            "epoch": np.repeat(list(latents), count),
            "x": points[:, 0],
            "y": points[:, 1],
            "index": np.concatenate([run.latents[step]["index"] for step in latents]),
        }
    )
    facts = run.manifest.filter(["label", "true_label", "split", "kind"])
    table = table.join(facts, on="index")
    table.attrs["classes"] = list(run.classes)
    return table


def kept_map(
    latents: Singles, method: str, seed: int, neighbors: int, cache: str | Path | None
) -> Singles:
    """The map (S P, 2) of latents (S, P, D): from the cache if it is there, else drawn and kept."""
    settings = repr((method, seed, neighbors, DIMENSIONS))
    content = hashlib.sha256(latents.tobytes() + settings.encode()).hexdigest()
    file = Path(cache) / f"umap-{content[:16]}.parquet" if cache else None
    if file and file.is_file():
        return pd.read_parquet(file).to_numpy()
    points = drawn_map(latents, method, seed, neighbors)
    if file:
        write(file, pd.DataFrame(points, columns=["x", "y"]))
    return points


def drawn_map(latents: Singles, method: str, seed: int, neighbors: int) -> Singles:
    """The map (S P, 2) of latents (S, P, D), of their first principal components.

    UMAP's compiler sets a number of threads for torch, on which the numbers of a later training
    depend; it is set back. One thread because of the seed and no search index for new points:
    UMAP's warnings of these are not shown.
    """
    fit = fit_joint if method == "joint" else fit_aligned
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pca = PCA(min(DIMENSIONS, *latents.shape[1:]), random_state=0)
        pca.fit(np.concatenate(latents))
        points = fit(np.stack([pca.transform(part) for part in latents]), seed, neighbors)
    torch.set_num_threads(threads)
    return points


def fit_joint(points: Singles, seed: int, neighbors: int) -> Singles:
    """UMAP of points (S, P, D) to (S P, 2), from a PCA start, reproducible for a seed.

    Exact neighbours are found here: at these sizes that is faster than compiling the approximate
    search.
    """
    import umap  # here, so that the rest of the kit runs without it

    every = np.concatenate(points)
    k = min(neighbors, len(every) - 1)
    distances, nearest = NearestNeighbors(n_neighbors=k).fit(every).kneighbors(every)
    model = umap.UMAP(
        n_neighbors=k,
        n_epochs=200,
        init="pca",
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(nearest, distances),
    )
    placed: Singles = model.fit_transform(every)
    return placed


def fit_aligned(points: Singles, seed: int, neighbors: int) -> Singles:
    """AlignedUMAP of points (S, P, D) to (S P, 2): sample k of one step is sample k of the next."""
    import umap

    same = [{k: k for k in range(points.shape[1])}] * (len(points) - 1)
    model = umap.AlignedUMAP(
        n_neighbors=min(neighbors, points.shape[1] - 1),
        n_epochs=100,
        random_state=seed,
        alignment_window_size=2,
        alignment_regularisation=0.01,
    )
    return np.concatenate(model.fit(list(points), relations=same).embeddings_)


def quality(run: Run, embedding: pd.DataFrame, neighbors: int = 15) -> pd.DataFrame:
    """What the picture should not be believed without, one row a step.

    trustworthiness (0..1): are neighbours in the picture neighbours in the latent space; silhouette
    (-1..1) and purity (0..1): do true classes separate in the *latent* space, purity being the
    share of a sample's nearest neighbours that have its true class (the labels as given stand in
    where nobody knows better); drift: mean distance that samples moved in the picture since the
    step before, in units of its root mean square radius; change (0..1): 1 - linear CKA with the
    step before's latents (Kornblith et al. 2019).
    """
    rows: list[dict[str, Any]] = []
    radius = np.sqrt(embedding[["x", "y"]].var(ddof=0).sum())
    before = None
    for step in sorted(embedding["epoch"].unique()):
        part = embedding[embedding["epoch"] == step]
        latent = run.latents[int(step)]["latent"]
        points = part[["x", "y"]].to_numpy(float)
        row = {"epoch": step, **separated(latent, points, part["true_label"], neighbors)}
        row |= {"drift": np.nan, "change": np.nan}
        if before is not None:
            earlier, latent_before = before
            row["drift"] = float(np.linalg.norm(points - earlier, axis=1).mean() / radius)
            row["change"] = 1 - cka(latent, latent_before)
        rows.append(row)
        before = points, latent
    return pd.DataFrame(rows)


def separated(
    latent: Points, points: Points, labels: pd.Series, neighbors: int
) -> dict[str, float]:
    """trustworthiness, silhouette and purity of one step, see :func:`quality`."""
    classes = labels.to_numpy()
    k = min(neighbors, (len(classes) - 1) // 2)
    nearest = NearestNeighbors(n_neighbors=k).fit(latent).kneighbors(return_distance=False)
    several = 1 < len(np.unique(classes)) < len(classes)
    return {
        "trustworthiness": trustworthiness(latent, points, n_neighbors=k),
        "silhouette": silhouette_score(latent, classes) if several else np.nan,
        "purity": float((classes[nearest] == classes[:, None]).mean()),
    }


def cka(a: Points, b: Points) -> float:
    """Linear centred kernel alignment (0..1) of two representations (N, D) of the same samples."""
    a, b = a - a.mean(0), b - b.mean(0)
    scale = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.square(np.linalg.norm(a.T @ b)) / scale) if scale else np.nan
