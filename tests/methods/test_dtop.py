"""Dynamic token pruning: what must not change, and what must."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.backbones.test_families import build as build_vit
from tests.golden.toy_vit import toy_vit
from tests.tiny_dtop import exit_map, prune
from vitseg.backbones import BackboneConfig, create_backbone
from vitseg.backbones.steps.exit import pruned
from vitseg.backbones.steps.exit_rules import PruningConfig
from vitseg.backbones.steps.halve import Halve
from vitseg.errors import ConfigError
from vitseg.features import GridCover
from vitseg.layers.ragged import RaggedTokens
from vitseg.methods.dtop import DtopConfig
from vitseg.methods.model import SegmentationModel
from vitseg.outputs import SegOutput

BACKBONE = {"name": "test_vit", "pretrained": False, "taps": [1, 3, 5]}
NUM_CLASSES = 5
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def model_of(**sections: Any) -> SegmentationModel:
    config = DtopConfig.model_validate({"backbone": BACKBONE, **sections})
    torch.manual_seed(0)
    return spread(config.build(NUM_CLASSES, (64, 96)).eval())


def spread(model: SegmentationModel) -> SegmentationModel:
    """Heads whose confidence differs from token to token, as that of trained ones does."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if name.endswith(("cross_attn.q.weight", "cross_attn.k.weight", "classifier.weight")):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
            elif name.endswith("class_embed.bias"):
                parameter.copy_(torch.tensor([1.0, -1.0]))
    return model


def images_of(batch: int, size: tuple[int, int] = (64, 96)) -> Tensor:
    scale = torch.arange(1, batch + 1)[:, None, None, None]
    return scale * torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(2))


def names_of(output: SegOutput) -> set[str]:
    return {stage.name for stage in output.stages}


def alive_shares(model: SegmentationModel, images: Tensor) -> list[float]:
    exits = exit_map(model, images)
    return [(exits > number).float().mean().item() for number in range(2)]


RULES = [
    {"threshold": 0.6, "keep_per_class": 1},
    {"rule": "remove", "threshold": 0.6},
    {"rule": "average", "threshold": 0.6},
    {"rule": "share", "share": 0.4},
]
HEADS = [
    {},
    {"kind": "fcn", "auxiliary": "fcn"},
    {"kind": "fcn"},
    {"auxiliary": "fcn"},
]


@pytest.mark.parametrize("decoder", HEADS[:2], ids=["atm", "fcn"])
@torch.no_grad()
def test_at_threshold_1_it_is_the_vit_with_the_last_head(decoder):
    model = model_of(pruning={"threshold": 1.0}, decoder=decoder)
    images = images_of(2)
    output = model(images)
    assert not output.stages
    plain = create_backbone(BackboneConfig(**BACKBONE), (64, 96)).eval()
    plain.load_state_dict(model.backbone.state_dict())
    features = plain(images).maps[-1]  # (b, c, h, w)
    tokens = features.flatten(2).transpose(1, 2).flatten(0, 1)
    cells = torch.arange(24).repeat(2)
    scores = model.decoder.head(RaggedTokens(tokens, cells, (24, 24)))
    masks = scores.logits.view(2, 4, 6, NUM_CLASSES).permute(0, 3, 1, 2)
    torch.testing.assert_close(output.mask_logits, masks)
    trained = model.train()(images)
    assert names_of(trained) == {"exit_1", "exit_3"}


@pytest.mark.parametrize("pruning", RULES, ids=["top_k", "remove", "average", "share"])
@pytest.mark.parametrize("decoder", HEADS, ids=["atm", "fcn", "fcn-atm", "atm-fcn"])
@torch.no_grad()
def test_a_batch_is_its_images_one_by_one(pruning, decoder):
    model = model_of(pruning=pruning, decoder=decoder)
    images = images_of(3)
    first, second = alive_shares(model, images)
    assert 0 < second < first < 1
    together = model(images).scores()
    alone = torch.cat([model(image[None]).scores() for image in images])
    torch.testing.assert_close(together, alone, **CLOSE)


@torch.no_grad()
def test_images_of_a_batch_that_keep_everything():
    """One image loses tokens, another none."""
    model = model_of()
    images = images_of(2)

    def keeps_everything(image: Tensor, threshold: float) -> bool:
        prune(model, PruningConfig(rule="remove", threshold=threshold))
        return bool((exit_map(model, image[None]) == 2).all())

    limits = []
    for image in images:
        low, high = 0.0, 1.0
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (low, middle) if keeps_everything(image, middle) else (middle, high)
        limits.append(high)
    threshold = sum(limits) / 2
    assert sorted(keeps_everything(image, threshold) for image in images) == [False, True]
    alone = torch.cat([model(image[None]).scores() for image in images])
    torch.testing.assert_close(model(images).scores(), alone, **CLOSE)


@pytest.mark.parametrize("rule", ["top_k", "remove", "average"])
@pytest.mark.parametrize("size", [(16, 16), (1, 1), (64, 64)])
@torch.no_grad()
def test_everything_is_confident(rule, size):
    model = model_of(pruning={"rule": rule, "threshold": 1e-6})
    output = model(images_of(2, size))
    assert output.mask_logits.isfinite().all()
    assert output.scores().shape == (2, NUM_CLASSES, *size)


