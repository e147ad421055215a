"""What the values of a mask mean: raw id -> name -> class index, as one explicit table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64, Integer

from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.errors import ConfigError, DataError, unknown_name

MAX_ID = 65535
"""Largest raw id of an index mask."""

MAX_COLOR = 0xFFFFFF
"""Largest raw id of a colour mask, whose raw ids are 0xRRGGBB."""

_UNKNOWN = IGNORE_INDEX - 1
_MAX_NAMED = 5


@dataclass(frozen=True)
class LabelTable:
    """Raw mask id -> class index, with the names on both sides.

    Attributes:
        classes: The classes of the model.
        mapping: Every raw id that a mask may hold -> class index or IGNORE_INDEX.
        raw_names: Names of the raw ids as the data set has them ("void" and the members of a merged class, too).
        colors: Whether raw ids are colours, 0xRRGGBB, rather than ids.
        hint: Advice for the error about a raw id that is not in `mapping`.
        rest: Name of the class that pixels without annotation are given by the reader; None: nobody gives them one.
    """

    classes: ClassTable
    mapping: Mapping[int, int]
    raw_names: Mapping[int, str]
    colors: bool = False
    hint: str = "Do the masks belong to another class list?"
    rest: str | None = None

    def rows(self) -> list[tuple[str, str, str]]:
        """Rows of the table for people: (raw id, its name, class index and name or "ignored"), by ascending raw id."""
        rows: list[tuple[str, str, str]] = []
        for raw in sorted(self.mapping):
            index = self.mapping[raw]
            to = "ignored" if index == IGNORE_INDEX else f"{index} {self.classes.names[index]}"
            rows.append((self.raw_text(raw), self.raw_names.get(raw, "-"), to))
        return rows

    def raw_text(self, raw: int) -> str:
        """A raw id as people know it: `12`, or `#804080`."""
        return f"#{raw:06x}" if self.colors else str(raw)

    def with_ignored(self, raw: int, name: str) -> LabelTable:
        """The table with one raw id more, whose pixels count nowhere."""
        return replace(
            self,
            mapping={**self.mapping, raw: IGNORE_INDEX},
            raw_names={**self.raw_names, raw: name},
        )

    def merged(
        self, merge: Mapping[str, Sequence[str]] | None = None, ignore: Sequence[str] = ()
    ) -> LabelTable:
        """The table with classes joined or left out, by name.

        Args:
            merge: Name of the joint class -> names of its members. It takes the place and the colour of the first
                of its members in class order; the name may be that of a member.
            ignore: Classes whose pixels count nowhere.

        Raises:
            ConfigError: A name is not a class, a class is named twice, a joint class has the name of a class that is
                not its member, or no class is left.
        """
        merge = merge or {}
        names = self.classes.names
        joint_of = self._joint_names(merge, ignore)
        order: dict[str, int] = {}  # joint name -> first member
        for index, name in enumerate(names):
            if name not in ignore:
                order.setdefault(joint_of.get(name, name), index)
        if not order:
            raise ConfigError("every class is ignored: keep at least one.")
        position = {name: number for number, name in enumerate(order)}
        new_index = {
            index: IGNORE_INDEX if name in ignore else position[joint_of.get(name, name)]
            for index, name in enumerate(names)
        }
        rest = self.rest and joint_of.get(self.rest, self.rest)
        if self.rest in ignore:
            rest = None
        return LabelTable(
            ClassTable(
                names=tuple(order),
                palette=tuple(self.classes.palette[first] for first in order.values()),
            ),
            {raw: new_index.get(index, IGNORE_INDEX) for raw, index in self.mapping.items()},
            self.raw_names,
            self.colors,
            self.hint,
            rest,
        )

    def as_known(self, classes: ClassTable) -> LabelTable:
        """The table with the class list of a model, which may have another order or other classes.

        Args:
            classes: Classes of the model. No pixel is labelled with a class that the data set lacks; pixels of a class
                that the model lacks count nowhere.
        """
        index_of = {name: index for index, name in enumerate(classes.names)}
        new_index = [index_of.get(name, IGNORE_INDEX) for name in self.classes.names]
        mapping = {
            raw: IGNORE_INDEX if index == IGNORE_INDEX else new_index[index]
            for raw, index in self.mapping.items()
        }
        rest = self.rest if self.rest in index_of else None
        return LabelTable(classes, mapping, self.raw_names, self.colors, self.hint, rest)

    def _joint_names(
        self, merge: Mapping[str, Sequence[str]], ignore: Sequence[str]
    ) -> dict[str, str]:
        joint_of: dict[str, str] = {}
        for place, members in [*((f"merge.{n}", m) for n, m in merge.items()), ("ignore", ignore)]:
            if not members:
                if place != "ignore":
                    raise ConfigError(f"{place} is empty: name the classes that it joins.")
                continue
            for name in members:
                if name not in self.classes.names:
                    raise ConfigError(f"{place}: {unknown_name('class', name, self.classes.names)}")
                if name in joint_of:
                    raise ConfigError(f"{place} names {name!r}, which another entry names already.")
                joint_of[name] = place.removeprefix("merge.")
        for joint in merge:
            if joint in self.classes.names and joint_of.get(joint) != joint:
                raise ConfigError(
                    f"merge.{joint} has the name of a class that is not its member: add {joint!r} to "
                    "its list, or choose another name."
                )
        return joint_of


class IdLookup:
    """A `LabelTable` as a look-up table, fast enough for every pixel of every image."""

    def __init__(self, table: LabelTable, dataset: str) -> None:
        self._table = table
        self._dataset = dataset
        last = MAX_COLOR if table.colors else MAX_ID
        small = table.classes.num_classes < 2**15
        # The entry behind the last stands for whatever a 32-bit mask has beyond.
        self._lut = np.full(last + 2, _UNKNOWN, np.int16 if small else np.int32)
        self._lut[list(table.mapping)] = list(table.mapping.values())

    def label_map(
        self, raw_ids: Integer[np.ndarray, "H W"], where: str
    ) -> Int64[np.ndarray, "H W"]:
        """Class indices of the raw ids.

        Args:
            raw_ids: Values of the mask.
            where: Name of the mask, for the error.

        Raises:
            DataError: Some ids are not in the table.
        """
        last = len(self._lut) - 2
        if raw_ids.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
            raw_ids = np.where((raw_ids < 0) | (raw_ids > last), last + 1, raw_ids)
        label_map = self._lut[raw_ids]
        if label_map.min() == _UNKNOWN:
            raise DataError(self._unknown(where, raw_ids[label_map == _UNKNOWN]))
        return label_map.astype(np.int64)

    def _unknown(self, where: str, raw_ids: np.ndarray) -> str:
        table, last = self._table, len(self._lut) - 2
        values, counts = np.unique(raw_ids, return_counts=True)
        named = [
            f"{f'negative or above {last}' if value > last else table.raw_text(value)} ({count} pixels)"
            for value, count in zip(values[:_MAX_NAMED].tolist(), counts, strict=False)
        ]
        more = f" and {len(values) - _MAX_NAMED} more" if len(values) > _MAX_NAMED else ""
        what = "colours" if table.colors else "ids"
        return (
            f"{where} has {what} outside the class table: {', '.join(named)}{more}, "
            f"but {self._dataset} allows {self.allowed()}. {table.hint} "
            "`vitseg data check` lists every such file."
        )

    def allowed(self) -> str:
        """The raw ids that the table allows, in words: `0-10 and 11, 255 (ignore)`."""
        mapping = self._table.mapping
        used = [raw for raw, index in mapping.items() if index != IGNORE_INDEX]
        ignored = [raw for raw, index in mapping.items() if index == IGNORE_INDEX]
        if self._table.colors:
            shown = ", ".join(self._table.raw_text(raw) for raw in sorted(used)[:_MAX_NAMED])
            return f"the {len(used)} colours of its classes ({shown}{', ...' if len(used) > _MAX_NAMED else ''})"
        return f"{ranges(used)} and {ranges(ignored)} (ignore)" if ignored else ranges(used)


def ranges(numbers: Iterable[int]) -> str:
    """Numbers in words, in ascending order: `0-10, 12`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
