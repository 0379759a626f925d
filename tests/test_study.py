import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, plant
from torch.backends.cpu import get_cpu_capability

from nla import Config, __version__
from nla.study import (
    BASELINES,
    SETTING,
    STUDIES,
    StudyError,
    claims,
    difference,
    effect,
    ledger,
    run_study,
    shared_images,
    workers,
    write_ledger,
)
from nla.study import runs as study
from nla.study.grids import changes_of
from nla.study.rows import add_row, read_rows
from nla.study.shared_images import spread_of_shared_images
from nla.training.config import LATER

FIGURES = Path(__file__).parent.parent / "figures"
WAITING: tuple[str, ...] = ()  # studies, for some of their runs
LONG_TAIL = {"logit adjustment", "CE-DRW", "mixup-DRW"}
LATE = {
    "noise": LONG_TAIL,
    "imbalance": LONG_TAIL,
}  # methods, for theirs
CARRIED_OUT = [name for name in STUDIES if name not in WAITING]
MAIN = BASELINES | study.METHODS["ours"]
METHODS = ("cross-entropy", "ELR", "NLA")
SMALL = study.Study(
    {name: MAIN[name] for name in METHODS},
    [{"noise": 0.3}],
    base=replace(TINY, train_faces=60, epochs=2),
    seeds=2,
)


def test_what_is_compared_in_the_study_of_both_was_trained_on_one_machine():
    """Two kinds of machines share it; differences are paired by setting and seed."""
    table = pd.read_csv(FIGURES / "both.csv")
    machines = table.groupby(["noise", "imbalance", "seed"])["machine"].nunique()
    assert len(machines) == 90 and (machines == 1).all()


def die_on_seed_1(config):
    """Stands in for one_run: one run's process is killed, another run fails, the rest are real."""
    if config.seed == 1 and config.name == "ELR":
        os._exit(9)
    if config.seed == 1 and config.name == "NLA":
        raise ValueError("no such face")
    return study.one_run(config)


def instructions(_):
    """Stands in for one_run: what a worker is held to."""
    return {name: os.environ.get(name) for name in workers.COMMON}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86")
