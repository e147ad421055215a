"""Which of a checkpoint's tensors are the weights: entries and prefixes that trainings wrap around them.

Trainings keep several sets of weights in a file: those that the optimiser moves, their moving average (EMA), and the
teacher and the student of a self-distillation; each under an entry of its own ("model_ema"), or in one table with a
prefix ("ema_model.", "teacher."). mmcv's averaging hook writes `ema_backbone_layers_0_ln1_weight` beside the others.
Around every name may stand what data parallelism ("module."), compilation ("_orig_mod.") or a training frame ("model.")
has put there.

Names do not always say which set is which: some frames save the average under the name of the weights, so that whoever
loads the file gets it (`EXCHANGED`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

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
    r"optim|sched|scaler|loss|criterion|epoch|args|config|hyper|callback|loop|meta|rng|metric|history|grad|moment"
)
"""Entries that are named like weights and are none (`optimizer_state_dict`)."""

_FRAME = r"^(?:(?:model|net|network|segmentor|pl_module|lit_model)\.)?"
GROUPS: dict[WeightsOf, re.Pattern[str]] = {
    "ema": re.compile(_FRAME + r"(?:ema_model|model_ema|ema|averaged_model|swa_model)[._](?=.)"),
    "teacher": re.compile(_FRAME + r"(?:(?:model|mean|ema)_)?teacher(?:_(?:model|net))?[._](?=.)"),
    "student": re.compile(_FRAME + r"(?:model_)?student(?:_(?:model|net))?[._](?=.)"),
}
"""Beginnings of the names of a set that shares a table with others."""

PREFIXES = ("model.", "net.", "network.", "ema_model.", "segmentor.", "pl_module.", "lit_model.")
"""What may stand in front of every name."""

INSERTED = (
    "module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_ddp_module",
)  # fmt: skip
"""Parts of names, at any place, that data parallelism, compilation and sharding put between the model's own."""

COUNTERS = ("n_averaged", "steps")
"""What averages count beside the weights."""

_INSERTED = re.compile(rf"(?:^|(?<=\.))(?:{'|'.join(INSERTED)})\.")
_LOSSES = re.compile(r"^(criterion|loss(es|_fn)?|metrics?|train_\w+|val_\w+)\.")
_OF_MMCV = re.compile(r"^ema_\w+$")
_MOST_LEVELS = 5

MMCV = (
    "mmcv exchanges the two at the end of an epoch: in a file that was saved then, the names without ema_ are the "
    "average"
)
"""What nothing in such a file tells."""


class Exchange(NamedTuple):
    """A frame that saves the average in the place of the weights.

    Attributes:
        owner: Whose habit it is.
        raw: Entry that holds what the optimiser moved, where `state_dict` is the average.
        marks: Other entries by which its files are told.
    """

    owner: str
    raw: str
    marks: tuple[str, ...]


EXCHANGED = (
    Exchange("mmengine", "ema_state_dict", ("meta.mmengine_version",)),
    Exchange("Lightning", "current_model_state", ("averaging_state",)),
)
"""As files show that mmengine 0.10 and Lightning 2.6 have written."""


@dataclass(frozen=True)
class Unwrapped:
    """The weights of a checkpoint.

    Attributes:
        tensors: By their names, without prefixes.
        taken: Where they were, in words ("entry model_ema, without module.").
        others: Other sets of weights that the file has.
        set: Which set they are.
        remark: What its names do not say of the sets.
    """

    tensors: StateDict
    taken: str = ""
    others: tuple[WeightsOf, ...] = ()
    set: WeightsOf = "model"
    remark: str = ""

    @property
    def line(self) -> str:
        """What was taken, in one line; "" where the file is the plain table of one set."""
        others = [f"--weights-of {other}" for other in self.others]
        also = f" (the file also has others: {', '.join(others)})" if others else ""
        remark = f"; {self.remark}" if self.remark else ""
        taken = self.taken or "the names as they are"
        return f"{taken}{also}{remark}" if self.taken or others else ""


