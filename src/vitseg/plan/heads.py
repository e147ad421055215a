"""The methods that a plan may choose, each with the settings by which it learns in minutes: measured, and in one place.

The table is what is tuned; nothing else in the plan knows a method's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vitseg.errors import ConfigError, unknown_name

DEFAULT = "segvit_joint"
"""What is chosen: the best of ours in equal minutes; its loss leaves out pixels without a label."""


@dataclass(frozen=True)
class Head:
    """How a method is trained in a short time.

    Attributes:
        name: What people call it.
        taps: Blocks that are read, as shares of the depth of the ViT: 1 is the last.
        lr: Learning rate of a ViT-Ti; wider ones take less, by the root of their width.
        head_lr_ratio: The head's over it.
        warmup: Share of the iterations.
        weight_decay: Of the optimiser.
        drop_path: Rate of the last block.
        backbone: Further fields of that section.
        decoder: Fields of that section.
        loss: Fields of that section.
        leaves_out: Whether `loss.ignored: left_out` is known to its loss.
        last_blocks: Field of `decoder` that says how many last blocks the queries go through; "": there is none.
        last_blocks_ratio: The learning rate of these blocks over the backbone's.
    """

    name: str
    taps: tuple[float, ...]
    lr: float = 1e-4
    head_lr_ratio: float = 10.0
    warmup: float = 0.1
    weight_decay: float = 0.01
    drop_path: float = 0.1
    backbone: Mapping[str, Any] = field(default_factory=dict)
    decoder: Mapping[str, Any] = field(default_factory=dict)
    loss: Mapping[str, Any] = field(default_factory=dict)
    leaves_out: bool = False
    last_blocks: str = ""
    last_blocks_ratio: float = 1.0

    def learning_rate(self, width: int) -> float:
        """Of a ViT of this width, to two digits."""
        return float(f"{self.lr * (192 / max(192, width)) ** 0.5:.1e}")

    def blocks(self, depth: int) -> list[int]:
        """0-based taps of a ViT of this depth."""
        return sorted({max(0, round(share * depth) - 1) for share in self.taps})


HEADS: Mapping[str, Head] = {
    "segvit_joint": Head(
        "SegViT, its class queries in the backbone's last blocks",
        taps=(1.0,),
        backbone={"tap_norm": True},
        loss={"dice_weight": 5.0, "pixel_weight": 5.0, "pixel_step": 4},
        leaves_out=True,
        last_blocks="num_blocks",
        last_blocks_ratio=10.0,
    ),
    "eomt": Head(
        "EoMT",
        taps=(1.0,),
        backbone={"tap_norm": True},
        decoder={"num_queries": 100},
        last_blocks="num_blocks",
    ),
    "segvit": Head(
        "SegViT",
        taps=(0.5, 0.66, 1.0),
        backbone={"prefix_tokens": "drop"},
        decoder={"num_layers": 3, "init": "xavier"},
        leaves_out=True,
    ),
    "linear": Head(
        "a linear head",
        taps=(1.0,),
        backbone={"tap_norm": True},
        decoder={"norm": "batch"},
    ),
}
"""By their names in METHODS."""


def head_of(method: str) -> Head:
    """The settings of a method.

    Raises:
        ConfigError: No plan knows it.
    """
    if method not in HEADS:
        raise ConfigError(
            f"--method: {unknown_name('method of a training without a recipe', method, HEADS)} Every other method is "
            "trained by a recipe: vitseg train RECIPE --data ..."
        )
    return HEADS[method]
