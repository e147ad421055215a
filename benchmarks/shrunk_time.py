"""Time of the Shrunk models, image to labels, beside their multiply-adds.

Claims: Shrunk's time over SegViT's is at most 1.05 x the ratio of their GMACs (B at 512, L at 640); edge-aware Shrunk's
likewise, at a given share of kept tokens and batches of 1 and 4; and four images that keep different numbers of tokens
take no longer as one batch than one by one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from _measure import alternating_medians, print_table
from torch import Tensor

from vitseg.backbones import PlainViT
from vitseg.backbones.steps.edges import EDGE_HEAD, EdgeHead, EdgeHeadConfig, FindEdges
from vitseg.inference.operations import count_operations
from vitseg.inference.profile import label_batch
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel

NUM_CLASSES = 150
BASE = {"name": "vit_base_patch16_384", "taps": [5, 7, 11]}
LARGE = {"name": "vit_large_patch16_384", "taps": [7, 15, 23]}
PRESENCE = {
    "self_attention": False,
    "classifier": "presence",
    "supervise": "layers",
    "projection": "none",
}
KEPT = (0.25, 0.5, 0.75, 1.0)


class GivenShare(EdgeHead):
    """An edge head that costs what an edge head costs and keeps tokens by lot, so that a given share stays.

    Args:
        embed_dim: Width of the tokens.
        kept: Share of all tokens, the quarter that always stays included; an image's own share is up to a fifth more
            or less where `uneven`.
        uneven: Whether the images of a batch differ.
    """

    def __init__(self, embed_dim: int, kept: float, uneven: bool = False):
        super().__init__(embed_dim, EdgeHeadConfig())
        self.kept = kept
        self.uneven = uneven

    def is_edge(self, logits: Tensor) -> Tensor:
        batch, num_tokens = logits.shape[:2]
        generator = torch.Generator().manual_seed(0)
        lots = torch.rand(num_tokens, generator=generator).expand(batch, -1)
        spread = torch.linspace(-0.2, 0.2, batch) if self.uneven and batch > 1 else torch.zeros(1)
        share = (self.kept * (1 + spread) - 0.25) / 0.75  # of the tokens that need not stay
        return lots < share[:, None]


def build(method: str, size: int, **sections: object) -> SegmentationModel:
    sections["backbone"] = {
        "pretrained": False,
        "prefix_tokens": "drop",
        "pos_embed_interpolation": "bicubic",
        **sections["backbone"],  # type: ignore[dict-item]
    }
    config = METHODS[method].model_validate(sections)
    return config.build(NUM_CLASSES, (size, size)).eval().requires_grad_(False)


def edge_aware(kept: float, uneven: bool = False) -> SegmentationModel:
    model = build(
        "shrunk",
        512,
        backbone={**BASE, "taps": [11]},
        shrink={"block": 0},
        edges={},
        decoder=PRESENCE,
    )
    vit = model.backbone
    assert isinstance(vit, PlainViT)
    find_edges = next(step for step in vit.steps[0] if isinstance(step, FindEdges))
    find_edges.head = GivenShare(vit.embed_dim, kept, uneven).eval()
    vit.own(EDGE_HEAD, find_edges.head)
    return model


def gmacs(model: SegmentationModel, run: Callable[[], object]) -> float:
    return count_operations(model, run).total / 1e9


def compare(
    title: str, models: dict[str, SegmentationModel], images: Tensor, rounds: int
) -> list[list[str]]:
    """One row per model; the first is what the others are compared with."""
    runs = {name: partial(label_batch, model, images) for name, model in models.items()}
    counts = {name: gmacs(models[name], run) for name, run in runs.items()}
    medians = alternating_medians({**runs}, rounds=rounds)
    first = next(iter(models))
    rows = []
    for name in models:
        macs, time = counts[name] / counts[first], medians[name] / medians[first]
        cells = [f"{counts[name] / len(images):.1f}", f"{macs:.3f}", f"{time:.3f}"]
        rows.append([f"{title}, {name}", *cells, f"{time / macs:.3f}"])
    return rows


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", choices=["base", "large", "edges", "batch"])
    options = parser.parse_args()
    rows: list[list[str]] = []
    upsampled = {"decoder": {"supervise": "layers", "projection": "none"}}
    if options.only in (None, "base"):
        models = {
            "SegViT": build("segvit", 512, backbone=BASE),
            "Shrunk": build(
                "shrunk", 512, backbone={**BASE, "taps": [11]}, shrink={"block": 6}, **upsampled
            ),
        }
        rows += compare("B, 512", models, torch.randn(1, 3, 512, 512), options.rounds)
    if options.only in (None, "large"):
        models = {
            "SegViT": build("segvit", 640, backbone=LARGE),
            "Shrunk": build(
                "shrunk", 640, backbone={**LARGE, "taps": [23]}, shrink={"block": 8}, **upsampled
            ),
        }
        rows += compare("L, 640", models, torch.randn(1, 3, 640, 640), options.rounds)
    for batch in (1, 4) if options.only in (None, "edges") else ():
        models = {"SegViT": build("segvit", 512, backbone=BASE)}
        models |= {f"edges, {kept:.0%} kept": edge_aware(kept) for kept in KEPT}
        images = torch.randn(batch, 3, 512, 512)
        rows += compare(f"B, 512, batch {batch}", models, images, options.rounds)
    if rows:
        header = ["image to labels", "GMACs/image", "GMACs ratio", "time ratio", "time / GMACs"]
        print_table("Time and multiply-adds over those of SegViT, 150 classes", header, rows)
    if options.only in (None, "batch"):
        model, images = edge_aware(0.5, uneven=True), torch.randn(4, 3, 512, 512)
        medians = alternating_medians(
            {
                "one by one": lambda: [model(image[None]) for image in images],
                "one batch": lambda: model(images),
            },
            rounds=options.rounds,
        )
        ratio = f"{medians['one batch'] / medians['one by one']:.3f}"
        title = "Edge-aware Shrunk-B, 512, four images that keep 40-60 % of their tokens"
        print_table(title, ["what", "time ratio"], [["one batch / one by one", ratio]])


if __name__ == "__main__":
    main()
