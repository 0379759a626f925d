"""The command line: ``nla train``, ``nla show``; every option of ``train`` is a field of Config."""

import dataclasses
import sys

import click
import pandas as pd

from nla.data.manifest import DataError
from nla.dynamics import RunError, read_run
from nla.models import WeightsError
from nla.training import DEMO, DEMO_BASELINE, PAPER, Config, fit

PRESETS = {"none": Config(), "demo": DEMO, "demo-baseline": DEMO_BASELINE, "paper": PAPER}


@click.group(context_settings={"show_default": True})
def commands():
    """NLA research kit: train, look, compare."""


def config_options(command):
    """One option for each plain field of Config."""
    for item in reversed(dataclasses.fields(Config)):
        if item.type in (str, int, float):
            name = "--" + item.name.replace("_", "-")
            command = click.option(name, type=item.type, default=None, show_default=str(item.default))(command)
    return command


@commands.command()
@click.option("--preset", type=click.Choice(list(PRESETS)), default="none",
              help="Start from a preset; the options given override it.")
@click.option("--out", type=click.Path(), default=None, help="Run folder  [default: data/runs/<data>-<loss>-<key>]")
@config_options
def train(preset, out, **options):
    """Train one model and print the table of its last epoch."""
    config = dataclasses.replace(PRESETS[preset], **{k: v for k, v in options.items() if v is not None})
    run = fit(config, out)
    print_table([run])
    click.echo(f"recorded in {run.folder}")


@commands.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True))
def show(folders):
    """Print the table of one or more finished runs."""
    print_table([read_run(folder) for folder in folders])


def print_table(runs) -> None:
    """One column a run: test accuracies in percent, and the mean w* of each kind of training sample."""
    table = pd.DataFrame([run.summary() for run in runs]).set_index("method").T
    click.echo(table.to_string(float_format="{:.2f}".format))


def main() -> None:
    try:
        commands()
    except (DataError, RunError, WeightsError, ValueError) as error:
        sys.exit(f"nla: {error}")


if __name__ == "__main__":
    main()
