"""SegViT-B at 512 x 512 with 150 classes, label map out, against its backbone alone. Claim: at most 1.20 x."""

from __future__ import annotations

import argparse

import timm
import torch
from _measure import alternating_medians, print_table

from vitseg.inference.scores import OutputScores, label_map
from vitseg.methods import METHODS

NAME = "vit_base_patch16_384"


@torch.inference_mode()
def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    method = METHODS["segvit"]
    backbone = {
        "name": NAME,
        "pretrained": False,
        "taps": [5, 7, 11],
        "prefix_tokens": "drop",
        "pos_embed_interpolation": "bicubic",
    }
    config = method.model_validate({"backbone": backbone})
    model = config.build(150, (512, 512)).eval()
    vit = timm.create_model(NAME, img_size=512, num_classes=0).eval()
    images = torch.randn(1, 3, 512, 512)
    output = model(images)
    medians = alternating_medians(
        {
            "timm forward_features": lambda: vit.forward_features(images),
            "SegViT, label map": lambda: label_map(OutputScores(model(images))),
            "of which backbone": lambda: model.backbone(images),
            "of which masks to labels": lambda: label_map(OutputScores(output)),
        }
    )
    base = medians["timm forward_features"]
    rows = [[name, f"{seconds / base:.3f}"] for name, seconds in medians.items()]
    print_table("SegViT-B, 512 x 512, batch 1, 150 classes", ["what", "ratio"], rows)


if __name__ == "__main__":
    main()
