"""How far a training is, for layers that change with it."""

from __future__ import annotations

from torch import nn


class TrainingProgress(nn.Module):
    """Holds the share of the training that is over; `SegmentationModel.set_progress` fills it in.

    Attributes:
        fraction: In [0, 1).
    """

    def __init__(self):
        super().__init__()
        self.fraction = 0.0

    def hear(self, fraction: float) -> None:
        """Take a new `fraction`."""
        self.fraction = fraction
