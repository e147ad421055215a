"""Whose a checkpoint is, told by a few of its names."""

from __future__ import annotations

import pytest

from vitseg.checkpoint.detect import DIALECTS, recognise
from vitseg.errors import CheckpointError

HEAD = ["decode_head.q.weight", "decode_head.decoder_1.layers.0.multihead_attn.q.weight"]
SWIN = [
    "backbone.patch_embed.projection.weight",
    "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight",
]
TABLE = "backbone.layers.0.blocks.0.attn.relative_position_bias_table"
MMSEG_TABLE = "backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table"
FPN = "decode_head.scale_heads.0.0.conv.weight"
UPERNET = [
    "decode_head.psp_modules.0.1.conv.weight",
    "decode_head.fpn_bottleneck.conv.weight",
]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["backbone.pos_embed", *HEAD], "SegViT"),
        (["backbone.pos_embed", *HEAD, "decode_head.atm.q.weight"], "SegViT-Shrunk"),
        ([*SWIN, *HEAD], "SegViT on Swin"),
        (["backbone.blocks.0.attn.qkv.weight", "decode_head.syncbn_fc_0.weight"], "SETR"),
        (["backbone.blocks.0.attn.qkv.weight", "decode_head.mlahead.head2.0.weight"], "SETR"),
        (
            [
                "backbone.layers.0.attn.attn.in_proj_weight",
                "decode_head.conv_seg.weight",
                "decode_head.up_convs.0.0.conv.weight",
            ],
            "mmsegmentation's SETR",
        ),
        (
            [
                "backbone.pos_embed",
                "auxiliary_head.0.q.weight",
                "decode_head.q.weight",
                "decode_head.decoder.layers.0.multihead_attn.q.weight",
            ],
            "DToP",
        ),
        (["encoder.pos_embed", "decoder.cls_emb"], "Segmenter"),
        (
            ["backbone.pos_embed", "backbone.ln1.weight", "decode_head.cls_emb"],
            "mmsegmentation's Segmenter",
        ),
        (
            ["backbone.pos_embed", "backbone.ln1.weight", "decode_head.conv_seg.weight"],
            "mmsegmentation's Segmenter",
        ),
        (["decode_head.linear_fuse.weight"], "SegFormer"),
        (
            [
                "decode_head.classifier.classifier.1.weight",
                "decode_head.c1_bottleneck.0.conv.weight",
                "decode_head.cat_norm.weight",
            ],
            "NRD",
        ),
        ([TABLE, FPN, "backbone.layers.0.semantic_layer.class_injection.0.gamma"], "SeMask"),
        ([TABLE, FPN], "Swin with Semantic FPN"),
        ([MMSEG_TABLE, FPN], "Swin with Semantic FPN"),
        ([TABLE, *UPERNET], "Swin with UPerNet"),
        ([MMSEG_TABLE, *UPERNET], "Swin with UPerNet"),
    ],
)
def test_known_dialects(names, expected):
    assert recognise(names).name == expected
    assert recognise(reversed(names)).name == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["backbone.layers.0.ln1.weight", *UPERNET], "of another model of mmsegmentation ("),
        (
            ["decode_head.conv_seg.weight", "decode_head.c1_bottleneck.0.conv.weight"],
            "of another model of mmsegmentation (",
        ),
        (["decode_head.cls_emb"], "of another model of mmsegmentation ("),
        (["decode_head.conv_seg.weight"], "of another model of mmsegmentation ("),
        (["blocks.0.attn.qkv.weight"], "name the file in backbone.weights"),
        (["layers.0.ln1.weight"], "of a backbone alone ("),
        (["decoder.query_embed.weight"], "of vitseg itself ("),
        (["decoder.atm.query_embed.weight"], "use its model directory as it is"),
        (
            ["features.0.bias", "b", "c", "d"],
            "no checkpoint of a known method (it has features.0.bias, b, c)",
        ),
    ],
)
def test_others_are_told_apart(names, expected):
    with pytest.raises(CheckpointError) as caught:
        recognise(names)
    assert expected in str(caught.value)
    known = ", ".join(dialect.name for dialect in DIALECTS)
    assert f"Allowed are published checkpoints of {known}." in str(caught.value)