def test_workers_are_held_to_common_instructions_and_nothing_else_is(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")  # the user's own choice stands
    before = dict(os.environ)
    with workers.worker() as process, workers.common_instructions():
        found = process.submit(instructions, None).result()
    assert found == workers.COMMON | {"MKL_CBWR": "COMPATIBLE"}
    assert dict(os.environ) == before


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setitem(STUDIES, "demo", SMALL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_failed_runs_are_named_and_the_others_go_on(small, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(study, "one_run", die_on_seed_1)
        with pytest.raises(match="2 of 6 runs failed"):
            run_study("demo", jobs=2)
    first = pd.read_csv("figures/demo.csv")
    assert sorted(zip(first["seed"], first["method"])) == [
        (0, "ELR"),
        (0, "NLA"),
        (0, "cross-entropy"),
        (1, "cross-entropy"),
    ]
    with pytest.raises(match="--resume"):
        run_study("demo", jobs=2)
    table = run_study("demo", jobs=2, resume=True)
    assert table[["seed", "method"]].values.tolist() == [
        [seed, name] for seed in (0, 1) for name in METHODS
    ]
    written = pd.read_csv("figures/demo.csv")
    assert written["key"].is_unique and set(written["key"]) == set(table["key"])
    pd.testing.assert_frame_equal(written.head(4), first)  # what was there is kept, not run again
    assert not list(study.SCRATCH.iterdir())
    numbers = table.select_dtypes("number")
    of_weights = numbers.filter(regex="^(auroc|minority)_")  # none where the loss has no w*
    assert np.isfinite(numbers.drop(columns=of_weights)).all(axis=None)
    assert (of_weights.notna().all(axis=1) == (table["method"] == "NLA")).all()
    common = "AVX2" if get_cpu_capability() == "AVX512" else get_cpu_capability()
    assert table["machine"].str.endswith(common).all()  # what processors have in common
    assert (table["version"] == __version__).all() and table["torch"].notna().all()
    monkeypatch.setitem(
        STUDIES, "demo", replace(SMALL, base=replace(SMALL.base, lr=1e-3))
    )  # another choice
    changed, written = (
        run_study("demo", seeds=1, jobs=2, resume=True),
        pd.read_csv("figures/demo.csv"),
    )
    assert set(changed["lr"]) == {1e-3} and not set(changed["key"]) & set(table["key"])
    assert sorted(written["key"]) == sorted(changed["key"])  # the rows of the first are replaced


@pytest.fixture
def committed(tmp_path):
    """A copy of the tables that come with the kit."""
    for name in (*CARRIED_OUT, "search"):
        shutil.copy(FIGURES / f"{name}.csv", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", CARRIED_OUT)
def test_nothing_is_left_to_do_for_the_tables_that_come_with_the_kit(name, committed, monkeypatch):
    """Every key of a declared run, as this version gives it, stands in them: no key has moved."""
    monkeypatch.setattr(workers, "worker", lambda: pytest.fail("a run would start"))
    before = {file.name: file.read_bytes() for file in committed.iterdir()}
    methods = [method for method in STUDIES[name].methods if method not in LATE.get(name, ())]
    table = run_study(name, folder=committed, resume=True, methods=methods)
    there = pd.read_csv(committed / f"{name}.csv")
    assert set(table["key"]) == set(there["key"]) and len(table) == len(there)
    assert {file.name: file.read_bytes() for file in committed.iterdir()} == before


@pytest.mark.parametrize("name", WAITING)
def test_what_is_there_of_a_study_is_declared_and_has_all_methods_of_a_seed(
    name, committed, monkeypatch
):
    monkeypatch.setattr(workers, "worker", lambda: pytest.fail("a run would start"))
    declared = STUDIES[name]
    chosen = study.search(declared, committed / "search.csv", jobs=1)
    grid = declared.grid(declared.settings, range(declared.seeds), chosen)
    there = pd.read_csv(FIGURES / f"{name}.csv", dtype={"key": str})
    assert there["key"].is_unique and set(there["key"]) <= {config.key for config in grid}
    methods_of = there.groupby(["noise", "imbalance", "seed"])["method"].agg(sorted)
    assert all(methods == sorted(declared.methods) for methods in methods_of)


@pytest.mark.parametrize("name", [*CARRIED_OUT, "search"])
def test_a_row_more_leaves_every_other_row_as_it_was_to_the_last_digit(name, committed):
    file = committed / f"{name}.csv"
    before = file.read_bytes()
    row = read_rows(file).iloc[-1].to_dict() | {"key": "0e123456", "seed": 77}
    add_row(file, row)
    after = file.read_bytes()
    assert after.startswith(before) and after[len(before) :].startswith(b"0e123456,")


def test_a_field_that_comes_later_changes_no_key():
    @dataclass(frozen=True)
    class Newer(Config):
        novelty: float = field(default=0.0, metadata=LATER)

    for declared in STUDIES.values():
        for config in declared.grid(declared.settings, [0], {}):
            values = {item.name: getattr(config, item.name) for item in fields(Config)}
            assert Newer(**values).key == config.key != Newer(**values, novelty=1.0).key


def test_keys_are_text_even_if_they_look_like_numbers(tmp_path):
    for key in ("12345678", "00000042", "1234e567"):
        add_row(tmp_path / "demo.csv", {"key": key, "val": 1.0})
    assert list(read_rows(tmp_path / "demo.csv")["key"]) == ["12345678", "00000042", "1234e567"]


def test_a_damaged_table_is_refused_by_name(tmp_path):
    file = tmp_path / "demo.csv"
    file.write_text("key,val\naaaa,1\nbbbb,2\naaaa,3\n", encoding="utf-8")
    with pytest.raises(StudyError, match="demo.csv holds the run aaaa twice, in lines 2 and 4"):
        run_study("demo", folder=tmp_path, resume=True)
    for content in ("", "<html>", "run,val\na,1\n"):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(StudyError, match="demo.csv is no table of runs.*move it away"):
            run_study("demo", folder=tmp_path, resume=True)


def row_of(config):
    """Stands in for one_run: a row without a training."""
    facts = {name: getattr(config, name) for name in study.FACTS}
    return {"method": config.name, **facts, "val": 1.0}


def add_many(file, noise):
    for seed in range(30):
        config = Config(name="NLA", noise=noise, seed=seed)
        add_row(file, {"key": config.key, "study": "search", **row_of(config)})


def test_two_processes_add_to_one_table_and_no_row_is_lost(tmp_path):
    context = get_context("spawn")
    file = tmp_path / "search.csv"
    both = [context.Process(target=add_many, args=(file, noise)) for noise in (0.1, 0.2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert read_rows(file).groupby("noise")["seed"].nunique().to_dict() == {0.1: 30, 0.2: 30}


def test_two_studies_at_once_keep_all_rows_and_share_the_runs_that_both_need(small, monkeypatch):
    carried = []

    def pretend(config):
        time.sleep(0.01)
        carried.append(config.key)
        return row_of(config)

    monkeypatch.setattr(study, "one_run", pretend)
    monkeypatch.setattr(workers, "worker", lambda: ThreadPoolExecutor(1))
    common = [Config(name="NLA", seed=seed) for seed in range(100, 110)]
    grids = [
        [Config(name="NLA", noise=noise, seed=seed) for seed in range(15)] + shared
        for noise, shared in ((0.1, common), (0.2, common[::-1]))
    ]
    file, tables = small / "search.csv", []
    studies = [
        threading.Thread(target=lambda grid=g: tables.append(study.carry_out(grid, file, 1, True)))
        for g in grids
    ]
    for thread in studies:
        thread.start()
    for thread in studies:
        thread.join()
    assert [len(table) for table in tables] == [25, 25]
    assert set(read_rows(file)["key"]) == {config.key for grid in grids for config in grid}
    assert len(carried) < 50


BEST = {  # rate and strength, 0 the paper's, at which a pretended method is best
    "GCE": (0.024, 0.4),  # beyond the rates that are tried at first
    "cross-entropy": (0.003, 0.0),
    "EAC": (0.0005, 0.0),  # beyond them on the other side
}


def pretended(config):
    """Stands in for one_run: validation falls with the distance from the best values."""
    rate, strength = BEST[config.name]
    off = abs(np.log(config.lr / rate)) + abs(config.strength - strength)
    return row_of(config) | {"val": 90 - off + 0.01 * config.seed, "test": config.seed}


def test_a_thorough_search_ends_at_no_edge_and_tries_strengths(small, monkeypatch):
    monkeypatch.setattr(study, "one_run", pretended)
    monkeypatch.setattr(workers, "worker", lambda: ThreadPoolExecutor(1))
    methods = {name: study.METHODS["baselines"][name] for name in BEST}
    declared = replace(SMALL, methods=methods, tuned_in={"noise": 0.3}, epochs=[1, 2])
    monkeypatch.setitem(STUDIES, "demo", replace(declared, thorough=True))
    table = run_study("demo", jobs=2)
    chosen = table.groupby("method")[["lr", "strength"]].first()
    for name, values in BEST.items():
        assert tuple(chosen.loc[name]) == values
    tried = read_rows(small / "figures/search.csv")
    assert sorted(tried.query("method == 'GCE'")["lr"].unique())[-2:] == [0.024, 0.048]
    assert tried.query("method == 'EAC'")["lr"].min() == 0.00025
    assert set(tried.query("method == 'cross-entropy'")["lr"]) == set(study.RATES)
    assert tried.query("method == 'cross-entropy'")["strength"].eq(0).all()
    assert set(tried.query("method == 'EAC'")["strength"]) == {0, *study.STRENGTHS["EAC"]}
    monkeypatch.setattr(workers, "worker", lambda: pytest.fail("a run would start"))
    again = run_study("demo", jobs=2, resume=True)
    assert again.equals(table)


def test_a_table_from_before_there_were_strengths_goes_on(tmp_path):
    file = tmp_path / "demo.csv"
    old, new, other = (
        {"key": key, "study": "demo", **row_of(Config(name="GCE", loss="gce", seed=seed, **values))}
        for key, seed, values in (("a", 0, {}), ("b", 1, {}), ("c", 0, {"strength": 0.4}))
    )
    del old["strength"]
    add_row(file, old)
    add_row(file, new, keep_others=False)
    assert list(read_rows(file)["key"]) == ["a", "b"]
    add_row(file, other, keep_others=False)  # a strength of its own: the older rows go
    assert list(read_rows(file)["key"]) == ["c"]


def test_every_strength_is_of_a_method_that_has_one():
    for name, values in study.STRENGTHS.items():
        for strength in values:
            Config(**changes_of(name), strength=strength)


def test_an_interrupted_study_ends_its_processes_and_says_how_to_go_on(small, monkeypatch):
    ended = []

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workers, "worker", lambda: ThreadPoolExecutor(1))
        patch.setattr(study, "one_run", row_of)
        patch.setattr(workers, "wait", interrupted)
        patch.setattr(workers, "kill", ended.append)
        with pytest.raises(KeyboardInterrupt, match="demo.csv holds the runs.*--resume goes on"):
            run_study("demo", jobs=2)
    assert len(ended) == 2


def test_methods_share_the_images_of_a_seed_and_nothing_else_is_forgotten():
    configs = [c for s in STUDIES.values() for c in s.grid(s.settings, [3], {})]
    for config in configs:
        kept = study.only_images(config)
        changed = {k for k, v in vars(config).items() if getattr(kept, k) != v}
        assert changed <= study.OF_METHODS
    settings = [setting for s in STUDIES.values() for setting in s.settings]
    of_ferplus = [setting for setting in settings if setting.get("data") == "ferplus"]
    images = {study.only_images(c) for c in configs if c.data == "ferplus"}
    assert len(images) == len(of_ferplus)
    own = Config(data="folder", classes=("a", "b", "c"), missing="skip", cache="elsewhere")
    assert study.only_images(own) == own


SCRIPT = """
import signal, sys; sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests may ignore it
from nla.study import runs as study
from test_study import SMALL
if __name__ == "__main__":
    study.STUDIES["demo"] = SMALL
    study.run_study("demo", jobs=2, resume=True)
"""


def test_a_study_is_carried_out_from_a_notebook(small):
    """Where the main module has no file that new processes could import, and no guard."""
    script = SCRIPT.replace("if __name__", "if True or __name__")
    script = script.replace("jobs=2", "jobs=1, seeds=1, methods=['ELR']")
    command = [sys.executable, "-c", script, os.path.dirname(__file__)]
    subprocess.run(command, check=True, timeout=240)
    assert list(pd.read_csv("figures/demo.csv")["method"]) == ["ELR"]


def of_process(pid, what):
    try:
        return Path(f"/proc/{pid}/{what}").read_text()
    except OSError:
        return ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal to send")
def test_a_study_that_is_interrupted_from_outside_ends_within_seconds(small):
    script = small / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, script, os.path.dirname(__file__)], stderr=subprocess.PIPE, text=True
    )
    while not os.path.exists("figures/demo.csv") and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert process.returncode and "stopped; figures/demo.csv holds the runs" in said
    rows = len(pd.read_csv("figures/demo.csv"))
    assert 1 <= rows < 6
    assert len(run_study("demo", jobs=1, resume=True)) == 6


@pytest.mark.slow
@pytest.mark.skipif(
    not os.path.exists("/proc/self/task"), reason="needs /proc to see the processes of a study"
)
def test_a_killed_study_leaves_no_process_and_resumes_without_missing_or_double_rows(small):
    script = small / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, script, os.path.dirname(__file__)])
    while not os.path.exists("figures/demo.csv") and process.poll() is None:
        time.sleep(0.05)
    workers = [int(pid) for pid in of_process(process.pid, f"task/{process.pid}/children").split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = pd.read_csv("figures/demo.csv")
    assert 1 <= len(before) < 6 and workers
    deadline = time.time() + 30
    while any(of_process(pid, "cmdline") for pid in workers) and time.time() < deadline:
        time.sleep(0.1)
    assert not any(of_process(pid, "cmdline") for pid in workers)
    table = run_study("demo", jobs=1, resume=True)
    assert len(table) == len(pd.read_csv("figures/demo.csv")) == 6 and table["key"].is_unique
    again = run_study("demo", folder="again", jobs=1)
    pd.testing.assert_frame_equal(table.drop(columns="seconds"), again.drop(columns="seconds"))


def test_a_study_stopped_while_it_tidies_up_can_be_repeated(small, monkeypatch):
    def stopped(folder):
        os.unlink(folder / "epochs.csv")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(study.shutil, "rmtree", stopped)
        run_study("demo", jobs=1)
    assert len(run_study("demo", folder="again", jobs=1)) == 6


def test_every_method_gets_the_same_search_and_what_validation_likes_best(small, monkeypatch):
    asked = []

    def pretend(configs, file, jobs, search=False):
        asked.append((file.name, configs))
        return pd.DataFrame(
            [
                {
                    "method": c.name,
                    "lr": c.lr,
                    "epochs": c.epochs,
                    "seed": c.seed,
                    "val": 50 - 1000 * c.lr * (c.name == "NLA") + c.epochs + c.seed % 2,
                }
                for c in configs
            ]
        )

    monkeypatch.setattr(study, "carry_out", pretend)
    run_study("noise", seeds=2)
    run_study("noise", seeds=2, methods=["GCE", "NLA"])  # the same runs, of these two
    (_, part_searched), (_, part_run) = asked[2:]
    del asked[2:]
    (search_file, search), (file, runs) = asked
    assert (search_file, file) == ("search.csv", "noise.csv")
    budget = pd.Series([c.name for c in search]).value_counts()
    assert set(budget.index) == set(STUDIES["noise"].methods) > set(MAIN) and set(budget) == {
        2 * len(study.RATES) * len(study.SEARCH_SEEDS)
    }
    assert {c.noise for c in search} == {0.3} and {c.seed for c in search} == {1000, 1001}
    assert {(c.lr, c.epochs) for c in search} == {
        (lr, epochs) for lr in study.RATES for epochs in (8, 14)
    }
    assert len(runs) == len({c.key for c in runs}) == 18 * 5 * 2
    for part, whole in ((part_searched, search), (part_run, runs)):
        assert {c.key for c in part} == {c.key for c in whole if c.name in ("GCE", "NLA")}
    assert {(c.lr, c.epochs) for c in runs if c.name == "NLA"} == {(1e-3, 14)}
    assert {c.loss for c in runs} == {
        "nla",
        "rema",
        "rema_c",
        "malt",
        *(changes["loss"] for changes in (BASELINES | study.METHODS["long_tail"]).values()),
    }


def test_all_declared_configs_are_valid_and_differ():
    for name, declared in STUDIES.items():
        configs = declared.grid(declared.settings, range(2), {})
        assert len({config.key for config in configs}) == 2 * len(declared.methods) * len(
            declared.settings
        ), name
    photographs = STUDIES["photographs"]
    tries = photographs.tries()
    assert {(c.lr, c.epochs) for c in tries} == {
        (lr, epochs) for lr in (3e-5, 1e-4, 3e-4) for epochs in (2, 4, 8)
    }
    assert {c.lr for c in STUDIES["noise"].tries()} == set(study.RATES)
    with pytest.raises(
        match="demo, noise, imbalance, ablation, real, both, apart, mechanism, photographs"
    ):
        run_study("everything")
    with pytest.raises(
        match="demo has no method 'RUL'; there are cross-entropy, CE on both views, ELR, NLA"
    ):
        run_study("demo", methods=["NLA", "RUL"])


@pytest.fixture
def validated(tmp_path):
    run = plant(tmp_path / "run")
    run.epochs["val_overall"], run.epochs["val_mean"] = [10, 30, 50, 20, 10], [10, 30, 20, 20, 10]
    return run


def test_measures_of_a_run_whose_answers_are_known(validated):
    row = study.measures(validated)
    assert (row["val"], row["best_val"], row["best_epoch"]) == (10, 35, 2)
    assert (
        row["overall"] == pytest.approx(100 * 6 / 7) and row["worst"] == 0
    )  # class 0 is taken for class 1
    assert (
        row["memorised"] == 50 and row["best_memorised"] == 0
    )  # every other noisy label, in the last epoch
    assert (row["on_clean"], row["auroc_noisy_best"], row["auroc_noisy_last"]) == (
        row["overall"],
        1,
        1,
    )
    assert np.isnan(row["minority_last"])  # all classes are of one size
    assert row["divergence"] == pytest.approx(0, abs=1e-9) and 0 < row["change"] < 1


def test_effect_by_hand():
    found = effect(
        [1.0, 2.0, 3.0]
    )  # t = 2 / (1 / sqrt 3) with two degrees of freedom, whose 97.5 % quantile is 4.3027
    assert found["low"] == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-4)
    assert found["high"] == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-4)
    assert (found["effect"], found["n"], found["size"]) == (2, 3, 2) and found[
        "p"
    ] == pytest.approx(0.0742, abs=1e-4)


