"""Which sample comes when: a stream that depends on the seed alone, so that a run can be continued exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float64
from torch import Tensor
from torch.utils.data import Dataset, Sampler, default_collate

from vitseg.data.augment import TrainTransform
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.grid_views import GridViews
from vitseg.errors import VitsegError
from vitseg.types import Size

Position = tuple[int, int]
"""(index of the sample, position in the stream)."""


class StreamSampler(Sampler[list[Position]]):
    """Batches of an endless stream of shuffled passes over the data set.

    Position p of the stream is entry p mod n of pass number p div n; nothing depends on worker processes or on where a
    run was interrupted. With repeat factors r a pass is round(sum(r)) long, and each has image i floor(r_i) or
    ceil(r_i) times, r_i times on average, up to the rounding of the sum.

    Args:
        num_samples: Size of the data set.
        batch_size: Images per step on this device.
        iterations: (first, last + 1) step.
        seed: Seed of the permutations.
        rank: Number of this device.
        world_size: Number of devices.
        repeats: How often every sample is shown per pass, at least once; None: once.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        iterations: tuple[int, int],
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        repeats: Float64[np.ndarray, " n"] | None = None,
    ):
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.iterations = range(*iterations)
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._ends = None if repeats is None else repeats.cumsum()
        self.pass_length = num_samples if self._ends is None else round(self._ends[-1])

    def __len__(self) -> int:
        return len(self.iterations)

    def __iter__(self) -> Iterator[list[Position]]:
        number, order = -1, np.empty(0, dtype=np.int64)
        for iteration in self.iterations:
            first = (iteration * self.world_size + self.rank) * self.batch_size
            batch = []
            for position in range(first, first + self.batch_size):
                if position // self.pass_length != number:
                    number = position // self.pass_length
                    order = self._order(np.random.default_rng((self.seed, number)))
                batch.append((int(order[position % self.pass_length]), position))
            yield batch

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        """The samples of one pass: shuffled, each as often as its repeat factor says (systematic sampling)."""
        if self._ends is None:
            return rng.permutation(self.num_samples)
        places = (np.arange(self.pass_length) + rng.random()) * (self._ends[-1] / self.pass_length)
        return rng.permutation(np.searchsorted(self._ends, places, side="right"))


class TrainSamples(Dataset[tuple[Tensor, Tensor] | VitsegError]):
    """Augmented samples; the variation depends on the seed and the position in the stream alone.

    A sample that cannot be read comes as its error, which a loader process can hand over whole; raised there, it
    would reach the user as a traceback. `collate` passes it on, and the loop raises it.
    """

    def __init__(self, dataset: SegmentationDataset, transform: TrainTransform, seed: int):
        self.dataset = dataset
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Position) -> tuple[Tensor, Tensor] | VitsegError:
        index, position = key
        rng = np.random.default_rng((self.seed, 1, position))
        drawn: list[Size] = []

        def at_least(size: Size) -> Size:
            """Twice the size that the image is scaled to, so that scaling still picks from finer pixels."""
            drawn.append(self.transform.random_size(size, rng))
            return 2 * drawn[0][0], 2 * drawn[0][1]

        try:
            sample = self.dataset.sample(index, at_least)
            return self.transform(sample, rng, *drawn)
        except VitsegError as error:
            return error


class GridSamples(Dataset[tuple[Tensor, Tensor] | VitsegError]):
    """Fixed views as samples; whether one is mirrored depends on the seed and the position in the stream alone.

    Errors come as in `TrainSamples`.
    """

    def __init__(self, views: GridViews, seed: int):
        self.views = views
        self.seed = seed

    def __len__(self) -> int:
        return len(self.views)

    def is_mirrored(self, position: int) -> bool:
        """Whether the view at this position of the stream is mirrored."""
        rng = np.random.default_rng((self.seed, 1, position))
        return bool(rng.random() < self.views.config.flip_probability)

    def __getitem__(self, key: Position) -> tuple[Tensor, Tensor] | VitsegError:
        index, position = key
        try:
            return self.views.crops([(index, self.is_mirrored(position))])[0]
        except VitsegError as error:
            return error


def collate(samples: list[Any]) -> Any:
    """A batch of samples and labels, or the first error among the samples."""
    for sample in samples:
        if isinstance(sample, VitsegError):
            return sample
    return default_collate(samples)
