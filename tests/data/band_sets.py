"""Small data sets of several bands, of which only the last tells the classes apart, with train.txt and val.txt."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("soil", "leaf")
SIZE = (64, 64)

Writer = Callable[[Path, str, np.ndarray], object]
"""Writes an image: (folder of the set, stem, values of 4 bands (4, H, W) uint16 up to about 3,000)."""


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(4, H, W) uint16 and its labels: the first three bands are the same noise on both classes."""
    labels = np.zeros(SIZE, np.uint8)
    if rng.random() < 0.5:
        labels[:, 32:] = 1
    else:
        labels[32:] = 1
    if rng.random() < 0.5:
        labels = 1 - labels
    coarse = rng.integers(200, 3000, (3, 4, 4))
    values = np.empty((4, *SIZE), np.uint16)
    values[:3] = coarse.repeat(16, 1).repeat(16, 2)
    values[3] = np.where(labels == 1, 2500, 400) + rng.integers(0, 100, SIZE)
    return values, labels


def write_band_set(root: Path, write: Writer, num_train: int = 6, num_val: int = 3) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    (root / "classes.json").write_text(json.dumps({"classes": NAMES}))
    rng = np.random.default_rng(0)
    for split, count in (("train", num_train), ("val", num_val)):
        stems = [f"{split}_{number}" for number in range(count)]
        (root / f"{split}.txt").write_text("\n".join(stems) + "\n")
        for stem in stems:
            values, labels = scene(rng)
            write(root, stem, values)
            Image.fromarray(labels).save(root / "masks" / f"{stem}.png")
    return root


def write_tiff(path: Path, values: np.ndarray, names: tuple[str, ...] = (), **options) -> Path:
    """A GeoTIFF of (bands, H, W)."""
    import rasterio

    count, height, width = values.shape
    options = {"driver": "GTiff", "dtype": values.dtype.name, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", width=width, height=height, count=count, **options) as file:
            file.write(values)
            for number, name in enumerate(names, 1):
                file.set_band_description(number, name)
    return path


def geotiff(root: Path, stem: str, values: np.ndarray) -> None:
    names = ("red", "green", "blue", "nir")
    write_tiff(root / "images" / f"{stem}.tif", values, names, photometric="MINISBLACK")


def array(root: Path, stem: str, values: np.ndarray) -> None:
    np.save(root / "images" / f"{stem}.npy", values)


def siblings(root: Path, stem: str, values: np.ndarray) -> None:
    """8-bit colours, and the fourth band as a 16-bit PNG in a folder of its own."""
    (root / "nir").mkdir(exist_ok=True)
    colors = (values[:3] // 12).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(colors).save(root / "images" / f"{stem}.png")
    Image.fromarray(values[3]).save(root / "nir" / f"{stem}.png")
