"""Studies: declared grids of runs, several at a time, one csv row a run.

Every method gets the same search for its learning rate and epochs, by validation accuracy and with seeds of its own
(``search.csv``), and is then run in every setting with every seed (``<study>.csv``). Methods share a seed's images, so
all comparisons are paired by seed.
"""

import os
import shutil
import threading
import time
import tomllib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from nla.analysis.latents import cka
from nla.analysis.views import agreement, memorisation, separation, weight_share
from nla.files import write
from nla.metrics import quality
from nla.training import fit, load_data
from nla.training.config import Config
from nla.training.record import Run

SCRATCH = Path("data/runs/study")  # run folders, until their row is written
RATES, SEARCH_SEEDS = (
    (1e-3, 3e-3, 6e-3, 1.2e-2),
    (1000, 1001),
)  # that every search tries; no study uses them
SETTING, TUNED = ["study", "data", "noise", "imbalance"], ["lr", "epochs"]
IMAGES = (
    "data",
    "root",
    "size",
    "train_faces",
    "test_faces",
    "ambiguous",
    "noise",
    "validation",
    "imbalance",
    "seed",
)
images_of = lru_cache(maxsize=1)(load_data)

DECLARED = tomllib.loads(Path(__file__).with_name("studies.toml").read_text(encoding="utf-8"))
METHODS = DECLARED["methods"]  # by group, each a dict of changes to the config
BASELINES = METHODS["baselines"]


@dataclass(frozen=True)
class Study:
    """Methods (name: changes to the config) by settings (the same); the search is done in ``tuned_in``, if at all."""

    methods: dict[str, dict]
    settings: list[dict]
    base: Config
    seeds: int
    tuned_in: dict | None = None
    epochs: Sequence[int] = ()  # that the search tries, with each of ``RATES``

    def grid(self, settings, seeds, chosen) -> list[Config]:
        """Runs on the same images follow each other; ``chosen``: learning rate and epochs of each method."""
        return [
            replace(self.base, name=method, seed=seed, **setting | changes | chosen.get(method, {}))
            for setting in settings
            for seed in seeds
            for method, changes in self.methods.items()
        ]


def declared(methods: list[str], base: dict, **facts) -> Study:
    """A study as ``studies.toml`` has it, where ``methods`` names methods and groups of them."""
    every = {name: {name: changes} for group in METHODS.values() for name, changes in group.items()}
    return Study(
        {k: v for name in methods for k, v in (every | METHODS)[name].items()},
        base=Config(**base),
        **facts,
    )


STUDIES = {name: declared(**facts) for name, facts in DECLARED["studies"].items()}


def run_study(
    name: str,
    seeds: int | None = None,
    folder: str | Path = "figures",
    jobs: int | None = None,
    resume: bool = False,
    methods: Sequence[str] = (),
) -> pd.DataFrame:
    """Carry out a study, or ``methods`` of it; its table, a row for each run, is also in ``folder``/<name>.csv.

    ``jobs``: runs at a time, one thread each (default: the number of processors). ValueError if the table is there and
    not to be resumed, if a method is none of the study's, and, at the end, if runs failed.
    """
    if name not in STUDIES:
        raise ValueError(f"no study is called {name!r}; there are {', '.join(STUDIES)}")
    study, file, jobs = STUDIES[name], Path(folder) / f"{name}.csv", jobs or os.cpu_count()
    if unknown := set(methods) - set(study.methods):
        raise ValueError(
            f"{name} has no method {min(unknown)!r}; there are {', '.join(study.methods)}"
        )
    if file.exists() and not resume:
        raise ValueError(
            f"{file} holds runs of this study; --resume adds what is missing, or move it away"
        )
    study, chosen = (
        replace(study, methods={k: study.methods[k] for k in methods or study.methods}),
        {},
    )
    if study.tuned_in is not None:
        tries = [
            study.tuned_in | {"lr": lr, "epochs": epochs} for epochs in study.epochs for lr in RATES
        ]
        table = carry_out(
            study.grid(tries, SEARCH_SEEDS, {}), file.with_name("search.csv"), jobs, search=True
        )
        best = table.groupby(["method", "lr", "epochs"])["val"].mean().groupby("method").idxmax()
        chosen = {method: {"lr": lr, "epochs": int(epochs)} for method, lr, epochs in best}
    return carry_out(study.grid(study.settings, range(seeds or study.seeds), chosen), file, jobs)


