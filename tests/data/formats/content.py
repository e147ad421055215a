"""The same pictures in every format that masks come in: rectangles with integer corners."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask

rle_tools: Any = mask  # its types are narrower than what it takes
NAMES = ("background", "car", "tree")
COLORS = ((0, 0, 0), (200, 30, 40), (20, 160, 60))
SIZE = (48, 64)
SPLITS = {"train": 4, "val": 2}

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are outside


def boxes(split: str, number: int) -> dict[str, Box]:
    """The objects of an image by class; the last image of a split has none of one class."""
    shift = 3 * number + (7 if split == "val" else 0)
    found = {"car": (2 + shift, 4, 22 + shift, 20), "tree": (30, 10 + shift, 60, 30 + shift)}
    if number == SPLITS[split] - 1:
        del found["tree"]
    return found


def ids(split: str, number: int) -> np.ndarray:
    """The label map, (H, W) uint8."""
    label_map = np.zeros(SIZE, np.uint8)
    for name, (left, top, right, bottom) in boxes(split, number).items():
        label_map[top:bottom, left:right] = NAMES.index(name)
    return label_map


def items() -> list[tuple[str, int]]:
    return [(split, number) for split, count in SPLITS.items() for number in range(count)]


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def photo(split: str, number: int) -> np.ndarray:
    rng = np.random.default_rng(number + 100 * (split == "val"))
    noise = rng.integers(0, 40, (*SIZE, 3))
    return (np.array(COLORS)[ids(split, number)] + noise).astype(np.uint8)


def write_photos(root: Path) -> None:
    for split, number in items():
        save(root / "images" / split / f"{number}.png", photo(split, number))


def write_classes(root: Path, **content) -> None:
    (root / "classes.json").write_text(json.dumps({"classes": NAMES, **content}))


def polygon(box: Box) -> list[int]:
    left, top, right, bottom = box
    return [left, top, right, top, right, bottom, left, bottom]


def _masks(root: Path, paint: Callable[[np.ndarray], Image.Image], **classes) -> None:
    write_photos(root)
    write_classes(root, **classes)
    for split, number in items():
        path = root / "masks" / split / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        paint(ids(split, number)).save(path)


def write_index(root: Path) -> None:
    _masks(root, Image.fromarray)


def write_palette(root: Path) -> None:
    def paint(label_map: np.ndarray) -> Image.Image:
        image = Image.fromarray(label_map)
        image.putpalette([channel for color in COLORS for channel in color])
        return image

    _masks(root, paint)


def write_16_bit(root: Path) -> None:
    _masks(root, lambda label_map: Image.fromarray(label_map.astype(np.uint16)))


def write_color(root: Path) -> None:
    _masks(
        root,
        lambda label_map: Image.fromarray(np.array(COLORS, np.uint8)[label_map]),
        palette=COLORS,
    )


def _write_binary(root: Path, name_of: Callable[[str, int], str]) -> None:
    write_photos(root)
    for split, number in items():
        for name in boxes(split, number):
            inside = ids(split, number) == NAMES.index(name)
            save(root / "masks" / split / name_of(name, number), inside.astype(np.uint8) * 255)


def write_binary_by_class(root: Path) -> None:
    _write_binary(root, lambda name, number: f"{name}/{number}.png")


def write_binary_by_image(root: Path) -> None:
    _write_binary(root, lambda name, number: f"{number}/{name}.png")


def coco(split: str, segmentation: Callable[[str, int, str], object]) -> dict:
    """A COCO annotation file; categories in another order than their ids."""
    images, annotations = [], []
    for number in range(SPLITS[split]):
        images.append(
            {"id": number + 1, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]}
        )
        for name in boxes(split, number):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": 10 * NAMES.index(name),
                    "segmentation": segmentation(split, number, name),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 20, "name": "tree"}, {"id": 10, "name": "car"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def _write_coco(root: Path, segmentation: Callable[[str, int, str], object]) -> None:
    write_photos(root)
    (root / "annotations").mkdir()
    for split in SPLITS:
        text = json.dumps(coco(split, segmentation))
        (root / "annotations" / f"instances_{split}.json").write_text(text)


def write_coco_polygons(root: Path) -> None:
    _write_coco(root, lambda split, number, name: [polygon(boxes(split, number)[name])])


def _runs(split: str, number: int, name: str) -> dict:
    flat = (ids(split, number) == NAMES.index(name)).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.array([0, *edges, flat.size])).tolist()
    return {"size": list(SIZE), "counts": [0, *counts] if flat[0] else counts}


def write_coco_runs(root: Path) -> None:
    _write_coco(root, _runs)


def write_coco_compressed_runs(root: Path) -> None:
    def compressed(split: str, number: int, name: str) -> dict:
        encoded = rle_tools.encode(np.asfortranarray(ids(split, number) == NAMES.index(name)))
        return {"size": list(SIZE), "counts": encoded["counts"].decode()}

    _write_coco(root, compressed)


def write_yolo(root: Path) -> None:
    write_photos(root)
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [car, tree]\n")
    for split, number in items():
        lines = []
        for name, box in boxes(split, number).items():
            points = np.array(polygon(box)).reshape(-1, 2) / (SIZE[1], SIZE[0])
            values = " ".join(f"{value:.6f}" for value in points.ravel())
            lines.append(f"{NAMES.index(name) - 1} {values}\n")
        path = root / "labels" / split / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines))


def write_huggingface(root: Path) -> None:
    import datasets

    def rows(split: str) -> datasets.Dataset:
        numbers = range(SPLITS[split])
        columns = {
            "image": [Image.fromarray(photo(split, number)) for number in numbers],
            "label": [Image.fromarray(ids(split, number)) for number in numbers],
        }
        features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
        return datasets.Dataset.from_dict(columns, features=features)

    datasets.DatasetDict({"train": rows("train"), "validation": rows("val")}).save_to_disk(root)
    write_classes(root)


def write_parquet(root: Path) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    def encoded(array: np.ndarray) -> dict[str, bytes]:
        file = io.BytesIO()
        Image.fromarray(array).save(file, "PNG")
        return {"bytes": file.getvalue()}

    root.mkdir(exist_ok=True)
    for split, count in SPLITS.items():
        numbers = range(count)
        rows = {
            "image": [encoded(photo(split, number)) for number in numbers],
            "mask": [encoded(ids(split, number)) for number in numbers],
        }
        pq.write_table(pa.table(rows), root / f"{split}-00000-of-00001.parquet")
    write_classes(root)


def write_webdataset(root: Path) -> None:
    import io
    import tarfile

    root.mkdir(exist_ok=True)
    for split, count in SPLITS.items():
        with tarfile.open(root / f"{split}-0000.tar", "w") as tar:
            for number in range(count):
                for kind, array in (("png", photo(split, number)), ("seg.png", ids(split, number))):
                    file = io.BytesIO()
                    Image.fromarray(array).save(file, "PNG")
                    info = tarfile.TarInfo(f"{number}.{kind}")
                    info.size = file.tell()
                    file.seek(0)
                    tar.addfile(info, file)
    write_classes(root)


IN_TABLES = {"huggingface": "datasets", "parquet": "pyarrow", "webdataset": "tarfile"}
"""Formats whose images are no files, and the library that each needs."""

FORMATS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "index": ("index", write_index),
    "palette": ("index", write_palette),
    "16-bit": ("index", write_16_bit),
    "color": ("color", write_color),
    "binary-by-class": ("binary", write_binary_by_class),
    "binary-by-image": ("binary", write_binary_by_image),
    "coco-polygons": ("coco", write_coco_polygons),
    "coco-runs": ("coco", write_coco_runs),
    "coco-compressed-runs": ("coco", write_coco_compressed_runs),
    "yolo": ("yolo", write_yolo),
    "huggingface": ("huggingface", write_huggingface),
    "parquet": ("parquet", write_parquet),
    "webdataset": ("webdataset", write_webdataset),
}
"""Format -> the name by which it is opened, and who writes it."""
