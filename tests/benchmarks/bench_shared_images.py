"""How far does a result move with the images that all seeds share? Writes the table that the
ledger widens its intervals by.

    python tests/benchmarks/bench_shared_images.py [--seeds 3] [--out nla/study/shared_images.csv]

At one setting of each kind of data, on seeds that no study uses. Of accuracies: four methods; the
test images are resampled (``nla.study.shared_images.movement``), and the root of the mean variance
that seeds have in common, over the six pairs of methods, is kept. Of what w* does: NLA on
photographs, of which all seeds train on the same (drawn faces are each seed's own); the training
images are resampled (``movement_of_weights``).
Photographs are measured where FER2013 and FERPlus's votes are there (NLA_DATA_ROOT).
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from nla import Config, data, fit
from nla.data.manifest import data_root
from nla.study.grids import changes_of
from nla.study.shared_images import ACCURACIES, TABLE, answers, movement, movement_of_weights
from nla.training.record import Run

METHODS = ("cross-entropy", "LDAM-DRW", "NLA", "ReMa-C")
FIRST_SEED = 3000
BASES = {
    "faces": Config(noise=0.3, record=False, snapshots=0),
    "fer2013": Config(data="fer2013", validation=0.1, epochs=4, record=False, snapshots=0),
    "ferplus": Config(data="ferplus", validation=0.1, epochs=4, record=False, snapshots=0),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("data/runs/shared_images"))
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds: what two seeds have in common needs two of them")
    rows = []
    for name, base in BASES.items():
        if name != "faces" and not there(name):
            print(f"{name} is not under {data_root(None)}: left out")
            continue
        runs = trained(base, METHODS, options)
        variances = movement(runs)
        print(name, variances.round(2).to_string(index=False), sep="\n")
        spread = np.sqrt(variances[list(ACCURACIES)].mean().clip(lower=0))
        images = len(answers(runs["NLA"][0]))
        row = {"data": name, **spread.round(2), "seeds": options.seeds, "images": images}
        if name != "faces":
            recorded = trained(replace(base, record=True), ["NLA"], options)
            row |= of_weights(recorded["NLA"])
        rows.append(row)
        pd.DataFrame(rows).to_csv(options.out, index=False)


def there(name: str) -> bool:
    try:
        data.datasets.reader(name)(None)
    except data.DataError:
        return False
    return True


def of_weights(runs: Sequence[Run]) -> dict[str, float]:
    """How far what w* does moves with the training images, standard deviations by measure."""
    variances = movement_of_weights(runs)
    spread = np.sqrt(pd.Series(variances).clip(lower=0))
    return spread.round(4).to_dict()


def trained(
    base: Config, methods: Sequence[str], options: argparse.Namespace
) -> dict[str, list[Run]]:
    """The runs of each method: read, where they have been trained before."""
    runs: dict[str, list[Run]] = {method: [] for method in methods}
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
    for seed in tqdm(seeds, desc=base.data):
        for method in methods:
            config = replace(base, name=method, seed=seed, **changes_of(method))
            runs[method].append(fit(config, options.runs / config.key, progress=False))
    return runs


if __name__ == "__main__":
    main()
