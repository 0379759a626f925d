import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nla import NAW, Config, Scores, fit, read_run
from nla.data import EXPRESSIONS
from nla.files import write
from nla.training.record import FORMAT

# one where pytest-xdist has other tests run beside these
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)

SHOTS = Path(os.environ.get("NLA_SCREENSHOTS", Path(__file__).parent / "output"))
TINY = Config(
    train_faces=120, test_faces=60, noise=0.3, epochs=3, batch_size=32, probe=40, snapshots=4
)


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by playwright; skips where either is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    SHOTS.mkdir(parents=True, exist_ok=True)
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def golden_cases():
    return json.loads((Path(__file__).parent / "golden/nla_cases.json").read_text())["cases"]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    return fit(TINY, tmp_path_factory.mktemp("runs") / "tiny", progress=False)


@pytest.fixture(scope="session")
def data_root():
    root = Path(os.environ.get("NLA_DATA_ROOT", "data"))
    if not list(root.glob("fer2013/fer2013.csv*")):
        pytest.skip(f"no real faces: {root}/fer2013/fer2013.csv is not there (set NLA_DATA_ROOT)")
    return root


def plant(
    folder, epochs=5, per_class=30, test_per_class=10, classes=range(7), kinds=True, latents=True
):
    """A run folder written by hand, so that every view of it has a known answer.

    Of each class's training samples the first 60 % are clean (p_GT from .3 to .9), the next 20 %
    ambiguous (always .45 against .40), the last 20 % noisy (.05 against .80), and of these every
    other one is memorised (.70 against .20) in the last epoch. Test samples of class 0 are
    predicted as 1, all others right. The latents of the classes part as training goes on.
    """
    labels = np.repeat(list(classes), per_class)
    place = np.tile(np.arange(per_class), len(labels) // per_class) / per_class
    kind = np.select([place < 0.6, place < 0.8], ["clean", "ambiguous"], "noisy")
    true = np.where(kind == "noisy", (labels + 1) % 7, labels)
    test = np.repeat(list(classes), test_per_class)
    manifest = pd.DataFrame(
        {
            "label": np.concatenate([labels, test]),
            "true_label": np.concatenate([true, test]),
            "split": ["train"] * len(labels) + ["test"] * len(test),
            "kind": [*kind, *["clean"] * len(test)],
        }
    ).drop(columns=[] if kinds else "kind")
    config = Config(name="planted", epochs=epochs, noise=0.2)
    naw, rng, history = NAW(), np.random.default_rng(0), []
    for epoch in range(epochs):
        clean = 0.3 + 0.6 * epoch / max(epochs - 1, 1)
        learnt = (kind == "noisy") & (np.arange(len(kind)) % 2 == 0) & (epoch == epochs - 1)
        p_gt = np.select([kind == "clean", kind == "ambiguous", learnt], [clean, 0.45, 0.7], 0.05)
        p_nn = np.select(
            [kind == "clean", kind == "ambiguous", learnt], [(1 - clean) / 2, 0.4, 0.2], 0.8
        )
        scores = Scores(torch.tensor(p_gt), torch.tensor(p_nn), torch.tensor(p_gt >= p_nn))
        weight = naw.weights(scores, epoch / epochs).numpy()
        write(
            folder / f"dynamics/epoch_{epoch:03d}.parquet",
            pd.DataFrame(
                {
                    "index": np.arange(len(labels)),
                    "label": labels,
                    "p_gt": p_gt,
                    "p_nn": p_nn,
                    "correct": p_gt >= p_nn,
                    "weight": weight,
                    "cross_entropy": -np.log(p_gt),
                    "divergence": 0.01,
                }
            ),
        )
        guess = np.where(test == 0, 1, test)
        write(
            folder / f"predictions/epoch_{epoch:03d}.parquet",
            pd.DataFrame(
                {
                    "index": len(labels) + np.arange(len(test)),
                    "prediction": guess,
                    **{
                        f"p_{c}": np.where(guess == k, 0.7, 0.05)
                        for k, c in enumerate(EXPRESSIONS[:7])
                    },
                }
            ),
        )
        history.append(
            {
                "epoch": epoch,
                "epsilon": naw.epsilon(epoch / epochs),
                "weight": weight.mean(),
                "test_overall": 50.0 + epoch,
                "test_mean": 40.0 + epoch,
            }
        )
    probe = np.arange(0, len(manifest), 2)
    for step in (0, 1, 2, epochs) if latents else ():
        centres = 4 * step / epochs * np.eye(7, 8)[manifest["true_label"].iloc[probe]]
        latent = centres + rng.normal(size=(len(probe), 8))
        logits = 3 * latent[:, :7]
        write(
            folder / f"latents/epoch_{step:03d}.npz",
            {
                "index": probe,
                "latent": latent,
                "logits": logits,
                "flipped_latent": latent,
                "flipped_logits": logits,
            },
        )
    write(folder / "manifest.parquet", manifest)
    write(folder / "epochs.csv", pd.DataFrame(history))
    write(folder / "config.json", json.loads(json.dumps(asdict(config))))
    write(folder / "card.json", {"format": FORMAT, "key": config.key, "classes": 7, "seed": 0})
    return read_run(folder)


@pytest.fixture(scope="session")
def planted_run(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("runs") / "planted")


@pytest.fixture(scope="session")
def planted_images(planted_run):
    """Grey pictures whose brightness is their row, so that a wrong one shows."""
    rows = torch.arange(len(planted_run.manifest), dtype=torch.uint8)
    return rows[:, None, None, None].expand(-1, 1, 16, 16)


@pytest.fixture(
    scope="session", params=["one epoch", "one class", "no kinds", "no latents", "no test samples"]
)
def odd_run(request, tmp_path_factory):
    """Runs at the edge of what there is: every figure draws them or says what is missing."""
    options = {
        "one epoch": {"epochs": 1},
        "one class": {"classes": [3]},
        "no kinds": {"kinds": False},
        "no latents": {"latents": False},
        "no test samples": {"test_per_class": 0},
    }[request.param]
    return plant(tmp_path_factory.mktemp("runs") / "odd", **options)
