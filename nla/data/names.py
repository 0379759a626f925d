"""What people call classes and splits, and what a set's labels are taken for.

Names that are expressions get the canonical order; other names stay a set's own classes.  Numbers
mean nothing by themselves: the order they were taken in is said in a note, with counts.
"""

import difflib
import re
import shlex
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from .manifest import EXPRESSIONS, DataError, refuse

SYNONYMS = {
    "surprised": "surprise",
    "surprising": "surprise",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "frightened": "fear",
    "disgusted": "disgust",
    "happy": "happiness",
    "joy": "happiness",
    "joyful": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "rage": "anger",
    "contemptuous": "contempt",
    **{name: name for name in EXPRESSIONS},
}
SPLIT_NAMES = {
    name: split
    for split, names in {
        "train": "train training train_set trainset fer2013train",
        "val": "val valid validation val_set valset dev publictest fer2013valid",
        "test": "test testing test_set testset privatetest fer2013test",
    }.items()
    for name in names.split()
}
NO_LABEL = ("", "nan", "null", "na", "n/a")
MOST_CLASSES = 1000
FEW = 2
"""So many names that are no expressions, among more that are, may be there by mistake."""
NEAR = 0.7
"""How alike a name must be to an expression to be taken for a misspelling (difflib's ratio)."""


class Labels(NamedTuple):
    """``values``: integers.  ``own``: the set's own class names; () means the expressions."""

    values: pd.Series
    own: tuple[str, ...]
    notes: list[str]


def composed(name: str) -> str:
    """``name`` with composed letters: what looks the same on screen is the same."""
    return unicodedata.normalize("NFC", name)


def fold(name: str) -> str:
    """``name`` without what people do not mean: case, blanks around it, the encoding of letters."""
    return composed(name).strip().casefold()


def word_of(name: str) -> str:
    """``name`` folded, without a number before it: ``3_happy`` is happy."""
    return re.sub(r"^[0-9]+[\s._-]+", "", fold(name))


def expression_of(name: str) -> str | None:
    """The expression that ``name`` speaks of (``Happy``, ``afraid``, ``3_happy``), or None."""
    return SYNONYMS.get(word_of(name))


def whole_number(text: str) -> int | None:
    """The integer that ``text`` is (``3``, ``03``, ``3.0``), or None (``3.5``, ``-1``, ``one``)."""
    number = re.fullmatch(r"\s*([0-9]{1,9})(?:\.0{1,9})?\s*", text)
    return int(number[1]) if number else None


def is_odd_number(text: str) -> bool:
    """Whether ``text`` is a number that counts nothing: ``3.5``, ``-1``."""
    number = re.fullmatch(r"\s*[+-]?[0-9]*[.,]?[0-9]+\s*", text)
    return number is not None and whole_number(text) is None


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts names as people do: class2 before class10, whatever the case."""
    result = []
    for part in re.findall(r"[0-9]+|[^0-9]+", fold(name)):
        number = whole_number(part)
        result.append((-1 if number is None else number, part))
    return result


def codes(
    values: pd.Series,
    order: Sequence[str],
    path: object,
    first: int | None = 0,
    classes: Sequence[str] = EXPRESSIONS,
    remedy: str = "",
) -> pd.Series:
    """Map labels to integers: places in ``classes``, -1 for names in ``order`` that are not there.

    A label is a name in ``order`` (or another word for that expression), or, unless ``first`` is
    None, its number there, counted from ``first``.
    """
    by_number = [classes.index(name) if name in classes else -1 for name in order]
    place = dict(zip(map(fold, order), by_number, strict=True))
    meaning: dict[Hashable, int] = {}
    for text in values.unique():
        number = whole_number(text)
        if first is not None and number is not None:
            if 0 <= number - first < len(order):
                meaning[text] = by_number[number - first]
        else:
            word = fold(text) if fold(text) in place else expression_of(text)
            if word in place:
                meaning[text] = place[word]
    result = values.map(meaning)
    numbers = "" if first is None else f"{first} to {first + len(order) - 1}, or "
    message = f"is no label; expected {numbers}{', '.join(order)}{remedy}"
    refuse(result.isna(), values, path, message)
    return result.astype("int64")


def splits(values: pd.Series, path: object) -> pd.Series:
    """Map names of splits (Training, PublicTest, val_set, ...) to train, val and test."""
    meaning = {text: SPLIT_NAMES.get(fold(text)) for text in values.unique()}
    result = values.map(meaning)
    message = "is no split; expected train, val, test, Training, PublicTest, ..."
    refuse(result.isna(), values, path, message)
    return result


def split_of(path: Path) -> str | None:
    """The split that a file's name speaks of (``affectnet_train.csv``); None if none or two."""
    return split_among(re.split("[^a-z]+", fold(path.stem)))


