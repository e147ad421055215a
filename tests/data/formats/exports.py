"""Data sets in the layouts that labelling tools export: the pictures of `content`, written as the tools' pages say."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.formats.content import (
    NAMES,
    SIZE,
    SPLITS,
    boxes,
    ids,
    items,
    photo,
    polygon,
    save,
)

VOC_COLORS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
BORDER = (224, 224, 192)


def name_of(split: str, number: int) -> str:
    return f"{split}{number}"


def contoured(split: str, number: int) -> np.ndarray:
    """The label map with VOC's border of 255 around every object: the pixels just inside it."""
    found = ids(split, number)
    for left, top, right, bottom in boxes(split, number).values():
        for rows, columns in (
            ((top, top + 1), (left, right)),
            ((bottom - 1, bottom), (left, right)),
            ((top, bottom), (left, left + 1)),
            ((top, bottom), (right - 1, right)),
        ):
            found[slice(*rows), slice(*columns)] = 255
    return found


def _voc_images(root: Path, lists: str) -> None:
    for split, number in items():
        save(root / "JPEGImages" / f"{name_of(split, number)}.png", photo(split, number))
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    for split in SPLITS:
        lines = [name_of(split, number) for at, number in items() if at == split]
        (folder / lists.format(split)).write_text("\n".join(lines) + "\n")


def write_cvat_mask(root: Path, background: bool = True) -> None:
    """CVAT, "Segmentation mask 1.1"."""
    _voc_images(root, "{}.txt")
    for split, number in items():
        mask = VOC_COLORS[ids(split, number)]
        save(root / "SegmentationClass" / f"{name_of(split, number)}.png", mask)
        save(root / "SegmentationObject" / f"{name_of(split, number)}.png", mask)
    lines = ["# label:color_rgb:parts:actions", *(["background:0,0,0::"] if background else [])]
    lines += ["car:128,0,0::", "tree:0,128,0::"]
    (root / "labelmap.txt").write_text("\n".join(lines) + "\n")


def write_cvat_camvid(root: Path) -> None:
    """CVAT, "CamVid 1.0"."""
    for split, number in items():
        name = f"{name_of(split, number)}.png"
        save(root / split / name, photo(split, number))
        save(root / f"{split}annot" / name, VOC_COLORS[ids(split, number)])
    for split in SPLITS:
        names = [f"{name_of(at, number)}.png" for at, number in items() if at == split]
        text = "".join(f"/{split}/{name} /{split}annot/{name}\n" for name in names)
        (root / f"{split}.txt").write_text(text)
    (root / "label_colors.txt").write_text("0 0 0 background\n128 0 0 car\n0 128 0 tree\n")


def write_roboflow(root: Path) -> None:
    """Roboflow, "Semantic Segmentation Masks"."""
    for split, number in items():
        folder = root / {"val": "valid"}.get(split, split)
        stem = f"{name_of(split, number)}_jpg.rf.0123456789abcdef"
        save(folder / f"{stem}.jpg", photo(split, number))
        save(folder / f"{stem}_mask.png", ids(split, number))
        table = "Pixel Value, Class\n" + "".join(f"{at}, {name}\n" for at, name in enumerate(NAMES))
        (folder / "_classes.csv").write_text(table)
    (root / "README.roboflow.txt").write_text("Streets - v1\n\nThe dataset includes 6 images.\n")
    (root / "README.dataset.txt").write_text("# Streets\nhttps://example.org\n")


def write_voc(root: Path) -> None:
    """Pascal VOC with a palette and contours of 255, named by labels.txt."""
    _voc_images(root, "{}.txt")
    for split, number in items():
        mask = Image.fromarray(contoured(split, number))
        palette = np.zeros((256, 3), np.uint8)
        palette[:3], palette[255] = VOC_COLORS, BORDER
        mask.putpalette(palette.ravel().tolist())
        path = root / "SegmentationClass" / f"{name_of(split, number)}.png"
        path.parent.mkdir(exist_ok=True)
        mask.save(path)
    (root / "labels.txt").write_text("__ignore__\nbackground\ncar\ntree\n")


def labelme_shape(name: str, kind: str, points: object, **more: object) -> dict:
    shape = {"label": name, "points": points, "group_id": None, "shape_type": kind, "flags": {}}
    return {**shape, **more}


def _png_base64(array: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def write_labelme(root: Path) -> None:
    """labelme: json files beside the images; a rectangle for cars, polygons and masks for trees."""
    for split, number in items():
        folder = root / split
        save(folder / f"{number}.png", photo(split, number))
        shapes = []
        for name, (left, top, right, bottom) in boxes(split, number).items():
            if name == "car":
                corners = [[left, top], [right, bottom]]
                shapes.append(labelme_shape(name, "rectangle", corners))
            elif number % 2:
                points = np.array(polygon((left, top, right, bottom))).reshape(-1, 2).tolist()
                shapes.append(labelme_shape(name, "polygon", points))
            else:
                inside = _png_base64(np.full((bottom - top, right - left), 255, np.uint8))
                corners = [[left, top], [right - 1, bottom - 1]]
                shapes.append(labelme_shape(name, "mask", corners, mask=inside))
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{number}.png",
            "imageData": _png_base64(photo(split, number)),
            "imageHeight": SIZE[0],
            "imageWidth": SIZE[1],
        }
        (folder / f"{number}.json").write_text(json.dumps(content, indent=2))


