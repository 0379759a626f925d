"""The browser's side of the explorers: what is in ``browser/``, as one script or as one page.

The modules import one another, so that each can be read and tested alone. A widget is one file,
though: they are laid one after another, in order, in one scope.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nla.analysis.pictures import as_text

HERE = Path(__file__).with_name("browser")
MODULES = (
    "shapes",
    "stamps",
    "scene",
    "plane",
    "picking",
    "cursor",
    "cards",
    "controls",
    "deck",
    "explorer",
)
"""Each imports earlier ones only."""


def source(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def script() -> str:
    """All modules as one, whose default export is what anywidget renders."""
    return "\n".join(alone(source(f"{name}.js")) for name in MODULES)


def alone(module: str) -> str:
    """A module without its imports, its names for all."""
    without = re.sub(r'^import [^"]*"[^"]*"\n', "", module, flags=re.MULTILINE)
    return re.sub(r"^export (?!default)", "", without, flags=re.MULTILINE)


def style() -> str:
    return source("explorer.css")


def exported(content: Mapping[str, Any], shown: str) -> str:
    """The explorer of a content (see :mod:`nla.analysis.scene`) as an HTML page.

    ``shown`` says what the reader is to see of a selection.
    """
    data = json.dumps(content, default=lambda raw: {"base64": as_text(raw)})
    parts = {
        "<!--SHOWN-->": shown,
        "/*STYLE*/": style(),
        "/*SCRIPT*/": script(),
        "/*HOST*/": alone(source("host.js")),
        "/*DATA*/": data.replace("<", "\\u003c"),
    }
    page = source("export.html")
    for place, text in parts.items():
        page = page.replace(place, text)
    return page
