"""From the ids of a mask file to class indices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer

from vitseg.classes import IGNORE_INDEX
from vitseg.errors import DataError

_MAX_ID = 65535
_UNKNOWN = IGNORE_INDEX - 1
_MAX_NAMED = 5


class IdTable:
    """Raw mask id -> class index or IGNORE_INDEX, as a look-up table.

    Args:
        mapping: Every id that a mask may hold, in [0, 65535].
        dataset: Name of the data set, for errors.
        hint: What to do about an id that is not in `mapping`, for errors.
    """

    def __init__(self, mapping: Mapping[int, int], dataset: str, hint: str) -> None:
        self._mapping = mapping
        self._dataset = dataset
        self._hint = hint
        # One entry for each id of a 16-bit mask, and a last one for whatever a 32-bit mask has beyond.
        self._lut = np.full(_MAX_ID + 2, _UNKNOWN, dtype=np.int64)
        self._lut[list(mapping)] = list(mapping.values())

    def label_map(self, ids: Integer[np.ndarray, "H W"], path: Path) -> Int64[np.ndarray, "H W"]:
        """Class indices of the ids of the mask file `path`.

        Raises:
            DataError: Some ids are not in the mapping.
        """
        if ids.dtype not in (np.uint8, np.uint16):
            ids = np.where((ids < 0) | (ids > _MAX_ID), _MAX_ID + 1, ids)
        label_map = self._lut[ids]
        if label_map.min() == _UNKNOWN:
            raise DataError(self._unknown_ids(path, ids[label_map == _UNKNOWN]))
        return label_map

    def _unknown_ids(self, path: Path, ids: np.ndarray) -> str:
        values, counts = np.unique(ids, return_counts=True)
        named = [
            f"{'negative or above 65535' if value > _MAX_ID else value} ({count} pixels)"
            for value, count in zip(values[:_MAX_NAMED], counts, strict=False)
        ]
        more = f" and {len(values) - _MAX_NAMED} more" if len(values) > _MAX_NAMED else ""
        classes = _ranges(raw for raw, index in self._mapping.items() if index != IGNORE_INDEX)
        ignored = _ranges(raw for raw, index in self._mapping.items() if index == IGNORE_INDEX)
        allowed = f"{classes} and {ignored} (ignore)" if ignored else classes
        return (
            f"{path} has ids outside the class table: {', '.join(named)}{more}, "
            f"but {self._dataset} allows {allowed}. {self._hint}"
        )


def _ranges(numbers: Iterable[int]) -> str:
    """Sorted numbers in words, as `0-10, 12`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
