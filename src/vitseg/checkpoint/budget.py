"""Whether weights fit a model, before either is allocated: a few bytes of a file can claim terabytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from vitseg.errors import CheckpointError
from vitseg.types import Size

if TYPE_CHECKING:
    from vitseg.methods.method import MethodConfig

LONGEST_SIDE = 16_384
"""Longest side of training images in pixels."""

CALLS_PER_TENSOR = 100
"""Calls of torch that the construction of a parameter may take; a model needs some ten."""

LEAST_CALLS = 50_000
"""Calls that any construction may take: a backbone is built whole, however few of its blocks are kept."""


FILLING = {
    "kaiming_uniform_", "uniform_", "normal_", "erfinv_", "mul_", "add_", "clamp_", "fill_", "zero_", "copy_",
}  # fmt: skip
"""What weights are initialised with, in place."""


class Unfilled(TorchFunctionMode):
    """On the meta device weights have no values: their initialisation, most of the time of a model, is left out."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__name__", "") in FILLING:
            tensor = args[0] if args else named["tensor"]  # the latter of torch.nn.init
            if tensor.is_meta:
                return tensor
        return func(*args, **named)


class _CountedCalls(Unfilled):
    """Raises once torch was called more often than a model of so many parameters needs."""

    def __init__(self, most: int, complaint: str):
        super().__init__()
        self.left = most
        self.complaint = complaint

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.left -= 1
        if self.left < 0:
            raise CheckpointError(
                f"{self.complaint}: its configuration describes far more layers than the weights have."
            )
        return super().__torch_function__(func, types, args, kwargs)


def require_shapes(
    config: MethodConfig,
    num_classes: int,
    image_size: Size,
    shapes: Mapping[str, tuple[int, ...]],
    complaint: str,
) -> None:
    """Refuse weights that are not of a model, which is built without memory for it.

    Args:
        config: The method's configuration.
        num_classes: Classes of the model.
        image_size: Of its training images in pixels.
        shapes: Of the weights, by name.
        complaint: Beginning of the error.

    Raises:
        CheckpointError: The size or a count is out of all proportion, or a parameter is missing, unknown or of another
            shape.
        ConfigError: The parts of the model do not fit each other.
    """
    if not all(1 <= side <= LONGEST_SIDE for side in image_size):
        raise CheckpointError(
            f"{complaint}: image_size is {image_size[0]} x {image_size[1]}, but sides are from 1 to {LONGEST_SIDE} "
            "pixels."
        )
    most = max(LEAST_CALLS, CALLS_PER_TENSOR * len(shapes))
    try:
        with torch.device("meta"), _CountedCalls(most, complaint):
            model = config.build(num_classes, image_size, load_pretrained=False)
    except (RuntimeError, MemoryError, OverflowError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{complaint}: no such model can be built ({reason}).") from error
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    faults = [
        *(f"Missing key(s) in state_dict: {name}" for name in wanted if name not in shapes),
        *(f"Unexpected key(s) in state_dict: {name}" for name in shapes if name not in wanted),
        *(
            f"size mismatch for {name}: {shapes[name]} in the file, {shape} in the model"
            for name, shape in wanted.items()
            if name in shapes and shapes[name] != shape
        ),
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(f"{complaint}: {'; '.join(faults[:3])}{more}")
