"""What a run survives: death at any moment, a full disk, Ctrl-C, a second run, more processes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY
from PIL import Image
from test_training import contents

from nla import Config, fit, read_run
from nla.data import EXPRESSIONS, make_faces
from nla.data.datasets import hold_out
from nla.data.store import Packed, digests
from nla.training.inference import predict
from nla.training.loading import feed, load_data, placed
from nla.training.loop import Task, TrainingError, prepare, shared
from nla.training.opening import restore
from nla.training.processes import claimed, join_world
from nla.training.record import RunError

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def test_a_run_killed_at_twenty_moments_ends_with_the_same_numbers(tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / "engine_worker.py", tmp_path, "24", "0"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    assert kills["timed"] >= 10 and kills["writing"] >= 10
    whole = contents(tmp_path / "whole")
    runs = [folder for folder in tmp_path.glob("killed*") if (folder / "card.json").exists()]
    assert runs
    for folder in runs:
        assert contents(folder) == whole, folder
        assert not list(folder.rglob("*.tmp"))


def test_a_folder_in_use_is_refused_until_it_is_let_go(tmp_path):
    world = join_world("cpu")
    with claimed(tmp_path / "run", world):
        with pytest.raises(RunError, match="in use by another run"):
            fit(TINY, tmp_path / "run", progress=False)
    holder = (
        "import time, sys\n"
        "from pathlib import Path\n"
        "from nla.training.processes import claimed, join_world\n"
        "with claimed(Path(sys.argv[1]), join_world('cpu')):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, tmp_path / "run"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(RunError, match="in use"), claimed(tmp_path / "run", world):
        pass
    process.kill()
    process.wait()
    with claimed(tmp_path / "run", world):
        pass


def test_ctrl_c_stops_after_a_checkpoint_and_the_run_goes_on(tiny_run, tmp_path):
    def interrupt():
        while not list(tmp_path.glob("run/dynamics/epoch_000.parquet")):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
        fit(TINY, tmp_path / "run", progress=False)
    assert signal.getsignal(signal.SIGINT) is before
    checkpoint = torch.load(tmp_path / "run/checkpoint.pt", weights_only=True)
    assert 1 <= len(checkpoint["history"]) < 3 and not (tmp_path / "run/card.json").exists()
    assert contents(fit(TINY, tmp_path / "run", progress=False).folder) == contents(tiny_run.folder)


FULL = """
import json, resource, signal, sys, torch
from nla import Config, fit
torch.set_num_threads(int(sys.argv[3]))
config, limit = Config.parse(json.loads(sys.argv[1])), int(sys.argv[4])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    fit(config, sys.argv[2], progress=False)
except ValueError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def test_a_full_disk_is_named_and_loses_nothing(tiny_run, tmp_path):
    config, threads = json.dumps(dataclasses.asdict(TINY)), str(torch.get_num_threads())
    for limit in (
        200,
        20_000,
        400_000,
    ):  # bytes a file may have: no config, no dynamics, no checkpoint
        done = subprocess.run(
            [sys.executable, "-c", FULL, config, tmp_path / "run", threads, str(limit)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1 and done.stderr.startswith("WriteError: "), done.stderr
        assert "cannot be written" in done.stderr and "free space" in done.stderr
        assert not list(tmp_path.rglob("*.tmp"))
    assert contents(fit(TINY, tmp_path / "run", progress=False).folder) == contents(tiny_run.folder)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file/run cannot be written"):
        fit(TINY, tmp_path / "file/run", progress=False)


def test_the_batch_where_training_diverged_is_saved(tmp_path):
    with pytest.raises(TrainingError, match="non_finite.json"):
        fit(dataclasses.replace(TINY, lr=1e30), tmp_path / "run", progress=False)
    saved = json.loads((tmp_path / "run/non_finite.json").read_text())
    assert saved["epoch"] == 0 and saved["step"] == 1  # the first step is taken with good weights
    assert len(saved["index"]) == 32 and set(saved["index"]) <= set(range(120))
    assert not (tmp_path / "run/checkpoint.pt").exists()  # nothing to go on from but the start


def torchrun(folder, *more, seconds=120):
    arguments = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        HERE / "distributed_worker.py",
        folder,
        *more,
    ]
    return subprocess.run(
        arguments, env=ENVIRONMENT, capture_output=True, text=True, timeout=seconds
    )


def test_two_processes_see_each_sample_once_and_get_the_losses_of_one(tmp_path):
    done = torchrun(tmp_path / "two")
    assert done.returncode == 0, done.stderr[-2000:]
    subprocess.run(
        [sys.executable, HERE / "distributed_worker.py", tmp_path / "one"],
        env=ENVIRONMENT,
        check=True,
    )
    one, two = read_run(tmp_path / "one"), read_run(tmp_path / "two")
    assert (one.card["processes"], two.card["processes"]) == (1, 2)
    for epoch in range(2):
        a, b = one.samples(epoch), two.samples(epoch)
        assert b["index"].tolist() == list(range(97))
        for name in ("weight", "cross_entropy", "divergence", "p_gt"):
            np.testing.assert_allclose(a[name], b[name], rtol=2e-4, atol=2e-6)
    assert one.predictions()["prediction"].tolist() == two.predictions()["prediction"].tolist()
    assert len(two.epochs) == 2 and not list((tmp_path / "two").rglob("*.tmp"))


def test_an_error_in_one_process_ends_all(tmp_path):
    done = torchrun(tmp_path / "run", "fail")
    assert done.returncode and "TypeError" in done.stderr
    assert not (tmp_path / "run/card.json").exists()


@pytest.mark.parametrize("loss", ["nla", "consistency_js", "rema_c"])
def test_lambda_reaches_every_method_that_has_one(tmp_path, loss):
    manifest = pd.DataFrame({"label": [0, 1], "true_label": 0, "split": "train"})
    config = dataclasses.replace(TINY, loss=loss, lam=0.2)
    task = Task(config, tmp_path, join_world("cpu"), torch.zeros(2, 1, 8, 8), manifest)
    assert prepare(task).method.lam == 0.2


def test_losses_that_couple_samples_stay_on_one_process(tmp_path):
    world = join_world("cpu")._replace(size=2)
    task = Task(
        dataclasses.replace(TINY, variant="released"),
        tmp_path,
        world,
        torch.zeros(1),
        pd.DataFrame(),
    )
    with pytest.raises(ValueError, match="one process"):
        shared(torch.nn.Linear(2, 2), task)


def test_pixels_are_read_ahead_in_order_from_memory_and_from_a_store(tmp_path):
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    np.save(tmp_path / "store.npy", images.numpy())
    rows, cpu = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3] * 3), torch.device("cpu")
    for pixels in (images, Packed(tmp_path / "store.npy")):
        batches = list(feed(pixels, rows, 4, cpu))
        assert [len(batch) for batch in batches] == [4] * 7 + [2]
        assert torch.cat(batches)[:, 0, 0, 0].tolist() == rows.tolist()
        assert placed(pixels, cpu, True) is pixels


