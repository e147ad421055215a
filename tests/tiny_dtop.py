"""A tiny DToP model whose heads, of random weights, are surer of some tokens than of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.tiny import CROP, make_record
from vitseg.backbones import PlainViT
from vitseg.backbones.steps.exit import set_pruning
from vitseg.backbones.steps.exit_rules import PruningConfig
from vitseg.checkpoint.model_dir import save_model
from vitseg.explain import exits
from vitseg.methods.dtop import DtopConfig
from vitseg.methods.model import SegmentationModel

BACKBONE = {"name": "test_vit", "pretrained": False, "taps": [1, 3, 5]}


def make_dtop(**sections: Any) -> tuple[SegmentationModel, DtopConfig]:
    """The model, in evaluation mode; its pixel classes differ."""
    config = DtopConfig.model_validate(
        {"backbone": BACKBONE, "decoder": {"kind": "fcn", "auxiliary": "fcn"}, **sections}
    )
    torch.manual_seed(0)
    model = config.build(3, CROP)
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if name.endswith("classifier.weight"):
                parameter.copy_(torch.randn_like(parameter) / 3)
    return model.eval(), config


def exit_map(model: SegmentationModel, images: Tensor) -> Tensor:
    """The exit at which the token of each cell left; the number of exits where it stayed to the end."""
    backbone = model.backbone
    assert isinstance(backbone, PlainViT)
    with torch.no_grad():
        return exits.exit_map(backbone(images), backbone.config.taps)


def prune(model: SegmentationModel, rule: PruningConfig) -> None:
    """Give a model's exits another rule."""
    backbone = model.backbone
    assert isinstance(backbone, PlainViT)
    set_pruning(backbone, rule)


def write_dtop(path: Path, record: dict[str, Any] | None = None, **sections: Any) -> Path:
    model, config = make_dtop(**sections)
    architecture = config.model_dump(mode="json")
    save_model(path, model, make_record(method="dtop", architecture=architecture, **record or {}))
    return path