@dataclass
class _Found:
    """Tables of a file by set, each with the entries that lead to it."""

    tables: dict[WeightsOf, tuple[StateDict, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def num_tensors(self) -> int:
        """Of all tables together."""
        return sum(len(table) for table, _ in self.tables.values())


def unwrap(content: object, weights_of: WeightsOf | None = None) -> Unwrapped | None:
    """The weights in the content of a checkpoint file; None: it holds no table of tensors.

    Args:
        content: What was read.
        weights_of: The set that is wanted; the first of `SETS` that the file has where not given.

    Raises:
        CheckpointError: The file has no such set.
    """
    found = _Found()
    exchange = _exchange(content)
    if exchange is None:
        _search(content, "model", (), found)
    else:
        assert isinstance(content, dict)
        _search(content["state_dict"], "ema", ("state_dict",), found)
        _search(content[exchange.raw], "model", (exchange.raw,), found)
    sets: dict[WeightsOf, Unwrapped] = {}
    for name, (table, entries) in found.tables.items():
        bare, inserted = _without_inserted(table)
        for inner, tensors in _split(bare, name).items():
            if inner not in sets:
                where = f"entry {'.'.join(entries)}" if entries else ""
                sets[inner] = _stripped(tensors, where, inner if inner != name else None, inserted)
    if not sets:
        return None
    if weights_of is not None and weights_of not in sets:
        has = ", ".join(name for name in SETS if name in sets)
        raise CheckpointError(
            f"it has no weights of {weights_of}: it has those of {has}. Name one of these, or leave --weights-of out."
        )
    chosen = weights_of or ("ema" if exchange else _preferred(sets))
    kept = sets[chosen]
    others: tuple[WeightsOf, ...] = tuple(n for n in SETS if n in sets and n != chosen)
    remark = ""
    if exchange is not None:
        remark = (
            f"{exchange.owner} saves the average as state_dict, and what the optimiser moved as "
            f"{exchange.raw}"
        )
    elif "ema" in sets and _is_of_mmcv(found):
        remark = MMCV
    return Unwrapped(kept.tensors, kept.taken, others, chosen, remark)


def _exchange(content: object) -> Exchange | None:
    """The frame that has saved a file's average in the place of its weights."""
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        return None
    for each in EXCHANGED:
        if isinstance(content.get(each.raw), dict) and all(
            _has(content, mark.split(".")) for mark in each.marks
        ):
            return each
    return None


def _has(content: Mapping[Any, Any], entries: Sequence[str]) -> bool:
    inner: Any = content
    for entry in entries:
        if not isinstance(inner, Mapping) or entry not in inner:
            return False
        inner = inner[entry]
    return True


def _is_of_mmcv(found: _Found) -> bool:
    tables = [table for table, _ in found.tables.values()]
    return any(_OF_MMCV.match(name) for table in tables for name in _without_inserted(table)[0])


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
    keys = [key for key in content if isinstance(key, str) and isinstance(content[key], dict)]
    # In front of others of the same set, as "model" beside it may be a description.
    keys.sort(key=lambda key: key != "state_dict")
    before = len(found.tables)
    for key in keys:
        kind = _kind(key)
        if kind is not None:
            _search(content[key], name if kind == "model" else kind, (*entries, key), found)
        elif key == "callbacks":
            _search_callbacks(content[key], (*entries, key), found)
    if len(found.tables) == before:
        _search_unnamed(content, name, entries, found)


def _search_callbacks(
    callbacks: Mapping[Any, Any], entries: tuple[str, ...], found: _Found
) -> None:
    """Averages that a training frame's callbacks keep; whatever else they keep is none of the weights."""
    for name, kept in callbacks.items():
        for key, value in kept.items() if isinstance(kept, dict) else ():
            if isinstance(key, str) and _kind(key) == "ema":
                _search(value, "ema", (*entries, str(name), key), found)


def _search_unnamed(
    content: Mapping[Any, Any], name: WeightsOf, entries: tuple[str, ...], found: _Found
) -> None:
    """Where no entry is named like weights: the one that has the most tensors in it."""
    candidates: list[_Found] = []
    for key, value in content.items():
        if isinstance(key, str) and not NOT_WEIGHTS.search(key.lower()):
            inner = _Found()
            _search(value, name, (*entries, key), inner)
            candidates.append(inner)
    best = max(candidates, key=lambda each: each.num_tensors, default=_Found())
    for each, table in best.tables.items():
        found.tables.setdefault(each, table)


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


def _without_inserted(table: StateDict) -> tuple[StateDict, list[str]]:
    """A table without the inserted parts of its names, and these parts; as it is where two names would become one."""
    bare = {_INSERTED.sub("", name): value for name, value in table.items()}
    if len(bare) != len(table):
        return table, []
    found = {part for name in table for part in _INSERTED.findall(name)}
    kept = {name: value for name, value in bare.items() if not found or name not in COUNTERS}
    return kept, sorted(found)


def _stripped(
    table: StateDict, where: str, group: WeightsOf | None, inserted: Sequence[str]
) -> Unwrapped:
    """A set without its prefixes, and where it was."""
    tensors, removed = dict(table), list(inserted)
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
