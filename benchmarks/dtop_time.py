"""Time of token pruning beside its multiply-adds, image to labels, ViT-B.

Claim: with an exit head that prunes a given share of the tokens, the time over that of the unpruned model is at most
1.10 x the ratio of their GMACs; deciding and packing take under 3 % of the backbone's time. The reference's way, whole
blocks image by image, is timed beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from _measure import alternating_medians, print_table
from torch import Tensor

from vitseg.backbones import PlainViT
from vitseg.backbones.steps.exit import ExitHead, exits_of, pruned, set_pruning
from vitseg.backbones.steps.exit_rules import PruningConfig
from vitseg.features import AliveTokens
from vitseg.inference.operations import count_operations
from vitseg.inference.profile import label_batch
from vitseg.methods.dtop import DtopConfig
from vitseg.methods.model import SegmentationModel
from vitseg.outputs import SegOutput

NUM_CLASSES = 150
SHARES = (0.2, 0.4, 0.6)


class CalibratedHead:
    """A head that costs what a head costs, and is sure of a given share of an image's tokens, drawn by lot.

    Args:
        head: The head of the model.
        number: Number of its exit.
        share: Share of the tokens that leaves there.
    """

    def __init__(self, head: ExitHead, number: int, share: float):
        self.head = head
        self.number = number
        self.share = share

    def read(
        self, alive: AliveTokens, settled: SegOutput | None, name: str
    ) -> tuple[SegOutput, Tensor]:
        output, probs = self.head.read(alive, settled, name)
        lots = torch.rand(len(probs), generator=torch.Generator().manual_seed(self.number))
        ranks = torch.cat(
            [part.argsort().argsort() / len(part) for part in lots.split(alive.tokens.lengths)]
        )
        sure = (ranks < self.share).to(probs.dtype)
        return output, torch.cat([sure[:, None], probs[:, 1:] * 0], dim=1)


def build(size: int) -> SegmentationModel:
    config = DtopConfig.model_validate(
        {
            "backbone": {
                "name": "vit_base_patch16_384",
                "pretrained": False,
                "taps": [5, 7, 11],
                "prefix_tokens": "drop",
                "pos_embed_interpolation": "bicubic",
            },
            "decoder": {"num_heads": 6},
            "pruning": {"threshold": 0.5},
        }
    )
    torch.manual_seed(0)
    return config.build(NUM_CLASSES, (size, size)).eval().requires_grad_(False)


def compare(size: int, batch: int, rounds: int, warmups: int) -> list[list[str]]:
    model = build(size)
    vit = cast(PlainViT, model.backbone)
    heads = [(step, step.head) for step in exits_of(vit)]
    images = torch.randn(batch, 3, size, size)
    full = partial(label_batch, model, images)
    one_by_one = [partial(label_batch, model, image[None]) for image in images]

    def at(share: float, run: Callable[[], None]) -> Callable[[], None]:
        def run_at_share() -> None:
            for step, head in heads:
                step.head = CalibratedHead(head, step.number, share)
            set_pruning(vit, PruningConfig(threshold=0.5 if share else 1.0))
            run()

        return run_at_share

    partners = {"unpruned": at(0, full)} | {f"{share:.0%}": at(share, full) for share in SHARES}
    if batch > 1:
        partners["40%, image by image"] = at(0.4, lambda: [run() for run in one_by_one] and None)
    medians = alternating_medians(partners, rounds=rounds, warmups=warmups)
    one = partial(label_batch, model, images[:1])  # shares are the same in every image
    base = count_operations(model, at(0, one)).total
    counted = {f"{share:.0%}": count_operations(model, at(share, one)).total for share in SHARES}
    rows = []
    for name in partners:
        macs = counted.get(name.partition(",")[0], base) / base
        time = medians[name] / medians["unpruned"]
        title = f"{size}, batch {batch}, {name}"
        rows.append([title, f"{macs:.3f}", f"{time:.3f}", f"{time / macs:.3f}"])
    return rows


def deciding(size: int, batch: int, rounds: int) -> list[str]:
    """Deciding and packing at one exit, twice of which a forward has, over the backbone."""
    vit = cast(PlainViT, build(size).backbone)
    images = torch.randn(batch, 3, size, size)
    stream = vit.start(images)
    cells = stream.cover.grid[0] * stream.cover.grid[1]
    probs = torch.rand(batch * cells, NUM_CLASSES)
    probs[:, 10:] = 0  # an image has about ten classes
    rule = PruningConfig(threshold=probs.max(-1).values.median().item()).build()
    set_pruning(vit, PruningConfig(threshold=1.0))  # no exit acts: the blocks alone
    assert rule.leaves(probs, (cells,) * batch).leaves.float().mean() > 0.3

    def both_exits() -> None:
        for _ in range(2):
            pruned(stream, probs, (cells,) * batch, rule)

    medians = alternating_medians(
        {"decide": both_exits, "backbone": lambda: vit(images)}, rounds=rounds
    )
    return [f"{size}, batch {batch}", f"{medians['decide'] / medians['backbone']:.2%}"]


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warmups", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    rows, shares = [], []
    for size in options.sizes:
        for batch in options.batches:
            rows += compare(size, batch, options.rounds, options.warmups)
            shares.append(deciding(size, batch, min(5, options.rounds)))
    header = ["image to labels", "GMACs ratio", "time ratio", "time / GMACs"]
    print_table(
        "Share of the tokens that leaves at each exit (blocks 5 and 7) of SegViT-B, 150 classes",
        header,
        rows,
    )
    print_table("Deciding and packing at both exits", ["what", "of the backbone's time"], shares)


if __name__ == "__main__":
    main()