def encode_brush(inside: np.ndarray) -> list[int]:
    """Label Studio's run lengths of an RGBA picture, in 8-bit words and lengths of 3, 4, 8 and 16 bits."""
    values = np.repeat(inside.astype(np.uint8).ravel() * 255, 4)
    edges = np.flatnonzero(np.diff(values.astype(int))) + 1
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bounds = [0, *edges.tolist(), len(values)]
    for start, end in pairwise(bounds):
        while start < end:
            length = min(end - start, 1 << 16)
            if length == 3:  # as single values, which the format also has
                bits += "0" + "00" + f"{length - 1:03b}" + f"{values[start]:08b}" * length
            else:
                bits += "1" + "11" + f"{length - 1:016b}" + f"{values[start]:08b}"
            start += length
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def _region(split: str, number: int, name: str) -> tuple[dict, dict]:
    """The frame and the value of a region: brush strokes for cars, polygons in per cent for trees."""
    frame = {"original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0}
    if name == "car":
        rle = encode_brush(ids(split, number) == NAMES.index(name))
        return frame, {"format": "rle", "rle": rle, "brushlabels": [name]}
    points = np.array(polygon(boxes(split, number)[name])).reshape(-1, 2) / SIZE[::-1] * 100
    return frame, {"points": points.tolist(), "closed": True, "polygonlabels": [name]}


def upload_name(split: str, number: int) -> str:
    return f"0a1b2c3d-{name_of(split, number)}.png"


def write_label_studio_json(root: Path) -> None:
    """Label Studio, "JSON": one file a split, images under the names that they had on the disk before."""
    for split, count in SPLITS.items():
        tasks = []
        for number in range(count):
            save(root / "images" / f"{name_of(split, number)}.png", photo(split, number))
            result = []
            for name in boxes(split, number):
                frame, value = _region(split, number, name)
                kind = "brushlabels" if name == "car" else "polygonlabels"
                result.append(
                    {"id": name, "type": kind, "from_name": "tag", "to_name": "image"}
                    | frame
                    | {"value": value}
                )
            done = {"id": number, "was_cancelled": False, "ground_truth": False, "result": result}
            image = f"/data/upload/1/{upload_name(split, number)}"
            tasks.append({"id": number + 1, "annotations": [done], "data": {"image": image}})
        (root / f"{split}.json").write_text(json.dumps(tasks))


def write_label_studio_min(root: Path) -> None:
    """Label Studio, "JSON-MIN"."""
    for split, count in SPLITS.items():
        tasks = []
        for number in range(count):
            save(root / "images" / split / upload_name(split, number), photo(split, number))
            task: dict = {"id": number, "annotator": 1, "annotation_id": number}
            task["image"] = f"/data/local-files/?d=images/{split}/{upload_name(split, number)}"
            for name in boxes(split, number):
                frame, value = _region(split, number, name)
                task.setdefault("tag" if name == "car" else "shape", []).append({**value, **frame})
            tasks.append(task)
        (root / f"{split}.json").write_text(json.dumps(tasks))


def write_label_studio_png(root: Path, named_by_task: bool = False) -> None:
    """Label Studio, "Brush labels to PNG", with the JSON export beside it, or images named after tasks."""
    tasks = []
    for at, (split, number) in enumerate(items(), start=1):
        name = f"task-{at}.png" if named_by_task else f"{name_of(split, number)}.png"
        save(root / "images" / split / name, photo(split, number))
        tasks.append({"id": at, "annotations": [], "data": {"image": f"/data/upload/1/{name}"}})
        for label in boxes(split, number):
            inside = (ids(split, number) == NAMES.index(label)).astype(np.uint8) * 255
            file = f"task-{at}-annotation-{at + 40}-by-1-tag-{label}-0.png"
            save(root / "masks" / file, inside)
    if not named_by_task:
        (root / "project-1.json").write_text(json.dumps(tasks))


EXPORTS: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "cvat-mask": ("color", "CVAT export 'Segmentation mask 1.1'", write_cvat_mask),
    "cvat-camvid": ("color", "CVAT export 'CamVid 1.0'", write_cvat_camvid),
    "roboflow": ("index", "Roboflow export 'Semantic Segmentation Masks'", write_roboflow),
    "voc": ("index", "Pascal VOC layout", write_voc),
    "labelme": ("labelme", "labelme files", write_labelme),
    "label-studio-json": ("label_studio", "Label Studio export", write_label_studio_json),
    "label-studio-min": ("label_studio", "Label Studio export", write_label_studio_min),
    "label-studio-png": ("label_studio", "Label Studio brush labels", write_label_studio_png),
}
"""Export -> the format as which it is opened, what `data show` calls it, and who writes it."""
