"""A foreign checkpoint file to a model and its record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vitseg.backbones import BackboneConfig
from vitseg.backbones.weights import read_tensors
from vitseg.checkpoint.model_dir import ModelRecord, fill
from vitseg.checkpoint.segvit_reference import convert_segvit
from vitseg.classes import ClassTable
from vitseg.decoders.atm import AtmConfig
from vitseg.errors import CheckpointError
from vitseg.images.preprocess import Preprocessing
from vitseg.methods import SegmentationModel, segvit
from vitseg.methods.segvit import SegVitConfig

BACKBONES = {
    (192, 12): "vit_tiny_patch16_384",
    (384, 12): "vit_small_patch16_384",
    (768, 12): "vit_base_patch16_384",
    (1024, 24): "vit_large_patch16_384",
}
"""timm's name of the ViT with a width and a depth, as the published models use them (patch 16)."""

TAPS = {12: (5, 7, 11), 24: (7, 15, 23)}
"""Taps of the published three-stage cascades, by depth."""

STRIDES = {640: 608, 512: 341, 480: 320}
"""Stride of the published sliding window, by crop (pixels); two thirds of any other crop."""

IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
HALF = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

SEGVIT_LICENSE = (
    "SegViT's published weights: non-commercial use only (licence of the SegViT repository)"
)


def convert_checkpoint(
    path: Path, classes: ClassTable | None
) -> tuple[SegmentationModel, ModelRecord]:
    """Read a published SegViT checkpoint.

    Args:
        path: The file; a pickle is read with `weights_only=True`.
        classes: Class names; numbered names where not given.

    Raises:
        CheckpointError: Another kind of file, or an architecture that is not one of the published.
    """
    state = convert_segvit(read_tensors(path))
    config, crop = _architecture(state)
    num_classes = state["decoder.query_embed.weight"].shape[0]
    if classes is None:
        classes = ClassTable.from_names([f"class_{index}" for index in range(num_classes)])
    if classes.num_classes != num_classes:
        raise CheckpointError(
            f"{path.name} has {num_classes} classes, but the class list has {classes.num_classes}: give the list of "
            "the data set that it was trained on."
        )
    model = segvit.build(config, num_classes, (crop, crop), load_pretrained=False)
    fill(model, state, f"{path.name} does not fit {config.backbone.name}")
    stride = STRIDES.get(crop, 2 * crop // 3)
    record = ModelRecord(
        method="segvit",
        architecture=config.model_dump(mode="json"),
        image_size=(crop, crop),
        classes=classes,
        # The author names ImageNet statistics for the published ViT-B run; ViT-L used 0.5.
        preprocessing=IMAGENET if config.backbone.name.startswith("vit_base") else HALF,
        inference={
            "mode": "slide",
            "resize": (2048, crop),
            "crop_size": (crop, crop),
            "stride": (stride, stride),
        },
        metrics={"converted_from": path.name},
        license=SEGVIT_LICENSE,
    )
    return model.eval(), record


def _architecture(state: Mapping[str, Tensor]) -> tuple[SegVitConfig, int]:
    """Configuration and crop side (pixels) by the shapes of the parameters."""
    if "backbone.pos_embed" not in state:
        raise CheckpointError("the checkpoint has no backbone.pos_embed, so it is no plain ViT.")
    num_tokens, embed_dim = state["backbone.pos_embed"].shape[-2:]
    depth = 1 + _largest(state, r"backbone\.blocks\.(\d+)\.")
    num_stages = 1 + _largest(state, r"decoder\.stages\.(\d+)\.")
    num_layers = 1 + _largest(state, r"decoder\.stages\.0\.layers\.(\d+)\.")
    if (embed_dim, depth) not in BACKBONES or num_stages not in (1, 3):
        raise CheckpointError(
            f"no published SegViT has width {embed_dim}, {depth} blocks and {num_stages} stages. Known: "
            f"{', '.join(sorted(BACKBONES.values()))} with one or three stages."
        )
    taps = TAPS[depth] if num_stages == 3 else TAPS[depth][-1:]
    backbone = BackboneConfig(
        name=BACKBONES[embed_dim, depth],
        pretrained=False,
        taps=taps,
        prefix_tokens="drop",
        pos_embed_interpolation="bicubic",
    )
    decoder = AtmConfig(
        embed_dim=state["decoder.query_embed.weight"].shape[1], num_layers=num_layers
    )
    side = round((num_tokens - 1) ** 0.5)
    return SegVitConfig(backbone=backbone, decoder=decoder), 16 * side


def _largest(state: Mapping[str, Tensor], pattern: str) -> int:
    numbers = (int(m.group(1)) for name in state if (m := re.match(pattern, name)))
    return max(numbers, default=-1)
