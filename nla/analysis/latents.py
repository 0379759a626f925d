"""How the latent space forms: UMAP of a run's snapshots in shared axes, and numbers beside the picture.

The same probe images are embedded at every snapshot. Snapshots differ by shifts, scales and rotations of the latent
space, which carry no meaning; :func:`aligned_latents` removes these, and a single UMAP (McInnes, Healy, Melville 2018)
of all snapshots together then gives axes that all steps share.
"""

import hashlib
import warnings
from pathlib import Path

import numpy as np
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
    32  # kept before UMAP; nearly all variance of a trained latent space, and half the time
)


def aligned_latents(run: Run, steps: list[int] | None = None) -> dict[int, np.ndarray]:
    """Latents (P, D) of each snapshot, centred, scaled to unit spread and rotated onto the one after it.

    Distances within a snapshot keep their proportions (a rotation changes none). RunError if the run
    has no snapshots, or not those asked for.
    """
    steps = sorted(run.latents if steps is None else steps)
    if missing := set(steps) - set(run.latents):
        raise RunError(
            f"no snapshot at epoch {min(missing)}; there are {', '.join(map(str, run.latents))}"
        )
    aligned, target = {}, None
    for step in reversed(steps):
        latent = run.latents[step]["latent"].astype(np.float64)
        latent = latent - latent.mean(0)
        latent /= max(np.sqrt(np.square(latent).sum(1).mean()), 1e-12)
        aligned[step] = target = (
            latent if target is None else latent @ orthogonal_procrustes(latent, target)[0]
        )
    return dict(sorted(aligned.items()))


def umap_steps(
    run: Run,
    method: str = "joint",
    seed: int = 0,
    steps: list[int] | None = None,
    neighbors: int = 15,
    cache: str | Path | None = CACHE,
) -> pd.DataFrame:
    """The snapshots on one map: epoch, index, x, y, and label, true_label, split, kind of the manifest.

    ``method`` "joint" is one UMAP of all snapshots together; "aligned" is AlignedUMAP, a picture for each, drawn
    towards its neighbours in time, which shows more of each snapshot's own structure and costs several times as much.
    Same run and seed, same picture; kept under ``cache`` by content (None: not kept). RunError without snapshots.
    """
    latents = aligned_latents(run, steps)
    stacked = np.stack(list(latents.values())).astype(np.float32)  # (S, P, D)
    fit = {"joint": fit_joint, "aligned": fit_aligned}[method]
    content = hashlib.sha256(
        stacked.tobytes() + repr((method, seed, neighbors, DIMENSIONS)).encode()
    ).hexdigest()
    file = cache and Path(cache) / f"umap-{content[:16]}.parquet"
    if file and file.is_file():
        points = pd.read_parquet(file).to_numpy()
    else:
        threads = torch.get_num_threads()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # one thread because of the seed; no search index for new points
            pca = PCA(min(DIMENSIONS, *stacked.shape[1:]), random_state=0).fit(
                np.concatenate(stacked)
            )
            points = fit(np.stack([pca.transform(part) for part in stacked]), seed, neighbors)
        torch.set_num_threads(
            threads
        )  # UMAP's compiler sets its own, on which the numbers of a later training depend
        if file:
            write(file, pd.DataFrame(points, columns=["x", "y"]))
    table = pd.DataFrame(
        {
            "epoch": np.repeat(list(latents), stacked.shape[1]),
            "x": points[:, 0],
            "y": points[:, 1],
            "index": np.concatenate([run.latents[step]["index"] for step in latents]),
        }
    )
    return table.join(run.manifest.filter(["label", "true_label", "split", "kind"]), on="index")


def fit_joint(points: np.ndarray, seed: int, neighbors: int) -> np.ndarray:
    """UMAP of points (S, P, D) to (S P, 2), from a PCA start, reproducible for a seed.

    Exact neighbours are found here: at these sizes that is faster than compiling the approximate search.
    """
    import umap  # here, so that the rest of the kit runs without it

    points = np.concatenate(points)
    k = min(neighbors, len(points) - 1)
    distances, nearest = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(points)
    return umap.UMAP(
        n_neighbors=k,
        n_epochs=200,
        init="pca",
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(nearest, distances),
    ).fit_transform(points)


def fit_aligned(points: np.ndarray, seed: int, neighbors: int) -> np.ndarray:
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

    trustworthiness (0..1): are neighbours in the picture neighbours in the latent space; silhouette (-1..1) and purity
    (0..1): do true classes separate in the *latent* space, purity being the share of a sample's nearest neighbours
    that have its true class; drift: mean distance that samples moved in the picture since the step before, in units of
    its root mean square radius; change (0..1): 1 - linear CKA with the step before's latents (Kornblith et al. 2019).
    """
    rows, before = [], None
    radius = np.sqrt(embedding[["x", "y"]].var(ddof=0).sum())
    for step, part in embedding.groupby("epoch"):
        latent, classes = run.latents[step]["latent"], part["true_label"].to_numpy()
        points, k = part[["x", "y"]].to_numpy(), min(neighbors, (len(part) - 1) // 2)
        nearest = NearestNeighbors(n_neighbors=k).fit(latent).kneighbors(return_distance=False)
        several = 1 < len(np.unique(classes)) < len(classes)
        row = {
            "epoch": step,
            "trustworthiness": trustworthiness(latent, points, n_neighbors=k),
            "silhouette": silhouette_score(latent, classes) if several else np.nan,
            "purity": float((classes[nearest] == classes[:, None]).mean()),
            "drift": np.nan,
            "change": np.nan,
        }
        if before is not None:
            row |= {
                "drift": float(np.linalg.norm(points - before[0], axis=1).mean() / radius),
                "change": 1 - cka(latent, before[1]),
            }
        rows.append(row)
        before = points, latent
    return pd.DataFrame(rows)


def cka(a: np.ndarray, b: np.ndarray) -> float:
    """Linear centred kernel alignment (0..1) of two representations (N, D) of the same samples."""
    a, b = a - a.mean(0), b - b.mean(0)
    scale = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.square(np.linalg.norm(a.T @ b)) / scale) if scale else np.nan
