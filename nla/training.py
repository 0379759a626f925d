"""Training: from a Config to a run folder.

One forward pass serves both views; pixels live on the device as uint8 and are augmented there; the
per-sample record stays on the device until the epoch ends. All randomness comes from generators that
are seeded by (seed, epoch), so that a run resumes at an epoch's start with the same numbers.
"""

import dataclasses
import importlib.metadata
import json
import platform
import subprocess
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Generator, Tensor, nn
from tqdm import tqdm

from nla import data, models
from nla.baselines import build
from nla.config import Config
from nla.data.images import augment, mirror, normalize, two_views
from nla.dynamics import FORMAT, Run, atomic, read_run, snapshot_epochs, write_arrays, write_json, write_table
from nla.losses import Method
from nla.metrics import accuracies

TEST_SEED = 1_000_003  # the built-in test faces are the same for every run


@dataclass
class State:
    """What changes during a run, and so what a checkpoint holds."""

    model: nn.Module
    method: Method
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    history: list[dict]  # the rows of epochs.csv so far

    def save(self, path: Path) -> None:
        with atomic(path) as temporary:
            torch.save({"model": self.model.state_dict(), "method": self.method.state_dict(),
                        "optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(),
                        "history": self.history}, temporary)

    def load(self, path: Path) -> None:
        content = torch.load(path, map_location="cpu", weights_only=True)
        for part in ("model", "method", "optimizer", "schedule"):
            getattr(self, part).load_state_dict(content[part])
        self.history = content["history"]


