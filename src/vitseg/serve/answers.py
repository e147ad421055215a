"""What a model gave, as the answer to a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from vitseg.classes import ClassTable
from vitseg.inference.segmentation import Segmentation
from vitseg.serve.masks import Mask, MaskFormat, mask_facts, mask_png, png_text
from vitseg.serve.problems import UnusableError
from vitseg.serve.service import Computed
from vitseg.serve.settings import ServeSettings

DEFAULTS = ServeSettings()


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
        headers: That come with it.
    """

    content: bytes
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


def find_classes(text: str, classes: ClassTable) -> tuple[int, ...]:
    """Indices of classes by their names or indices, comma-separated.

    Raises:
        UnusableError: There is no such class.
    """
    names = {name: index for index, name in enumerate(classes.names)}
    found = set()
    for part in (part.strip() for part in text.split(",")):
        if part in names:
            found.add(names[part])
        elif part.isascii() and part.isdigit() and len(part) < 10 and int(part) < len(names):
            found.add(int(part))
        else:
            raise UnusableError(
                f"there is no class {part[:100]!r}. Allowed are indices from 0 to {classes.num_classes - 1} and the "
                "names of GET /v1/models/{name}/classes."
            )
    return tuple(sorted(found))


def encode_answer(
    computed: Computed, wanted: Wanted, settings: ServeSettings = DEFAULTS
) -> Encoded:
    """The answer to a request for labels.

    Args:
        computed: What the model gave.
        wanted: What of it is sent.
        settings: Limits.

    Raises:
        UnusableError: The labels cannot be sent in this format.
    """
    mask = computed.mask(wanted.classes)
    if wanted.is_plain:
        return Encoded(mask_png(mask), "image/png")
    facts = _facts(computed, mask, wanted, settings)
    return Encoded(json.dumps(facts).encode(), "application/json")


def _facts(
    computed: Computed, mask: Mask, wanted: Wanted, settings: ServeSettings
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "model": computed.served.name,
        "width": mask.labels.shape[1],
        "height": mask.labels.shape[0],
        "mask": mask_facts(mask, wanted.format, settings),
        "classes": _classes(computed, wanted),
        "seconds": {
            "waiting": round(computed.waited, 4),
            "forward": round(computed.result.forward, 4),
        },
        "notices": list(computed.notices),
    }
    if wanted.confidence:
        assert computed.result.confidence is not None
        facts["confidence"] = png_text(Image.fromarray(computed.result.confidence))
    if wanted.overlay:
        facts["overlay"] = png_text(_overlay(computed, wanted))
    return facts


def _overlay(computed: Computed, wanted: Wanted) -> Image.Image:
    """The image with the wanted classes painted over it; smaller where it is very large."""
    labels, picture = computed.result.labels, computed.picture
    assert labels is not None
    shown = Segmentation(labels, computed.served.classes, picture, valid=computed.valid)
    sheet, _ = shown.preview(legend=False)
    if wanted.classes is None:
        return sheet
    mask = computed.mask(wanted.classes)
    wants = (mask.labels != mask.left_out).astype(np.uint8) * 255
    painted = Image.fromarray(wants).resize(sheet.size, Image.Resampling.NEAREST)
    image = Image.fromarray(picture).resize(sheet.size, Image.Resampling.BOX)
    return Image.composite(sheet, image, painted)


def _classes(computed: Computed, wanted: Wanted) -> list[dict[str, Any]]:
    """The classes that occur, as far as they are wanted."""
    classes, sure = computed.served.classes, computed.result.confidence
    counts = computed.class_counts()
    total = counts.sum()
    sums = None
    if wanted.confidence and sure is not None:
        sums = computed.class_counts(sure)
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
            one["area"] = float(counts[index] / total)
        if sums is not None:
            one["confidence"] = float(sums[index] / counts[index] / 255)
        found.append(one)
    return found
