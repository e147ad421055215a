"""What the measures share: counts that add up over images and processes, and the check of what is counted."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer, Shaped

from vitseg.classes import IGNORE_INDEX
from vitseg.errors import DataError


class Accumulator:
    """Sums over images, all in one array, so that processes combine theirs by adding (`all_reduce` with a sum).

    Attributes:
        counts: Everything that scores are computed from; zeros at the start.
    """

    counts: np.ndarray

    def merge(self, other: Accumulator) -> None:
        """Add what another accumulator of the same kind has counted."""
        assert type(self) is type(other), (type(self), type(other))
        assert self.counts.shape == other.counts.shape, (self.counts.shape, other.counts.shape)
        self.counts += other.counts


def check_maps(
    prediction: Integer[np.ndarray, "_ _"], labels: Integer[np.ndarray, "_ _"], num_classes: int
) -> None:
    """Raise DataError unless a prediction and labels can be compared pixel by pixel.

    Args:
        prediction: Class indices in [0, num_classes).
        labels: Class indices in [0, num_classes), or IGNORE_INDEX.
        num_classes: Classes.
    """
    if prediction.shape != labels.shape:
        raise DataError(
            f"the prediction is {_size(prediction)} pixels but the labels are {_size(labels)}: both must have the "
            "same height and width. Predict at the size of the labels."
        )
    for name, values, least in (("prediction", prediction, 0), ("labels", labels, IGNORE_INDEX)):
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        if low < least or high >= num_classes:
            wrong = low if low < least else high
            ignored = f" and {IGNORE_INDEX} (ignore)" if least < 0 else ""
            raise DataError(
                f"class {wrong} in the {name}, but allowed are 0 to {num_classes - 1}{ignored}: give class indices "
                "rather than the raw values of a file."
            )


def _size(label_map: np.ndarray) -> str:
    height, width = label_map.shape
    return f"{width}x{height}"


def nanmean(values: Float[np.ndarray, "..."]) -> float:
    """Mean of the values that are defined; NaN if none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def ratio(
    part: Shaped[np.ndarray, "..."], whole: Shaped[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """Quotient as float64; NaN where the whole is zero."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, np.true_divide(part, whole), np.nan)
