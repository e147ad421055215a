"""Whether an exported file gives what the model gives: at many sizes, and on photos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from vitseg.classes import IGNORE_INDEX
from vitseg.errors import VitsegError
from vitseg.metrics.confusion import ConfusionMatrix
from vitseg.types import Size

MOST_DIFFERING = 0.001
"""Share of pixels whose label may differ."""


class Answer(NamedTuple):
    """What a model, or a file of it, says of a batch.

    Attributes:
        labels: Class of every pixel.
        probs: Probabilities of the classes; None: it gives labels alone.
    """

    labels: Integer[Tensor, "b H W"]
    probs: Float[Tensor, "b k H W"] | None


Answering = Callable[[Float[Tensor, "b channels H W"]], Answer]
"""Pixels in [0, 255] to an answer."""


class Photo(NamedTuple):
    """A photo with the labels of model and file.

    Attributes:
        expected: Labels by the model.
        found: Labels by the file.
        probs_gap: By how much the model's probability of its own label is above that of the file's, where they differ.
        labels: True labels, or IGNORE_INDEX; None: not known.
    """

    expected: Integer[np.ndarray, "H W"]
    found: Integer[np.ndarray, "H W"]
    probs_gap: Float[np.ndarray, " n"]
    labels: Integer[np.ndarray, "H W"] | None


@dataclass(frozen=True)
class Comparison:
    """One batch, or all photos.

    Attributes:
        name: What was compared.
        pixels: How many.
        differing: How many have another label.
        largest_gap: Of these, the largest lead of the model's label over the file's in the model's probabilities.
        max_difference: Of the probabilities; None: the file gives labels alone.
        mean_difference: Likewise.
    """

    name: str
    pixels: int
    differing: int
    largest_gap: float
    max_difference: float | None = None
    mean_difference: float | None = None

    @property
    def share(self) -> float:
        """Share of the pixels whose label differs."""
        return self.differing / max(1, self.pixels)


@dataclass(frozen=True)
class Times:
    """Medians of rounds in which the runs were done in turn, in milliseconds per image, up to its labels.

    Attributes:
        size: (height, width) of the images.
        threads: That torch and the runtime may use.
        model: By torch, in float32.
        file: By the file's runtime.
    """

    size: Size
    threads: int
    model: float
    file: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "size": list(self.size),
            "threads": self.threads,
            "model_ms": round(self.model, 3),
            "file_ms": round(self.file, 3),
        }


@dataclass
class Parity:
    """All comparisons of a file with its model.

    Attributes:
        runtime: What ran the file.
        limit: Share of the labels that may differ.
        sizes: By size and batch.
        photos: Of all photos together; None: there were none.
        num_photos: How many.
        miou: Of the model on labelled photos, in [0, 1]; None: there were none.
        miou_found: Of the file.
        max_miou_loss: By how much the mIoU may fall, of a file in other numbers; on labelled photos this decides, and
            labels may differ. None: the file computes in float32.
        times: Milliseconds of an image to its labels by the model in torch and by the file; None: not measured.
    """

    runtime: str
    limit: float = MOST_DIFFERING
    sizes: list[Comparison] = field(default_factory=list)
    photos: Comparison | None = None
    num_photos: int = 0
    miou: float | None = None
    miou_found: float | None = None
    max_miou_loss: float | None = None
    times: Times | None = None

    @property
    def miou_loss(self) -> float | None:
        """By how much the mIoU falls, where it is what decides."""
        if self.max_miou_loss is None or self.miou is None or self.miou_found is None:
            return None
        return self.miou - self.miou_found

    @property
    def all(self) -> list[Comparison]:
        """Every comparison."""
        return [*self.sizes, *([] if self.photos is None else [self.photos])]

    @property
    def is_met(self) -> bool:
        """Whether few enough labels differ, of the made images together and of the photos; or see `max_miou_loss`."""
        if self.miou_loss is not None and self.max_miou_loss is not None:
            return self.miou_loss <= self.max_miou_loss
        pixels = sum(one.pixels for one in self.sizes)
        differing = sum(one.differing for one in self.sizes)
        of_photos = 0.0 if self.photos is None else self.photos.share
        return differing <= self.limit * pixels and of_photos <= self.limit

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "runtime": self.runtime,
            "most_labels_differing": self.limit,
            "most_miou_lost": self.max_miou_loss,
            "is_met": self.is_met,
            "sizes": [_plain(one) for one in self.sizes],
            "photos": None if self.photos is None else _plain(self.photos),
            "num_photos": self.num_photos,
            "miou_of_model": self.miou,
            "miou_of_file": self.miou_found,
            "times": None if self.times is None else self.times.to_json(),
        }


def _plain(one: Comparison) -> dict[str, Any]:
    return {
        "name": one.name,
        "pixels": one.pixels,
        "labels_differing": one.differing,
        "share_differing": one.share,
        "largest_gap_where_differing": one.largest_gap,
        "max_difference_of_probabilities": one.max_difference,
        "mean_difference_of_probabilities": one.mean_difference,
    }


def probabilities(scores: Float[Tensor, "b k H W"], distribution: str) -> Float[Tensor, "b k H W"]:
    """Scores of an output as probabilities, see `vitseg.outputs.Distribution`."""
    if distribution == "softmax":
        return scores.softmax(1)
    return scores / scores.sum(1, keepdim=True).clamp_min(torch.finfo(scores.dtype).tiny)


def cases(size: Size | None, batch: int | None, trained_at: Size) -> Iterator[tuple[Size, int]]:
    """Sizes and numbers of images to compare.

    Args:
        size: The only size that the file takes; None: any.
        batch: The only number of images; None: any.
        trained_at: Size of the images in training.
    """
    if size is not None:
        yield from ((size, n) for n in ((1, 2, 3) if batch is None else (batch,)))
        return
    sizes = ((224, 224), (256, 320), (97, 211), (333, 257), (180, 71), (16, 16), (1, 40))
    numbers = (1, 2, 3) if batch is None else (batch,)
    for place, each in enumerate(sizes):
        yield each, numbers[place % len(numbers)]
    for number in numbers:
        yield (113, 150), number
    yield trained_at, numbers[0]


def compare(name: str, expected: Answer, found: Answer) -> Comparison:
    """What two answers to the same images differ by; those of the model have probabilities.

    Raises:
        VitsegError: They are not of the same size.
    """
    assert expected.probs is not None
    if expected.labels.shape != found.labels.shape:
        sizes = ["x".join(map(str, answer.labels.shape)) for answer in (found, expected)]
        raise VitsegError(
            f"the runtime does not hold this graph: of {name} it gives {sizes[0]} labels, not {sizes[1]}. "
            "Take another --format."
        )
    differ = expected.labels != found.labels.to(expected.labels.dtype)
    gaps = gap(expected.probs, expected.labels, found.labels)[differ]
    difference = None if found.probs is None else (expected.probs - found.probs).abs()
    return Comparison(
        name,
        differ.numel(),
        int(differ.sum()),
        float(gaps.max()) if gaps.numel() else 0.0,
        None if difference is None else float(difference.max()),
        None if difference is None else float(difference.mean()),
    )


def gap(
    probs: Float[Tensor, "b k H W"],
    own: Integer[Tensor, "b H W"],
    others: Integer[Tensor, "b H W"],
) -> Float[Tensor, "b H W"]:
    """By how much the probability of one label of every pixel is above that of another."""
    first, second = (probs.gather(1, labels.long()[:, None])[:, 0] for labels in (own, others))
    return first - second


def compare_photos(photos: Iterable[Photo], num_classes: int, parity: Parity) -> None:
    """Add what photos say to a report.

    Args:
        photos: The photos.
        num_classes: Classes.
        parity: The report, which is changed.
    """
    pixels = differing = 0
    largest = 0.0
    is_labelled = False
    of_model, of_file = ConfusionMatrix(num_classes), ConfusionMatrix(num_classes)
    for photo in photos:
        parity.num_photos += 1
        pixels += photo.expected.size
        differing += int((photo.expected != photo.found).sum())
        largest = max(largest, float(photo.probs_gap.max(initial=0)))
        if photo.labels is not None:
            is_labelled = is_labelled or bool((photo.labels != IGNORE_INDEX).any())
            of_model.update(photo.expected, photo.labels)
            of_file.update(photo.found, photo.labels)
    if not parity.num_photos:
        return
    parity.photos = Comparison(f"{parity.num_photos} photos", pixels, differing, largest)
    if is_labelled:
        parity.miou = of_model.scores().mean_iou
        parity.miou_found = of_file.scores().mean_iou


def require_parity(parity: Parity, what: str) -> None:
    """Raise VitsegError where too many labels differ.

    Args:
        parity: The report.
        what: The export, for the message.
    """
    if parity.is_met:
        return
    if parity.miou_loss is not None and parity.max_miou_loss is not None:
        raise VitsegError(
            f"{what} loses {100 * parity.miou_loss:.2f} points of mIoU on {parity.num_photos} photos, and at most "
            f"{100 * parity.max_miou_loss:g} may be lost. Nothing was written."
        )
    worst = max(parity.all, key=lambda one: one.share)
    raise VitsegError(
        f"{what} is not the model: {100 * worst.share:.2f} % of the labels differ ({worst.name}), and at most "
        f"{100 * parity.limit:g} % may. Nothing was written."
    )
