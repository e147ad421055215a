"""PASCAL-Context: the run lengths of one large json as masks of 59 classes and background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from pycocotools import mask as rle_tools

from vitseg import parsing
from vitseg.data.formats.shapes import decode_counts
from vitseg.errors import DataError
from vitseg.images.decode import MAX_PIXELS
from vitseg.prepare.jobs import OnProgress, Outcome, bring, is_whole, run_jobs, save_ids

JSON_NAME = "trainval_merged.json"
"""The annotation file of the PASCAL in Detail challenge, which has PASCAL-Context's labels."""

RAW_IDS = (
    0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159,
    162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397,
    415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip
"""Ids of background and the 59 classes among the 459 of PASCAL-Context; the position is the id in the mask."""

LAST_RAW_ID = 459
_FARTHEST = 10  # times the longer side of the image

_INDEX_OF = {raw: index for index, raw in enumerate(RAW_IDS)}
_MASKS, _IMAGES, _LISTS = "SegmentationClassContext", "JPEGImages", "ImageSets/SegmentationContext"


class _Job(NamedTuple):
    size: tuple[int, int]
    shapes: tuple[tuple[int, Any], ...]  # raw id, COCO segmentation
    where: str
    mask: Path
    image: Path
    image_copy: Path


def convert(json_file: Path, source: Path, out: Path, on_progress: OnProgress) -> Outcome:
    """Write `SegmentationClassContext/NAME.png` of every image, with image and split lists.

    Of the json are read: of every entry of `images` its `image_id`, `file_name`, `height`, `width` and `phase` (train
    or val; others are passed over); of every entry of `annos_segmentation` its `image_id`, `category_id` and
    `segmentation` (COCO run lengths or polygons). Later annotations are drawn over earlier ones; pixels without
    annotation and classes outside the 59 are background. Images whose JPEG is not there are passed over. The lists
    have the sorted names of what is whole.

    Args:
        json_file: `trainval_merged.json`.
        source: The folder VOC2010, with `JPEGImages/`.
        out: Folder VOC2010 of the result; may be `source`. Images become hard links where possible.
        on_progress: Called after each file.

    Raises:
        DataError: The json is damaged or has another structure.
    """
    images, shapes = _read(json_file)
    jobs: list[_Job] = []
    names: dict[str, list[str]] = {"train": [], "val": []}
    for image_id, (name, size, phase) in images.items():
        image = source / _IMAGES / f"{name}.jpg"
        if phase in names and image.is_file():
            names[phase].append(name)
            mask = out / _MASKS / f"{name}.png"
            where = f"{json_file}: image {image_id}"
            jobs.append(
                _Job(
                    size,
                    tuple(shapes.get(image_id, ())),
                    where,
                    mask,
                    image,
                    out / _IMAGES / image.name,
                )
            )
    del shapes
    outcome = run_jobs(_convert, jobs, "draw the masks", on_progress)
    for phase, listed in names.items():
        whole = sorted(name for name in listed if (out / _MASKS / f"{name}.png").is_file())
        if whole:
            path = out / _LISTS / f"{phase}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{name}\n" for name in whole), encoding="utf-8")
    return outcome


def draw(
    size: tuple[int, int], shapes: Sequence[tuple[int, Any]], where: str
) -> UInt8[np.ndarray, "H W"]:
    """Mask ids 0 to 59 of the pixels.

    Args:
        size: (height, width) in pixels.
        shapes: (raw id, segmentation as COCO spells it) in drawing order.
        where: Name of the image, for the error.

    Raises:
        DataError: A segmentation is damaged or of another size.
    """
    ids = np.zeros(size, np.uint8)
    for number, (raw, segmentation) in enumerate(shapes):
        try:
            ids[_decoded(segmentation, size)] = _INDEX_OF.get(raw, 0)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise DataError(
                f"{where}: the segmentation of its annotation {number} (category {raw}) is damaged: {error}."
            ) from error
    return ids


def _convert(job: _Job) -> bool:
    made = not is_whole(job.mask, job.size, range(len(RAW_IDS)))
    if made:
        save_ids(job.mask, draw(job.size, job.shapes, job.where))
    bring(job.image, job.image_copy)
    return made


def _decoded(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Where a segmentation is, (H, W) bool: run lengths (as text or numbers) column by column, or polygons."""
    pixels = size[0] * size[1]
    if isinstance(segmentation, list):
        runs = _drawn([np.array(polygon, np.float64).ravel() for polygon in segmentation], size)
    elif list(segmentation["size"]) != list(size):
        raise ValueError(f"its size is {segmentation['size']}, but the image's {list(size)}")
    else:
        counts = segmentation["counts"]
        runs = decode_counts(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or (runs > pixels).any() or runs.sum() != pixels:
        raise ValueError("its run lengths do not add up to the pixels of the image")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(size[1], size[0]).T  # (H, W)


def _drawn(polygons: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The run lengths of polygons [x, y, x, y, ...], which together are one shape."""
    if not polygons or any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        raise ValueError("a polygon needs [x, y, ...] of three or more points")
    # the memory for drawing grows with the coordinates
    if not all((np.abs(polygon) <= _FARTHEST * max(size)).all() for polygon in polygons):
        raise ValueError("a polygon lies far outside the image")
    shapes: Any = polygons
    return decode_counts(rle_tools.merge(rle_tools.frPyObjects(shapes, *size))["counts"])


class _Image(NamedTuple):
    name: str
    size: tuple[int, int]
    phase: str


def _read(path: Path) -> tuple[dict[Any, _Image], dict[Any, list[tuple[int, Any]]]]:
    """Images by id, and by image id the (raw id, segmentation) pairs."""
    try:
        content = parsing.read_json(path, parsing.MOST_ANNOTATION_BYTES, finite=False)
    except parsing.UnreadableError as error:
        raise DataError(f"{path} is not a readable JSON file: {error}.") from error
    images: dict[Any, _Image] = {}
    shapes: dict[Any, list[tuple[int, Any]]] = {}
    with _fault_at(path, "images"):
        entries = list(content["images"])
    for number, entry in enumerate(entries):
        with _fault_at(path, f"images[{number}]"):
            image = _image(entry)
            if entry["image_id"] in images:
                raise ValueError(f"image_id {entry['image_id']} comes twice")
            images[entry["image_id"]] = image
    with _fault_at(path, "annos_segmentation"):
        entries = list(content["annos_segmentation"])
    for number, entry in enumerate(entries):
        with _fault_at(path, f"annos_segmentation[{number}]"):
            raw, image_id = entry["category_id"], entry["image_id"]
            if image_id not in images:
                raise ValueError(f"image_id {image_id} is none of the images")
            if not isinstance(raw, int) or not 0 <= raw <= LAST_RAW_ID:
                raise ValueError(f"category_id {raw!r} is outside 0-{LAST_RAW_ID}")
            shapes.setdefault(image_id, []).append((raw, entry["segmentation"]))
    return images, shapes


def _image(entry: Any) -> _Image:
    size = (int(entry["height"]), int(entry["width"]))
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{size[1]}x{size[0]} pixels are no possible size")
    return _Image(Path(entry["file_name"]).stem, size, entry["phase"])


@contextmanager
def _fault_at(path: Path, place: str) -> Iterator[None]:
    """What a wrong structure raises, as a `DataError` that says where it is."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is no annotation file of PASCAL in Detail: in {place}, {reason}. Expected are images "
            "(image_id, file_name, height, width, phase) and annos_segmentation (image_id, category_id, segmentation)."
        ) from error
