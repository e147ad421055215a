"""mmsegmentation's SegFormer, made from our own parameters by the inverse of the renaming, becomes the same model."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.golden.reference import recipe_weight
from vitseg.backbones import PyramidConfig, create_backbone
from vitseg.checkpoint.convert import convert_checkpoint, read_checkpoint
from vitseg.classes import ClassTable
from vitseg.methods.segformer import SegFormerConfig

CLASSES = ClassTable.from_names(["a", "b", "c"])
BACKBONE = {"name": "mit_b0", "pretrained": False, "levels": (0, 1, 2, 3)}

RENAMES = (
    (r"stages\.(\d)\.patch_embeddings\.proj\.", r"layers.\1.0.projection."),
    (r"stages\.(\d)\.patch_embeddings\.layer_norm\.", r"layers.\1.0.norm."),
    (r"stages\.(\d)\.layer_norm\.", r"layers.\1.2."),
    (r"stages\.(\d)\.blocks\.", r"layers.\1.1."),
    (r"layernorm_before\.", "norm1."),
    (r"layernorm_after\.", "norm2."),
    (r"attention\.o_proj\.", "attn.attn.out_proj."),
    (r"attention\.sequence_reduction\.sequence_reduction\.", "attn.sr."),
    (r"attention\.sequence_reduction\.layer_norm\.", "attn.norm."),
    (r"mlp\.fc1\.", "ffn.layers.0."),
    (r"mlp\.dwconv\.dwconv\.", "ffn.layers.1."),
    (r"mlp\.fc2\.", "ffn.layers.4."),
)
HEAD = (
    (r"^decoder\.projections\.(\d)\.conv\.", r"decode_head.convs.\1.conv."),
    (r"^decoder\.projections\.(\d)\.norm\.", r"decode_head.convs.\1.bn."),
    (r"^decoder\.fuse\.conv\.", "decode_head.fusion_conv.conv."),
    (r"^decoder\.fuse\.norm\.", "decode_head.fusion_conv.bn."),
    (r"^decoder\.classifier\.", "decode_head.conv_seg."),
)


def encoder_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of the encoder as mmsegmentation has them."""
    theirs = {}
    for name, value in state.items():
        if ".k_proj." in name or ".v_proj." in name:
            continue
        if ".q_proj." in name:
            rows = [value, *(state[name.replace("q_proj", part)] for part in ("k_proj", "v_proj"))]
            name, value = name.replace("attention.q_proj.", "attn.attn.in_proj_"), torch.cat(rows)
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        if re.search(r"ffn\.layers\.[04]\.weight", name):
            value = value[..., None, None]
        theirs[name] = value
    return theirs


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    backbone = "backbone."
    inner = {n.removeprefix(backbone): v for n, v in state.items() if n.startswith(backbone)}
    theirs = {backbone + name: value for name, value in encoder_names(inner).items()}
    for name, value in state.items():
        if name.startswith("decoder."):
            for pattern, replacement in HEAD:
                name = re.sub(pattern, replacement, name)
            if name == "decode_head.fusion_conv.conv.weight":  # levels from shallow to deep
                value = torch.cat(value.chunk(4, dim=1)[::-1], dim=1)
            theirs[name] = value
    return theirs


@pytest.fixture(autouse=True)
def _library():
    pytest.importorskip("transformers")


@torch.inference_mode()
def test_a_converted_model_gives_the_scores_of_its_source(tmp_path):
    decoder = {"embed_dim": 256, "projection": "convolution"}
    config = SegFormerConfig.model_validate({"backbone": BACKBONE, "decoder": decoder})
    source = config.build(3, (64, 64), load_pretrained=False).eval()
    state = source.state_dict()
    source.load_state_dict(
        {
            n: recipe_weight(n, list(v.shape)) if v.is_floating_point() else v
            for n, v in state.items()
        }
    )
    path = tmp_path / "mmseg.pth"
    content = published(source.state_dict())
    assert "backbone.layers.0.1.0.attn.attn.in_proj_weight" in content
    torch.save({"meta": {"dataset_meta": {"classes": CLASSES.names}}, "state_dict": content}, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.dialect.name == "SegFormer"
    assert checkpoint.facts.names == CLASSES.names
    model, record = convert_checkpoint(checkpoint, CLASSES)
    assert record.architecture["decoder"]["projection"] == "convolution"
    for size in ((64, 64), (50, 70)):
        images = torch.randn(1, 3, *size)
        torch.testing.assert_close(model(images).scores(), source(images).scores(), atol=0, rtol=0)


def test_an_encoder_alone_is_read_as_pretrained_weights(tmp_path):
    backbone = create_backbone(PyramidConfig(**BACKBONE), (64, 64))
    save_file(
        {n: v.contiguous() for n, v in encoder_names(backbone.state_dict()).items()},
        tmp_path / "mit.safetensors",
    )
    fields = {**BACKBONE, "pretrained": True, "weights": tmp_path / "mit.safetensors"}
    loaded = create_backbone(PyramidConfig.model_validate(fields), (64, 64))
    for name, value in backbone.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_the_levels_are_concatenated_from_shallow_to_deep():
    """What the reversal above stands for: the first channels of the fusing layer are those of the first level."""
    weight = torch.arange(4.0)[None, :, None, None]
    state = {
        "decode_head.fusion_conv.conv.weight": weight,
        "decode_head.convs.0.conv.weight": weight,
    }
    from vitseg.checkpoint.segformer_reference import convert_segformer

    fused = convert_segformer(state)["decoder.fuse.conv.weight"]
    assert fused.flatten().tolist() == [3, 2, 1, 0]
