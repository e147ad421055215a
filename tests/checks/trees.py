"""A small sound data set, to plant mistakes in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ["sky", "road", "tree"]
SIZE = (48, 64)


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Soft colour noise: unlike that of any other seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC)


def bands(seed: int, size: tuple[int, int] = SIZE, num_classes: int = 3) -> np.ndarray:
    """A mask of upright bands of the classes 0, 1, ..."""
    shift = seed % 5
    columns = (np.arange(size[1]) + shift) * num_classes // (size[1] + 8)
    return np.repeat(columns[None].astype(np.uint8), size[0], 0)


def write_classes(root: Path, **content: object) -> None:
    (root / "classes.json").write_text(json.dumps({"classes": NAMES, **content}))


def save_mask(root: Path, key: str, mask: np.ndarray, suffix: str = ".png") -> Path:
    path = root / "masks" / f"{key}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


def save_image(root: Path, key: str, image: Image.Image, suffix: str = ".png") -> Path:
    path = root / "images" / f"{key}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def write_tree(root: Path, num_train: int = 4, num_val: int = 2) -> Path:
    """Images and index masks of three classes, all of which occur in every mask."""
    root.mkdir(parents=True, exist_ok=True)
    keys = [f"train/t{n}" for n in range(num_train)] + [f"val/v{n}" for n in range(num_val)]
    for seed, key in enumerate(keys):
        save_image(root, key, picture(seed))
        save_mask(root, key, bands(seed))
    write_classes(root)
    return root
