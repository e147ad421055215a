"""What the model of a recipe costs, counted on torch's meta device: nothing is computed or downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vitseg.checkpoint.budget import Unfilled
from vitseg.inference.operations import count_operations
from vitseg.methods.model import SegmentationModel
from vitseg.training.recipe import Recipe
from vitseg.types import Size


class Costs(NamedTuple):
    """Costs of a model; None: what it runs depends on the image.

    Attributes:
        parameters: Of the network that is trained, auxiliary heads included.
        gmacs: Multiply-adds of one image, up to the scores of every pixel, in 10^9.
    """

    parameters: int
    gmacs: float | None


class FlashAttention(TorchFunctionMode):
    """Attention by the kernel that CPUs and GPUs run: on the meta device torch would write its scores out."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        mask = kwargs.get("attn_mask")
        if mask is not None and mask.dtype == torch.bool:
            mask = mask.to(args[0].dtype)
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return kernel(*args[:3], attn_mask=mask, scale=kwargs.get("scale"))[0]


def outline_of(recipe: Recipe, num_classes: int) -> SegmentationModel:
    """The model of a recipe on the meta device: names and shapes alone."""
    with torch.device("meta"), Unfilled():
        return recipe.model.build(num_classes, recipe.data.augment.crop_size, load_pretrained=False)


def count_costs(recipe: Recipe, num_classes: int, size: Size) -> Costs:
    """Count the model of a recipe.

    Args:
        recipe: The run.
        num_classes: Classes of its data set.
        size: (height, width) of the image in pixels.
    """
    model = outline_of(recipe, num_classes).eval()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    image = torch.empty(1, 3, *size, device="meta")
    try:
        operations = count_operations(model, lambda: model(image).scores())
    except NotImplementedError:  # an operator whose result depends on values
        return Costs(parameters, None)
    return Costs(parameters, operations.total / 1e9)


def kept_bytes(recipe: Recipe, num_classes: int) -> int | None:
    """Bytes that the network keeps of one crop for the backward pass in float32; the loss keeps more on top.

    None: it depends on the image.
    """
    model = outline_of(recipe, num_classes).train()
    images = torch.empty(2, 3, *recipe.data.augment.crop_size, device="meta")  # 2: batch statistics
    owned = {_place_of(value) for value in (*model.parameters(), *model.buffers())}
    try:
        with torch.device("meta"), FlashAttention(), _saved(owned) as sizes:
            output = model(images)
    except NotImplementedError:
        return None
    del output
    return sum(sizes.values()) // 2


def _place_of(tensor: Tensor) -> int:
    """Of the memory that a tensor, or what is a view of it, lies in."""
    return tensor.untyped_storage()._cdata


@contextmanager
def _saved(owned: set[int]) -> Iterator[dict[int, int]]:
    """Within it, bytes of the memory that is kept for a backward pass are collected; that of `owned` is not."""
    sizes: dict[int, int] = {}
    held: list[Tensor] = []  # so that no other tensor gets the place of one that was counted

    def keep(tensor: Tensor) -> Tensor:
        if _place_of(tensor) not in owned:
            held.append(tensor.detach())
            sizes[_place_of(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield sizes
