"""What does a faster way to train cost in accuracy? The same runs with and without, paired by seed.

    python tests/benchmarks/bench_accuracy.py bf16 [--seeds 10] [--jobs 2] [--out F.csv]
    python tests/benchmarks/bench_accuracy.py growing --seeds 5

``bf16``: built-in faces with 30 % wrong labels, the size of ``nla study demo``, in bf16 against
float32. ``growing``: images that begin at half their size (``--start-size``) against whole ones, on
faces drawn at 112 pixels and on FERPlus at its 48, where its files are in data/. Prints the
difference in points of accuracy, with its 95 % interval over the seeds. How much faster they are,
``bench_training.py epoch --precision bf16`` and ``bench_training.py sizes`` measure.

Rows of runs that have ended are in data/runs/accuracy-WAY.csv and are not run again: delete it
where the code or the machine is another.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from nla import Config, study
from nla.data.manifest import DataError
from nla.study import runs
from nla.training import load_data

METHODS = {"cross-entropy": "cross_entropy", "NLA": "nla"}
DEMO = replace(study.STUDIES["demo"].base, **study.STUDIES["demo"].settings[0])
DRAWN = Config(size=112, noise=0.3, epochs=8, lr=6e-3, snapshots=1)
FERPLUS = Config(data="ferplus", size=48, validation=0.1, epochs=8, lr=3e-3, snapshots=1)
DONE = Path("data/runs")  # for the rows of runs that have ended


@dataclass(frozen=True)
class Way:
    """A field of the config, what makes its value faster, and what is trained to compare."""

    field: str
    faster: Callable[[Config], object]
    settings: Mapping[str, Config]
    methods: Sequence[str]

    def pairs(self, base: Config, seeds: int) -> list[Config]:
        """The plain and the faster run of each method and seed, one after the other."""
        configs = []
        for seed in range(seeds):
            for name in self.methods:
                plain = replace(base, name=name, loss=METHODS[name], seed=seed)
                configs += [plain, replace(plain, **{self.field: self.faster(plain)})]
        return configs


WAYS = {
    "bf16": Way("precision", lambda config: "bf16", {"faces": DEMO}, ["cross-entropy", "NLA"]),
    "growing": Way(
        "start_size",
        lambda config: config.size // 2,
        {"faces at 112": DRAWN, "FERPlus": FERPLUS},
        ["NLA"],
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a csv for the table")
    options = parser.parse_args()
    way = WAYS[options.way]
    tables = []
    for place, base in way.settings.items():
        try:
            load_data(base)
        except DataError as error:
            print(f"{place} is left out: {error}")
            continue
        table = measured(way, base, options).assign(place=place)
        tell(table)
        tables.append(table)
    if options.out:
        columns = [
            "place",
            "method",
            way.field,
            "seed",
            "overall",
            "mean",
            "ece",
            "machine",
            "torch",
        ]
        pd.concat(tables)[columns].to_csv(options.out, index=False, float_format="%.4g")


def measured(way: Way, base: Config, options: argparse.Namespace) -> pd.DataFrame:
    """A row a run, with the field that was changed and whether it is the faster one."""
    configs = way.pairs(base, options.seeds)
    rows = runs.carry_out(configs, DONE / f"accuracy-{options.way}.csv", options.jobs, search=True)
    values = [getattr(config, way.field) for config in configs]
    return rows.assign(**{way.field: values}, faster=[False, True] * (len(configs) // 2))


def tell(table: pd.DataFrame) -> None:
    """Print by method how the runs with and without differ, with 95 % intervals."""
    for (place, method), part in table.groupby(["place", "method"]):
        wide = part.pivot(index="seed", columns="faster")
        for measure in ("overall", "mean"):
            found = study.effect(wide[measure][True] - wide[measure][False])
            print(
                f"{place:14s} {method:14s} {measure:8s} {found['effect']:+.2f} "
                f"({found['low']:+.2f} to {found['high']:+.2f}), n = {found['n']}"
            )


if __name__ == "__main__":
    main()