def test_a_difference_pairs_seeds_and_settings_that_both_methods_have():
    columns = ["study", "data", "noise", "imbalance", "method", "seed", "mean"]
    runs = pd.DataFrame(
        [("noise", "faces", 0.0, 1.0, "NLA", seed, 70.0 + seed) for seed in range(3)]
        + [("noise", "faces", 0.0, 1.0, "GCE", seed, 68.0) for seed in range(3)]
        + [("noise", "faces", 0.3, 1.0, "NLA", seed, 50.0) for seed in range(3)]
        + [("noise", "faces", 0.3, 1.0, "GCE", 0, 44.0), ("noise", "faces", 0.0, 1.0, "EAC", 0, 1)],
        columns=columns,
    )
    found = difference(runs, "NLA", "GCE", "mean")  # (2 + 6) / 2, 3 and 4, of seeds 0, 1 and 2
    assert found["n"] == 3 and found["effect"] == pytest.approx(11 / 3)
    spread = np.std([4, 3, 4], ddof=1)
    moves = spread_of_shared_images("faces", "mean")
    half = 4.3027 * np.hypot(spread / 3**0.5, moves)
    assert found["high"] - found["effect"] == pytest.approx(half, abs=1e-3)
    assert difference(runs, "GCE", "", "mean - 60")["effect"] == pytest.approx((-4 + 8 + 8) / 3)
    for other in ("EAC", "no method"):  # one seed in common, none
        alone = difference(runs, "NLA", other, "mean")
        assert alone["n"] < 2 and np.isnan(alone["effect"]) and np.isnan(alone["p"])


