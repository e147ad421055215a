"""An exported graph where a model is expected."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitseg.errors import ConfigError, VitsegError, first_line
from vitseg.layers.grid import whole_cells
from vitseg.outputs import SegOutput
from vitseg.own_memory import forget_peak, held_bytes, peak_bytes
from vitseg.runtimes.layout import OutputLayout
from vitseg.runtimes.record import ExportRecord
from vitseg.types import Size, spatial_size


class Session(Protocol):
    """A graph that a runtime has loaded."""

    @property
    def name(self) -> str:
        """The runtime and the device it runs on, for people."""
        ...

    def run(self, images: Float[Tensor, "b channels H W"]) -> Sequence[np.ndarray | Tensor]:
        """All outputs, in the order of the record."""
        ...


def run_graph(
    session: Session, images: Float[Tensor, "b channels H W"], source: Path
) -> list[Tensor]:
    """All outputs of a graph.

    Args:
        session: The loaded graph.
        images: What goes in.
        source: The file, for messages.

    Raises:
        VitsegError: The runtime fails: the graph does not hold for images of this size, or the memory is too small.
    """
    try:
        found = session.run(images)
    except Exception as error:  # the runtimes' errors have no base of their own
        height, width = spatial_size(images)
        raise VitsegError(
            f"{source}: {session.name} fails on {images.shape[0]} images of {width}x{height} pixels: "
            f"{first_line(error)}"
        ) from error
    return [value if isinstance(value, Tensor) else torch.from_numpy(value) for value in found]


class OtherSizeError(ConfigError):
    """An image is run at another size than the one that a graph was exported for.

    Attributes:
        wanted: (height, width) of the graph.
        size: (height, width) at which the image is run.
    """

    def __init__(self, source: Path, wanted: Size, size: Size):
        window = f"[{wanted[0]},{wanted[1]}]"  # without a blank, which a shell would split it at
        super().__init__(
            f"{source} takes images of {wanted[1]}x{wanted[0]} pixels alone, but this one is run at "
            f"{size[1]}x{size[0]}: export it again without --size, or run it in windows "
            f"(--set mode=slide --set crop_size={window} --set stride={window})."
        )
        self.wanted, self.size = wanted, size


class GraphModel(nn.Module):
    """Images to an output, by a graph of form "masks". It has no parameters, and is always in evaluation.

    Args:
        session: The loaded graph.
        record: What it is.
        source: The file, for messages.
    """

    def __init__(self, session: Session, record: ExportRecord, source: Path):
        super().__init__()
        assert record.layout is not None
        self.session = session
        self.record = record
        self.layout: OutputLayout = record.layout
        self.source = source
        self._taken: dict[Size, int] = {}
        self.eval()

    @torch.inference_mode()
    def forward(self, images: Float[Tensor, "b channels H W"]) -> SegOutput:
        """Run the graph.

        Raises:
            OtherSizeError: It was exported for another size.
        """
        size = spatial_size(images)
        self._require_fit(images)
        found = self._in_parts(images)
        tensors = dict(zip(self.record.outputs, found, strict=True))
        padded = [
            whole_cells(length, cell) * cell
            for length, cell in zip(size, self.record.padding, strict=True)
        ]
        return self.layout.output(tensors, size, (padded[0], padded[1]))

    def taken_by(self, run: Callable[[], object], size: Size) -> int:
        """Bytes that this process takes from the system for a run, measured once for each size.

        Runtimes keep what they have taken for later runs: the second takes nothing more.

        Args:
            run: Runs the graph.
            size: (height, width) of its images.
        """
        if size not in self._taken:
            gc.collect()  # what is freed during the run would make up for what it takes
            before = held_bytes()
            forget_peak()
            run()
            self._taken[size] = max(0, peak_bytes() - before)
        return self._taken[size]

    def _in_parts(self, images: Float[Tensor, "b channels H W"]) -> list[Tensor]:
        """All outputs, as many images at a time as the graph takes; the last is repeated where some are missing."""
        at_once, number = self.record.batch, images.shape[0]
        if at_once is None or number == at_once:
            return run_graph(self.session, images, self.source)
        last = images[-1:].expand((-number) % at_once, -1, -1, -1)
        parts = [
            run_graph(self.session, part, self.source)
            for part in torch.cat([images, last]).split(at_once)
        ]
        return [torch.cat(outputs)[:number] for outputs in zip(*parts, strict=True)]

    def _require_fit(self, images: Tensor) -> None:
        size, wanted = spatial_size(images), self.record.size
        if wanted is not None and size != tuple(wanted):
            raise OtherSizeError(self.source, (wanted[0], wanted[1]), size)
