"""Carrying out studies: several runs at a time, a csv row for each.

Every method gets the same search for its learning rate and epochs, by validation accuracy and with
seeds of its own (``search.csv``), and is then run in every setting with every seed
(``<study>.csv``). Methods share a seed's images, so all comparisons are paired by seed.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path

import pandas as pd
from filelock import FileLock
from tqdm import tqdm

from nla.data.manifest import TRUTH
from nla.study.grids import (
    BASELINES,
    METHODS,
    RATES,
    SEARCH_SEEDS,
    SETTING,
    STRENGTHS,
    STUDIES,
    TUNED,
    Changes,
    Study,
)
from nla.study.measures import measures
from nla.study.rows import Row, StudyError, add_row, by_key, read_rows, with_tuned
from nla.study.workers import how_to_go_on, in_processes
from nla.training import fit, load_data
from nla.training.config import Config
from nla.training.provenance import code
from nla.training.record import Run

__all__ = [
    "BASELINES",
    "METHODS",
    "RATES",
    "SEARCH_SEEDS",
    "SETTING",
    "STUDIES",
    "TUNED",
    "Study",
    "carry_out",
    "measures",
    "run_study",
]
SCRATCH = Path("data/runs/study")  # run folders, until their row is written
# fields in which methods differ, so that they are not of the images
OF_METHODS = {"name", "loss", "variant", "lam", "strength", "naw", "lr", "epochs", "ema"}
FACTS = ("data", "noise", "imbalance", "seed", *TUNED)  # fields that a row begins with
images_of = lru_cache(maxsize=1)(load_data)


def run_study(
    name: str,
    seeds: int | None = None,
    folder: str | Path = "figures",
    jobs: int | None = None,
    resume: bool = False,
    methods: Sequence[str] = (),
) -> pd.DataFrame:
    """Carry out a study, or ``methods`` of it: a table, also in ``folder``/<name>.csv, a row a run.

    ``jobs``: runs at a time, one thread each (default: the number of processors). StudyError if the
    table is there and not to be resumed, if a method is none of the study's, and, at the end, if
    runs failed. KeyboardInterrupt stops all runs; what has ended by then is in the table.
    """
    if name not in STUDIES:
        raise StudyError(f"no study is called {name!r}; there are {', '.join(STUDIES)}")
    study, file = STUDIES[name], Path(folder) / f"{name}.csv"
    if unknown := set(methods) - set(study.methods):
        raise StudyError(
            f"{name} has no method {min(unknown)!r}; there are {', '.join(study.methods)}"
        )
    if file.exists() and not resume:
        raise StudyError(
            f"{file} holds runs of this study; --resume adds what is missing, or move it away"
        )
    study = replace(study, methods={key: study.methods[key] for key in methods or study.methods})
    jobs = jobs or os.cpu_count() or 1
    chosen = search(study, file.with_name("search.csv"), jobs)
    return carry_out(study.grid(study.settings, range(seeds or study.seeds), chosen), file, jobs)


def search(study: Study, file: Path, jobs: int) -> dict[str, Changes]:
    """By method: learning rate, epochs and strength with the best mean validation accuracy."""
    tries = study.tries()
    if not tries:
        return {}
    table = carry_out(tries, file, jobs, search=True)
    if study.thorough:
        while more := beyond_the_edge(study, table):
            table = pd.concat([table, carry_out(more, file, jobs, search=True)])
        if more := with_strengths(study, table):
            table = pd.concat([table, carry_out(more, file, jobs, search=True)])
    return best_of(table)


def best_of(table: pd.DataFrame) -> dict[str, Changes]:
    """By method: the values of a search's table with the best mean validation accuracy."""
    means = with_tuned(table).groupby(["method", *TUNED])["val"].mean()
    best = means.groupby("method").idxmax()
    return {
        method: {"lr": lr, "epochs": int(epochs), "strength": strength}
        for method, lr, epochs, strength in best
    }


