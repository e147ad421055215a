"""mmsegmentation's Segmenter, made from our own parameters by the inverse of the renaming, becomes the same model."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.golden.reference import recipe_weight
from vitseg.checkpoint.architecture import HALF
from vitseg.checkpoint.convert import convert_checkpoint, read_checkpoint
from vitseg.classes import ClassTable
from vitseg.config import parse
from vitseg.errors import CheckpointError
from vitseg.methods import METHODS

CLASSES = ClassTable.from_names([f"c{index}" for index in range(5)])
BACKBONE = {
    "name": "vit_tiny_patch16_384",
    "pretrained": False,
    "taps": [11],
    "tap_norm": True,
    "pos_embed_interpolation": "bicubic",
}
DECODERS = {"mask": {"kind": "mask", "num_layers": 2}, "linear": {"kind": "linear"}}
RENAMES = (
    (r"^(backbone|decoder)\.blocks\.(\d+)\.norm([12])\.", r"\1.layers.\2.ln\3."),
    (r"^(backbone|decoder)\.blocks\.(\d+)\.attn\.qkv\.", r"\1.layers.\2.attn.attn.in_proj_"),
    (r"^(backbone|decoder)\.blocks\.(\d+)\.attn\.proj\.", r"\1.layers.\2.attn.attn.out_proj."),
    (r"^(backbone|decoder)\.blocks\.(\d+)\.mlp\.fc1\.", r"\1.layers.\2.ffn.layers.0.0."),
    (r"^(backbone|decoder)\.blocks\.(\d+)\.mlp\.fc2\.", r"\1.layers.\2.ffn.layers.1."),
    (r"^backbone\.norm\.", "backbone.ln1."),
    (r"^backbone\.patch_embed\.proj\.", "backbone.patch_embed.projection."),
    (r"^decoder\.proj_dec\.", "decode_head.dec_proj."),
    (r"^decoder\.proj_(patch|classes)\.", r"decode_head.\1_proj."),
    (r"^decoder\.head\.", "decode_head.conv_seg."),
    (r"^decoder\.", "decode_head."),
)


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters as mmsegmentation names them."""
    theirs = {}
    for name, value in state.items():
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        theirs[name] = value
    return theirs


def model_of(kind: str, size: tuple[int, int] = (96, 96)):
    config = parse(METHODS["segmenter"], {"backbone": BACKBONE, "decoder": DECODERS[kind]})
    model = config.build(5, size, load_pretrained=False)
    state = model.state_dict()
    model.load_state_dict({n: recipe_weight(n, list(v.shape)) for n, v in state.items()})
    return model.eval()


def convert(path, state, meta: dict[str, Any] | None = None, **options: Any):
    torch.save({"meta": meta or {}, "state_dict": state}, path)
    checkpoint = read_checkpoint(path, **options)
    assert checkpoint.dialect.name == "mmsegmentation's Segmenter"
    return convert_checkpoint(checkpoint, CLASSES)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("kind", DECODERS)
@torch.inference_mode()
def test_a_converted_model_gives_the_scores_of_its_source(tmp_path, kind, has_bias):
    """Without the bias of the patches, as version 1 writes it, it is 0."""
    source = model_of(kind)
    if not has_bias:
        source.backbone.patch_embed.proj.bias.zero_()
    state = published(source.state_dict())
    if not has_bias:
        del state["backbone.patch_embed.projection.bias"]
    model, record = convert(tmp_path / "a.pth", state)
    for size in ((96, 96), (70, 150)):
        images = torch.randn(1, 3, *size)
        torch.testing.assert_close(model(images).scores(), source(images).scores(), atol=0, rtol=0)
    assert record.method == "segmenter"
    assert record.preprocessing == HALF
    assert record.license is None
    assert record.architecture["decoder"]["kind"] == kind
    assert record.architecture["backbone"]["norm_eps"] is None


def test_what_it_does_not_have_is_refused(tmp_path):
    state = published(model_of("mask").state_dict()) | {"decode_head.extra": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"also holds decode_head\.extra"):
        convert(tmp_path / "a.pth", state)


@torch.inference_mode()
def test_the_grid_of_a_long_crop_is_asked_for(tmp_path):
    source = model_of("mask", (64, 128))
    state = published(source.state_dict())
    with pytest.raises(CheckpointError, match=r"32 cells may be a grid of 4 x 8, 2 x 16.*--grid"):
        convert(tmp_path / "a.pth", state)
    with pytest.raises(CheckpointError, match=r"--grid 5,8 has 40 cells"):
        convert(tmp_path / "a.pth", state, grid=(5, 8))
    model, record = convert(tmp_path / "a.pth", state, grid=(4, 8))
    assert record.image_size == (64, 128)
    assert record.inference["crop_size"] == (64, 128)
    images = torch.randn(1, 3, 64, 128)
    torch.testing.assert_close(model(images).scores(), source(images).scores(), atol=0, rtol=0)


TEXT = "crop_size = ({0}, {1})\nmodel = dict(test_cfg=dict(mode='slide', crop_size=({0}, {1}), stride=({2}, {3})))\n"


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["config", "cfg"])
def test_the_files_own_configuration_says_grid_and_windows(tmp_path, entry):
    """4 x 16 cells are as many as 8 x 8; no table has the stride."""
    state = published(model_of("linear", (64, 256)).state_dict())
    _, record = convert(tmp_path / "a.pth", state, {entry: TEXT.format(64, 256, 48, 200)})
    assert record.image_size == (64, 256)
    assert record.inference["crop_size"] == (64, 256)
    assert record.inference["stride"] == (48, 200)


def test_the_users_grid_goes_before_the_configuration(tmp_path):
    state = published(model_of("linear", (64, 256)).state_dict())
    meta = {"config": "img_size=(256, 64)\n"}
    assert convert(tmp_path / "a.pth", state, meta)[1].image_size == (256, 64)
    assert convert(tmp_path / "a.pth", state, meta, grid=(4, 16))[1].image_size == (64, 256)


def test_a_configuration_of_two_grids_is_asked_for(tmp_path):
    state = published(model_of("linear", (128, 128)).state_dict())
    meta = {"config": "img_size=(64, 256), crop_size=(128, 128)\n"}
    with pytest.raises(CheckpointError, match=r"crops of 4 x 16 and 8 x 8 patches: say which"):
        convert(tmp_path / "a.pth", state, meta)


def test_a_configuration_that_does_not_fit_says_nothing(tmp_path):
    state = published(model_of("linear", (96, 96)).state_dict())
    assert convert(tmp_path / "a.pth", state, {"config": "img_size=224\n"})[1].image_size == (
        96,
        96,
    )


def test_windows_that_nothing_says_are_two_thirds_apart(tmp_path):
    state = published(model_of("linear", (96, 96)).state_dict())
    assert convert(tmp_path / "a.pth", state)[1].inference["stride"] == (64, 64)


def test_a_frame_of_any_name_around_the_model(tmp_path):
    state = published(model_of("linear").state_dict())
    framed = {f"seg_net.inner.{name}": value for name, value in state.items()}
    torch.save({"state_dict": framed}, tmp_path / "a.ckpt")
    checkpoint = read_checkpoint(tmp_path / "a.ckpt")
    assert checkpoint.dialect.name == "mmsegmentation's Segmenter"
    assert checkpoint.taken == "entry state_dict; without seg_net.inner."
