"""Scoring a predictor on a data set."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from vitseg.checkpoint.versions import package_versions
from vitseg.classes import ClassTable
from vitseg.data.dataset import SegmentationDataset
from vitseg.errors import DataError
from vitseg.evaluation.provenance import content_hash, current_commit
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import label_map
from vitseg.metrics.confusion import ConfusionMatrix, SegmentationScores


@dataclass(frozen=True)
class Evaluation:
    """Scores with the protocol that they were made by."""

    scores: SegmentationScores
    classes: ClassTable
    protocol: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values: `miou`, `macc`, `aacc` and `per_class` in [0, 1], null where undefined."""
        per_class = {
            name: {
                "iou": _plain(self.scores.iou[index]),
                "acc": _plain(self.scores.accuracy[index]),
                "pixels": int(self.scores.pixels[index]),
            }
            for index, name in enumerate(self.classes.names)
        }
        return {
            "miou": _plain(self.scores.mean_iou),
            "macc": _plain(self.scores.mean_accuracy),
            "aacc": _plain(self.scores.pixel_accuracy),
            "per_class": per_class,
            **self.protocol,
        }


def evaluate(
    predictor: Predictor,
    dataset: SegmentationDataset,
    on_image: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Score every image of a data set at the labels' own size.

    Args:
        predictor: The model and its inference protocol.
        dataset: One split.
        on_image: Called after each image, for a progress bar.

    Raises:
        DataError: The data set's classes are not the model's, or a sample cannot be read.
    """
    require_same_classes(predictor.classes, dataset)
    confusion = ConfusionMatrix(predictor.classes.num_classes)
    start = time.monotonic()
    for index in range(len(dataset)):
        sample = dataset[index]
        confusion.update(label_map(predictor.scores(sample.image)), sample.label_map)
        on_image()
    protocol = {
        "dataset": dataset.name,
        "split": dataset.split,
        "images": len(dataset),
        "content_hash": content_hash(dataset),
        "inference": predictor.inference.model_dump(mode="json"),
        "device": device_name(predictor.device),
        "threads": torch.get_num_threads(),
        "minutes": round((time.monotonic() - start) / 60, 2),
        "versions": package_versions(),
        "commit": current_commit(),
    }
    return Evaluation(confusion.scores(), predictor.classes, protocol)


def require_same_classes(classes: ClassTable, dataset: SegmentationDataset) -> None:
    """Raise DataError unless the data set has exactly the model's classes, in the same order."""
    ours, theirs = classes.names, dataset.classes.names
    if ours == theirs:
        return
    if len(ours) != len(theirs):
        difference = f"the model has {len(ours)} classes, the data set {len(theirs)}"
    else:
        index = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
        difference = (
            f"class {index} is {ours[index]!r} in the model and {theirs[index]!r} in the data set"
        )
    raise DataError(
        f"{dataset.name} does not have the model's classes: {difference}. Evaluate on the data set it was trained "
        "on, or on one whose classes.json lists the same names in the same order."
    )


def device_name(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
