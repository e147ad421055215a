"""A small report that the tests of the page share."""

from __future__ import annotations

import numpy as np

from vitseg.render.report_data import (
    ClassScore,
    Confusion,
    ReliabilityBin,
    ReportData,
    SampleView,
    SizeScore,
)
from vitseg.render.thumbnail import Thumbnail, make_thumbnail

NAN = float("nan")
COLORS = ((255, 0, 0), (0, 200, 0), (0, 0, 255))


def thumbnail(prediction: int = 0, confident: bool = True) -> Thumbnail:
    """Left half class 0, right half class 1, the top row ignored; everywhere predicted as one class."""
    labels = np.zeros((12, 16), dtype=np.int64)
    labels[:, 8:] = 1
    labels[0] = -1
    return make_thumbnail(
        np.full((12, 16, 3), 90, dtype=np.uint8),
        labels,
        np.full((12, 16), prediction),
        np.full((12, 16), 0.62, dtype=np.float32) if confident else None,
        num_classes=3,
        long_side=640,
        max_bytes=240_000,
    )


def sample(name: str, miou: float = 0.25, **thumbnail_arguments) -> SampleView:
    return SampleView(name, miou, 0.5, (Confusion(1, 0, 88),), thumbnail(**thumbnail_arguments))


def report(names=("road", "sky", "tree"), ids=("first", "second"), **parts) -> ReportData:
    scores = ((0.6, 0.9, 1000), (0.2, 0.3, 500), (NAN, NAN, 0))
    classes = tuple(
        ClassScore(name, color, pixels, iou, accuracy, dice=iou)
        for name, color, (iou, accuracy, pixels) in zip(names, COLORS, scores, strict=True)
    )
    values = {
        "title": "A report",
        "protocol": {"Data set": "scenes", "Flip": "no"},
        "headline": {"mIoU": 0.4, "ECE": NAN},
        "classes": classes,
        "confusion": np.array([[900, 100, 0], [350, 150, 0], [0, 0, 0]]),
        "cell_images": {
            (1, 0): ((ids[0], 300), ("without picture", 50)),
            (0, 1): ((ids[1], 100),),
            (0, 0): ((ids[0], 500), (ids[1], 400)),
        },
        "samples": {name: sample(name) for name in ids},
        "worst": ids,
        "trimap": ((1, 0.2), (2, 0.25), (4, NAN)),
        "miou": 0.4,
        "sizes": (
            SizeScore("small", "below 1,024 px", 0.1, 1234),
            SizeScore("large", "from 9,216 px", NAN, 0),
        ),
        "reliability": (
            ReliabilityBin(0.0, 0.5, NAN, NAN, 0.0),
            ReliabilityBin(0.5, 1.0, 0.8, 0.7, 1.0),
        ),
        "ece": 0.1,
    }
    return ReportData(**values | parts)
