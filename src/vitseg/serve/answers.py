"""What a model gave, as the answer to a request."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Integer
from PIL import Image

from vitseg.classes import ClassTable
from vitseg.inference.segmentation import Segmentation
from vitseg.render.palette import MAX_INDEXED_CLASSES, encode, label_image
from vitseg.serve.problems import UnusableError
from vitseg.serve.service import Computed

MaskFormat = Literal["png", "rle", "coco", "geojson"]


@dataclass(frozen=True)
class Wanted:
    """What an answer holds.

    Attributes:
        format: Of the mask.
        classes: Indices of the classes that are asked for; None: all.
        overlay: Whether the image with the classes painted over it is.
        areas: Whether the share of every class is.
        confidence: Whether the probability of the labels is.
    """

    format: MaskFormat = "png"
    classes: tuple[int, ...] | None = None
    overlay: bool = False
    areas: bool = False
    confidence: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the mask alone is asked for, as an image."""
        return self.format == "png" and not (self.overlay or self.areas or self.confidence)


@dataclass(frozen=True)
class Encoded:
    """The body of an answer.

    Attributes:
        content: Its bytes.
        media_type: What they are.
    """

    content: bytes
    media_type: str


def find_classes(text: str, classes: ClassTable) -> tuple[int, ...]:
    """Indices of classes by their names or indices, comma-separated.

    Raises:
        UnusableError: There is no such class.
    """
    found = []
    for part in (part.strip() for part in text.split(",")):
        if part in classes.names:
            found.append(classes.names.index(part))
        elif part.isascii() and part.isdigit() and int(part[:9]) < classes.num_classes:
            found.append(int(part[:9]))
        else:
            raise UnusableError(
                f"there is no class {part[:100]!r}. Allowed are indices from 0 to {classes.num_classes - 1} and the "
                "names of GET /v1/models/{name}/classes."
            )
    return tuple(sorted(set(found)))


def encode_answer(computed: Computed, wanted: Wanted) -> Encoded:
    """The answer to a request for labels.

    Args:
        computed: What the model gave.
        wanted: What of it is sent.
    """
    labels = computed.result.labels
    assert labels is not None
    if wanted.is_plain:
        return Encoded(
            mask_png(chosen(labels, wanted, computed), computed.served.classes), "image/png"
        )
    return Encoded(json.dumps(_facts(computed, labels, wanted)).encode(), "application/json")


def chosen(
    labels: Integer[np.ndarray, "H W"], wanted: Wanted, computed: Computed
) -> Integer[np.ndarray, "H W"]:
    """The labels, those of other classes than the wanted ones replaced by `left_out`."""
    if wanted.classes is None:
        return labels
    table = np.full(computed.served.classes.num_classes, left_out(computed.served.classes))
    table[list(wanted.classes)] = wanted.classes
    return table.astype(np.uint8 if table.max() < 256 else np.uint16)[labels]


def left_out(classes: ClassTable) -> int:
    """The value of pixels of classes that were not asked for: 255, or 65535 where labels have 16 bits."""
    return 255 if classes.num_classes <= MAX_INDEXED_CLASSES else 65535


def mask_png(labels: Integer[np.ndarray, "H W"], classes: ClassTable) -> bytes:
    """A label map as an indexed PNG with palette, or as 16-bit grey where there are more than 256 classes."""
    if int(labels.max()) < classes.num_classes:
        return encode(label_image(labels, classes), "PNG", compress_level=1)
    image = Image.fromarray(labels)
    if classes.num_classes <= MAX_INDEXED_CLASSES:
        colors = np.zeros((256, 3), np.uint8)
        colors[: classes.num_classes] = classes.palette
        image.putpalette(colors.tobytes())
    return encode(image, "PNG", compress_level=1)


def _facts(
    computed: Computed, labels: Integer[np.ndarray, "H W"], wanted: Wanted
) -> dict[str, Any]:
    classes = computed.served.classes
    facts: dict[str, Any] = {
        "model": computed.served.name,
        "width": labels.shape[1],
        "height": labels.shape[0],
        "mask": _mask(computed, chosen(labels, wanted, computed), wanted),
        "classes": _classes(computed, labels, wanted),
        "seconds": {
            "waiting": round(computed.waited, 4),
            "forward": round(computed.result.forward, 4),
        },
        "notices": list(computed.notices),
    }
    if wanted.confidence:
        assert computed.result.confidence is not None
        facts["confidence"] = text_of(encode(Image.fromarray(computed.result.confidence), "PNG"))
    if wanted.overlay:
        sheet = Segmentation(labels, classes, computed.picture).overlay(legend=False)
        facts["overlay"] = text_of(encode(sheet, "PNG", compress_level=1))
    return facts


def _mask(computed: Computed, labels: Integer[np.ndarray, "H W"], wanted: Wanted) -> dict[str, Any]:
    return {"format": "png", "png": text_of(mask_png(labels, computed.served.classes))}


def _classes(
    computed: Computed, labels: Integer[np.ndarray, "H W"], wanted: Wanted
) -> list[dict[str, Any]]:
    """The classes that occur, as far as they are wanted."""
    classes = computed.served.classes
    counts = np.bincount(labels.reshape(-1), minlength=classes.num_classes)
    sure = computed.result.confidence
    sums = None
    if wanted.confidence and sure is not None:
        sums = np.bincount(labels.reshape(-1), sure.reshape(-1), classes.num_classes)
    found = []
    for index in np.flatnonzero(counts).tolist():
        if wanted.classes is not None and index not in wanted.classes:
            continue
        one: dict[str, Any] = {
            "index": index,
            "name": classes.names[index],
            "color": list(classes.palette[index]),
        }
        if wanted.areas:
            one["area"] = float(counts[index] / labels.size)
        if sums is not None:
            one["confidence"] = float(sums[index] / counts[index] / 255)
        found.append(one)
    return found


def text_of(content: bytes) -> str:
    """Bytes as JSON can hold them."""
    return base64.b64encode(content).decode()
