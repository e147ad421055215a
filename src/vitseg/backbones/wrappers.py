"""Which of a checkpoint's tensors are the weights: entries and prefixes that trainings wrap around them.

Trainings keep several sets of weights in a file: those that the optimiser moves, their moving average (EMA), and the
teacher and the student of a self-distillation; each under an entry of its own ("model_ema"), or in one table with a
prefix ("ema_model.", "teacher."). mmcv's averaging hook writes `ema_backbone_layers_0_ln1_weight` beside the others.
Around every name may stand what data parallelism ("module."), compilation ("_orig_mod.") or a training frame ("model.")
has put there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from vitseg.errors import CheckpointError
from vitseg.types import StateDict

WeightsOf = Literal["model", "ema", "teacher", "student"]
"""Sets of weights of one file, in the order of preference where the user names none."""

SETS: tuple[WeightsOf, ...] = ("model", "ema", "teacher", "student")

ENTRIES: dict[WeightsOf, re.Pattern[str]] = {
    "ema": re.compile(r"(^|_)(ema|swa|averaged?)(_|$)"),
    "teacher": re.compile(r"(^|_)teacher(_|$)"),
    "student": re.compile(r"(^|_)student(_|$)"),
    "model": re.compile(r"(^|_)(state_dict|model|module|net|network|params|weights)(_|$)"),
}
"""Entries that hold weights, the first that fits: `model_ema` is an average, `student_state_dict` a student's."""

NOT_WEIGHTS = re.compile(
    r"optim|sched|scaler|loss|criterion|epoch|args|config|hyper|callback|loop|meta|rng"
)
"""Entries that are named like weights and are none (`optimizer_state_dict`)."""

