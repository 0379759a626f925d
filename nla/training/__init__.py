"""From a Config to a run folder, and the run folder read back."""

from typing import TYPE_CHECKING

from nla.on_demand import on_demand

if TYPE_CHECKING:
    from nla.training.config import DEMO, DEMO_BASELINE, PAPER, Config
    from nla.training.loading import load_data
    from nla.training.loop import TrainingError, fit
    from nla.training.record import Run, RunError, read_run

__all__ = [
    "DEMO",
    "DEMO_BASELINE",
    "PAPER",
    "Config",
    "Run",
    "RunError",
    "TrainingError",
    "fit",
    "load_data",
    "read_run",
]

__getattr__, __dir__ = on_demand(
    __name__,
    __all__,
    ("nla.training.record", "nla.training.config", "nla.training.loading", "nla.training.loop"),
)
