"""A model of eleven tasks against the one-task model of the same classes: ViT-B at 512, 150 classes (100 + 10 x 5).

Claim: at most 1.25 times its time, from image to labels. Every task runs by itself, in the operations that it ran in
when it was alone, so that its scores keep every bit; its few queries read the memory without projecting it.

    python benchmarks/tasks_time.py [ROUNDS]
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from _measure import alternating_medians, print_table

from vitseg.inference.operations import count_operations
from vitseg.inference.profile import label_batch
from vitseg.methods.model import SegmentationModel
from vitseg.methods.segvit import SegVitConfig
from vitseg.methods.segvit_cl import SegVitClConfig

SIDE, CLASSES = 512, 150
BACKBONE = {
    "name": "vit_base_patch16_384",
    "pretrained": False,
    "taps": [5, 7, 11],
    "prefix_tokens": "drop",
}
SPLITS = {
    "one task": [150],
    "100-50, 2 tasks": [100, 50],
    "50-50, 3 tasks": [50, 50, 50],
    "100-10, 6 tasks": [100, *[10] * 5],
    "100-5, 11 tasks": [100, *[5] * 10],
}


def model_of(sizes: list[int]) -> SegmentationModel:
    """One task is a plain SegViT with two-way classes."""
    torch.manual_seed(0)
    if len(sizes) == 1:
        one = {"backbone": BACKBONE, "decoder": {"classifier": "presence"}}
        return SegVitConfig.model_validate(one).build(CLASSES, (SIDE, SIDE)).eval()
    tasks = [{"num_classes": size} for size in sizes]
    config = SegVitClConfig.model_validate({"backbone": BACKBONE, "tasks": tasks})
    return config.build(CLASSES, (SIDE, SIDE)).eval()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=10)
    rounds = parser.parse_args().rounds
    images = torch.randn(1, 3, SIDE, SIDE)
    models = {name: model_of(sizes) for name, sizes in SPLITS.items()}
    runs = {name: partial(label_batch, model, images) for name, model in models.items()}
    medians = alternating_medians(runs, rounds, warmups=min(3, rounds))
    first = next(iter(models))
    rows = []
    for name, model in models.items():
        counted = count_operations(model, lambda m=model: m(images)).total / 1e9
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        ratio = medians[name] / medians[first]
        rows.append([name, f"{millions:.1f}", f"{counted:.1f}", f"{ratio:.2f}"])
    title = f"Tasks at inference, ViT-B, {SIDE} x {SIDE}, {CLASSES} classes, image to labels"
    print_table(title, ["classes by task", "M parameters", "GMACs", "time / one task"], rows)


if __name__ == "__main__":
    main()