GROUPS: dict[WeightsOf, re.Pattern[str]] = {
    "ema": re.compile(
        r"^(?:module\.)?(?:ema_model|model_ema|ema|averaged_model|swa_model)[._](?=.)"
    ),
    "teacher": re.compile(r"^(?:module\.)?(?:model_)?teacher(?:_model)?\."),
    "student": re.compile(r"^(?:module\.)?(?:model_)?student(?:_model)?\."),
}
"""Beginnings of the names of a set that shares a table with others."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "ema_model.", "segmentor.")
"""What may stand in front of every name."""

COUNTERS = ("n_averaged", "steps")
"""What averages count beside the weights."""

_LOSSES = re.compile(r"^(criterion|loss(es|_fn)?|metrics?|train_\w+|val_\w+)\.")
_MOST_LEVELS = 4


@dataclass(frozen=True)
class Unwrapped:
    """The weights of a checkpoint.

    Attributes:
        tensors: By their names, without prefixes.
        taken: Where they were, in words ("entry model_ema, without module.").
        others: Other sets of weights that the file has.
        set: Which set they are.
    """

    tensors: StateDict
    taken: str = ""
    others: tuple[WeightsOf, ...] = ()
    set: WeightsOf = "model"

    @property
    def line(self) -> str:
        """What was taken, in one line; "" where the file is the plain table of one set."""
        others = [f"--weights-of {other}" for other in self.others]
        also = f" (the file also has others: {', '.join(others)})" if others else ""
        return f"{self.taken or 'the names as they are'}{also}" if self.taken or others else ""


@dataclass
class _Found:
    """Tables of a file by set, each with the entries that lead to it."""

    tables: dict[WeightsOf, tuple[StateDict, tuple[str, ...]]] = field(default_factory=dict)


def unwrap(content: object, weights_of: WeightsOf | None = None) -> Unwrapped | None:
    """The weights in the content of a checkpoint file; None: it holds no table of tensors.

    Args:
        content: What was read.
        weights_of: The set that is wanted; the first of `SETS` that the file has where not given.

    Raises:
        CheckpointError: The file has no such set.
    """
    found = _Found()
    _search(content, "model", (), found)
    sets: dict[WeightsOf, Unwrapped] = {}
    for name, (table, entries) in found.tables.items():
        for inner, tensors in _split(table, name).items():
            if inner not in sets:
                where = f"entry {'.'.join(entries)}" if entries else ""
                sets[inner] = _stripped(tensors, where, inner if inner != name else None)
    if not sets:
        return None
    if weights_of is not None and weights_of not in sets:
        has = ", ".join(name for name in SETS if name in sets)
        raise CheckpointError(
            f"it has no weights of {weights_of}: it has those of {has}. Name one of these, or leave --weights-of out."
        )
    chosen = weights_of or _preferred(sets)
    kept = sets[chosen]
    others: tuple[WeightsOf, ...] = tuple(n for n in SETS if n in sets and n != chosen)
    return Unwrapped(kept.tensors, kept.taken, others, chosen)


def _preferred(sets: Mapping[WeightsOf, Unwrapped]) -> WeightsOf:
    """The first set, unless it is only what lies beside the others (a loss's centre, a projection)."""
    most = max(len(each.tensors) for each in sets.values())
    return next(name for name in SETS if name in sets and 2 * len(sets[name].tensors) >= most)


def _search(content: object, name: WeightsOf, entries: tuple[str, ...], found: _Found) -> None:
    """Add the tables in some content, which belongs to a set, to what is found."""
    if not isinstance(content, dict) or not content or len(entries) > _MOST_LEVELS:
        return
    table = _table(content)
    if table is not None:
        found.tables.setdefault(name, (table, entries))
        return
    keys = [key for key in content if isinstance(key, str)]
    if (
        "state_dict" in keys
    ):  # in front of others of the same set, as "model" beside it may be a description
        keys.remove("state_dict")
        keys.insert(0, "state_dict")
    for key in keys:
        inner = content[key]
        kind = _kind(key)
        if isinstance(inner, dict) and kind is not None:
            _search(inner, name if kind == "model" else kind, (*entries, key), found)


def _kind(entry: str) -> WeightsOf | None:
    """The set whose weights an entry holds by its name."""
    entry = entry.lower()
    if NOT_WEIGHTS.search(entry):
        return None
    return next((name for name, pattern in ENTRIES.items() if pattern.search(entry)), None)


def _table(content: Mapping[Any, Any]) -> StateDict | None:
    """The content as a table of tensors; plain numbers and words beside them are left out."""
    if not all(isinstance(key, str) for key in content):
        return None
    others = [value for value in content.values() if not isinstance(value, Tensor)]
    if len(others) == len(content) or not all(
        value is None or isinstance(value, int | float | str) for value in others
    ):
        return None
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def _split(table: StateDict, name: WeightsOf) -> dict[WeightsOf, StateDict]:
    """The sets that share a table; of a table that a set owns, that set alone."""
    if name != "model":
        return {name: table}
    groups: dict[WeightsOf, StateDict] = {}
    for key, value in table.items():
        for group, pattern in GROUPS.items():
            match = pattern.match(key)
            if match:
                groups.setdefault(group, {})[key[match.end() :]] = value
                break
        else:
            groups.setdefault("model", {})[key] = value
    if "ema" in groups and "model" in groups:
        groups["ema"] = _dotted(groups["ema"], groups["model"])
    return groups


def _dotted(averaged: StateDict, plain: StateDict) -> StateDict:
    """An average by the names of what it is of; what is not averaged (counts of a normalisation) is taken from there.

    mmcv writes every dot as an underscore.
    """
    by_underscores = {key.replace(".", "_"): key for key in plain}
    named = {by_underscores.get(key, key): value for key, value in averaged.items()}
    if not set(named) <= set(plain):
        return named
    return {key: named.get(key, value) for key, value in plain.items()}


def _stripped(table: StateDict, where: str, group: WeightsOf | None) -> Unwrapped:
    """A set without its prefixes, and where it was."""
    tensors, removed = dict(table), []
    while True:
        names = [name for name in tensors if name not in COUNTERS and not _LOSSES.match(name)]
        prefix = next((p for p in PREFIXES if names and all(n.startswith(p) for n in names)), None)
        if prefix is None:
            break
        removed.append(prefix)
        tensors = {name.removeprefix(prefix): tensors[name] for name in names}
    parts = [
        where,
        f"those named as {group}" if group and group != "model" else "",
        f"without {' and '.join(removed)}" if removed else "",
    ]
    return Unwrapped(tensors, ", ".join(part for part in parts if part))
