"""Does bf16 cost accuracy? The same runs in float32 and in bf16, paired by seed.

    python tests/benchmarks/bench_precision.py [--seeds 10] [--jobs 2] [--out F.csv]

Built-in faces with 30 % wrong labels, the size of ``nla study demo``. Prints bf16 minus float32 in
points of accuracy, with its 95 % interval.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from nla import study
from nla.study import runs


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    settings, precisions = study.STUDIES["demo"], ("float32", "bf16")
    configs = [
        replace(config, precision=precision)
        for precision in precisions
        for config in settings.grid(settings.settings, range(options.seeds), {})
        if config.name in ("cross-entropy", "NLA")
    ]
    with tempfile.TemporaryDirectory() as folder:
        table = runs.carry_out(configs, Path(folder) / "precision.csv", options.jobs)
    table.insert(1, "precision", [config.precision for config in configs])
    for name, measured in table.groupby("method"):
        wide = measured.pivot(index="seed", columns="precision", values=["overall", "mean"])
        for measure in ("overall", "mean"):
            found = study.effect(wide[measure]["bf16"] - wide[measure]["float32"])
            print(
                f"{name:14s} {measure:8s} {found['effect']:+.2f} "
                f"({found['low']:+.2f} to {found['high']:+.2f}), n = {found['n']}"
            )
    if options.out:
        table[["method", "precision", "seed", "overall", "mean", "ece"]].to_csv(
            options.out, index=False, float_format="%.4g"
        )


if __name__ == "__main__":
    main()
