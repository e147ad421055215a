"""Small official downloads, as the tests write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat


def write_image(path: Path, size: tuple[int, int]) -> None:
    """A plain image of (height, width) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), (90, 120, 30)).save(path)


def write_mask(path: Path, ids: Sequence[Sequence[int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(ids, np.uint8)).save(path)


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    """A rectangle whose last row and column are `bottom` and `right`."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def write_polygons(
    root: Path, split: str, stem: str, objects: Sequence[Mapping[str, Any]], size=(6, 8)
) -> Path:
    """A pair of Cityscapes: image and polygon file."""
    city = stem.split("_")[0]
    write_image(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", size)
    path = root / "gtFine" / split / city / f"{stem}_gtFine_polygons.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"imgHeight": size[0], "imgWidth": size[1], "objects": list(objects)}
    path.write_text(json.dumps(content))
    return path


def write_coco_stuff(root: Path, split: str, name: str, ids: Sequence[Sequence[int]]) -> Path:
    """An image of COCO-Stuff-10K with its MATLAB file, listed in the split."""
    labels = np.array(ids, np.uint16)
    write_image(root / "images" / f"{name}.jpg", (labels.shape[0], labels.shape[1]))
    path = root / "annotations" / f"{name}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"S": labels, "names": "x", "captions": "y"}, do_compression=True)
    listed = root / "imageLists" / f"{split}.txt"
    listed.parent.mkdir(parents=True, exist_ok=True)
    for file in (root / "imageLists" / "train.txt", root / "imageLists" / "test.txt"):
        file.touch()
    listed.write_text(f"{listed.read_text()}{name}\n")
    return path


def run_lengths(mask: Sequence[Sequence[int]]) -> list[int]:
    """Uncompressed COCO run lengths of a binary mask, column by column, zeros first."""
    flat = np.array(mask, bool).T.ravel()
    runs, value, length = [], False, 0
    for pixel in flat.tolist():
        if pixel != value:
            runs.append(length)
            value, length = pixel, 0
        length += 1
    return [*runs, length]


def write_detail(root: Path, images: Sequence[Mapping], annotations: Sequence[Mapping]) -> Path:
    """`trainval_merged.json`, and in VOC2010 an image for every entry."""
    for entry in images:
        write_image(
            root / "VOC2010" / "JPEGImages" / entry["file_name"], (entry["height"], entry["width"])
        )
    path = root / "trainval_merged.json"
    content = {"info": {}, "images": list(images), "annos_segmentation": list(annotations)}
    path.write_text(json.dumps(content))
    return path