def results(gain, name="noise", **columns):
    """Seven seeds of every method, each with its luck; NLA better by ``gain`` and a little luck.

    The luck of a method is 0 in the mean: effects are ``gain`` whatever the generator gives.
    """
    rng, rows, methods = np.random.default_rng(0), [], [*MAIN, *study.METHODS["parts"]]
    own = rng.normal(0, 0.1, (7, len(methods)))
    own -= own.mean(0)
    for seed in range(7):
        luck = rng.normal(0, 5)
        for method, little in zip(methods, own[seed]):
            score = 60 + luck + little + gain * (method == "NLA")
            rows.append(
                {
                    "study": name,
                    "data": "faces",
                    "noise": 0.3,
                    "imbalance": 1.0,
                    "seed": seed,
                    "method": method,
                    "overall": score,
                    "mean": score,
                    "best_overall": score,
                    "best_mean": score,
                    "change": rng.normal(),
                    "divergence": rng.normal(),
                }
                | {key: value + rng.normal(0, 0.01) for key, value in columns.items()}
            )
    return pd.DataFrame(rows)


FACTS = dict(
    auroc_noisy_first=0.5,
    auroc_noisy_best=0.8,
    auroc_noisy_last=0.4,
    auroc_clean_first=0.6,
    auroc_clean_best=0.6,
    auroc_clean_last=0.6,
    minority_first=1.0,
    minority_last=1.2,
)


