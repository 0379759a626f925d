"""The source of a loss that is not the kit's own: an edited one is another, whatever its name."""

import hashlib
import inspect
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from nla.methods import LOSSES, SHIPPED

UNKNOWN = "unknown"  # in place of a digest
OTHERS = sys.stdlib_module_names | {"nla", "torch", "torchvision", "numpy"}  # not looked into
PLAIN = (bool, int, float, str, type(None))


def source_digest(loss: str) -> str:
    """Sixteen hex digits of what a loss is made of; empty for one that the kit comes with.

    That is the source of its class, of classes that it is derived from and functions that it calls
    by name, and the numbers and strings that these read by name. What they read from a module, as
    in ``module.value``, does not enter. ``UNKNOWN`` where Python has no source, as of a class that
    was typed into an interpreter.
    """
    method = LOSSES[loss]
    if method is SHIPPED.get(loss):
        return ""
    try:
        text = "\n".join(texts(loss, method, set()))
    except (OSError, TypeError):
        return UNKNOWN
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def texts(name: str, part: Any, seen: set[int]) -> Iterator[str]:
    """The source of what is called ``name``, a class, function or value, and of what it uses."""
    part = getattr(part, "__func__", getattr(part, "fget", part))  # of a method, of a property
    part = inspect.unwrap(part) if callable(part) else part
    if isinstance(part, Tensor | np.ndarray):
        part = part.tolist()
    if isinstance(part, PLAIN):
        yield f"{name} = {part!r}"
        return
    if id(part) in seen:
        return
    seen.add(id(part))
    module = str(getattr(part, "__module__", "")).split(".")[0]
    if module in OTHERS and not isinstance(part, partial):
        yield f"{name} = {module} {getattr(part, '__qualname__', '')}"
        return
    if inspect.isfunction(part):
        yield inspect.getsource(part)
    for key, value in used_by(part).items():
        yield from texts(f"{name}.{key}", value, seen)


def used_by(part: Any) -> dict[str, Any]:
    """By name, what a class or function is made of or reads; the elements of a collection."""
    if isinstance(part, partial):
        return {"call": part.func, "args": part.args, **part.keywords}
    if isinstance(part, dict):
        return {str(key): value for key, value in part.items()}
    if isinstance(part, list | tuple):
        return {str(place): value for place, value in enumerate(part)}
    if isinstance(part, type):
        functions = {key: value for key, value in vars(part).items() if inspect.isfunction(value)}
        named = {key: value for key, value in vars(part).items() if not key.startswith("__")}
        return {"bases": part.__bases__, **named, **functions}
    if inspect.isfunction(part):
        variables = inspect.getclosurevars(part)
        return {**variables.globals, **variables.nonlocals}
    return {}
