"""Time and memory of SeMask-T with Semantic FPN, beside Swin-T with Semantic FPN.

Claims: at 512 x 512 with 150 classes its time over the baseline's is at most 1.1 x the ratio of their multiply-adds; an
image of 1024 x 2048, to labels, takes less than 8 GB. Attention of the third stage over whole maps is timed by itself,
by how many scores are held at once, and beside torch's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from unittest import mock

import torch
import torch.nn.functional as F
from _measure import alternating_medians, peak_above, print_table, to_labels

from vitseg.inference.operations import count_operations, peak_memory
from vitseg.layers import semantic_attention
from vitseg.layers.semantic_attention import attend_alike
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.types import Size

TINY = {
    "name": "swin_tiny_patch4_window7_224",
    "pretrained": False,
    "levels": [0, 1, 2, 3],
}
METHOD_OF = {"Swin-T": "fpn", "SeMask-T": "semask"}
LARGE = (1024, 2048)
SCORES = {"all at once": 2**30, "2^24": 2**24, "2^22": 2**22, "2^20": 2**20, "2^18": 2**18}
SET = next(name for name, number in SCORES.items() if number == semantic_attention.SCORE_ELEMENTS)


def build(name: str, num_classes: int) -> SegmentationModel:
    method = METHODS[METHOD_OF[name]]
    torch.manual_seed(0)
    config = method.model_validate({"backbone": TINY})
    return config.build(num_classes, (512, 512)).eval().requires_grad_(False)


def compare_time(rounds: int, warmups: int) -> list[list[str]]:
    images = torch.randn(1, 3, 512, 512)
    models = {name: build(name, 150) for name in METHOD_OF}
    runs = {name: partial(model, images) for name, model in models.items()}
    gmacs = {
        name: count_operations(model, runs[name]).total / 1e9 for name, model in models.items()
    }
    medians = alternating_medians(runs, rounds=rounds, warmups=warmups)
    rows = []
    for name in runs:
        macs, seconds = gmacs[name] / gmacs["Swin-T"], medians[name] / medians["Swin-T"]
        cells = [f"{gmacs[name]:.2f}", f"{macs:.3f}", f"{seconds:.3f}", f"{seconds / macs:.3f}"]
        extra = f"{(seconds - 1) / (macs - 1):.2f}" if macs > 1 else ""
        rows.append([name, *cells, extra])
    return rows


def compare_attention(size: Size, dim: int, rounds: int) -> list[list[str]]:
    """Of a map of this size, 150 classes, and values of this width."""
    num_tokens = size[0] * size[1]
    q, k, v = (torch.randn(1, num_tokens, width) for width in (150, 150, dim))

    def by(elements: int) -> torch.Tensor:
        with mock.patch.object(semantic_attention, "SCORE_ELEMENTS", elements):
            return attend_alike(q, k, v)

    runs: dict[str, Callable[[], object]] = {name: partial(by, n) for name, n in SCORES.items()}
    runs["torch's"] = partial(F.scaled_dot_product_attention, q, k, v, scale=1.0)
    medians = alternating_medians(runs, rounds=rounds, warmups=1)
    return [
        [
            f"{size[0]} x {size[1]}, {name}",
            f"{medians[name] / medians[SET]:.3f}",
            f"{peak_memory(run, torch.device('cpu')) / 2**20:.0f}",
        ]
        for name, run in runs.items()
    ]


def prepare(name: str, num_classes: int, size: Size, threads: int) -> Callable[[], object]:
    torch.set_num_threads(threads)
    torch.inference_mode().__enter__()  # for the rest of this process
    model = build(name, num_classes)
    to_labels(model, torch.randn(1, 3, 64, 64))()  # libraries' own buffers
    return to_labels(model, torch.randn(1, 3, *size))


def compare_memory() -> list[list[str]]:
    rows = []
    for num_classes in (19, 150):
        for name in METHOD_OF:
            before, peak = peak_above(
                partial(prepare, name, num_classes, LARGE, torch.get_num_threads())
            )
            cells = [f"{before:.0f}", f"{peak - before:.0f}", f"{peak:.0f}"]
            rows.append([f"{name}, {num_classes} classes", *cells])
    return rows


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warmups", type=int, default=2)
    parser.add_argument("--only", choices=["memory", "attention", "time"])
    options = parser.parse_args()
    if options.only in (None, "memory"):  # First: a process starts with the peak of its parent.
        header = ["image to labels", "before, MiB", "above, MiB", "in all, MiB"]
        title = f"Peak memory of an image of {LARGE[0]} x {LARGE[1]}"
        print_table(title, header, compare_memory())
    if options.only in (None, "attention"):
        rows = compare_attention((32, 32), 384, options.rounds)  # stage 2 at 512 x 512
        rows += compare_attention((64, 128), 384, max(1, options.rounds // 3))  # and 1024 x 2048
        header = ["map and scores held", f"time / {SET}", "peak, MiB"]
        print_table("Attention over a whole map, 150 classes, 384 channels", header, rows)
    if options.only in (None, "time"):
        header = [
            "to class logits",
            "GMACs",
            "GMACs ratio",
            "time ratio",
            "time / GMACs",
            "of the extra",
        ]
        title = "Time and multiply-adds over those of Swin-T, 512 x 512, 150 classes"
        print_table(title, header, compare_time(options.rounds, options.warmups))


if __name__ == "__main__":
    main()
