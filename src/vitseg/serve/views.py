"""What else can be shown of a model than its labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt8

from vitseg.inference.predictor import Predictor


def views_of(predictor: Predictor) -> tuple[str, ...]:
    """Names of the views that a model has."""
    return ()


def compute_view(
    predictor: Predictor, pixels: UInt8[np.ndarray, "H W c"], view: str, class_index: int | None
) -> Any:
    """A view of an image."""
    raise NotImplementedError
