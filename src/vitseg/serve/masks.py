"""Labels in the formats that answers have: PNG, run lengths, a COCO data set, outlines."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Integer
from PIL import Image
from pycocotools import mask as rle_tools

from vitseg.annotations.coco import categories, run_fields
from vitseg.classes import ClassTable
from vitseg.images.polygons import count_corners, pixel_features
from vitseg.render.palette import encode, label_dtype, label_image, without_data
from vitseg.serve.problems import UnusableError
from vitseg.serve.settings import ServeSettings

MaskFormat = Literal["png", "rle", "coco", "geojson"]

CORNERS = 10
"""Corners of outlines for each polygon that an answer may have."""


class Mask(NamedTuple):
    """Labels that are sent.

    Attributes:
        labels: Class index of every pixel; `left_out` for those of classes that were not asked for, or without data.
        classes: Names and colours.
        left_out: That value; None: there are no such pixels.
    """

    labels: Integer[np.ndarray, "H W"]
    classes: ClassTable
    left_out: int | None = None


def left_out(classes: ClassTable) -> int:
    """The value of pixels without data or of classes that were not asked for: 255, or 65535 above 255 classes."""
    return without_data(classes.num_classes)


def chosen(
    labels: Integer[np.ndarray, "H W"],
    classes: ClassTable,
    wanted: tuple[int, ...] | None,
    valid: Bool[np.ndarray, "H W"] | None = None,
) -> Mask:
    """Labels of some classes.

    Args:
        labels: Of all.
        classes: Names and colours.
        wanted: Indices of those that are asked for; None: all.
        valid: Which pixels hold data; None: all.
    """
    if wanted is None and valid is None:
        return Mask(labels, classes)
    other = left_out(classes)
    table = np.full(classes.num_classes, other, label_dtype(classes.num_classes))
    kept = np.arange(classes.num_classes) if wanted is None else np.array(wanted, int)
    table[kept] = kept
    found = table[labels]
    if valid is not None:
        found[~valid] = other
    return Mask(found, classes, other)


def require_format(kind: MaskFormat) -> None:
    """Raise UnusableError where this server cannot write a format."""
    if kind == "geojson" and find_spec("rasterio") is None:
        raise UnusableError(
            "format=geojson needs rasterio, which this server has not: install vitseg[geo] there, or ask for "
            "png, rle or coco."
        )


def mask_facts(mask: Mask, kind: MaskFormat, settings: ServeSettings) -> dict[str, Any]:
    """Labels as JSON holds them.

    Args:
        mask: What is sent.
        kind: The format.
        settings: Limits.

    Raises:
        UnusableError: The labels are too ragged for the format.
    """
    require_format(kind)
    if kind == "png":
        return {"format": kind, "png": text_of(mask_png(mask))}
    if kind == "geojson":
        return {"format": kind, "geojson": _outlines(mask, settings.max_polygons)}
    regions = _regions(mask, settings.max_runs)
    if kind == "coco":
        return {"format": kind, **_coco(mask, regions)}
    names = mask.classes.names
    return {
        "format": kind,
        "rle": [{"class_index": index, "class": names[index], **rle} for index, rle in regions],
    }


def mask_png(mask: Mask) -> bytes:
    """Labels as an indexed PNG with palette, or as 16-bit grey where a byte cannot hold them."""
    kept = None if mask.left_out is None else mask.labels != mask.left_out
    return encode(label_image(mask.labels, mask.classes, kept), "PNG", compress_level=1)


def _regions(mask: Mask, max_runs: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every class that occurs, with its run lengths as COCO compresses them.

    All classes are found in one pass, column by column as COCO has it: a pass for each takes a minute for 150 of them
    in an image of 50 million pixels.
    """
    height, width = mask.labels.shape
    flat = mask.labels.T.reshape(-1)
    changes = flat[1:] != flat[:-1]
    if (number := int(np.count_nonzero(changes)) + 1) > max_runs:
        raise UnusableError(
            f"the labels change too often for run lengths: {number:,} runs, but at most {max_runs:,} are sent. Ask for "
            "format=png, or for fewer classes."
        )
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    ends = np.append(starts[1:], flat.size)
    values = flat[starts]
    order = np.argsort(values, kind="stable")
    found, first = np.unique(values[order], return_index=True)
    for index, runs in zip(found.tolist(), np.split(order, first[1:]), strict=True):
        if index != mask.left_out:
            counts = _alternating(starts[runs], ends[runs], flat.size)
            rle: Any = {"size": [height, width], "counts": counts.tolist()}
            rle = rle_tools.frPyObjects(rle, height, width)
            yield index, {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def _alternating(
    starts: Integer[np.ndarray, " n"], ends: Integer[np.ndarray, " n"], size: int
) -> Integer[np.ndarray, " runs"]:
    """Lengths of what lies before, within, between and behind runs, in this order."""
    borders = np.column_stack([starts, ends]).reshape(-1)
    lengths = np.diff(borders, prepend=0)
    return lengths if borders[-1] == size else np.append(lengths, size - borders[-1])


def _coco(mask: Mask, regions: Iterator[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """A data set of one image, in which all pixels of a class are one annotation."""
    height, width = mask.labels.shape
    annotations = []
    for number, (index, rle) in enumerate(regions, start=1):
        where = run_fields({**rle, "counts": rle["counts"].encode("ascii")})
        annotations.append(
            {"id": number, "image_id": 1, "category_id": index + 1, **where, "iscrowd": 0}
        )
    return {
        "images": [{"id": 1, "file_name": "image", "width": width, "height": height}],
        "annotations": annotations,
        "categories": categories(mask.classes),
    }


def _outlines(mask: Mask, max_polygons: int) -> dict[str, Any]:
    """A FeatureCollection in (column, row) of pixels."""
    # looked at before: outlines take a hundred bytes and more for every pixel of noise
    corners = count_corners(mask.labels)
    features = []
    if corners <= CORNERS * max_polygons:
        found = pixel_features(mask.labels, mask.classes, mask.left_out)
        features = list(islice(found, max_polygons + 1))
    if corners > CORNERS * max_polygons or len(features) > max_polygons:
        raise UnusableError(
            f"the labels have too many outlines: at most {max_polygons:,} polygons and {CORNERS * max_polygons:,} "
            f"corners are sent, and there are {corners:,} corners. Ask for format=png or rle, or for fewer classes."
        )
    return {"type": "FeatureCollection", "features": features}


def png_text(picture: Image.Image) -> str:
    """A picture as JSON can hold it: a PNG in base64."""
    return text_of(encode(picture, "PNG", compress_level=1))


def text_of(content: bytes) -> str:
    """Bytes as JSON can hold them."""
    return base64.b64encode(content).decode()
