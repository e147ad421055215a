"""What scoring costs beside inference: 512 x 512, 150 classes. Claim: the confusion matrix under 2 % of a ViT-B."""

from __future__ import annotations

import argparse

import numpy as np
import timm
import torch
from _measure import alternating_medians, print_table

from vitseg.inference.scores import TensorScores, label_map, labels_and_confidence
from vitseg.metrics.boundary import BoundaryIoU, Trimap
from vitseg.metrics.calibration import Calibration
from vitseg.metrics.confusion import ConfusionMatrix
from vitseg.metrics.size import SizeBinnedIoU

NUM_CLASSES = 150
SIDE = 512


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A prediction, labels of forty rectangles and an ignored margin, and a confidence."""
    rng = np.random.default_rng(0)
    labels = np.zeros((SIDE, SIDE), dtype=np.int64)
    for _ in range(40):
        top, left = rng.integers(0, SIDE, 2)
        height, width = rng.integers(8, SIDE // 2, 2)
        labels[top : top + height, left : left + width] = rng.integers(0, NUM_CLASSES)
    prediction = np.roll(labels, 3, axis=1).astype(np.uint8)
    wrong = rng.random(labels.shape) < 0.01
    prediction[wrong] = rng.integers(0, NUM_CLASSES, wrong.sum())
    labels[:8] = -1
    return prediction, labels, rng.random(labels.shape, dtype=np.float32)


@torch.inference_mode()
def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    prediction, labels, confidence = scene()
    vit = timm.create_model("vit_base_patch16_384", img_size=SIDE, num_classes=0).eval()
    images = torch.randn(1, 3, SIDE, SIDE)
    scores = TensorScores(torch.rand(NUM_CLASSES, SIDE, SIDE))
    confusion, size = ConfusionMatrix(NUM_CLASSES), SizeBinnedIoU(NUM_CLASSES)
    trimap, boundary = Trimap(NUM_CLASSES), BoundaryIoU(NUM_CLASSES)
    calibration = Calibration(NUM_CLASSES)
    medians = alternating_medians(
        {
            "ViT-B/16 forward": lambda: vit(images),
            "confusion matrix (always)": lambda: confusion.update(prediction, labels),
            "trimap curve, 6 widths": lambda: trimap.update(prediction, labels),
            "boundary IoU": lambda: boundary.update(prediction, labels),
            "IoU by object size": lambda: size.update(prediction, labels),
            "calibration": lambda: calibration.update(prediction, labels, confidence),
            "scores to labels": lambda: label_map(scores),
            "scores to labels and confidence": lambda: labels_and_confidence(scores),
        },
        rounds=15,
    )
    base = medians["ViT-B/16 forward"]
    rows = [[name, f"{100 * seconds / base:.2f} %"] for name, seconds in medians.items()]
    print_table("Scoring an image of 512 x 512 with 150 classes", ["what", "of the ViT-B"], rows)


if __name__ == "__main__":
    main()
