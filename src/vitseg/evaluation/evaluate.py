"""Scoring a predictor on a data set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vitseg.checkpoint.model_dir import ModelRecord
from vitseg.checkpoint.versions import package_versions
from vitseg.classes import ClassTable
from vitseg.data.catalog import open_dataset
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.sample import Sample
from vitseg.errors import DataError, VitsegError
from vitseg.evaluation.class_subset import ClassSubset
from vitseg.evaluation.measures import Measures, MeasureScores, plain
from vitseg.evaluation.provenance import content_hash, current_commit
from vitseg.evaluation.share import Share
from vitseg.images.notices import NoticeTally
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import label_map, labels_and_confidence
from vitseg.metrics.confusion import ConfusionMatrix, SegmentationScores


@dataclass(frozen=True)
class SampleResult:
    """One image of an evaluation, for reports that show some of them.

    Attributes:
        index: Position in the data set.
        id: Name within the data set.
        counts: Confusion matrix of this image alone, (k, k): pixels by label (row) and prediction (column).
        prediction: Predicted class of every pixel, (H, W).
        labels: Label of every pixel, or IGNORE_INDEX, (H, W).
        confidence: Probability of the predicted class, (H, W); None unless the calibration is measured.
    """

    index: int
    id: str
    counts: np.ndarray
    prediction: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray | None


@dataclass(frozen=True)
class Evaluation:
    """Scores with the protocol that they were made by.

    Attributes:
        scores: What follows from the confusion matrix.
        classes: The classes that were scored.
        protocol: Data set, inference, device, versions; plain values.
        counts: The confusion matrix, (k, k): pixels by label (row) and prediction (column).
        measures: What was measured beyond.
        notices: What was decided about the pixels of images, a line for each kind.
    """

    scores: SegmentationScores
    classes: ClassTable
    protocol: dict[str, Any]
    counts: np.ndarray
    measures: MeasureScores
    notices: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values in [0, 1], null where undefined.

        Keys: `miou`, `macc`, `aacc`, `mdice`, `fwiou`, `per_class` (`iou`, `acc`, `dice`, `pixels`), those of
        `MeasureScores.to_json` for what was measured, and the protocol's.
        """
        scores = self.scores
        per_class = {
            name: {
                "iou": plain(scores.iou[index]),
                "acc": plain(scores.accuracy[index]),
                "dice": plain(scores.dice[index]),
                "pixels": int(scores.pixels[index]),
                **self.measures.class_json(index),
            }
            for index, name in enumerate(self.classes.names)
        }
        return {
            "miou": plain(scores.mean_iou),
            "macc": plain(scores.mean_accuracy),
            "aacc": plain(scores.pixel_accuracy),
            "mdice": plain(scores.mean_dice),
            "fwiou": plain(scores.frequency_weighted_iou),
            "per_class": per_class,
            **self.measures.to_json(),
            **self.protocol,
        }


def evaluate(
    predictor: Predictor,
    dataset: SegmentationDataset,
    on_image: Callable[[], object] = lambda: None,
    *,
    measures: Sequence[str] = (),
    without_classes: Sequence[str] = (),
    on_sample: Callable[[SampleResult], object] | None = None,
    share: Share | None = None,
) -> Evaluation:
    """Score every image of a data set at the labels' own size.

    Args:
        predictor: The model and its inference protocol.
        dataset: One split, from `vitseg.open_dataset`; its classes are those of the model.
        on_image: Called after each image, for a progress bar.
        measures: What to measure beyond the confusion matrix: "boundary", "size", "calibration".
        without_classes: Classes of the model that are neither predicted nor scored (see `ClassSubset`); the data set
            may have them or not. `("background",)` scores a model of PASCAL-Context's 60 classes on 59.
        on_sample: Called after each image with what was found on it.
        share: The images of this process, where several share the evaluation; all have the scores over all images
            then. Without further measures.

    Raises:
        ConfigError: A measure or a class to leave out is not known.
        DataError: The data set's classes are not the model's, or a sample cannot be read.
        VitsegError: The model's scores of an image are NaN or infinite.
    """
    seen = predictor.preprocessing  # as the model was trained
    dataset = dataset.read_as(seen.bands, seen.limits)
    subset = ClassSubset(predictor.classes, without_classes)
    lacks_them = dataset.classes.names == subset.classes.names
    if not lacks_them:
        require_same_classes(predictor.classes, dataset)
    confusion = ConfusionMatrix(subset.classes.num_classes)
    accumulators = Measures(measures, subset.classes.num_classes)
    share = share or Share()
    assert share.world_size == 1 or not measures
    notices = NoticeTally()
    start = time.monotonic()
    try:
        for index in share.indices(len(dataset)):
            sample = dataset[index]
            notices.add(dataset.image_name(index), sample.notices)
            labels = sample.label_map if lacks_them else subset.labels(sample.label_map)
            try:
                prediction, confidence = _predict(predictor, sample, subset, measures)
                counts = confusion.update(prediction, labels)
                accumulators.update(prediction, labels, confidence)
            except VitsegError as error:
                raise type(error)(f"{dataset.image_name(index)}: {error}") from error
            if on_sample is not None:
                on_sample(SampleResult(index, sample.id, counts, prediction, labels, confidence))
            on_image()
    except Exception:
        share.failed(confusion.counts.shape)
        raise
    confusion.counts = share.total(confusion.counts)
    protocol = {
        "dataset": dataset.name,
        "split": dataset.split,
        "images": len(dataset),
        "without_classes": list(without_classes),
        "content_hash": content_hash(dataset),
        "inference": predictor.inference.model_dump(mode="json"),
        "value_range": dataset.value_range,
        **({} if dataset.bands is None else {"bands": dataset.bands.model_dump(mode="json")}),
        "device": device_name(predictor.device),
        "dtype": predictor.dtype,
        "threads": torch.get_num_threads(),
        "minutes": round((time.monotonic() - start) / 60, 2),
        "versions": package_versions(),
        "commit": current_commit(),
    }
    return Evaluation(
        scores=confusion.scores(),
        classes=subset.classes,
        protocol=protocol,
        counts=confusion.counts,
        measures=accumulators.scores(),
        notices=tuple(notices.lines()),
    )


def _predict(
    predictor: Predictor, sample: Sample, subset: ClassSubset, measures: Sequence[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels and, where it is measured, the probability of each."""
    scores = predictor.scores(sample.image)
    if subset.classes.num_classes < scores.num_classes:
        scores = subset.scores(scores)
    if "calibration" in measures:
        return labels_and_confidence(scores)
    return label_map(scores), None


def joined_as_trained(
    dataset: SegmentationDataset, source: str, record: ModelRecord
) -> SegmentationDataset:
    """The data set itself, or where its classes are not the model's, in the model's terms.

    Classes are joined and left out as in the training. A model that learnt its classes in several tasks has them in
    another order than any data set: there they are matched by name, and the data set's other classes are ignored.

    Args:
        dataset: A split.
        source: The NAME:ROOT that it was opened by.
        record: Record of the model.

    Raises:
        ConfigError: It lacks classes that the training joined or left out.
    """
    if record.tasks and set(dataset.classes.names) & set(record.classes.names):
        return dataset.with_labels(dataset.labels.as_known(record.classes))
    trained = record.recipe.get("data", {})
    joint, ignored = trained.get("merge"), trained.get("ignore", ())
    if dataset.classes.names == record.classes.names or not (joint or ignored):
        return dataset
    return open_dataset(source, dataset.split, joint, ignored)


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
