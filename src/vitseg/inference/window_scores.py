"""Scores of a sliding window, without a score map of the whole image.

Where windows overlap, their weighted scores are summed and divided by the sum of the weights. The outputs of all
windows are kept, which are masks over token grids, and rows are blended when they are asked for (`KeptWindows`). Of a
decoder whose masks are nearly as fine as pixels, they would be larger than the score map; then the sums of one row of
windows are held at a time (`RollingWindows`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitseg.inference.blending import Blend, window_weights
from vitseg.inference.scores import OutputScores, ScoreMap
from vitseg.outputs import Distribution, SegOutput
from vitseg.types import Size, spatial_size

Model = Callable[[Tensor], SegOutput]


@dataclass(frozen=True)
class WindowGrid:
    """Where the windows of an image lie, and how their pixels are weighted.

    Attributes:
        size: (height, width) of the image.
        window: (height, width) of every window: the crop, or the image's side where that is smaller.
        tops: First row of every row of windows.
        lefts: First column of every column of windows.
        weights: Of a window's pixels; None where all are 1.
        down: Sums of the weights by row, and `right` by column: the sum of a pixel is their product.
    """

    size: Size
    window: Size
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    weights: Float[Tensor, "c d"] | None
    down: Float[Tensor, " H"]
    right: Float[Tensor, " W"]

    @classmethod
    def of(
        cls, size: Size, crop_size: Size, stride: Size, blend: Blend, device: torch.device
    ) -> WindowGrid:
        """The grid of an image on the device of its model; see `slide`."""
        window = min(size[0], crop_size[0]), min(size[1], crop_size[1])
        weights = window_weights(window, blend).to(device)
        tops = window_starts(size[0], crop_size[0], stride[0])
        lefts = window_starts(size[1], crop_size[1], stride[1])
        # The weights are the product of their middle column and row, where the other factor is 1; so are their sums.
        down = _summed(weights[:, window[1] // 2], tops, size[0])
        right = _summed(weights[window[0] // 2], lefts, size[1])
        given = None if blend == "mean" else weights
        return cls(size, window, tuple(tops), tuple(lefts), given, down, right)

    def part(self, image: Float[Tensor, "1 3 H W"], row: int, column: int) -> Tensor:
        """The pixels of a window, (1, 3, c, d)."""
        top, left = self.tops[row], self.lefts[column]
        return image[..., top : top + self.window[0], left : left + self.window[1]]

    def add(self, total: Tensor, first: int, source: ScoreMap, row: int, column: int) -> None:
        """Add what a window gives to some rows.

        Args:
            total: (k, R, W) sums, in place.
            first: The image's row that is `total`'s row 0.
            source: Scores of the window.
            row: Of the window in the grid.
            column: Of the window in the grid.
        """
        top, left = self.tops[row], self.lefts[column]
        start, stop = max(top, first), min(top + self.window[0], first + total.shape[1])
        if start >= stop:
            return
        scores = source.rows(start - top, stop - top)
        if self.weights is not None:
            scores = scores * self.weights[start - top : stop - top]
        total[:, start - first : stop - first, left : left + self.window[1]] += scores

    def divide(self, total: Tensor, start: int, stop: int) -> Float[Tensor, "k R W"]:
        """The sums of the rows [start, stop) by the sums of their weights, in place."""
        return total.div_(self.down[start:stop, None] * self.right[None, :])


class KeptWindows:
    """Windows whose outputs are kept; rows are blended on demand."""

    def __init__(self, grid: WindowGrid, outputs: Sequence[SegOutput]):
        self._grid = grid
        self._sources = [OutputScores(output) for output in outputs]
        self.size = grid.size
        self.num_classes = outputs[0].num_classes
        self.min_rows = 1
        self.distribution: Distribution = outputs[0].distribution

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        grid, total = self._grid, None
        for row, top in enumerate(grid.tops):
            if top >= stop or top + grid.window[0] <= start:
                continue
            for column in range(len(grid.lefts)):
                source = self._sources[row * len(grid.lefts) + column]
                if total is None:
                    total = _sums(source, stop - start, grid.size[1])
                grid.add(total, start, source, row, column)
        assert total is not None
        return grid.divide(total, start, stop)


class RollingWindows:
    """Windows that are run when their rows are asked for; sums are held from the rows asked for last downwards.

    Asked from top to bottom, as labels are taken, every window is run once. Rows further up start all over.

    Args:
        model: Normalised images to output.
        image: The image.
        grid: Its windows.
        first: Output of the first window, which has been run already.
    """

    def __init__(
        self, model: Model, image: Float[Tensor, "1 3 H W"], grid: WindowGrid, first: SegOutput
    ):
        self._model, self._image, self._grid = model, image, grid
        self._first: SegOutput | None = first
        self.size = grid.size
        self.num_classes = first.num_classes
        self.min_rows = 1
        self.distribution: Distribution = first.distribution
        self._inference = torch.is_inference_mode_enabled()
        self._begin()

    def _begin(self) -> None:
        self._held: Tensor | None = None  # sums of the rows from `_top` on
        self._top = 0
        self._next = 0  # row of windows that is run next

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        if start < self._top:
            self._begin()
        with torch.inference_mode(self._inference):
            self._drop_above(start)
            while self._next < len(self._grid.tops) and self._grid.tops[self._next] < stop:
                self._run_row()
            assert self._held is not None
            rows = self._held[:, start - self._top : stop - self._top].clone()
            return self._grid.divide(rows, start, stop)

    def _drop_above(self, start: int) -> None:
        """Give up rows that will not be asked for; a window row's worth at once, since the rest is copied."""
        if self._held is None or start - self._top < self._grid.window[0] // 2:
            return
        kept = self._held[:, start - self._top :]
        self._held = kept.clone() if kept.shape[1] else None
        self._top = start

    def _run_row(self) -> None:
        grid, bottom = self._grid, self._grid.tops[self._next] + self._grid.window[0]
        for column in range(len(grid.lefts)):
            output, self._first = self._first, None
            if output is None:
                output = self._model(grid.part(self._image, self._next, column))
            source = OutputScores(output)
            if self._held is None:
                self._top = max(self._top, grid.tops[self._next])
                self._held = _sums(source, bottom - self._top, grid.size[1])
            elif self._held.shape[1] < bottom - self._top:
                more = _sums(source, bottom - self._top - self._held.shape[1], grid.size[1])
                self._held = torch.cat([self._held, more], dim=1)
            grid.add(self._held, self._top, source, self._next, column)
        self._next += 1


