"""Names that are imported when they are first asked for (PEP 562), so that the kit starts at once.

PyTorch takes seconds to load, and ``nla --help`` and ``nla show`` do without it.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def on_demand(
    package: str, offered: Sequence[str], modules: Sequence[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__``.

    An ``offered`` name comes from the first of the ``modules`` that has it. Any other name is a
    module of the package itself, or an AttributeError.
    """

    def find(name: str) -> Any:
        if name in offered:
            for module in map(import_module, modules):
                if hasattr(module, name):
                    return getattr(module, name)
        elif not name.startswith("_") and find_spec(f"{package}.{name}"):
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, lambda: sorted(offered)
