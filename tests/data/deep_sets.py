"""Small data sets whose images have more than 8 bits, in the folder layout with train.txt and val.txt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin

from tests.tiny import NAMES

SIZE = (64, 80)

Writer = Callable[[Path, int, np.ndarray], object]
"""Writes image number n: (path without suffix, n, how bright each pixel is, in [0, 1])."""


def write_deep_set(
    root: Path, write: Writer, splits: Mapping[str, Sequence[int]] | None = None
) -> Path:
    """Images 0 to 3 to train on and 4 and 5 to validate on, each more strongly exposed than the one before."""
    splits = splits or {"train": range(4), "val": (4, 5)}
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    (root / "classes.json").write_text(json.dumps({"classes": NAMES}))
    rng = np.random.default_rng(0)
    for split, numbers in splits.items():
        (root / f"{split}.txt").write_text("".join(f"i{number}\n" for number in numbers))
        for number in numbers:
            labels = np.zeros(SIZE, np.uint8)
            labels[30 + number :] = 1
            labels[10:40, 20 : 40 + number] = 2
            scene = np.array([0.9, 0.4, 0.15])[labels] + rng.uniform(-0.05, 0.05, SIZE)
            exposure = (0.25, 0.5, 0.75, 1.0, 0.6, 0.8)[number]
            write(root / "images" / f"i{number}", number, scene * exposure)
            Image.fromarray(labels).save(root / "masks" / f"i{number}.png")
    return root


def png16(largest: int) -> Writer:
    """Grey PNG files of 16 bits, of which the brightest pixels have this value."""

    def write(path: Path, number: int, scene: np.ndarray) -> None:
        values = (scene / 0.95 * largest).astype(np.uint16)
        Image.fromarray(values).save(path.with_suffix(".png"))

    return write


def png8(path: Path, number: int, scene: np.ndarray) -> None:
    Image.fromarray((scene * 255).astype(np.uint8)).save(path.with_suffix(".png"))


def noted_tiff(highest: Callable[[int], int]) -> Writer:
    """TIFF files of 16 bits that note a largest value, of each image its own."""

    def write(path: Path, number: int, scene: np.ndarray) -> None:
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[280], tags[281] = 0, highest(number)  # MinSampleValue, MaxSampleValue
        image = Image.fromarray((scene * 3000).astype(np.uint16))
        image.save(path.with_suffix(".tif"), tiffinfo=tags)

    return write


def some(first: Writer, second: Writer, of_second: Sequence[int]) -> Writer:
    """Images of one kind, but for these, which are of another."""
    return lambda path, number, scene: (second if number in of_second else first)(
        path, number, scene
    )
