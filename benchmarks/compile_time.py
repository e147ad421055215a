"""What torch.compile gains: whole images at one fixed size, and the training step; time against eager, in one run."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from _measure import alternating_medians, print_table
from torch import Tensor

from vitseg.inference.scores import OutputScores, label_map
from vitseg.methods import METHODS
from vitseg.methods.method import MethodConfig
from vitseg.training.compilation import compile_step, found_breaks
from vitseg.training.optimizer import OptimizerConfig, build_optimizer
from vitseg.training.step import LossOfModel
from vitseg.types import Size

VIT_TI, VIT_B = "vit_tiny_patch16_224", "vit_base_patch16_384"

CASES = {
    "SegViT-Ti, 256 x 256": (VIT_TI, (256, 256), 11),
    "SegViT-Ti, 360 x 480": (VIT_TI, (360, 480), 11),
    "SegViT-B, 512 x 512": (VIT_B, (512, 512), 150),
}

STEPS = {
    "SegViT-Ti, 256 x 256": (VIT_TI, (256, 256), 11),
    "SegViT-B, 512 x 512": (VIT_B, (512, 512), 150),
}
"""Of these, training steps of two images."""

BATCH_SIZE = 2
CLASSES_OF_A_BATCH = 10
"""About as many as an image of ADE20K has."""


def segvit(backbone_name: str) -> MethodConfig:
    backbone = {
        "name": backbone_name,
        "pretrained": False,
        "taps": [5, 7, 11],
        "prefix_tokens": "drop",
    }
    return METHODS["segvit"].model_validate({"backbone": backbone})


@torch.inference_mode()
def measure(backbone_name: str, size: Size, num_classes: int) -> list[str]:
    """Columns of one row: seconds to compile, ratios of the model and of the way to the labels, largest difference."""
    model = segvit(backbone_name).build(num_classes, size).eval()
    compiled = torch.compile(model, dynamic=False)
    images = torch.randn(1, 3, *size)
    start = time.perf_counter()
    difference = float((compiled(images).mask_logits - model(images).mask_logits).abs().max())
    seconds = time.perf_counter() - start
    medians = alternating_medians(
        {
            "eager": lambda: model(images),
            "compiled": lambda: compiled(images),
            "eager labels": lambda: label_map(OutputScores(model(images))),
            "compiled labels": lambda: label_map(OutputScores(compiled(images))),
        },
        rounds=7,
        warmups=2,
    )
    ratio = medians["compiled"] / medians["eager"]
    to_labels = medians["compiled labels"] / medians["eager labels"]
    return [f"{seconds:.0f}", f"{ratio:.2f}", f"{to_labels:.2f}", f"{difference:.0e}"]


def measure_step(
    backbone_name: str, size: Size, num_classes: int, dtype: torch.dtype, rounds: int
) -> list[str]:
    """Columns of one row: seconds to compile, of an eager step, of a compiled one, their ratio, breaks of the graph."""
    images = torch.randn(BATCH_SIZE, 3, *size)
    labels = labels_of(size, num_classes)
    eager, compiled = (step_of(backbone_name, size, num_classes, dtype) for _ in range(2))
    compile_step(compiled.keywords["step"], images.device)
    start = time.perf_counter()
    compiled(images, labels)
    seconds = time.perf_counter() - start
    breaks = found_breaks().total()
    ways: dict[str, Callable[[], object]] = {
        "eager": lambda: eager(images, labels),
        "compiled": lambda: compiled(images, labels),
    }
    medians = alternating_medians(ways, rounds=rounds, warmups=1)
    ratio = medians["compiled"] / medians["eager"]
    times = [f"{medians[way]:.2f}" for way in ways]
    return [f"{seconds:.0f}", *times, f"{ratio:.2f}", str(breaks)]


def step_of(backbone_name: str, size: Size, num_classes: int, dtype: torch.dtype) -> partial[None]:
    """A whole step of a new model: forward, backward and optimiser."""
    step = LossOfModel(
        segvit(backbone_name).build(num_classes, size), segvit(backbone_name).criterion()
    )
    optimizer = build_optimizer(step.model, OptimizerConfig(), fused=True)
    return partial(train_step, step=step.train(), optimizer=optimizer, dtype=dtype)


def train_step(
    images: Tensor,
    labels: Tensor,
    step: LossOfModel,
    optimizer: torch.optim.Optimizer,
    dtype: torch.dtype,
) -> None:
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        terms = step(images, labels)
    torch.stack(list(terms.values())).sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def labels_of(size: Size, num_classes: int) -> Tensor:
    """Blocks of a few classes."""
    few = torch.randint(num_classes, (BATCH_SIZE, CLASSES_OF_A_BATCH))
    blocks = few[:, torch.randint(CLASSES_OF_A_BATCH, (8, 8))]  # (b, 8, 8)
    down, right = (side // 8 for side in size)
    return blocks.repeat_interleave(down, 1).repeat_interleave(right, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["images", "steps"], help="one of the two tables")
    parser.add_argument("--small", action="store_true", help="the smallest case alone")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each way")
    parser.add_argument("--bf16", action="store_true", help="steps in bf16-mixed")
    given = parser.parse_args()
    many = 1 if given.small else None
    if given.only != "steps":
        rows = [[name, *measure(*case)] for name, case in list(CASES.items())[:many]]
        header = [
            "whole image, batch 1",
            "compiling s",
            "model",
            "model to labels",
            "largest difference",
        ]
        print_table("Time of the compiled model / time of the eager one", header, rows)
    if given.only != "images":
        dtype = torch.bfloat16 if given.bf16 else torch.float32
        rows = [
            [name, *measure_step(*case, dtype, given.rounds)]
            for name, case in list(STEPS.items())[:many]
        ]
        header = [
            f"training step, batch {BATCH_SIZE}",
            "compiling s",
            "eager s",
            "compiled s",
            "ratio",
            "breaks",
        ]
        title = "bf16-mixed" if given.bf16 else "float32"
        print_table(f"Time of the compiled training step / of the eager one, {title}", header, rows)


if __name__ == "__main__":
    main()