def carry_out(configs: list[Config], file: Path, jobs: int, search: bool = False) -> pd.DataFrame:
    """The rows of ``configs``: those in ``file``, and those run now and added to it, each as its run ends. But for a
    ``search``, a row of other learning rate or epochs than a method had in a setting drops its older rows there."""
    rows = pd.read_csv(file).set_index("key", drop=False).to_dict("index") if file.exists() else {}
    waiting, running, failures = (
        deque(config for config in configs if config.key not in rows),
        {},
        [],
    )
    idle = [worker() for _ in range(min(jobs, len(waiting)))]
    with tqdm(
        total=len(configs), initial=len(configs) - len(waiting), desc=file.stem, unit="run"
    ) as bar:
        while waiting or running:
            while waiting and idle:
                config, process = waiting.popleft(), idle.pop()
                running[process.submit(one_run, config)] = config, process
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                config, process = running.pop(future)
                try:
                    rows[config.key] = {"key": config.key, "study": file.stem, **future.result()}
                    table = pd.DataFrame(rows.values())
                    newest = table.groupby([*SETTING, "method"])[TUNED].transform("last")
                    write(file, table if search else table[(table[TUNED] == newest).all(axis=1)])
                    shutil.rmtree(
                        (SCRATCH / config.key).rename(SCRATCH / f"{config.key}-{time.time_ns()}")
                    )  # atomic
                except (
                    Exception
                ) as error:  # of one run, or the death of its process: the others go on
                    failures.append(f"{type(error).__name__}: {error} in {config}")
                    bar.write(f"failed: {failures[-1]}")
                    process.shutdown(wait=False)
                    process = worker()
                idle.append(process)
                bar.update()
    for process in idle:
        process.shutdown()
    if failures:
        raise ValueError(
            f"{len(failures)} of {len(configs)} runs failed; --resume repeats them. Last: {failures[-1]}"
        )
    return pd.DataFrame([rows[config.key] for config in configs])


def worker() -> ProcessPoolExecutor:
    """One process, so that its death takes no other run along; it ends when this one does."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=settle)


def settle() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def one_run(config: Config) -> dict:
    """Train, or continue, one run and measure it: its row."""
    began, facts = time.perf_counter(), ("data", "noise", "imbalance", "seed", "lr", "epochs")
    images = images_of(Config(**{name: getattr(config, name) for name in IMAGES}))
    run = fit(config, SCRATCH / config.key, progress=False, loaded=images)
    return {
        "method": config.name,
        **{name: getattr(config, name) for name in facts},
        **measures(run),
        "seconds": time.perf_counter() - began,
    }


def measures(run: Run) -> dict[str, float]:
    """What a study keeps of a run: the columns of its table, which ``data/README.md`` lists."""
    val = run.epochs[["val_overall", "val_mean"]].mean(axis=1)
    epochs = {"first": 0, "best": int(val.idxmax()), "last": len(val) - 1}
    row, memorised = (
        {"val": val.iloc[-1], "best_val": val.max(), "best_epoch": epochs["best"]},
        memorisation(run),
    )
    for prefix, epoch in (("", epochs["last"]), ("best_", epochs["best"])):
        table = run.predictions(epoch).query("split == 'test'")
        right = 100 * (table["prediction"] == table["true_label"])
        scores = quality(
            table["true_label"],
            table[[f"p_{name}" for name in run.classes]].to_numpy(),
            run.classes,
        )
        scores |= {
            f"on_{kind}": right[table["kind"] == kind].mean() for kind in ("clean", "ambiguous")
        }
        scores["memorised"] = 100 * memorised.get(epoch, np.nan)
        row |= {prefix + name: value for name, value in scores.items()}
    shares = weight_share(run).query("samples < @size", local_dict={"size": 1 / len(run.classes)})
    minor = shares.groupby("epoch")[["weight", "samples"]].sum()
    for name, series in (
        ("auroc_noisy", separation(run, "ambiguous", "noisy")),
        ("auroc_clean", separation(run, "ambiguous", "clean")),
        ("minority", minor["weight"] / minor["samples"]),
    ):
        row |= {f"{name}_{when}": series.get(epoch, np.nan) for when, epoch in epochs.items()}
    latents = [arrays["latent"] for epoch, arrays in run.latents.items() if epoch > 0]
    change = np.mean([1 - cka(a, b) for a, b in zip(latents, latents[1:])])
    return row | {"divergence": agreement(run)["divergence"].iloc[-1], "change": float(change)}