def beyond_the_edge(study: Study, table: pd.DataFrame) -> list[Config]:
    """Runs at twice or half the best rate, of methods that no higher or lower one was tried of."""
    configs = []
    for method, best in best_of(table).items():
        rates = table.loc[table["method"] == method, "lr"]
        if best["lr"] == rates.max():
            values = [{"lr": 2 * best["lr"], "epochs": best["epochs"]}]
        elif best["lr"] == rates.min():
            values = [{"lr": best["lr"] / 2, "epochs": best["epochs"]}]
        else:
            continue
        configs += study.tries_of([method], values)
    return configs


def with_strengths(study: Study, table: pd.DataFrame) -> list[Config]:
    """Runs with other strengths of the methods that have one, at their best rate and epochs."""
    configs = []
    for method, best in best_of(table).items():
        values = [{**best, "strength": strength} for strength in STRENGTHS.get(method, ())]
        configs += study.tries_of([method], values)
    return configs


def carry_out(configs: list[Config], file: Path, jobs: int, search: bool = False) -> pd.DataFrame:
    """The rows of ``configs``: those in ``file``, and those run now and added to it as they end.

    But for a ``search``, a new row of other learning rate or epochs than a method had in a setting
    drops its older rows there.
    """
    waiting = {config.key: config for config in configs}
    rows = drop_known(waiting, file)
    failures: list[str] = []
    begun = len(configs) - len(waiting)
    with (
        tqdm(total=len(configs), initial=begun, desc=file.stem, unit="run") as bar,
        how_to_go_on(file, "runs"),
        closing(in_processes(waiting, one_run, jobs)) as ended,
    ):
        for config, result in ended:
            try:
                rows[config.key] = row_of(config, file, result)
                add_row(file, rows[config.key], keep_others=search)
                tidy(SCRATCH / config.key)
            except Exception as error:  # of a run, or its process died: the others go on
                failures.append(f"{type(error).__name__}: {error} in {config}")
                bar.write(f"failed: {failures[-1]}")
            rows |= drop_known(waiting, file)
            bar.n = sum(config.key in rows for config in configs) + len(failures)
            bar.refresh()
    if failures:
        raise StudyError(
            f"{len(failures)} of {len(configs)} runs failed; --resume repeats them. "
            f"Last: {failures[-1]}"
        )
    return pd.DataFrame([rows[config.key] for config in configs])


def drop_known(waiting: dict[str, Config], file: Path) -> dict[str, Row]:
    """The rows in ``file``, which another study may have added to: those no longer wait."""
    rows = by_key(read_rows(file))
    for key in rows.keys() & waiting.keys():
        del waiting[key]
    return rows


def row_of(config: Config, file: Path, result: Future[Row]) -> Row:
    return {"key": config.key, "study": file.stem, **result.result()}


def tidy(folder: Path) -> None:
    """Remove a run folder, all of it or nothing by its name; one that is in use elsewhere stays."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder.rename(folder.with_name(f"{folder.name}-{time.time_ns()}")))


def one_run(config: Config) -> Row:
    """Train, or continue, one run and measure it: its row.

    StudyError, before it is trained, where there are no validation images.
    """
    folder = SCRATCH / config.key
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        pass  # where another study is at this run, wait for its end
    began = time.perf_counter()
    images, manifest = images_of(only_images(config))
    if "val" not in set(manifest["split"]):
        raise StudyError(
            f"{config.data} has no validation images, by which a study reads its best epoch: "
            "give its runs some, as in validation = 0.1"
        )
    run = fit(config, folder, progress=False, loaded=(images, manifest))
    facts = {name: getattr(config, name) for name in FACTS}
    if config.labels == TRUTH:
        facts["data"] = f"{config.data}, true labels"
    seconds = {"seconds": time.perf_counter() - began}
    return {"method": config.name} | facts | measures(run) | seconds | origin(run)


def origin(run: Run) -> dict[str, str]:
    """On what machine and by what code a row was computed; machines, if a run went on elsewhere."""
    machines = dict.fromkeys(part["device_name"] for part in run.card["parts"])
    return {"machine": ", ".join(machines)} | code()


def only_images(config: Config) -> Config:
    """The config without what methods differ in, so that they share a seed's images."""
    names = {item.name for item in fields(config)} - OF_METHODS
    return Config(**{name: getattr(config, name) for name in names})