@torch.no_grad()
def test_pruned_tokens_keep_their_masks_and_get_later_classes():
    model = model_of(pruning={"rule": "remove", "threshold": 0.6})
    images = images_of(1)
    output, exits = model(images), exit_map(model, images)
    first = next(stage for stage in output.stages if stage.name == "exit_1")
    left = (exits == 0)[:, None].expand_as(output.mask_logits)
    assert left.any()
    torch.testing.assert_close(output.mask_logits[left], first.mask_logits[left])
    assert not torch.allclose(output.class_logits, first.class_logits)


@torch.no_grad()
def test_the_kept_of_a_class_are_read_again():
    remove = model_of(pruning={"rule": "remove", "threshold": 0.6})
    top_k = model_of(pruning={"threshold": 0.6, "keep_per_class": 2})
    images = images_of(1)
    more = (exit_map(top_k, images) > 0) & (exit_map(remove, images) == 0)
    assert 0 < more.sum() <= 2 * NUM_CLASSES


@pytest.mark.parametrize("rule", ["conv", "average_pool", "nearest"])
@pytest.mark.parametrize("size", [(64, 96), (50, 71)])
def test_symmetric_rules_halve_the_grid(rule, size):
    model = model_of(backbone={**BACKBONE, "taps": [1, 5]}, pruning={"rule": rule})
    images = images_of(2, size)
    output = model(images)
    grid = (-(-size[0] // 16), -(-size[1] // 16))
    half = ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
    assert output.mask_logits.shape[-2:] == half
    assert output.padded_size == (32 * half[0], 32 * half[1])
    assert not output.stages
    assert names_of(model.train()(images)) == {"exit_1"}


def test_average_pooling_averages_and_nearest_takes_the_first():
    x = torch.arange(24.0)[None, :, None].expand(1, 24, 192)
    for rule, expected in (("average_pool", 3.5), ("nearest", 0.0)):
        model = model_of(backbone={**BACKBONE, "taps": [1, 5]}, pruning={"rule": rule})
        stream = model.backbone.start(images_of(1))
        prefix = stream.positions.num_prefix_tokens
        padded = torch.cat([torch.zeros(1, prefix, 192), x], dim=1)
        (halve,) = (step for step in model.backbone.steps[1] if isinstance(step, Halve))
        halved = halve(replace(stream, x=padded))
        assert halved.cover == GridCover((2, 3), (64, 96))
        assert halved.x.shape[1] == prefix + 6
        assert halved.x[0, prefix, 0].item() == expected


@torch.no_grad()
def test_means_of_classes_stand_in_for_what_left():
    """Two classes leave an image entirely: two tokens come instead, with the means of theirs."""
    stream = toy_vit((1, 5), 64).start(images_of(2, (64, 64)))
    x = stream.x
    probs = torch.full((32, NUM_CLASSES), 0.1)
    probs[:6, 1] = probs[6:10, 3] = probs[16:20, 3] = 0.99
    left = pruned(stream, probs, (16, 16), PruningConfig(rule="average").build())
    where = left.positions
    assert where.lengths == (16 - 10 + 2, 16 - 4 + 1)
    assert where.index.tolist() == [*range(10, 16), -1, -1, *range(4, 16), -1]
    torch.testing.assert_close(left.x[0, 6], x[0, :6].mean(0))
    torch.testing.assert_close(left.x[0, 7], x[0, 6:10].mean(0))
    torch.testing.assert_close(left.x[0, -1], x[1, :4].mean(0))


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch16_dinov3",
        "beitv2_base_patch16_224",
        "eva02_tiny_patch14_224",
        "vit_small_patch14_reg4_dinov2",
        "deit3_small_patch16_224",
    ],
)
@torch.no_grad()
def test_positions_follow_the_tokens(name):
    """Families with rotary tables and relative biases: a batch is its images one by one, on packed tokens."""
    vit = build_vit(name)
    config = DtopConfig(backbone=vit.config, pruning=PruningConfig(rule="share", share=0.5))
    model = config.build_on(vit, NUM_CLASSES, (56, 70)).eval()
    images = images_of(2, (56, 70))
    assert (exit_map(model, images) == 0).any()
    alone = torch.cat([model(image[None]).scores() for image in images])
    torch.testing.assert_close(model(images).scores(), alone, **CLOSE)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"backbone": {**BACKBONE, "taps": [5]}}, "leave no exit"),
        ({"pruning": {"rule": "nearest"}}, "have 2 exits: name two blocks"),
        ({"backbone": {**BACKBONE, "taps": [1, 50]}}, "names block 50"),
        (
            {
                "backbone": {**BACKBONE, "name": "beitv2_base_patch16_224", "taps": [0, 1]},
                "pruning": {"rule": "average"},
            },
            "asks where its tokens stand",
        ),
    ],
)
def test_what_does_not_fit_is_refused(sections, message):
    with pytest.raises(ConfigError, match=message):
        model_of(**sections)


def test_gradients_reach_early_heads_through_the_final_prediction():
    """Pruned cells of the final masks are the exit's own."""
    model = model_of(pruning={"rule": "remove", "threshold": 0.6}).train()
    model(images_of(1)).mask_logits.sum().backward()
    assert model.decoder.exits[0].query_embed.weight.grad.abs().sum() > 0
