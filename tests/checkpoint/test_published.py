"""The parameter lists of the published models: every name is known, none is missing, and every shape fits."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.shapes_alone import shapes_alone
from vitseg.checkpoint.detect import recognise
from vitseg.checkpoint.reference_names import is_left_out
from vitseg.config import parse
from vitseg.errors import CheckpointError
from vitseg.methods import METHODS

PUBLISHED = [  # list, dialect, classes, crop, backbone, parameters
    ("segvit_vitb_ade20k", "SegViT", 150, 512, "vit_base_patch16_384", 108_736_279),
    ("segvit_vitl_ade20k", "SegViT", 150, 640, "vit_large_patch16_384", 344_305_303),
    ("segvit_vitl_coco", "SegViT", 171, 512, "vit_large_patch16_384", 343_737_004),
    ("segvit_vitl_pc60", "SegViT", 60, 480, "vit_large_patch16_384", 343_496_253),
    ("segvit_shrunk_vitb_ade20k", "SegViT-Shrunk", 150, 512, "vit_base_patch16_384", 108_833_431),
    ("segvit_shrunk_vitl_ade20k", "SegViT-Shrunk", 150, 640, "vit_large_patch16_384", 344_598_679),
    (
        "segvit_swint_noneck3_ade20k",
        "SegViT on Swin",
        150,
        512,
        "swin_tiny_patch4_window7_224",
        37_425_041,
    ),
    ("dtop_vitb_ade20k", "DToP", 150, 512, "vit_base_patch16_384", 108_795_654),
    ("dtop_vitl_ade20k", "DToP", 150, 640, "vit_large_patch16_384", 344_384_518),
]


def read_list(shared: Path, name: str) -> dict[str, Tensor]:
    """The parameters of a list, without values."""
    lines = (shared / "golden" / f"{name}.txt").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return {row[0]: torch.empty(ast.literal_eval(row[1]), device="meta") for row in rows}


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "dialect_name", "num_classes", "crop", "backbone", "parameters"), PUBLISHED
)
def test_a_published_list_fits_its_model(
    shared, name, dialect_name, num_classes, crop, backbone, parameters
):
    state = read_list(shared, f"keys_{name}")
    dialect = recognise(state)
    architecture = dialect.architecture(state)
    assert dialect.name == dialect_name
    assert (architecture.num_classes, architecture.crop) == (num_classes, crop)
    assert architecture.config["backbone"]["name"] == backbone
    large = backbone.startswith("vit_large")
    assert architecture.preprocessing.mean == ((0.5,) * 3 if large else (0.485, 0.456, 0.406))

    method = METHODS[dialect.method]
    config = parse(method, architecture.config)
    with shapes_alone():
        model = config.build(num_classes, (crop, crop), load_pretrained=False)
    converted = dialect.convert(state)
    shapes = {n: tuple(v.shape) for n, v in model.state_dict().items()}
    assert {n: tuple(v.shape) for n, v in converted.items()} == shapes
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    has_exits = dialect_name == "DToP"  # whose auxiliary heads are part of the model
    used = [n for n in state if not is_left_out(n) or (has_exits and "empty_weight" not in n)]
    assert sum(state[n].numel() for n in used) == parameters


@pytest.mark.golden
def test_the_published_list_of_semask_fits_its_model(shared):
    state = read_list(shared, "semask_keys_fpn_T_ade")
    dialect = recognise(state)
    architecture = dialect.architecture(state)
    assert dialect.name == "SeMask"
    assert (architecture.num_classes, architecture.crop) == (150, 512)
    method = METHODS[dialect.method]
    config = parse(method, architecture.config)
    with shapes_alone():
        model = config.build(150, (512, 512), load_pretrained=False)
    shapes = {n: tuple(v.shape) for n, v in model.state_dict().items()}
    assert {n: tuple(v.shape) for n, v in dialect.convert(state).items()} == shapes
    assert sum(parameter.numel() for parameter in model.parameters()) == 34_655_748

    without = {n: v for n, v in state.items() if ".semantic_layer." not in n}
    assert recognise(without).name == "Swin with Semantic FPN"
    other = "backbone.layers.0.semantic_layer.class_injection.0.mlp_cls_q.weight"
    with pytest.raises(CheckpointError, match="know 171 classes, but its head knows 150"):
        dialect.architecture(state | {other: torch.empty(171, 96, device="meta")})
