"""Cityscapes: the polygons of gtFine drawn as train ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from vitseg import parsing
from vitseg.errors import DataError
from vitseg.images.decode import MAX_PIXELS
from vitseg.prepare.jobs import OnProgress, Outcome, bring, is_whole, run_jobs, save_ids

IGNORED = 255
"""Train id of pixels that count nowhere."""

TRAIN_IDS = {
    "road": 0, "sidewalk": 1, "building": 2, "wall": 3, "fence": 4, "pole": 5, "traffic light": 6,
    "traffic sign": 7, "vegetation": 8, "terrain": 9, "sky": 10, "person": 11, "rider": 12, "car": 13,
    "truck": 14, "bus": 15, "train": 16, "motorcycle": 17, "bicycle": 18,
    **dict.fromkeys(
        ("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "parking",
         "rail track", "guard rail", "bridge", "tunnel", "polegroup", "caravan", "trailer"), IGNORED
    ),
}  # fmt: skip
"""Train id of every label of the polygon files; the list of labels is the one of the Cityscapes paper
(Cordts et al., 2016, table 1 and the data set's page)."""

NOT_DRAWN = ("license plate",)
"""Labels without an id of their own: the pixels stay what was drawn below them (the car)."""

_ENDING = "_gtFine_polygons.json"


class _Job(NamedTuple):
    polygons: Path
    mask: Path
    image: Path
    image_copy: Path


def convert(source: Path, out: Path, on_progress: OnProgress) -> Outcome:
    """Write `*_gtFine_labelTrainIds.png` for every `*_gtFine_polygons.json`, and have the images beside them.

    Args:
        source: Folder with `gtFine/SPLIT/CITY/` and, for the images, `leftImg8bit/SPLIT/CITY/`.
        out: Folder that gets the same layout; may be `source`. Images become hard links where possible.
        on_progress: Called after each file.
    """
    jobs = []
    for polygons in sorted((source / "gtFine").glob(f"*/*/*{_ENDING}")):
        place = Path(*polygons.parent.parts[-2:])  # SPLIT/CITY
        stem = polygons.name.removesuffix(_ENDING)
        image = Path("leftImg8bit", place, f"{stem}_leftImg8bit.png")
        mask = out / "gtFine" / place / f"{stem}_gtFine_labelTrainIds.png"
        jobs.append(_Job(polygons, mask, source / image, out / image))
    return run_jobs(_convert, jobs, "draw the polygons", on_progress)


def _convert(job: _Job) -> bool:
    size, objects = read_polygons(job.polygons)
    made = not is_whole(job.mask, size, tuple(TRAIN_IDS.values()))
    if made:
        save_ids(job.mask, draw(size, objects))
    if job.image.is_file():  # gtFine may be converted before the images are there
        bring(job.image, job.image_copy)
    return made


def read_polygons(
    path: Path,
) -> tuple[tuple[int, int], list[tuple[int, list[tuple[float, float]]]]]:
    """The (height, width) of a polygon file and its drawn objects: (train id, corners (x, y) in pixels), in file order.

    Read are `imgHeight`, `imgWidth` and of every entry of `objects` its `label`, `polygon` and `deleted`; deleted
    objects and `NOT_DRAWN` ones are left out. A group ("cargroup") counts as its class.

    Raises:
        DataError: The file is damaged, or an object has an unknown label or no corners.
    """
    try:
        content = parsing.read_json(path)
        size = (int(content["imgHeight"]), int(content["imgWidth"]))
        entries = list(content["objects"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no readable polygon file with imgHeight, imgWidth and objects: {error!r}."
        ) from error
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise DataError(
            f"{path} has an image of {size[1]}x{size[0]} pixels, which is no possible size."
        )
    objects = []
    for number, entry in enumerate(entries):
        train_id = _train_id(path, number, entry)
        if train_id is not None:
            objects.append((train_id, _corners(path, number, entry)))
    return size, objects


def draw(
    size: tuple[int, int], objects: list[tuple[int, list[tuple[float, float]]]]
) -> UInt8[np.ndarray, "H W"]:
    """Train ids of the pixels: polygons with their outlines, the later over the earlier; `IGNORED` elsewhere."""
    image = Image.new("L", (size[1], size[0]), IGNORED)
    pen = ImageDraw.Draw(image)
    for train_id, corners in objects:
        pen.polygon(corners, fill=train_id)
    return np.array(image)


def _train_id(path: Path, number: int, entry: Any) -> int | None:
    """The train id of an object; None if it is not drawn."""
    if not isinstance(entry, dict) or not isinstance(entry.get("label"), str):
        raise DataError(f"{path}: object {number} has no label.")
    label = entry["label"]
    if entry.get("deleted") or label in NOT_DRAWN:
        return None
    if label not in TRAIN_IDS:
        label = label.removesuffix("group")
    if label not in TRAIN_IDS:
        raise DataError(
            f"{path}: object {number} has the label {entry['label']!r}, which is none of Cityscapes'. "
            f"Known: {', '.join(TRAIN_IDS)}."
        )
    return TRAIN_IDS[label]


def _corners(path: Path, number: int, entry: dict[str, Any]) -> list[tuple[float, float]]:
    try:
        # Two corners are a line, which is drawn, as in the official masks.
        corners = [(float(x), float(y)) for x, y in entry["polygon"]]
        if len(corners) >= 2 and np.isfinite(corners).all():
            return corners
    except (KeyError, ValueError, TypeError):
        pass
    raise DataError(
        f"{path}: object {number} ({entry['label']}) has no polygon of two or more [x, y] corners."
    )