def fit(config: Config, folder: str | Path | None = None, progress: bool = True,
        loaded: tuple[Tensor, pd.DataFrame] | None = None) -> Run:
    """Train, recording into ``folder`` (default: ``config.folder``), and return the run.

    A finished run with the same config is read, not repeated; an unfinished one is continued from its
    last whole epoch. ValueError if the folder holds a run of another config. ``loaded``: what
    ``load_data(config)`` gives, for a caller that has it already.
    """
    folder = Path(folder) if folder else config.folder
    if finished(folder, config):
        return read_run(folder)
    device = pick_device(config.device)
    images, manifest = loaded or load_data(config, progress)
    classes = data.EXPRESSIONS[:max(7, 1 + int(manifest[["label", "true_label"]].to_numpy().max()))]
    images, labels = images.to(device), torch.tensor(manifest["label"].to_numpy(), device=device)
    train = torch.tensor(np.flatnonzero(manifest["split"] == "train"))
    probe, held_out = probe_rows(manifest, config.probe), np.flatnonzero(manifest["split"] != "train")
    state = prepare(config, len(classes), images.shape[1], device, labels[train.to(device)])
    write_json(folder / "config.json", dataclasses.asdict(config))
    write_table(folder / "manifest.parquet", manifest)
    if (folder / "checkpoint.pt").is_file():
        state.load(folder / "checkpoint.pt")

    def snapshot(epoch):
        write_arrays(folder / f"latents/epoch_{epoch:03d}.npz", **embed(state.model, images, probe, config))

    snapshots, started = snapshot_epochs(config.epochs, config.snapshots), time.perf_counter()
    steps = -(-len(train) // config.batch_size)
    bar = tqdm(total=config.epochs * steps, initial=len(state.history) * steps, disable=not progress,
               desc=config.name or config.loss, unit="step", leave=False)
    for epoch in range(len(state.history), config.epochs):
        if epoch in snapshots:
            snapshot(epoch)
        began = time.perf_counter()
        samples = train_epoch(state, images, labels, train, epoch, config, bar)
        predictions = predict(state.model, images, held_out, config, classes)
        write_table(folder / f"dynamics/epoch_{epoch:03d}.parquet", samples)
        write_table(folder / f"predictions/epoch_{epoch:03d}.parquet", predictions)
        state.history.append(epoch_row(epoch, samples, predictions, manifest, classes, state, config)
                             | {"seconds": time.perf_counter() - began})
        state.schedule.step()
        write_table(folder / "epochs.csv", pd.DataFrame(state.history))
        state.save(folder / "checkpoint.pt")
        bar.set_postfix_str(f"test {state.history[-1]['test_overall']:.1f} %")
    bar.close()
    snapshot(config.epochs)
    with atomic(folder / "model.safetensors") as temporary:
        save_file({k: v.contiguous().cpu() for k, v in state.model.state_dict().items()}, temporary)
    facts = {"classes": len(classes), "channels": images.shape[1], "seconds": time.perf_counter() - started}
    write_json(folder / "card.json", card(config, device) | facts)
    return read_run(folder)


def train_epoch(state: State, images: Tensor, labels: Tensor, train: Tensor, epoch: int,
                config: Config, bar: tqdm) -> pd.DataFrame:
    """One pass over the training rows; returns the per-sample record in the order of the rows."""
    device, order = images.device, torch.randperm(len(train), generator=seeded(config.seed, epoch, "order"))
    generator = seeded(config.seed, epoch, "augmentation", device)
    rows, record = train[order], []
    state.model.train()
    two = state.method.views == 2
    for positions, batch in zip(order.to(device).split(config.batch_size), rows.to(device).split(config.batch_size)):
        views = augment(images[batch], config.augmentation, generator)
        views = two_views(views) if two else views
        with autocast(config, device):
            output = state.model(views.contiguous(memory_format=torch.channels_last))
        first, second = map(models.Output._make, zip(*(part.chunk(2) for part in output))) if two else (output, None)
        terms = state.method.on_outputs(first, second, labels[batch], epoch / config.epochs, positions)
        state.optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        state.optimizer.step()
        record.append(terms.record())
        bar.update()
    table = {name: torch.cat([part[name] for part in record]).cpu().numpy() for name in record[0]}
    if not np.isfinite(table["cross_entropy"]).all():
        raise ValueError(f"the loss is not finite in epoch {epoch}: training has diverged; lower the learning rate")
    table = pd.DataFrame({"index": rows.numpy(), "label": labels[rows.to(device)].cpu().numpy(), **table})
    return table.sort_values("index", ignore_index=True)


@torch.inference_mode()
def forward(model: nn.Module, images: Tensor, rows: np.ndarray, config: Config, flip: bool = False,
            batch_size: int = 256) -> tuple[Tensor, Tensor]:
    """Logits (N, K) and latents (N, D), float32 on the CPU, in evaluation mode without augmentation."""
    model.eval()
    outputs = []
    for batch in torch.tensor(np.asarray(rows), device=images.device).split(batch_size):
        x = normalize(images[batch], config.augmentation)
        with autocast(config, images.device):
            outputs.append(model((mirror(x) if flip else x).contiguous(memory_format=torch.channels_last)))
    return tuple(torch.cat(part).float().cpu() for part in zip(*outputs, strict=True))


def predict(model: nn.Module, images: Tensor, rows: np.ndarray, config: Config,
            classes: tuple[str, ...]) -> pd.DataFrame:
    """Prediction and probabilities of held-out rows, as a run records them."""
    probabilities = forward(model, images, rows, config)[0].softmax(1).numpy()
    return pd.DataFrame({"index": rows, "prediction": probabilities.argmax(1),
                         **{f"p_{name}": probabilities[:, k] for k, name in enumerate(classes)}})


def embed(model: nn.Module, images: Tensor, rows: np.ndarray, config: Config) -> dict[str, np.ndarray]:
    """A latent snapshot: logits and latents of the probe set and of its mirror images."""
    logits, latent = forward(model, images, rows, config)
    flipped_logits, flipped_latent = forward(model, images, rows, config, flip=True)
    return {"index": rows, "logits": logits.numpy(), "latent": latent.numpy(),
            "flipped_logits": flipped_logits.numpy(), "flipped_latent": flipped_latent.numpy()}


def epoch_row(epoch: int, samples: pd.DataFrame, predictions: pd.DataFrame, manifest: pd.DataFrame,
              classes: tuple[str, ...], state: State, config: Config) -> dict:
    """One row of epochs.csv: means over the training pass, and accuracies (%) after it."""
    row = {"epoch": epoch, "epsilon": config.naw.epsilon(epoch / config.epochs),
           "learning_rate": state.schedule.get_last_lr()[0],
           **{name: float(samples[name].mean()) for name in ("weight", "cross_entropy", "divergence")},
           "train_accuracy": 100 * float(samples["correct"].mean())}
    held_out = manifest.loc[predictions["index"], ["split", "true_label"]]
    for split in ("val", "test"):
        mask = (held_out["split"] == split).to_numpy()
        if mask.any():
            scores = accuracies(held_out["true_label"][mask], predictions["prediction"][mask], classes)
            row |= {f"{split}_overall": scores["overall"], f"{split}_mean": scores["mean"]}
    return row


def load_data(config: Config, progress: bool = False) -> tuple[Tensor, pd.DataFrame]:
    """Images (N, C, H, W) uint8 and their manifest, with the configured noise and imbalance."""
    if config.data == "faces":
        sizes = {"train": config.train_faces, "val": config.test_faces // 2, "test": config.test_faces}
        parts = [data.make_faces(n, seed=config.seed if split == "train" else TEST_SEED + (split == "test"),
                                 size=config.size, ambiguous=config.ambiguous, split=split,
                                 noisy=config.noise if split == "train" else 0.0, progress=progress)
                 for split, n in sizes.items()]
        images = torch.cat([part[0] for part in parts])
        manifest = pd.concat([part[1] for part in parts], ignore_index=True)
    else:
        images, manifest = data.load(config.data, config.root, size=config.size)
        if config.noise:
            manifest = data.flip_labels(manifest, config.noise, config.seed)
    if config.validation and "val" not in set(manifest["split"]):
        train = manifest.index[manifest["split"] == "train"]
        held = np.random.default_rng(config.seed).permutation(train)[:round(config.validation * len(train))]
        manifest.loc[held, "split"] = "val"
    if config.imbalance != 1:
        manifest = data.imbalance(manifest, config.imbalance, config.seed)
        images = images[torch.tensor(manifest.index.to_numpy())]
    missing = {"train", "test"} - set(manifest["split"])
    if missing:
        raise data.DataError(f"{config.data} in {config.root} has no {' and no '.join(sorted(missing))} images")
    return images, manifest.reset_index(drop=True)


def prepare(config: Config, num_classes: int, in_channels: int, device: torch.device, labels: Tensor) -> State:
    """Model, method, optimiser and schedule at their start, initialised from the config's seed."""
    method = build(config.loss, config.naw, config.lam, config.variant, checked=device.type == "cpu")
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = getattr(models, config.model)(num_classes, in_channels)
        if config.weights:
            models.load_weights(model, config.weights)
        model = model.to(device, memory_format=torch.channels_last)
        method.attach(model, labels)
    parameters = [*model.parameters(), *method.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    return State(model, method, optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, config.lr_decay), [])


def restore(run: Run) -> tuple[nn.Module, Config]:
    """The trained model of a finished run, on the CPU and in evaluation mode, and its config."""
    config = dataclasses.replace(Config.parse(run.config), weights="", device="cpu")
    labels = torch.tensor(run.manifest.query("split == 'train'")["label"].to_numpy())
    model = prepare(config, len(run.classes), run.card["channels"], torch.device("cpu"), labels).model
    models.load_weights(model, run.folder / "model.safetensors")
    return model.eval(), config


def probe_rows(manifest: pd.DataFrame, count: int) -> np.ndarray:
    """The fixed probe set: half training, half test rows, the classes as even as they allow."""
    chosen = []
    for split, rows in manifest.reset_index().groupby("split"):
        if split != "val":
            rank = rows.groupby("true_label").cumcount()
            chosen.append(rows["index"].loc[rank.sort_values(kind="stable").index[:count // 2]])
    return np.sort(np.concatenate(chosen))


def seeded(seed: int, epoch: int, purpose: str, device: torch.device | str = "cpu") -> Generator:
    """A generator of its own for each purpose in each epoch."""
    return Generator(device).manual_seed(zlib.crc32(f"{purpose} {epoch}".encode()) + (seed << 32))


def pick_device(device: str) -> torch.device:
    if device != "auto":
        return torch.device(device)
    return (torch.accelerator.is_available() and torch.accelerator.current_accelerator()) or torch.device("cpu")


def autocast(config: Config, device: torch.device):
    """Forward passes in bf16 where asked for, or by default on a GPU; the loss is always float32."""
    enabled = config.precision == "bf16" or (config.precision == "auto" and device.type != "cpu")
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def finished(folder: Path, config: Config) -> bool:
    """Whether ``folder`` holds the finished run of this config. ValueError if it holds another config's run."""
    if not (folder / "checkpoint.pt").is_file():
        return False
    wanted, found = json.loads(json.dumps(dataclasses.asdict(config))), Run(folder).config
    different = [name for name in wanted | found if wanted.get(name) != found.get(name)]
    if different:
        changes = ", ".join(f"{name}: {found.get(name)} -> {wanted.get(name)}" for name in different)
        raise ValueError(f"{folder} holds a run of another config ({changes}); choose another folder")
    return (folder / "card.json").is_file()


def card(config: Config, device: torch.device) -> dict:
    """Where the numbers come from: versions, commit, machine, seed."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    versions = {p: importlib.metadata.version(p) for p in ("torch", "torchvision", "numpy", "pandas")}
    return {"format": FORMAT, "key": config.key, "seed": config.seed, "device": str(device),
            "device_name": name, "threads": torch.get_num_threads(), "commit": git_commit(),
            "python": platform.python_version(), **versions}


def git_commit() -> str:
    """The commit of the kit's own checkout, empty where it is not one."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True,
                              cwd=Path(__file__).parent)
    except OSError:
        return ""
    return done.stdout.strip()
