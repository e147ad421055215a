"""The categories of COCO annotation files: one numbering for all splits of a data set, whatever their ids are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitseg import parsing
from vitseg.data.formats.faults import Faults
from vitseg.data.labels import MAX_ID
from vitseg.errors import DataError

Id = int | str
"""An id of COCO, as `id_of` gives it."""


def id_of(value: Any) -> int | str | None:
    """An id in the one form in which ids are compared: 7, 7.0 and "7" are the same; None if it is no id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        is_number = re.fullmatch(r"-?(0|[1-9]\d{0,17})", value) is not None
        return int(value) if is_number else (value or None)
    return value if isinstance(value, int) else None


def categories_of(path: Path) -> list[Any]:
    """The list `categories` of an annotation file, for which the rest of it is not parsed; empty if there is none."""
    for value in parsing.json_values(path, "categories"):
        if isinstance(value, list) and any(
            isinstance(each, dict) and "name" in each for each in value
        ):
            return value
    try:
        content = parsing.read_json(path, parsing.MOST_ANNOTATION_BYTES, finite=False)
    except parsing.UnreadableError:
        return []  # told where the split is opened
    value = content.get("categories") if isinstance(content, dict) else None
    return value if isinstance(value, list) else []


def number_categories(
    categories: list[Any], others: Sequence[list[Any]], path: Path, faults: Faults
) -> tuple[dict[int, str], dict[Id, int]]:
    """Raw id -> name for all splits, and category id -> raw id for one.

    A raw id is the category's id; but where an id is out of range or no number, or means another name in another split,
    the names are numbered anew. Categories of several splits that have one name are one class.

    Args:
        categories: The categories of the split's annotation file.
        others: Those of the other splits.
        path: The annotation file, for messages.
        faults: Where it is noted what was made of them.

    Raises:
        DataError: A category of this file has no name or no id of its own, two have one name, or there is none.
    """
    own = _names(categories, path, faults)
    if not own:
        raise DataError(f"{path} lists no categories: they name the classes.")
    together: dict[Id, str] = {}
    clashes: set[Id] = set()
    for each in (*_sound(others), own):
        for number, name in each.items():
            if together.setdefault(number, name) != name:
                clashes.add(number)
    wrong = [raw for raw in together if not isinstance(raw, int) or not 0 <= raw < MAX_ID]
    for number in own:
        if number in clashes or number in wrong:
            faults.add("category-renumbered", f"{number} {own[number]}")
    if clashes:  # in the order of the names, which is the same from every split
        names = sorted({name for each in (*_sound(others), own) for name in each.values()})
        raw_by_name = {name: place for place, name in enumerate(names, start=1)}
        return {raw: name for name, raw in raw_by_name.items()}, {
            number: raw_by_name[name] for number, name in own.items()
        }
    ordered = sorted(together, key=_order)
    raw_of = {raw: place for place, raw in enumerate(ordered, start=1)} if wrong else None
    first: dict[str, int] = {}
    numbered: dict[Id, int] = {}
    for number in ordered:
        name = together[number]
        raw = raw_of[number] if raw_of is not None else int(number)
        numbered[number] = first.setdefault(name, raw)
    return {raw: name for name, raw in first.items()}, {raw: numbered[raw] for raw in own}


def _order(number: Id) -> tuple[bool, int, str]:
    return (isinstance(number, str), number if isinstance(number, int) else 0, str(number))


def _names(categories: list[Any], path: Path, faults: Faults | None) -> dict[Id, str]:
    """Category id -> name.

    Raises:
        DataError: A category has no name or no id of its own.
    """
    names: dict[Id, str] = {}
    for category in categories:
        number = id_of(category.get("id")) if isinstance(category, dict) else None
        name = category.get("name") if isinstance(category, dict) else None
        if isinstance(name, int | float) and not isinstance(name, bool):
            name = str(name)
        if number is None or not isinstance(name, str) or not name.strip() or number in names:
            raise DataError(
                f"{path} has the category {str(category)[:80]}, but each needs a name and an id of its own."
            )
        if _is_heading(category, categories):
            if faults is not None:
                faults.add("group-category", f"{number} {name}")
            continue
        names[number] = name
    twice = sorted(name for name, count in Counter(names.values()).items() if count > 1)
    if twice:
        raise DataError(
            f"{path}: class names must be unique, but these occur twice: {', '.join(twice)}. Rename one of them, or "
            "give their annotations one category."
        )
    return names


def _sound(others: Sequence[list[Any]]) -> list[dict[Id, str]]:
    """The names of other splits; of one whose categories are malformed, none: it is told when that split is opened."""
    found = []
    for categories in others:
        try:
            found.append(_names(categories, Path(), None))
        except DataError:
            continue
    return found


def _is_heading(category: Mapping[str, Any], categories: list) -> bool:
    """Whether it is the category 0 that Roboflow adds as the supercategory of all others; it may have a name twice."""
    others = [other for other in categories if other is not category]
    return (
        id_of(category["id"]) == 0
        and category.get("supercategory") == "none"
        and bool(others)
        and all(
            isinstance(other, dict) and other.get("supercategory") == category["name"]
            for other in others
        )
    )
