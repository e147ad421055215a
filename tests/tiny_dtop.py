"""A tiny DToP model whose heads, of random weights, are surer of some tokens than of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.tiny import CROP, make_record
from vitseg.checkpoint.model_dir import save_model
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


def write_dtop(path: Path, record: dict[str, Any] | None = None, **sections: Any) -> Path:
    model, config = make_dtop(**sections)
    architecture = config.model_dump(mode="json")
    save_model(path, model, make_record(method="dtop", architecture=architecture, **record or {}))
    return path
