"""Small random maps, and the measures' oracles in plain Python."""

from __future__ import annotations

import numpy as np

from vitseg.classes import IGNORE_INDEX

NUM_CLASSES = 4


def random_pair(seed: int, ignored: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of classes with some noise: a prediction (uint8) and labels (int64)."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 24, 2)
    coarse = rng.integers(0, NUM_CLASSES, (height // 5 + 1, width // 5 + 1))
    labels = coarse.repeat(5, 0).repeat(5, 1)[:height, :width].astype(np.int64)
    prediction = np.roll(labels, 1, axis=1)
    noisy = rng.random(labels.shape) < 0.1
    prediction[noisy] = rng.integers(0, NUM_CLASSES, noisy.sum())
    labels[rng.random(labels.shape) < ignored] = IGNORE_INDEX
    return prediction.astype(np.uint8), labels


def pixels_of(label_map: np.ndarray) -> list[tuple[int, int]]:
    height, width = label_map.shape
    return [(row, column) for row in range(height) for column in range(width)]


def distance_to_another(label_map: np.ndarray, row: int, column: int) -> float:
    """Chessboard distance to the nearest pixel with another label, by looking at every pixel."""
    return min(
        (
            max(abs(row - other), abs(column - another))
            for other, another in pixels_of(label_map)
            if label_map[other, another] != label_map[row, column]
        ),
        default=float("inf"),
    )


def iou_of(hits: int, union: int) -> float:
    return hits / union if union else float("nan")
