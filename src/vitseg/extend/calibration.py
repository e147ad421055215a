"""How new classes do beside the old ones on held-out images, and the presence bias that suits them best.

The tasks of a model were trained apart, so that nothing makes their presence scores comparable. A bias on the logit
that a new class is present moves them all, and touches no old score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitseg.classes import IGNORE_INDEX
from vitseg.data.dataset import SegmentationDataset
from vitseg.evaluation.measures import plain
from vitseg.images.geometry import resize_labels
from vitseg.inference.predictor import Predictor
from vitseg.metrics.accumulator import nanmean
from vitseg.metrics.confusion import count_pairs, scores_of

BIASES = (-4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""The biases that are tried; each multiplies the odds that a class is present by exp(bias)."""


@dataclass(frozen=True)
class HeldOut:
    """What the newest task's classes claim on held-out images, all classes competing.

    Attributes:
        images: Number of held-out images.
        bias: The presence bias, 0 unless one was chosen.
        iou: IoU of every new class, in [0, 1]; pixels without a label of a new class count as another class. NaN for a
            class that the images lack.
        iou_without: The same at bias 0.
    """

    images: int
    bias: float
    iou: dict[str, float]
    iou_without: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean over the classes that occur."""
        return _mean(self.iou)

    def to_json(self) -> dict[str, Any]:
        """Plain values; null where undefined."""
        return {
            "images": self.images,
            "presence_bias": self.bias,
            "mean_iou": plain(self.mean),
            "mean_iou_without_bias": plain(_mean(self.iou_without)),
            "iou": {name: plain(value) for name, value in self.iou.items()},
        }


@torch.inference_mode()
def held_out_scores(
    predictor: Predictor, dataset: SegmentationDataset, calibrate: bool = False
) -> HeldOut:
    """Score the newest task on held-out images, each in one piece and one view.

    Args:
        predictor: A model of tasks.
        dataset: Its classes are the newest task's, and all other pixels have the ignore label.
        calibrate: Choose the bias of highest mean IoU, of equal ones the nearest to 0; else it stays 0.
    """
    names = dataset.classes.names
    biases = BIASES if calibrate else (0.0,)
    counts = np.zeros((len(biases), len(names) + 1, len(names) + 1), dtype=np.int64)
    model = predictor.model.eval()
    for index in range(len(dataset)):
        sample = dataset.sample(index)
        size = predictor.inference.input_size(sample.label_map.shape)
        output = model(predictor.model_input(sample.image, size))
        scores = output.scores()[0]
        logits = output.parts[-1].class_logits
        assert logits is not None
        odds = (logits[0, :, 0] - logits[0, :, 1]).float()
        labels = resize_labels(sample.label_map, size)
        labels = np.where(labels == IGNORE_INDEX, len(names), labels)
        for number, bias in enumerate(biases):
            factors = (odds + bias).sigmoid() / odds.sigmoid()
            counts[number] += count_pairs(_claims(scores, factors), labels, len(names) + 1)
    means = [_mean(_iou(count, names)) for count in counts]
    order = sorted(range(len(biases)), key=lambda n: (-_or_zero(means[n]), abs(biases[n])))
    without = _iou(counts[biases.index(0.0)], names)
    return HeldOut(len(dataset), biases[order[0]], _iou(counts[order[0]], names), without)


def _claims(
    scores: Float[Tensor, "k H W"], factors: Float[Tensor, " n"]
) -> Int64[np.ndarray, "H W"]:
    """The new class of every pixel that one claims, else the number of new classes."""
    num_new = len(factors)
    old, new = scores[:-num_new].amax(0), scores[-num_new:] * factors[:, None, None]
    best, index = new.max(0)
    return torch.where(best > old, index, num_new).cpu().numpy()


def _iou(counts: Int64[np.ndarray, "k k"], names: Sequence[str]) -> dict[str, float]:
    """IoU of the new classes; the last row and column of the counts is what belongs to none of them."""
    return dict(zip(names, scores_of(counts).iou[:-1].tolist(), strict=True))


def _mean(iou: Mapping[str, float]) -> float:
    return nanmean(np.array(list(iou.values())))


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