def split_among(words: Iterable[str]) -> str | None:
    """The one split that some of these words name; None if they name none or two."""
    spoken = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return spoken.pop() if len(spoken) == 1 else None


def counted(labels: pd.Series, names: Sequence[str]) -> str:
    """Counts by class: ``surprise 12, fear 3``."""
    counts = labels.value_counts()
    return ", ".join(f"{name} {counts.get(k, 0)}" for k, name in enumerate(names))


def numbers_in(values: pd.Series) -> list[int]:
    """The different integers among the labels, ascending."""
    found = {whole_number(text) for text in values.unique()}
    return sorted(number for number in found if number is not None)


def order_note(
    given: pd.Series,
    labels: pd.Series,
    order: Sequence[str],
    classes: Sequence[str],
    whose: str,
) -> list[str]:
    """The sentence on the order that numbers were taken in; none if no label is a number."""
    numbers = numbers_in(given)
    if not numbers:
        return []
    spoken = ", ".join(name for name in order if name in classes)
    return [
        f"labels {numbers[0]} to {numbers[-1]} are taken in {whose} {spoken}: "
        f"{counted(labels, classes)}"
    ]


def refuse_from_one(
    given: pd.Series,
    path: object,
    most: int,
    remedy: str,
) -> None:
    """Refuse numbers that look counted from 1 where they would be read from 0.

    That is: no 0, and either 1 to K for some K of at least 3, or ``most``, among others.
    """
    numbers = numbers_in(given)
    if not numbers or 0 in numbers:
        return
    run = len(numbers) >= 3 and numbers == list(range(1, len(numbers) + 1))
    alone = len(numbers) == 1 and given.nunique() > 1
    if run or (numbers[-1] >= most and not alone):
        highest = given.map(whole_number) == numbers[-1]
        message = (
            f"is the highest of the labels {numbers[0]} to {numbers[-1]}, and no label is 0: they "
            f"seem to be counted from 1, but would be read from 0; {remedy}"
        )
        refuse(highest, given, path, message)


def name_classes(
    given: pd.Series,
    path: object,
    classes: Sequence[str] = (),
    numbered: bool = True,
) -> Labels:
    """Take a set's labels for what they say: expressions, or classes of the set's own.

    ``classes``: the set's own names in label order; labels are these, or their numbers from 0 or 1.
    Else, if every name is an expression or another word for one, the canonical order; numbers are
    read in it from 0 if ``numbered``.  Else the names are the set's own, in natural order.
    Refused at its place: no label, a name near an expression, numbers that seem counted from 1.
    """
    distinct = list(given.unique())
    missing = [text for text in distinct if fold(text) in NO_LABEL]
    refuse(given.isin(missing), given, path, "is no label; give each row its class")
    odd = filter(is_odd_number, distinct)
    message = "is no label: it is a number, but none of 0, 1, 2, ..."
    refuse(given.isin(list(odd)), given, path, message)
    if classes:
        return named_by_hand(given, path, tuple(composed(name).strip() for name in classes))
    numbers = numbers_in(given)
    words = [text for text in distinct if whole_number(text) is None]
    if all(expression_of(text) for text in words) and (numbered or not numbers):
        remedy = (
            "name the classes in their order with --classes NAME NAME ..., or read RAF-DB with "
            "--data rafdb, or write names in place of numbers"
        )
        refuse_from_one(given, path, 7, remedy)
        labels = codes(given, EXPRESSIONS, path, remedy=f"; for others {remedy}")
        notes = order_note(given, labels, EXPRESSIONS, EXPRESSIONS, "the order")
        if numbers and 0 not in numbers:
            notes[-1] += f"; no label is 0: if yours are counted from 1, {remedy}"
        return Labels(labels, (), notes)
    return own_names(given, path, words)


