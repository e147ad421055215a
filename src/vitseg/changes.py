"""In what a recipe, or what something was made with, differs from an earlier one, where that makes a difference."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitseg.runs import RECIPE, read_own

WITHOUT_EFFECT = frozenset(
    {
        "data.num_workers",
        "training.val_interval",
        "training.save_interval",
        "training.strategy",
        "training.loggers",
        "training.compile",
        "backbone.gradient_checkpointing",
        "training.patience",
    }
)
"""Fields of a recipe that may change while a run is going on: they move no weight, but for rounding (and compiled, the
numbers that dropout draws). What is chosen as the best model is chosen among the validations that there were."""

PATHS = frozenset(
    {"data.source", "data.train_split", "data.val_split", "backbone.weights", "training.init_from"}
)
"""Fields that lead to files: the same ones by another path are no change."""

_MEASURED = ("data.value_range", "data.bands", "backbone.channels")
"""Fields that a run fills in by its data where its recipe leaves them open, which is then no change."""

_ADDED = {"training.num_nodes": 1, "training.accumulate": 1}
"""Fields that recipes of older runs do not have, and what these runs did."""

_ALL_BANDS = "data.bands.chosen"
"""Likewise, where it is empty: all bands."""

_LATER = ("step.", "joint.")
"""Sections of a recipe of several trainings that say the same of later ones."""


def changed_recipe(run: Path, recipe: Mapping[str, Any]) -> list[str]:
    """Dotted names of the fields in which a run has another recipe, sorted; none where there is no run."""
    path = run / RECIPE
    if not path.is_file():
        return []
    return sorted(changed_fields(read_own(path), dict(recipe)))


def changed_fields(old: Any, new: Any) -> set[str]:
    """Dotted names of the fields in which two recipes differ, without those that make no difference to a run."""
    return {
        name
        for name, (before, now) in _differences(old, new).items()
        if _plain(name) not in WITHOUT_EFFECT
        and not (_plain(name) in PATHS and _same_place(before, now))
        and not (_plain(name).startswith(_MEASURED) and _is_filled_in(before, now))
        and not (_plain(name) == _ALL_BANDS and not now)
        and not (before is None and _plain(name) in _ADDED and now == _ADDED[_plain(name)])
    }


def _differences(old: Any, new: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted names of the values in which two nested mappings differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in old.keys() | new.keys():
            found |= _differences(old.get(key), new.get(key), f"{prefix}{key}.")
        return found
    return {} if old == new else {prefix.rstrip("."): (old, new)}


def _is_filled_in(before: Any, now: Any) -> bool:
    """Whether a value says all that a recipe says, and more where that leaves it open."""
    if now is None:
        return True
    if isinstance(now, dict) and isinstance(before, dict):
        return all(key in before and _is_filled_in(before[key], now[key]) for key in now)
    if isinstance(now, list | tuple) and isinstance(before, list | tuple):
        if len(before) != len(now):
            return False
        return all(_is_filled_in(*pair) for pair in zip(before, now, strict=True))
    return before == now


def _plain(name: str) -> str:
    """The field's name as it is in the recipe of one training."""
    for section in _LATER:
        name = name.removeprefix(section)
    return name


def _same_place(one: Any, other: Any) -> bool:
    """Whether two paths, or two `NAME:ROOT` of one name, lead to the same file or folder."""
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    name, _, root = one.rpartition(":")
    other_name, _, other_root = other.rpartition(":")
    root, _, options = root.partition("?")
    other_root, _, other_options = other_root.partition("?")
    try:
        return (name, options) == (other_name, other_options) and os.path.samefile(
            os.path.expanduser(root), os.path.expanduser(other_root)
        )
    except OSError:
        return False