@pytest.fixture
def room(monkeypatch, tmp_path):
    """Lets other test faces move drawn faces' differences by so many points."""

    def make(overall, mean):
        table = tmp_path / f"{overall}_{mean}.csv"
        row = f"faces,{overall},{mean},3,1000"
        table.write_text(f"data,overall,mean,seeds,images\n{row}\n", encoding="utf-8")
        monkeypatch.setattr(shared_images, "TABLE", table)

    return make


def test_what_other_test_faces_could_give_is_undecided(room):
    room(overall=0.1, mean=2.0)
    table = claims(results(2.0, **FACTS))
    beats = table[table["claim"] == 3].groupby("measure")["verdict"].agg(set)
    assert beats["overall"] == beats["best_overall"] == {"reproduced"}
    assert beats["mean"] == beats["best_mean"] == {"undecided"}
    table = claims(results(2.0, **FACTS).assign(tested=100_000))  # a hundred times as many
    assert set(table.loc[table["claim"] == 3, "verdict"]) == {"reproduced"}


@pytest.mark.parametrize(
    "gain, verdict", [(2.0, "reproduced"), (0.0, "undecided"), (-2.0, "not reproduced")]
)
def test_verdicts_follow_the_rule(gain, verdict, room):
    room(overall=0, mean=0)
    table = claims(results(gain, **FACTS))
    beats = table[table["claim"] == 3]
    assert len(beats) == 4 * len(BASELINES) and set(beats["verdict"]) == {verdict}
    assert beats["effect"].mean() == pytest.approx(gain, abs=1e-9) and set(beats["n"]) == {7}
    assert set(beats.set_index("against")["command"].loc[["CE on both views"]]) == {
        "nla study noise --seeds 7 --methods NLA 'CE on both views' --out data/study"
    }
    assert set(table.query("claim == 1")["command"]) == {
        "nla study noise --seeds 7 --methods NLA --out data/study"
    }
    weighs = table[table["claim"] == 1].set_index("measure")["verdict"]
    assert (
        weighs["auroc_noisy_best - 0.5"] == "reproduced"
        and weighs["auroc_noisy_last - 0.5"] == "not reproduced"
    )
    assert (table["p_holm"] >= table["p"]).all()
    smallest = beats.loc[beats["p"].idxmin()]
    assert smallest["p_holm"] == pytest.approx(min(1, len(beats) * smallest["p"]))
    real = results(1.0, "real", **FACTS).assign(data="fer2013", noise=0.0)
    both = claims(pd.concat([results(gain, **FACTS), real]))
    pd.testing.assert_series_equal(
        both.query("data == 'faces'")["p_holm"], table["p_holm"], check_index=False
    )
    beats = both.query("claim == 3 and data == 'fer2013'")
    assert beats["p_holm"].min() == pytest.approx(len(beats) * beats["p"].min())
    knew = real.assign(study="photographs")  # the network that knew faces is a family of its own
    three = claims(pd.concat([results(gain, **FACTS), real, knew])).query("claim == 3")
    corrected = three.groupby("family")["p_holm"].apply(list)
    assert corrected["photographs, face network"] == list(beats["p_holm"])
    assert corrected["photographs, from scratch"] == list(beats["p_holm"])


