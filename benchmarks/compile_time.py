"""What torch.compile gains in whole-image mode at one fixed size: time against the eager model, in one run."""

from __future__ import annotations

import time

import torch
from _measure import alternating_medians, print_table

from vitseg.inference.scores import OutputScores, label_map
from vitseg.methods import METHODS

CASES = {
    "SegViT-Ti, 256 x 256": ("vit_tiny_patch16_224", (256, 256), 11),
    "SegViT-Ti, 360 x 480": ("vit_tiny_patch16_224", (360, 480), 11),
    "SegViT-B, 512 x 512": ("vit_base_patch16_384", (512, 512), 150),
}


@torch.inference_mode()
def measure(backbone_name: str, size: tuple[int, int], num_classes: int) -> list[str]:
    """Columns of one row: seconds to compile, ratios of the model and of the way to the labels, largest difference."""
    backbone = {
        "name": backbone_name,
        "pretrained": False,
        "taps": [5, 7, 11],
        "prefix_tokens": "drop",
    }
    config = METHODS["segvit"].model_validate({"backbone": backbone})
    model = config.build(num_classes, size).eval()
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


def main() -> None:
    rows = [[name, *measure(*case)] for name, case in CASES.items()]
    header = [
        "whole image, batch 1",
        "compiling s",
        "model",
        "model to labels",
        "largest difference",
    ]
    print_table("Time of the compiled model / time of the eager one", header, rows)


if __name__ == "__main__":
    main()
