"""``nla train``: its options are the fields of Config. By itself, since a Config loads torch."""

import argparse
import functools
import json
import os
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nla.cli import print_notes, print_table
from nla.methods import LOSSES
from nla.training.config import DEMO, DEMO_BASELINE, PAPER, PAPER112, PHOTOGRAPHS, Config
from nla.training.loading import load_data
from nla.training.loop import fit
from nla.training.record import Run

PRESETS = {
    "none": Config(),
    "demo": DEMO,
    "demo-baseline": DEMO_BASELINE,
    "paper": PAPER,
    "paper112": PAPER112,
    "photographs": PHOTOGRAPHS,
}
Preset = Literal["none", "demo", "demo-baseline", "paper", "paper112", "photographs"]


def train_with(arguments: list[str]) -> None:
    """``nla train`` with these options; a preset or settings file gives their defaults."""
    # the losses that there are now, for --loss and --help: one's own may have been named since
    Config.__annotations__["loss"] = Literal[tuple(LOSSES)]
    command = functools.partial(train, config=starting_point(arguments))
    tyro.cli(command, prog="nla train", args=arguments)


def train(
    config: Annotated[Config, tyro.conf.arg(name="")],
    preset: Preset = "none",
    settings: Path | None = None,
    out: Path | None = None,
) -> None:
    """Train one model, or go on with it, and print the table of its last epoch.

    Args:
        preset: start from these options.
        settings: a json file of options, such as a run's config.json, replacing the preset's.
        out: run folder; by default one below data/runs, named after options and data.
    """
    alone_or_first = os.environ.get("RANK", "0") == "0"
    loaded = load_data(config, progress=alone_or_first)
    if alone_or_first:
        of_data = loaded[1].attrs.get("notes", ())
        print_notes(of_data)
    run = fit(config, out, loaded=loaded)
    if alone_or_first:
        print_notes([note for note in run.notes if note not in of_data])
        print_table([run])
        print_notes(on_other_data(run, config))
        print(f"recorded in {run.folder}")


def on_other_data(run: Run, config: Config) -> list[str]:
    """A note on runs of the same options that stand beside this one, made of other data."""
    named_alike = run.folder.parent.glob(f"{config.folder.name}-*")
    others = sorted(folder.name for folder in named_alike if folder.name != run.folder.name)
    if not others:
        return []
    return [f"runs of the same options on other data are kept beside it: {', '.join(others)}"]


def starting_point(arguments: list[str]) -> Config:
    """The preset's values, replaced by those of the settings file: what other options change."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--preset", default="none")
    peek.add_argument("--settings")
    known, _ = peek.parse_known_args(arguments)
    base = PRESETS.get(known.preset, Config())
    if not known.settings:
        return base
    try:
        content = json.loads(Path(known.settings).read_text(encoding="utf-8"))
        return Config.parse(content, base)
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{known.settings} holds no settings: {error}") from None
