"""What the report of an evaluation shows, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vitseg.classes import Color
from vitseg.render.thumbnail import Thumbnail


@dataclass(frozen=True)
class ClassScore:
    """One class; scores in [0, 1], NaN where undefined, None where not measured.

    Attributes:
        name: Name of the class.
        color: Display colour of the class.
        pixels: How many pixels are labelled so.
        iou: IoU.
        accuracy: Recall.
        dice: Dice, or F1.
        boundary_iou: Boundary IoU.
    """

    name: str
    color: Color
    pixels: int
    iou: float
    accuracy: float
    dice: float | None = None
    boundary_iou: float | None = None


@dataclass(frozen=True)
class ReliabilityBin:
    """The pixels whose confidence lies between two limits.

    Attributes:
        low: Lower limit of the confidence.
        high: Upper limit.
        confidence: Mean confidence; NaN for an empty bin.
        accuracy: Share of the pixels that are right; NaN for an empty bin.
        share: Share of all pixels that lie in the bin.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    share: float


@dataclass(frozen=True)
class SizeScore:
    """The objects of one size: their areas in words, mIoU in [0, 1] (NaN without objects), and how many there are."""

    name: str
    area: str
    miou: float
    objects: int


@dataclass(frozen=True)
class Confusion:
    """Pixels of class `label` that were predicted as class `predicted`; equal indices are hits."""

    label: int
    predicted: int
    pixels: int


@dataclass(frozen=True)
class SampleView:
    """One image with its pictures.

    Attributes:
        id: Name within the data set.
        miou: Mean IoU over the classes labelled in this image, in [0, 1]; NaN if none is.
        accuracy: Share of its labelled pixels that are right; NaN if there is none.
        confusions: Largest confusions of the image, largest first; no hits.
        thumbnail: The pictures.
    """

    id: str
    miou: float
    accuracy: float
    confusions: tuple[Confusion, ...]
    thumbnail: Thumbnail


@dataclass(frozen=True)
class ReportData:
    """Everything on the page; parts that are empty or None are left out.

    Attributes:
        title: Heading of the page.
        protocol: How the numbers came about: short values under short names, in this order.
        headline: Scores of the whole set by name, in [0, 1], NaN where undefined, the most important first.
        classes: Scores by class, in index order.
        confusion: Pixels by label (row) and prediction (column), (k, k).
        cell_images: By cell (label, prediction) of the matrix, the images with most of its pixels: (id, pixels).
        samples: Images that have pictures, by id.
        worst: Ids of the samples of the gallery, worst first.
        trimap: (band width in pixels, mIoU of the band), narrow to wide.
        miou: mIoU of all pixels, which the trimap curve runs up to.
        sizes: IoU by object size.
        reliability: Bins of the confidence, low to high.
        ece: Expected calibration error, in [0, 1].
    """

    title: str
    protocol: Mapping[str, str]
    headline: Mapping[str, float]
    classes: tuple[ClassScore, ...]
    confusion: np.ndarray
    cell_images: Mapping[tuple[int, int], tuple[tuple[str, int], ...]] = field(default_factory=dict)
    samples: Mapping[str, SampleView] = field(default_factory=dict)
    worst: tuple[str, ...] = ()
    trimap: tuple[tuple[int, float], ...] = ()
    miou: float = float("nan")
    sizes: tuple[SizeScore, ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    ece: float = float("nan")