@pytest.mark.parametrize(
    "gain, verdict", [(0.0, "reproduced"), (1.0, "undecided"), (3.0, "not reproduced")]
)
def test_being_alike_needs_an_interval_within_the_margin(gain, verdict, room):
    room(overall=0, mean=0)
    table = claims(results(gain, "ablation"))
    alike = table[table["claim"] == 7]
    assert len(alike) == 4 and set(alike["verdict"]) == {verdict}


def test_the_ledger_is_written_from_the_studies_there(tmp_path):
    with pytest.raises(match="nla study noise"):
        write_ledger(tmp_path)
    results(2.0, **FACTS).to_csv(tmp_path / "noise.csv", index=False)
    results(2.0, "ablation").to_csv(tmp_path / "ablation.csv", index=False)
    table = write_ledger(tmp_path)
    assert set(table["claim"]) == {1, 2, 3, 5, 7, 8, 10} and len(
        pd.read_csv(tmp_path / "claims.csv")
    ) == len(table)
    lines = (tmp_path / "claims_summary.md").read_text().splitlines()
    assert lines[0].startswith(
        "| claim | statement | family | data | measure | smallest | largest | seeds | comparisons |"
    )
    row = next(
        line
        for line in lines
        if "3 | NLA beats" in line and "under noise | drawn faces | faces | overall" in line
    )
    assert "| 7 | 11 | " in row and row.count("11") == 2  # all eleven comparisons are reproduced
    with pytest.raises(StudyError, match="two seeds"):
        claims(results(2.0, **FACTS).query("seed == 0"))