def slide(
    model: Model,
    image: Float[Tensor, "1 3 H W"],
    crop_size: Size,
    stride: Size,
    blend: Blend = "mean",
) -> ScoreMap:
    """Sum of the windows' weighted scores divided by the sum of the weights at each pixel.

    Windows start at multiples of the stride; the last of a row or column is moved back to the border. An image smaller
    than the window is run as it is.

    Args:
        model: Normalised images to output.
        image: One image.
        crop_size: (height, width) of the window in pixels.
        stride: (down, right) step of the window in pixels.
        blend: Weights of a window's pixels, see `window_weights`; "mean" is the papers' plain average.
    """
    grid = WindowGrid.of(spatial_size(image), crop_size, stride, blend, image.device)
    first = model(grid.part(image, 0, 0)).of_image(0)
    num_windows = len(grid.tops) * len(grid.lefts)
    if num_windows > 1 and first.mask_logits.numel() * num_windows > first.num_classes * (
        grid.size[0] * grid.size[1]
    ):
        return RollingWindows(model, image, grid, first)
    outputs = [
        model(grid.part(image, row, column)).of_image(0)
        for row in range(len(grid.tops))
        for column in range(len(grid.lefts))
        if (row, column) != (0, 0)
    ]
    return KeptWindows(grid, [first, *outputs])


def window_starts(length: int, crop: int, stride: int) -> list[int]:
    """First pixel of every window along one axis."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(index * stride, length - crop), 0) for index in range(count)]


def _summed(weights: Float[Tensor, " c"], starts: list[int], length: int) -> Float[Tensor, " n"]:
    """Sum of the weights of all windows along one axis."""
    total = weights.new_zeros(length)
    for start in starts:
        total[start : start + len(weights)] += weights
    return total


def _sums(like: OutputScores, num_rows: int, width: int) -> Float[Tensor, "k R W"]:
    """Zeros; the classes of a pixel lie side by side, as in the scores that are added."""
    masks = like.output.mask_logits
    return masks.new_zeros(num_rows, width, like.num_classes).permute(2, 0, 1)
