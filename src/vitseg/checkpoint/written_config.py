"""What a checkpoint says of its crops and windows: mmsegmentation keeps the text of its configuration in `meta`.

The text is Python. It is searched for a few numbers and never run. Other trainings keep their sizes as numbers among
the hyperparameters, the transformers library in the config.json beside the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vitseg.types import Size

TEXTS = ("config", "cfg")
"""Entries of `meta` with the text, of version 0 and of version 1."""

SIZES = ("img_size", "image_size", "crop_size", "input_size")
"""What trainings call the size of their crops."""

LONGEST = 1_000_000
"""Characters of a text that are searched."""

_SIDE = 16_384
_TEST = re.compile(r"\btest_cfg\s*=\s*dict\(")
_VALUE = r"\s*=\s*(?:[(\[]\s*(\d{1,5})\s*,\s*(\d{1,5})\s*,?\s*[)\]]|(\d{1,5})\b)"
"""One number for both sides, or two."""

_CROP = re.compile(rf"\b(?:img_size|crop_size){_VALUE}")


class Window(NamedTuple):
    """How a file's own configuration runs images.

    Attributes:
        mode: "slide" or "whole".
        crop_size: (height, width) of the window in pixels; None for "whole".
        stride: (down, right) between windows in pixels; None for "whole".
    """

    mode: str
    crop_size: Size | None = None
    stride: Size | None = None


class WrittenConfig(NamedTuple):
    """What is found.

    Attributes:
        sizes: Of the crops, (height, width) in pixels, every one once.
        window: How images are run, where that is said.
    """

    sizes: tuple[Size, ...] = ()
    window: Window | None = None


def read_written_config(places: Iterator[Mapping[Any, Any]]) -> WrittenConfig:
    """What the entries of a checkpoint say, see `file_facts`.

    Args:
        places: Entries that may hold facts.
    """
    sizes: dict[Size, None] = {}
    window = None
    for place in places:
        for key, value in place.items():
            if not isinstance(key, str):
                continue
            size = _size(value) if key.lower() in SIZES else None
            if size is not None:
                sizes[size] = None
            if key.lower() in TEXTS and isinstance(value, str) and len(value) <= LONGEST:
                sizes |= dict.fromkeys(_sizes(value))
                window = window or _window(value)
    return WrittenConfig(tuple(sizes), window)


def _size(value: object) -> Size | None:
    """A size of one number for both sides or of two."""
    sides = list(value) if isinstance(value, list | tuple) else [value, value]
    # Not isinstance: True is no side.
    numbers = [int(side) for side in sides if type(side) is int and 0 < side <= _SIDE]
    if len(sides) != 2 or len(numbers) != 2:
        return None
    return numbers[0], numbers[1]


def _sizes(text: str) -> Iterator[Size]:
    for height, width, side in _CROP.findall(text):
        size = _size((int(height), int(width)) if height else int(side))
        if size is not None:
            yield size


def _window(text: str) -> Window | None:
    """The first `test_cfg` that says a mode."""
    for start in _TEST.finditer(text):
        inside = text[start.end() : start.end() + 1000].partition(")\n")[0]
        mode = re.search(r"\bmode\s*=\s*['\"](slide|whole)['\"]", inside)
        if mode is None:
            continue
        if mode[1] == "whole":
            return Window("whole")
        crop, stride = _pair("crop_size", inside), _pair("stride", inside)
        if crop is not None and stride is not None and all(map(int.__le__, stride, crop)):
            return Window("slide", crop, stride)
    return None


def _pair(name: str, text: str) -> Size | None:
    match = re.search(rf"\b{name}{_VALUE}", text)
    if match is None:
        return None
    return _size((int(match[1]), int(match[2])) if match[1] else int(match[3]))
