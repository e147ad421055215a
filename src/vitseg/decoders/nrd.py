"""NRD: a network of its own labels every cell of the deepest map, by parameters that the image generates.

Source: Dynamic Neural Representational Decoders (NeurIPS 2021), as its published models compute it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitseg.decoders.pyramid_decoder import PyramidDecoder, PyramidDecoderConfig
from vitseg.features import Features
from vitseg.layers.aspp import AtrousSpatialPyramidPooling
from vitseg.layers.conv_norm import ConvBatchNormRelu
from vitseg.types import Size, spatial_size

RESULT_STRIDE = 4
"""Of the guidance map and so of the logits, in pixels."""

BAND_ROWS = 64
"""Rows of the guidance map that evaluation computes at a time: 256 rows of pixels."""


class NrdDecoderConfig(PyramidDecoderConfig):
    """Configuration of `NrdDecoder`; `dropout` is the auxiliary head's alone."""

    embed_dim: int = Field(default=512, ge=1, description="width of the pooling and the controller")
    dilations: tuple[int, ...] | None = Field(
        default=(3, 6, 9),
        min_length=1,
        description="distances of the pyramid pooling (ASPP) on the deepest map, in its cells; null: no pooling",
    )
    controller_reduction: int = Field(
        default=1, ge=1, description="what the controller's width is divided by (2 on a MiT-B1)"
    )
    hidden_dim: int = Field(
        default=16, ge=1, description="width C_r of the two hidden layers of a cell's network"
    )
    guidance_dim: int | None = Field(
        default=16, ge=1, description="channels C_m of the guidance map; null: no guidance"
    )
    guidance_hidden_dim: int = Field(
        default=48, ge=1, description="width of the convolution in front of the guidance map"
    )
    use_coordinates: bool = Field(
        default=True, description="tell a cell's network where in the cell each pixel is"
    )

    @model_validator(mode="after")
    def _fields_fit_together(self) -> NrdDecoderConfig:
        if self.guidance_dim is None and not self.use_coordinates:
            raise ValueError(
                "guidance_dim is null and use_coordinates is false, which leaves the cells' networks no input: give "
                "guidance_dim (16) or set use_coordinates: true"
            )
        default = type(self).model_fields["guidance_hidden_dim"].default
        if self.guidance_dim is None and self.guidance_hidden_dim != default:
            raise ValueError(
                "guidance_hidden_dim belongs to the guidance map, but guidance_dim is null: leave one of them out"
            )
        if self.embed_dim % self.controller_reduction:
            raise ValueError(
                f"controller_reduction {self.controller_reduction} must divide embed_dim {self.embed_dim}"
            )
        if any(dilation < 1 for dilation in self.dilations or ()):
            raise ValueError(f"dilations must be 1 or more, got {list(self.dilations or ())}")
        return self

    def widths(self, num_classes: int) -> tuple[int, int, int, int]:
        """Of a cell's network, from its input to its output."""
        num_inputs = 2 * self.use_coordinates + (self.guidance_dim or 0)
        return num_inputs, self.hidden_dim, self.hidden_dim, num_classes


class CellInputs(NamedTuple):
    """What the networks of all cells read, at stride 4.

    Attributes:
        coordinates: (b, 2, h, w): x and y from the corner of the cell, in [0, 1); None if it is not used.
        guidance: (b, c, h, w), before the normalisation; None if there is none.
    """

    coordinates: Float[Tensor, "b 2 h w"] | None
    guidance: Float[Tensor, "b _ h w"] | None


class Controller(nn.Module):
    """Generates the parameters of every cell's network.

    Args:
        in_channels: Of the map.
        embed_dim: Of the 3 x 3 convolution.
        num_parameters: Of one network.
    """

    def __init__(self, in_channels: int, embed_dim: int, num_parameters: int):
        super().__init__()
        self.conv = ConvBatchNormRelu(in_channels, embed_dim, 3)
        self.generate = nn.Conv2d(embed_dim, num_parameters, 1)
        # Three generated layers multiply: the first networks are to be close to 0.
        nn.init.xavier_normal_(self.generate.weight, gain=1 / num_parameters)
        assert self.generate.bias is not None
        nn.init.zeros_(self.generate.bias)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b p h w"]:
        """Parameters by cell, in the order of `run_cell_networks`."""
        return self.generate(self.conv(x))


