"""Which terms a Shrunk model's loss has."""

from __future__ import annotations

import torch

from vitseg.methods.shrunk import ShrunkConfig

CONFIG = ShrunkConfig.model_validate(
    {
        "backbone": {"name": "test_vit", "pretrained": False, "taps": [5]},
        "shrink": {"block": 0},
        "edges": {"threshold": 0.7},
        "edge_loss": {"weight": 3.0},
    }
)


def test_the_edge_loss_is_weighted_and_reaches_the_patch_embedding():
    torch.manual_seed(0)
    model = CONFIG.build(4, (64, 64))
    labels = torch.randint(0, 4, (1, 64, 64))
    output = model(torch.randn(1, 3, 64, 64))
    terms = CONFIG.criterion()(output, labels)
    plain = CONFIG.model_copy(
        update={"edge_loss": CONFIG.edge_loss.model_copy(update={"weight": 1.0})}
    )
    once = plain.criterion()(output, labels)
    assert {name for name in terms if "edge" in name} == {"loss_edges"}
    torch.testing.assert_close(terms["loss_edges"], 3 * once["loss_edges"])
    terms["loss_edges"].backward()
    backbone = model.backbone
    assert backbone.patch_embed.proj.weight.grad is not None
    assert backbone.blocks[0].attn.qkv.weight.grad is None