def test_a_store_trains_to_the_same_numbers_as_memory(tmp_path):
    images, manifest = make_faces(60, 0, size=24)
    for i, row in manifest.iterrows():
        path = (
            tmp_path
            / "set"
            / ("test" if i % 4 == 0 else "train")
            / EXPRESSIONS[row["label"]]
            / f"{i}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i].permute(1, 2, 0).numpy()).save(path)
    base = Config(
        data="folder",
        root=str(tmp_path / "set"),
        size=24,
        epochs=1,
        probe=10,
        validation=0.2,
        imbalance=3,
    )
    stored = fit(
        dataclasses.replace(base, cache=str(tmp_path / "cache")),
        tmp_path / "stored",
        progress=False,
    )
    loaded = fit(dataclasses.replace(base, cache=""), tmp_path / "loaded", progress=False)
    assert list((tmp_path / "cache").glob("*.npy")) and stored.epochs["val_overall"].notna().all()
    assert contents(stored.folder) == contents(loaded.folder)


def test_the_best_epoch_is_chosen_on_validation_and_both_are_reported(tmp_path):
    run = fit(dataclasses.replace(TINY, epochs=4, lr=1e-2), tmp_path / "run", progress=False)
    chosen = int(run.epochs["val_mean"].idxmax())
    assert run.best_epoch == chosen
    at = run.epochs.iloc[chosen]
    assert run.summary()["best val: overall"] == pytest.approx(at["test_overall"])
    assert run.summary()["best val: mean"] == pytest.approx(at["test_mean"])
    model, config = restore(run, best=True)
    rows = run.predictions(chosen)
    again = predict(model, load_data(config)[0], rows["index"].to_numpy(), config, run.classes)
    assert again["prediction"].tolist() == rows["prediction"].tolist()


def test_a_validation_split_is_drawn_from_each_training_class():
    manifest = pd.DataFrame(
        {"label": [0] * 40 + [1] * 20 + [0] * 5, "split": ["train"] * 60 + ["test"] * 5}
    )
    split = hold_out(manifest, "val", 0.25, seed=0)
    assert split.groupby(["split", "label"]).size().to_dict() == {
        ("test", 0): 5,
        ("train", 0): 30,
        ("train", 1): 15,
        ("val", 0): 10,
        ("val", 1): 5,
    }
    assert hold_out(manifest, "val", 0.25, seed=0).equals(split)
    assert not hold_out(manifest, "val", 0.25, seed=1).equals(split)


def test_copies_of_a_picture_stay_on_one_side_of_a_split():
    """Whatever their labels; and rows without copies go where they went without asking."""
    draw = np.random.default_rng(0)
    picture = draw.integers(60, size=200)
    manifest = pd.DataFrame({"label": draw.integers(3, size=200), "split": "train"})
    for seed in range(5):
        split = hold_out(manifest, "val", 0.25, seed, copies=picture)["split"]
        assert split.groupby(picture).nunique().max() == 1
        assert 0.1 < (split == "val").mean() < 0.4
        alone = hold_out(manifest, "val", 0.25, seed)
        assert hold_out(manifest, "val", 0.25, seed, copies=range(200)).equals(alone)


def test_no_validation_image_of_fer2013_is_trained_on(data_root):
    config = Config(data="fer2013", root=str(data_root), validation=0.1, cache="", size=24)
    images, manifest = load_data(config)
    digest = pd.Series(digests(images))
    train, val = (set(digest[manifest["split"] == split]) for split in ("train", "val"))
    assert len(val) > 500 and not train & val


@pytest.mark.parametrize(
    "switch",
    [
        {"channels_last": False},
        {"fused": False},
        {"resident": False},
        pytest.param({"compile": "default"}, marks=pytest.mark.slow),
    ],
)
def test_switches_of_speed_change_rounding_only(tiny_run, tmp_path, switch):
    config = dataclasses.replace(
        TINY, epochs=1, batch_size=120
    )  # one step: Adam would make rounding grow
    run = fit(dataclasses.replace(config, **switch), tmp_path / "run", progress=False)
    same = fit(config, tmp_path / "same", progress=False)
    np.testing.assert_allclose(run.samples()["p_gt"], same.samples()["p_gt"], rtol=1e-4)


def test_without_a_record_the_numbers_are_the_same_and_no_dynamics_are_written(tmp_path):
    one = fit(dataclasses.replace(TINY, epochs=1, record=False), tmp_path / "off", progress=False)
    two = fit(dataclasses.replace(TINY, epochs=1), tmp_path / "on", progress=False)
    assert (one.folder / "model.safetensors").read_bytes() == (
        two.folder / "model.safetensors"
    ).read_bytes()
    assert not (one.folder / "dynamics").exists()
    assert one.summary()["overall"] == two.summary()["overall"]


def test_epochs_are_logged_for_tensorboard(tmp_path):
    event = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = fit(dataclasses.replace(TINY, tensorboard=True), tmp_path / "run", progress=False)
    files = sorted((run.folder / "tensorboard").iterdir())
    values = [
        e.value
        for f in files
        for e in event.EventAccumulator(str(f)).Reload().Scalars("test_overall")
    ]
    assert values == pytest.approx(run.epochs["test_overall"].tolist())


def test_a_config_survives_json_and_refuses_what_it_does_not_know():
    config = Config(noise=0.25, naw=dataclasses.replace(TINY.naw, mu_true=(0.4, 0.6)))
    assert Config.parse(json.loads(json.dumps(dataclasses.asdict(config)))) == config
    assert Config.parse({"seed": 3}, config) == dataclasses.replace(config, seed=3)
    for content, message in (
        ({"sede": 3}, "unknown field sede"),
        ({"naw": {"mu": 1}}, "unknown field naw.mu"),
        ({"epochs": "many"}, "epochs must be a number"),
        ({"lam": 2}, "from 0 to 1"),
        ({"variant": "released", "loss": "rema"}, "'rema' has no variant: leave it at 'paper'"),
        ({"lam": 0.1, "loss": "cross_entropy"}, "'cross_entropy' has no lam: leave it at 0.5"),
        ({"noise": 0.9}, "more than all"),
    ):
        with pytest.raises(ValueError, match=message):
            Config.parse(content)
