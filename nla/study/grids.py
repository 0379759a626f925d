"""What is to be run: a study is a grid of methods by settings by seeds (``studies.toml``)."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nla.training.config import Config

Changes = Mapping[str, Any]  # fields of the config, and their values
RATES = (1e-3, 3e-3, 6e-3, 1.2e-2)  # that a search tries, if its study names no others
SEARCH_SEEDS = (1000, 1001)  # of every search; no study uses them
SETTING = ["study", "data", "noise", "imbalance"]
TUNED = ["lr", "epochs", "strength"]

DECLARED = tomllib.loads(Path(__file__).with_name("studies.toml").read_text(encoding="utf-8"))
METHODS: dict[str, dict[str, Changes]] = DECLARED["methods"]
"""By group: each method, and what it changes in the config of a study."""
BASELINES = METHODS["baselines"]
STRENGTHS: dict[str, list[float]] = DECLARED["strengths"]
"""What a thorough search tries of a method's own constant, beside its paper's."""


@dataclass(frozen=True)
class Study:
    """Methods by settings by seeds; rate and epochs are searched for in ``tuned_in``."""

    methods: dict[str, Changes]
    settings: list[Changes]
    base: Config
    seeds: int
    tuned_in: Changes | None = None  # None: no search, all methods are run as ``base`` says
    epochs: Sequence[int] = ()  # that the search tries, with each of ``rates``
    rates: Sequence[float] = RATES
    thorough: bool = False  # search on while the best rate is the last one tried, then strengths

    def grid(
        self, settings: Iterable[Changes], seeds: Iterable[int], chosen: Mapping[str, Changes]
    ) -> list[Config]:
        """Runs on the same images follow each other; ``chosen``: what a search found, by method."""
        configs = []
        for setting in settings:
            for seed in seeds:
                for method, changes in self.methods.items():
                    values = {**setting, **changes, **chosen.get(method, {})}
                    configs.append(replace(self.base, name=method, seed=seed, **values))
        return configs

    def tries(self) -> list[Config]:
        """The runs of the search: the same for every method; none if nothing is searched for."""
        if self.tuned_in is None:
            return []
        pairs = [{"lr": lr, "epochs": epochs} for epochs in self.epochs for lr in self.rates]
        return self.tries_of(self.methods, pairs)

    def tries_of(self, methods: Iterable[str], values: Iterable[Changes]) -> list[Config]:
        """The runs of a search of ``values`` for some of the methods."""
        some = replace(self, methods={name: self.methods[name] for name in methods})
        settings = [{**(self.tuned_in or {}), **value} for value in values]
        return some.grid(settings, SEARCH_SEEDS, {})


def declared(methods: Sequence[str], base: Changes, **facts: Any) -> Study:
    """A study as ``studies.toml`` has it, where ``methods`` names methods and groups of them."""
    chosen: dict[str, Changes] = {}
    for name in methods:
        chosen |= METHODS.get(name) or {name: changes_of(name)}
    return Study(chosen, base=Config(**base), **facts)


def changes_of(method: str) -> Changes:
    """What a method changes in the config, whatever its group."""
    return next(group[method] for group in METHODS.values() if method in group)


STUDIES: dict[str, Study] = {name: declared(**facts) for name, facts in DECLARED["studies"].items()}