class GuidanceMap(nn.Sequential):
    """The details of a shallow map in a few channels: a 3 x 3 convolution, and a linear 1 x 1.

    Args:
        in_channels: Of the map.
        hidden_dim: Of the 3 x 3 convolution.
        guidance_dim: Of the result.
    """

    def __init__(self, in_channels: int, hidden_dim: int, guidance_dim: int):
        super().__init__(
            ConvBatchNormRelu(in_channels, hidden_dim, 3), nn.Conv2d(hidden_dim, guidance_dim, 1)
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The guidance of every pixel of the map.

        In evaluation by bands of rows: a convolution may rearrange its whole input, which of a shallow map takes as
        much memory as the class scores of the whole image. Compiled code, whose sizes may be open, does without.
        """
        height = x.shape[2]
        if self.training or torch.compiler.is_compiling() or height <= BAND_ROWS:
            return super().forward(x)
        reduce, project = cast(ConvBatchNormRelu, self[0]), self[1]
        bands = []
        for start in range(0, height, BAND_ROWS):
            stop = min(height, start + BAND_ROWS)
            rows = x[:, :, max(0, start - 1) : stop + 1]  # and the neighbours that the kernel reads
            rows = F.pad(rows, (0, 0, int(start == 0), int(stop == height)))
            rows = F.conv2d(rows, reduce.conv.weight, padding=(0, 1))
            bands.append(project(F.relu(reduce.norm(rows))))
        return torch.cat(bands, dim=2)


class NrdDecoder(PyramidDecoder):
    """Pyramid pooling, the controller, and the networks of the cells on coordinates and guidance.

    The guidance is read from the first map, whose stride must be `RESULT_STRIDE`.

    Args:
        in_channels: Width of each feature map, shallow to deep.
        num_classes: Classes.
        config: See `NrdDecoderConfig`.
        cell_side: Stride of the deepest map over `RESULT_STRIDE`: 8 where it is 32.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        config: NrdDecoderConfig,
        cell_side: int = 8,
    ):
        super().__init__(in_channels, num_classes, config)
        self.cell_side = cell_side
        self.use_coordinates = config.use_coordinates
        self.widths = config.widths(num_classes)
        deepest, width = in_channels[-1], config.embed_dim
        self.context: nn.Module = nn.Identity()
        if config.dilations is not None:
            self.context = AtrousSpatialPyramidPooling(
                deepest, width, config.dilations, is_separable=True
            )
            deepest = width
        self.controller = Controller(
            deepest, width // config.controller_reduction, num_parameters(self.widths)
        )
        self.guidance = None
        if config.guidance_dim is not None:
            self.guidance = GuidanceMap(
                in_channels[0], config.guidance_hidden_dim, config.guidance_dim
            )
        self.norm = nn.BatchNorm2d(self.widths[0])

    def classify(self, features: Features) -> Float[Tensor, "b k h w"]:
        """Class logits at `RESULT_STRIDE`."""
        parameters = self.controller(self.context(features.maps[-1]))
        read = [part for part in self.cell_inputs(features) if part is not None]
        inputs = self.norm(torch.cat(read, dim=1))
        return run_cell_networks(inputs, parameters, self.widths, self.cell_side)

    def cell_inputs(self, features: Features) -> CellInputs:
        """What the networks of the cells read, before its normalisation; also to be looked at."""
        coordinates = guidance = None
        if self.guidance is not None:
            guidance = self.guidance(features.maps[0])
        if self.use_coordinates:
            height, width = features.padded_size
            size = (height // RESULT_STRIDE, width // RESULT_STRIDE)
            like = features.maps[-1] if guidance is None else guidance
            coordinates = cell_coordinates(size, self.cell_side, like.device).to(like.dtype)
            coordinates = coordinates.expand(like.shape[0], -1, -1, -1)  # (b, 2, h, w)
        return CellInputs(coordinates, guidance)


def num_parameters(widths: Sequence[int]) -> int:
    """Weights and biases of one cell's network: 899 for 18, 16, 16 and 19 channels."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(widths))


def cell_coordinates(
    size: Size, cell_side: int, device: torch.device | None = None
) -> Float[Tensor, "1 2 h w"]:
    """Offsets (x, y) of every pixel from the corner of its cell: k / cell_side, in [0, 1).

    Args:
        size: Of the map, in pixels of the result (stride 4).
        cell_side: Of a cell, in the same pixels.
        device: Of the result.
    """
    y, x = (torch.arange(side, device=device) % cell_side / cell_side for side in size)
    return torch.stack([x.expand(size), y[:, None].expand(size)])[None]


def run_cell_networks(
    x: Float[Tensor, "b c H W"],
    parameters: Float[Tensor, "b p h w"],
    widths: Sequence[int],
    cell_side: int,
) -> Float[Tensor, "b k H W"]:
    """Run every cell's network on the pixels of its cell, a ReLU behind each layer but the last.

    Each layer is one matrix product over all cells of all images.

    Args:
        x: Input of the networks; cells at its right and bottom may reach further.
        parameters: Of each cell's network: weights (outputs x inputs) and biases, layer by layer.
        widths: Of the network, from its input to its output.
        cell_side: In pixels of `x`.
    """
    batch, _, height, width = x.shape
    rows, columns = spatial_size(parameters)
    below, right = rows * cell_side - height, columns * cell_side - width
    assert min(below, right) >= 0
    if below or right:
        x = F.pad(x, (0, right, 0, below))
    cells = x.unflatten(3, (columns, cell_side)).unflatten(2, (rows, cell_side))
    cells = cells.permute(0, 2, 4, 1, 3, 5).reshape(-1, widths[0], cell_side**2)  # (n, c, pixels)
    rest = parameters.permute(0, 2, 3, 1).flatten(0, 2)  # (n, p)
    for layer, (inputs, outputs) in enumerate(pairwise(widths)):
        if layer:
            cells = F.relu(cells)
        weight, bias, rest = rest.tensor_split((inputs * outputs, (inputs + 1) * outputs), dim=1)
        weight = weight.unflatten(1, (outputs, inputs))
        cells = torch.baddbmm(bias[:, :, None], weight, cells)
    cells = cells.unflatten(0, (batch, rows, columns)).unflatten(4, (cell_side, cell_side))
    cells = cells.permute(0, 3, 1, 4, 2, 5)  # (b, k, h, side, w, side)
    logits = cells.reshape(batch, -1, rows * cell_side, columns * cell_side)
    return logits[:, :, :height, :width]