def test_the_committed_ledger_is_what_the_committed_tables_say():
    """On the smallest of them; only the correction depends on the other tables."""
    table = claims(pd.read_csv(FIGURES / "ablation.csv"))
    whole = pd.read_csv(FIGURES / "claims.csv", keep_default_na=False)
    there = whole[whole["study"] == "ablation"].reset_index(drop=True)
    columns = ["claim", "measure", "method", "against", "command", "effect", "low", "high", "n"]
    pd.testing.assert_frame_equal(table[columns], there[columns], check_dtype=False)


def test_results_that_claims_cannot_be_read_from_are_refused_by_name():
    table = results(2.0, **FACTS)
    with pytest.raises(StudyError, match="two rows of one run.*'method': 'NLA', 'seed': 3"):
        claims(pd.concat([table, table.query("seed == 3 and method == 'NLA'")]))
    with pytest.raises(StudyError, match="no column 'best_mean'"):
        claims(table.drop(columns="best_mean"))


def test_claims_ask_only_for_columns_and_methods_that_studies_have(validated):
    columns, table = study.measures(validated), pd.read_csv(ledger.CLAIMS, keep_default_na=False)
    for claim in table.to_dict("records"):
        assert pd.DataFrame([columns]).eval(claim["measure"]).shape == (1,)
        for name in claim["studies"].split(";"):
            named = {claim["method"], *claim["against"].split(";")} - {"", "baselines"}
            assert named <= set(STUDIES[name].methods), claim
    assert SETTING[0] == "study" and set(table["claim"]) == set(range(1, 16))
