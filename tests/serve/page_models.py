"""Models of the stand-in: every label, confidence and map follows from the place of the pixel."""

from __future__ import annotations

import numpy as np

from tests.serve.page_app import FakeModel
from vitseg.classes import ClassTable

HOSTILE = "<img src=x onerror=alert(1)>"
SCENE = ClassTable(
    names=("sky", "road", "tree", HOSTILE, "kerb"),
    palette=((80, 140, 230), (120, 120, 120), (40, 130, 50), (230, 90, 40), (120, 120, 120)),
)
"""The last class has the colour of another one, as data sets do."""

NOTICE = "read as <i>grey</i>"

STREET = ClassTable(names=("road", "sky"), palette=((10, 200, 200), (200, 10, 200)))
"""Names of SCENE in another order and other colours."""


def quarters(image: np.ndarray) -> np.ndarray:
    """sky, road; tree, hostile; and a kerb in the lower right corner pixel."""
    height, width = image.shape[:2]
    labels = np.zeros((height, width), np.uint8)
    labels[:, width // 2 :] = 1
    labels[height // 2 :] += 2
    labels[-1, -1] = 4
    return labels


def halves(image: np.ndarray) -> np.ndarray:
    """sky above road, by the numbers of STREET."""
    labels = np.ones(image.shape[:2], np.uint8)
    labels[image.shape[0] // 2 :] = 0
    return labels


def rising(image: np.ndarray) -> np.ndarray:
    """From unsure on the left to sure on the right."""
    row = np.linspace(0, 255, image.shape[1]).astype(np.uint8)
    return np.broadcast_to(row, image.shape[:2]).copy()


def stages(image: np.ndarray, index: int) -> dict[str, np.ndarray]:
    """Stage 1 is flat, and the sum is the class' own region."""
    region = (quarters(image) == index) * np.uint8(255)
    flat = np.full(image.shape[:2], 51, np.uint8)
    return {"stage 1": flat, "sum = the mask": region.astype(np.uint8)}


def exits(image: np.ndarray) -> np.ndarray:
    """A quarter leaves at each exit."""
    numbers = np.full(image.shape[:2], 255, np.uint8)
    labels = quarters(image)
    numbers[labels == 0] = 0
    numbers[labels == 1] = 1
    return numbers


def tasks(image: np.ndarray) -> np.ndarray:
    return (quarters(image) >= 2).astype(np.uint8)


def many(image: np.ndarray) -> np.ndarray:
    """Labels beyond 8 bits."""
    return (quarters(image) + np.uint16(295)).astype(np.uint16)


MODELS = [
    FakeModel("scene", SCENE, quarters, rising, ("stages",), stages=stages),
    FakeModel("street small", STREET, halves, rising, notices=(NOTICE,)),
    FakeModel(
        "pruned", SCENE, quarters, rising, ("exits",), "dtop", numbers=exits,
        names=("exit behind block 3", "exit behind block 7"),
    ),
    FakeModel(
        "grown", SCENE, quarters, rising, ("tasks", "something new"), "segvit_cl", numbers=tasks,
        names=("task 0: sky, road", "task 1: tree and 2 more"),
    ),
    FakeModel("many", ClassTable.from_names([f"class {n}" for n in range(300)]), many, rising),
]  # fmt: skip