def named_by_hand(given: pd.Series, path: object, order: tuple[str, ...]) -> Labels:
    """Labels that are the names in ``order``, or their numbers counted from 0 or 1."""
    if len(order) < 2 or len({fold(name) for name in order}) < len(order):
        raise DataError(f"--classes {shlex.join(order)}: give two or more names, each of them once")
    numbers = numbers_in(given)
    first: int | None = 0
    if not numbers or all(whole_number(name) is not None for name in order):
        first = None
    elif numbers[0] > 0 and numbers[-1] == len(order):
        first = 1
    elif numbers[0] > 0 and numbers[-1] < len(order):
        message = (
            f"is the lowest of the labels, {numbers[-1]} the highest: with the {len(order)} "
            f"classes {', '.join(order)} they may be counted from 0 or from 1; write names instead"
        )
        refuse(given.map(whole_number) == numbers[0], given, path, message)
    remedy = " (the names that --classes gave)"
    labels = codes(given, order, path, first, classes=order, remedy=remedy)
    notes = order_note(given, labels, order, order, "the given order") if first is not None else []
    absent = [name for k, name in enumerate(order) if k not in set(labels)]
    if absent:
        notes.append(f"no image is of the class {', '.join(absent)}")
    return Labels(labels, order, notes)


def own_names(
    given: pd.Series,
    path: object,
    words: list[str],
) -> Labels:
    """Labels that are the set's own names, in natural order; no name may be near an expression."""
    distinct = sorted(given.unique(), key=lambda name: (natural(name), name))
    if len(distinct) > MOST_CLASSES:
        raise DataError(
            f"{path}: {len(distinct)} different labels, the first {distinct[0]!r}; name the "
            f"label's column label"
        )
    names: dict[str, str] = {}
    for text in distinct:
        names.setdefault(fold(text), composed(text).strip())
    own = tuple(names.values())
    remedy = f"--classes {shlex.join(own)}"
    refuse_near_names(given, path, words, remedy)
    if words and len(words) < len(distinct):
        number = given.map(whole_number).notna()
        refuse(number, given, path, f"is a number among names; give all names, or {remedy}")
    if len(own) < 2:
        raise DataError(f"{path}: all labels are {own[0]!r}; a set needs two classes or more")
    place = {name: k for k, name in enumerate(names)}
    labels = given.map({text: place[fold(text)] for text in distinct}).astype("int64")
    note = f"the classes are the set's own, in this order: {counted(labels, own)}"
    known = [name for name in own if expression_of(name)]
    if known:
        note += f"; not treated as expressions, beside names that are none: {', '.join(known)}"
    if not words:
        note += "; numbers say no expression: name them in this order with --classes NAME NAME ..."
    strange = [name for name in own if not expression_of(name)]
    if len(strange) <= FEW and len(known) > FEW * len(strange):
        few = ", ".join(strange)
        loud = (
            f"all classes but {few} are expressions, and because of {few} none is taken for one: "
            f"rename or remove {few}, unless a set with classes of its own is meant"
        )
        return Labels(labels, own, [loud, note])
    return Labels(labels, own, [note])


def refuse_near_names(
    given: pd.Series,
    path: object,
    words: list[str],
    remedy: str,
) -> None:
    """Refuse a name that is no expression but nearly one (``Suprise``)."""
    for text in words:
        near = difflib.get_close_matches(word_of(text), SYNONYMS, 1, NEAR)
        if near and not expression_of(text):
            message = (
                f"is no expression, expected {', '.join(EXPRESSIONS)}: did you mean {near[0]}? "
                f"Rename it, or, if it is a class of your own, name all classes: {remedy}"
            )
            refuse(given == text, given, path, message)
