"""Peak memory of a training step of SegViT-B at 512 with what saves memory, each in a process of its own.

On a CPU 2 images in float32, all that the process holds; on a GPU 16 in bf16, what torch has allocated. The second step
is the one that counts, beside the optimiser's states.

    python benchmarks/train_memory.py [--tiny] [--batch N] [ROW ...]

--tiny runs a tiny model instead, to see that all rows work.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import torch
from _measure import peak_and_result, print_table

from vitseg.classes import ClassTable
from vitseg.data.balance import Balance
from vitseg.errors import ConfigError
from vitseg.training.batches import train_step
from vitseg.training.recipe import Recipe, load_recipe
from vitseg.training.run_data import RunData
from vitseg.training.run_parts import build_parts
from vitseg.training.task import TrainingTask

RECIPE = "ade20k/segvit-vit_base_patch16_384"
NUM_CLASSES, STEPS = 150, 3
ROWS = {
    "plain": [],
    "checkpointing": ["backbone.gradient_checkpointing=true"],
    "accumulation 2": ["training.accumulate=2"],
    "checkpointing, accumulation 2": [
        "backbone.gradient_checkpointing=true",
        "training.accumulate=2",
    ],
    "LoRA": ["training.lora={}"],
    "LoRA, checkpointing": ["training.lora={}", "backbone.gradient_checkpointing=true"],
    "frozen backbone": ["training.freeze_backbone=true"],
    "8-bit states": ["optimizer.kind=adamw8bit"],
    "EMA": ["training.ema=0.999"],
}
TINY = ["backbone.name=test_vit", "backbone.taps=[1,3,5]", "data.augment.crop_size=[64,64]"]


def recipe_of(row: str, batch: int, tiny: bool) -> Recipe:
    """The published recipe from random weights, with what a row changes."""
    overrides = [
        *("backbone.pretrained=false", "backbone.weights=", f"training.batch_size={batch}"),
        *("backbone.mean=[0.5,0.5,0.5]", "backbone.std=[0.5,0.5,0.5]"),
        *(TINY if tiny else []),
        *ROWS[row],
    ]
    return load_recipe(RECIPE, overrides)


def prepare(row: str, batch: int, tiny: bool) -> Callable[[], tuple[int, int, float]]:
    """Nothing of it is built before; returns bytes on the GPU, trained parameters and the last step's seconds."""

    def run() -> tuple[int, int, float]:
        recipe = recipe_of(row, batch, tiny)
        classes = ClassTable.from_names([f"class {index}" for index in range(NUM_CLASSES)])
        train_set = cast(Any, SimpleNamespace(classes=classes))
        data = RunData(train_set, None, recipe.preprocessing(), Balance(), cast(Any, None), [])
        parts = build_parts(recipe, TrainingTask(train_set, None), data)
        device, size = parts.fabric.device, recipe.data.augment.crop_size
        images = torch.randn(batch, 3, *size, device=device)
        labels = torch.randint(0, NUM_CLASSES, (batch, *size), device=device)
        seconds = 0.0
        for _ in range(STEPS):
            began = time.monotonic()
            train_step(recipe, parts, images, labels)[0].item()  # waits for the device
            seconds = time.monotonic() - began
        on_gpu = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
        trained = sum(p.numel() for p in parts.model.parameters() if p.requires_grad)
        return on_gpu, trained, seconds

    return run


def main() -> None:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--batch", type=int, default=16 if on_gpu else 2)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    table, plain = [], None
    for row in options.rows:
        try:
            recipe_of(row, options.batch, options.tiny)
            _, peak, (allocated, trained, seconds) = peak_and_result(
                partial(prepare, row, options.batch, options.tiny)
            )
        except ConfigError as error:
            table.append([row, "", "", "", str(error)[:40]])
            continue
        mib = allocated / 2**20 if on_gpu else peak
        plain = plain or mib
        cells = [f"{mib:,.0f}", f"{100 * mib / plain:.0f} %", f"{trained / 1e6:.1f}"]
        table.append([row, *cells, f"{seconds:.2f}"])
        print(*table[-1], flush=True)
    header = [
        f"SegViT-B at 512, batch {options.batch}",
        "peak MiB",
        "of the first",
        "M trained",
        "s",
    ]
    device = f"{torch.cuda.get_device_name()}, bf16" if on_gpu else None
    print_table("Peak memory of a training step", header, table, device)


if __name__ == "__main__":
    main()
