"""What is traced: a model with its preprocessing, from images to plain tensors.

The wrappers know a model by what every model gives, an output with scores. Sizes stay symbols while they are traced, so
nothing here compares them or makes numbers of them.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitseg.export.parity import probabilities
from vitseg.images.preprocess import Preprocessing
from vitseg.inference.config import InferenceConfig
from vitseg.methods.model import SegmentationModel
from vitseg.outputs import SegOutput
from vitseg.runtimes.layout import tensors
from vitseg.runtimes.record import Form
from vitseg.types import Size

HALF = 0.501
"""Added before resized pixels are cut to whole numbers: a little above a half, so that rounding in the resize, which
every runtime does in its own way, does not decide where a value lies between two numbers, as it does often."""


class ExportedModel(nn.Module):
    """Images to the tensors of a form (`vitseg.runtimes.record.Form`).

    Args:
        model: The model.
        form: What comes out: the tensors of the output; `probs` (b, k, H, W); or `labels` (b, H, W), in uint8, of more
            than 256 classes in int32.
        preprocessing: Normalisation that is done inside, of pixels in [0, 255]; None: normalised images come in.
        protocol: Its rule of sizes is done inside, and results are brought back to the size that came in; None: images
            are run at their own size. Not of form masks, which are over the token grid.
        is_bf16: Whether the model's products are computed in bf16, as under autocast; scores are in float32 again.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: SegmentationModel,
        form: Form,
        preprocessing: Preprocessing | None,
        protocol: InferenceConfig | None,
        is_bf16: bool = False,
    ):
        super().__init__()
        self.model = model
        self.is_bf16 = is_bf16
        self.form = form
        self.normalises = preprocessing is not None
        self.protocol = protocol if protocol is not None and protocol.resize is not None else None
        if preprocessing is not None:
            for name, level in zip(("mean", "std"), preprocessing.levels(), strict=True):
                self.register_buffer(name, torch.from_numpy(level)[:, None, None], persistent=False)

    def forward(self, images: Float[Tensor, "b channels H W"]) -> tuple[Tensor, ...]:
        """Run it."""
        size = images.shape[2], images.shape[3]
        if self.protocol is not None:
            wanted = traced_input_size(self.protocol, size)
            # pixels of 8 bits are rounded twice: they are resized along the width first
            for part in ((size[0], wanted[1]), wanted) if self.normalises else (wanted,):
                images = _resized(images, part)
                images = (images + HALF).floor() if self.normalises else images
        if self.normalises:
            images = (images - self.mean) / self.std
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.is_bf16):
            output: SegOutput = self.model(images)
        if self.form == "masks":
            return tuple(tensor.float() for tensor in tensors(output))
        scores = output.scores()
        if self.protocol is not None:
            scores = _resized(scores, size)
        if self.form == "labels":
            kind = torch.uint8 if output.num_classes <= 256 else torch.int32
            return (scores.argmax(1).to(kind),)
        return (probabilities(scores, output.distribution),)


def _resized(x: Float[Tensor, "b c _ _"], size: Size) -> Float[Tensor, "b c _ _"]:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def traced_input_size(protocol: InferenceConfig, size: Size) -> Size:
    """`InferenceConfig.input_size` in whole numbers alone, which a graph can compute.

    Where a side falls on half a pixel, the quotient in floating point may be rounded to either side of it.
    """
    assert protocol.resize is not None
    long, short = protocol.resize
    height, width = size
    shorter, longer = _least(height, width), _most(height, width)
    if protocol.min_short is not None:
        least = max(short, protocol.min_short)
        sides = (_rounded(side * least, shorter) for side in size)
    else:
        sides = (
            _least(_rounded(side * long, longer), _rounded(side * short, shorter)) for side in size
        )
    height, width = (_most(side, 1) for side in sides)
    return height, width


def _rounded(dividend: int, divisor: int) -> int:
    """The quotient, rounded half up."""
    return (2 * dividend + divisor) // (2 * divisor)


def _least(first: int, second: int) -> int:
    return cast(int, torch.sym_min(first, second))


def _most(first: int, second: int) -> int:
    return cast(int, torch.sym_max(first, second))
