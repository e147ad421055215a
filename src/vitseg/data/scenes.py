"""A synthetic data set of small landscapes, drawn from a seed: for the demo and for tests.

Written in the folder layout (images/, masks/, classes.json, train.txt, val.txt). Each picture has a sky, a meadow with
a winding road and some of: houses, trees, a hot-air balloon. Every class has its own texture, while place, size,
light and tint vary, so that a tiny network learns the classes from scratch in minutes, but not at once.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from vitseg.data.scene_painter import SCENE_CLASSES, draw_scene
from vitseg.errors import DataError
from vitseg.render.palette import save_label_png, save_whole

MARKER = "scenes.json"
"""File by which a folder is known to have been written here."""

SMALLEST_SIDE = 64


def write_scenes(
    root: Path, num_train: int, num_val: int, size: tuple[int, int], seed: int
) -> None:
    """Write the data set. A scene depends on the seed, its split and its number only, not on how many there are.

    Scenes of an earlier call in the same folder are removed first.

    Args:
        root: The folder; created if absent.
        num_train: Scenes of the train split, at least 1.
        num_val: Scenes of the val split, at least 1.
        size: (height, width) of every scene, in pixels, at least 64 each.
        seed: Any non-negative number.

    Raises:
        DataError: The folder holds something that was not written here, or an argument is out of its range.
    """
    if min(num_train, num_val) < 1:
        raise DataError(
            f"num_train is {num_train} and num_val is {num_val}, but each split needs at least 1 scene."
        )
    if min(size) < SMALLEST_SIDE:
        raise DataError(
            f"size is {size[0]}x{size[1]}, but scenes need at least {SMALLEST_SIDE} pixels per side."
        )
    _claim(root)
    facts = {"written_by": "vitseg.data.scenes", "size": list(size), "seed": seed}
    (root / MARKER).write_text(json.dumps(facts) + "\n")
    table = {"classes": SCENE_CLASSES.names, "palette": SCENE_CLASSES.palette}
    (root / "classes.json").write_text(json.dumps(table) + "\n")
    for stream, (split, count) in enumerate((("train", num_train), ("val", num_val))):
        stems = [f"{split}_{number:04d}" for number in range(count)]
        (root / f"{split}.txt").write_text("\n".join(stems) + "\n")
        for number, stem in enumerate(stems):
            image, label_map = draw_scene(
                np.random.default_rng([seed, stream, number]), size, complete=number == 0
            )
            save_whole(root / "images" / f"{stem}.png", Image.fromarray(image))
            save_label_png(root / "masks" / f"{stem}.png", label_map, SCENE_CLASSES)


def _claim(root: Path) -> None:
    """Make the folder ready, or refuse it."""
    if root.exists() and not root.is_dir():
        raise DataError(f"{root} is a file, but the scenes need a folder: name a new or empty one.")
    if root.is_dir() and any(root.iterdir()) and not (root / MARKER).is_file():
        raise DataError(
            f"{root} is not empty and was not written by an earlier demo, so nothing is written there: "
            "name a new or empty folder."
        )
    root.mkdir(parents=True, exist_ok=True)
    for folder in (root / "images", root / "masks"):
        for path in folder.glob("*.png"):
            if re.fullmatch(r"(train|val)_\d{4,}\.png", path.name):
                path.unlink()
