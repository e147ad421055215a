"""Scores of a sliding window, without a score map of the whole image.

Where windows overlap, their weighted scores are summed and divided by the sum of the weights. What is held are the
outputs of windows, which are masks over token grids; rows are blended when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitseg.inference.blending import Blend, window_weights
from vitseg.inference.scores import ScoreMap
from vitseg.inference.shelf import Shelf, Shelved
from vitseg.inference.view_image import TensorImage, ViewImage
from vitseg.outputs import Distribution, SegOutput
from vitseg.types import Size

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

    def add(
        self,
        total: Float[Tensor, "k R W"] | None,
        rows: tuple[int, int],
        source: ScoreMap,
        row: int,
        column: int,
    ) -> Float[Tensor, "k R W"]:
        """The sums with what a window gives.

        Args:
            total: Sums of some rows, which are changed in place; None: zeros.
            rows: Half-open range of these rows.
            source: Scores of the window.
            row: Of the window in the grid.
            column: Of the window in the grid.
        """
        top, left = self.tops[row], self.lefts[column]
        start, stop = max(top, rows[0]), min(top + self.window[0], rows[1])
        scores = source.rows(start - top, stop - top)
        if self.weights is not None:
            scores = scores * self.weights[start - top : stop - top]
        if (
            total is None
        ):  # the classes of a pixel lie side by side, as in the scores that are added
            shape = (rows[1] - rows[0], self.size[1], source.num_classes)
            total = scores.new_zeros(shape).permute(2, 0, 1)
        total[:, start - rows[0] : stop - rows[0], left : left + self.window[1]] += scores
        return total

    def divide(self, total: Tensor, start: int, stop: int) -> Float[Tensor, "k R W"]:
        """The sums of the rows [start, stop) by the sums of their weights, in place."""
        return total.div_(self.down[start:stop, None] * self.right[None, :])


class Windows:
    """Scores of the windows of an image, blended where they overlap when rows are asked for.

    Where the outputs of all windows are small enough, all are run at once and kept. Otherwise a row of windows is run
    when its pixels are asked for, and given up as soon as rows below it are: asked from top to bottom, as labels are
    taken, every window is run once, and two or three rows of windows are held at a time.

    Args:
        model: Normalised images to output.
        image: The image.
        grid: Its windows.
        shelf: Where outputs are held.
    """

    def __init__(self, model: Model, image: ViewImage, grid: WindowGrid, shelf: Shelf):
        self._model, self._image, self._grid, self._shelf = model, image, grid, shelf
        self._first: SegOutput | None = self._run(0, 0)
        self.size = grid.size
        self.num_classes = self._first.num_classes
        self.distribution: Distribution = self._first.distribution
        self._inference = torch.is_inference_mode_enabled()
        self._held: dict[int, Shelved] = {}
        num_windows = len(grid.tops) * len(grid.lefts)
        self.is_kept = num_windows * self._first.num_bytes <= shelf.room
        if self.is_kept:
            for row in range(len(grid.tops)):
                self._window_row(row)
            del self._model, self._image  # all is run

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        grid = self._grid
        touched = [
            row for row, top in enumerate(grid.tops) if top < stop and top + grid.window[0] > start
        ]
        if not self.is_kept:
            for row in [row for row in self._held if row not in touched]:
                self._held.pop(row).give_up()
        with torch.inference_mode(self._inference or torch.is_inference_mode_enabled()):
            rows = {row: self._window_row(row).scores for row in touched}
            if len(grid.tops) == len(grid.lefts) == 1:
                return rows[0][0].rows(start, stop)
            total: Tensor | None = None
            for row, sources in rows.items():
                for column, source in enumerate(sources):
                    total = grid.add(total, (start, stop), source, row, column)
            assert total is not None
            return grid.divide(total, start, stop)

    def _window_row(self, row: int) -> Shelved:
        """The outputs of a row of windows, which is run if it is not held."""
        if row not in self._held:
            outputs: list[SegOutput] = []
            for column in range(len(self._grid.lefts)):
                if self._first is not None and (row, column) == (0, 0):
                    outputs.append(self._first)
                    self._first = None
                else:
                    outputs.append(self._run(row, column))
            self._held[row] = self._shelf.put(outputs)
        return self._held[row]

    def _run(self, row: int, column: int) -> SegOutput:
        grid = self._grid
        images = self._image.part(grid.tops[row], grid.lefts[column], grid.window)
        return self._model(images).of_image(0)


def slide(
    model: Model,
    image: ViewImage | Float[Tensor, "1 channels H W"],
    crop_size: Size,
    stride: Size,
    blend: Blend = "mean",
    shelf: Shelf | None = None,
) -> Windows:
    """Sum of the windows' weighted scores divided by the sum of the weights at each pixel.

    Windows start at multiples of the stride; the last of a row or column is moved back to the border. An image smaller
    than the window is run as it is.

    Args:
        model: Normalised images to output.
        image: One image.
        crop_size: (height, width) of the window in pixels.
        stride: (down, right) step of the window in pixels.
        blend: Weights of a window's pixels, see `window_weights`; "mean" is the papers' plain average.
        shelf: Where outputs are held; one of its own where not given.
    """
    image = TensorImage(image) if isinstance(image, Tensor) else image
    grid = WindowGrid.of(image.size, crop_size, stride, blend, image.device)
    return Windows(model, image, grid, shelf or Shelf(image.device))


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
