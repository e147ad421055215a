"""SETR models read as DToP."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.tiny_dtop import prune
from vitseg.backbones.steps.exit_rules import PruningConfig
from vitseg.errors import ConfigError
from vitseg.methods.setr import SetrConfig

IMAGES = torch.randn(2, 3, 50, 96, generator=torch.Generator().manual_seed(2))


def setr_of(taps, **decoder: Any) -> SetrConfig:
    backbone = {"name": "test_vit", "pretrained": False, "taps": taps}
    return SetrConfig.model_validate(
        {"backbone": backbone, "decoder": decoder, "loss": {"auxiliary_weight": 0.2}}
    )


@pytest.mark.parametrize("auxiliary", [(1, 3), (3, 1), (5, 3, 1)])
@torch.no_grad()
def test_at_threshold_1_it_is_the_setr_and_its_exits_are_the_auxiliary_heads(auxiliary):
    config = setr_of([1, 3, 5], kind="naive", auxiliary=auxiliary)
    torch.manual_seed(0)
    model = config.build(4, (64, 64)).eval()
    renamed, state = config.prunable(model.state_dict())
    assert renamed.pixel_loss == config.loss
    pruned = renamed.build(4, (64, 64)).eval()
    pruned.load_state_dict(state)
    prune(pruned, PruningConfig(threshold=1.0))
    torch.testing.assert_close(pruned(IMAGES).scores(), model(IMAGES).scores())
    prune(pruned, PruningConfig(threshold=0.9999))  # the heads are read, and nobody leaves
    found = pruned(IMAGES).stages
    maps = model.backbone(IMAGES).maps
    assert [stage.name for stage in found] == ["exit_1", "exit_3"]
    for level, (block, output) in enumerate(zip((1, 3), found, strict=True)):
        head = model.decoder.auxiliary[auxiliary.index(block)]
        torch.testing.assert_close(output.mask_logits, head(maps[level]))


@pytest.mark.parametrize(
    ("taps", "decoder", "words"),
    [
        ([5], {"kind": "naive"}, "has no auxiliary heads, by which tokens could leave"),
        ([3, 5], {"kind": "pup", "auxiliary": [3]}, "mixes neighbouring tokens"),
        ([3, 5], {"kind": "mla"}, "decoder.kind mla"),
        (
            [3, 5],
            {"kind": "naive", "form": "mmsegmentation", "auxiliary": [3]},
            "form mmsegmentation",
        ),
        ([3, 5], {"kind": "naive", "auxiliary": [3], "auxiliary_convs": 2}, "auxiliary_convs 2"),
    ],
)
def test_other_heads_are_refused(taps, decoder, words):
    with pytest.raises(ConfigError, match=words):
        setr_of(taps, **decoder).prunable({})
