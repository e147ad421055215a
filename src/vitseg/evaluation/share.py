"""A part of an evaluation, where several processes share one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64


class Share:
    """Every n-th image; by itself the whole.

    Args:
        rank: Number of this process.
        world_size: How many there are.
    """

    def __init__(self, rank: int = 0, world_size: int = 1):
        self.rank, self.world_size = rank, world_size

    def indices(self, number: int) -> range:
        """The images of this process.

        Args:
            number: Of all images.
        """
        return range(self.rank, number, self.world_size)

    def total(self, counts: Int64[np.ndarray, "k k"]) -> Int64[np.ndarray, "k k"]:
        """The confusion matrix over the images of all processes.

        Args:
            counts: That over those of this one.
        """
        return counts

    def failed(self, shape: tuple[int, int]) -> None:
        """This process has none.

        Args:
            shape: Of the matrix that the others have.
        """
