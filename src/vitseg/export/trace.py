"""From a model to a graph that holds for images of any size and number."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from vitseg.errors import ConfigError, first_line
from vitseg.export.graph import ExportedModel
from vitseg.layers.products import by_products
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size

EXAMPLE: Size = (250, 310)
"""Size of the images that are traced: sides that are no multiples of any patch or stride, since what does nothing for
the example (padding of none) would be missing in the graph."""


def trace(
    model: ExportedModel, channels: int, size: Size | None, batch: int | None, source: Path | str
) -> ExportedProgram:
    """The graph of a model.

    Args:
        model: What is traced, in evaluation mode.
        channels: Of its input.
        size: (height, width) of the only images that the graph is to take; None: any.
        batch: Images at a time; None: any number.
        source: The model, for messages.

    Raises:
        ConfigError: The method does something that no graph holds.
    """
    height, width = size or EXAMPLE
    images = example_of(channels, (height, width), batch or 2)
    dynamic = {0: batch is None, 2: size is None, 3: size is None}
    shapes = {axis: Dim.DYNAMIC for axis, is_dynamic in dynamic.items() if is_dynamic}
    try:
        with quiet(), torch.no_grad(), by_products():
            program = torch.export.export(
                model.eval(), (images,), dynamic_shapes=(shapes,), strict=False
            )
    except Exception as error:
        raise ConfigError(
            f"{source} cannot be exported for images of any size: {first_line(error)} Exports for one size (--size "
            "HEIGHTxWIDTH) hold more methods."
        ) from error
    _drop_asserts(program)
    return program


def _drop_asserts(program: ExportedProgram) -> None:
    """Take away what tracing asserts of lengths that depend on values: it takes the example's for a rule."""
    for part in program.graph_module.modules():
        if not isinstance(part, GraphModule):
            continue
        for node in list(part.graph.nodes):
            if node.target is torch.ops.aten._assert_scalar.default:
                part.graph.erase_node(node)
        part.graph.eliminate_dead_code()
        part.recompile()


@torch.no_grad()
def padded_to(model: SegmentationModel, channels: int) -> Size:
    """(height, width) of which a model pads images to a multiple: what it makes of a single pixel."""
    height, width = model.eval()(torch.zeros(1, channels, 1, 1)).padded_size
    return int(height), int(width)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it, exporters keep their progress and their advice for themselves; what fails is raised all the same."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(_Nowhere()),
            contextlib.redirect_stderr(_Nowhere()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


class _Nowhere:
    """A stream that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing to do."""


def example_of(channels: int, size: Size, batch: int) -> Tensor:
    """Some smooth colours over (batch, channels, height, width), in [0, 255]: what a graph is compared on.

    Args:
        channels: Channels.
        size: (height, width) in pixels.
        batch: Images.
    """
    generator = torch.Generator().manual_seed(size[0] * 10_007 + size[1])
    pixels = torch.zeros(batch, channels, *size)
    for cells in (2, 5, 16):
        coarse = torch.rand(batch, channels, cells, cells, generator=generator)
        pixels += torch.nn.functional.interpolate(coarse, size, mode="bicubic") * 255 / 3
    return pixels.clamp(0, 255).round()
