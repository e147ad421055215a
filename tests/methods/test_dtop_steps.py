"""Token pruning on a backbone that shrinks or has semantic layers: what must not change, and what must."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from tests.methods.test_dtop import BACKBONE, CLOSE, NUM_CLASSES, images_of, model_of
from tests.shapes_alone import shapes_alone
from tests.tiny_dtop import exit_map
from vitseg.backbones import BackboneConfig, PlainViT, create_backbone
from vitseg.backbones.positions import TokenPositions
from vitseg.backbones.steps.semantic import SemanticBlocksConfig, add_semantic_layers
from vitseg.backbones.steps.shrink import ShrinkConfig, add_shrinking
from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.features import GridCover
from vitseg.layers.ragged import RaggedTokens
from vitseg.methods.dtop import DtopConfig
from vitseg.methods.model import SegmentationModel

SIZE = (80, 104)  # 5 x 7 cells, the last column half of one
SHRINKS = [
    {"block": 1},
    {"block": 0},
    {"block": 1, "method": "conv"},
    {"block": 1, "method": "nearest_qkv"},
]
SEMANTICS = [{"blocks": [1, 4]}, {"blocks": [0]}]
CASES = [*({"shrink": s} for s in SHRINKS), *({"semantic": s} for s in SEMANTICS)]
CASES.append({"shrink": {"block": 1}, "semantic": {"blocks": [1, 4]}})


def awake(model: SegmentationModel) -> SegmentationModel:
    """Semantic layers add nothing at their start: here they do."""
    with torch.no_grad():
        for name, parameter in model.backbone.named_parameters():
            if name.endswith(".gamma"):
                parameter.fill_(0.5)
    return model


def plain_of(sections: dict[str, Any], **backbone: Any) -> PlainViT:
    """The plain ViT with these steps alone."""
    vit = create_backbone(BackboneConfig(**{**BACKBONE, "taps": [5], **backbone}), (64, 96))
    if "shrink" in sections:
        add_shrinking(vit, ShrinkConfig(**sections["shrink"]))
    if "semantic" in sections:
        add_semantic_layers(vit, SemanticBlocksConfig(**sections["semantic"]), NUM_CLASSES)
    return vit.eval()


def last_head_alone(model: SegmentationModel, maps: Tensor) -> Tensor:
    """The mask logits of the last head, by hand, of all cells of some maps."""
    batch, _, height, width = maps.shape
    cells = torch.arange(height * width).repeat(batch)
    tokens = maps.flatten(2).transpose(1, 2).flatten(0, 1)
    scores = model.decoder.head(RaggedTokens(tokens, cells, (height * width,) * batch))
    return scores.logits.view(batch, height, width, NUM_CLASSES).permute(0, 3, 1, 2)


@pytest.mark.parametrize("prefix_tokens", ["keep", "drop"])
@pytest.mark.parametrize("sections", CASES, ids=str)
@torch.no_grad()
def test_at_threshold_1_it_is_the_vit_with_these_steps_and_the_last_head(sections, prefix_tokens):
    backbone = {**BACKBONE, "prefix_tokens": prefix_tokens}
    model = awake(model_of(backbone=backbone, pruning={"threshold": 1.0}, **sections))
    images = images_of(2, SIZE)
    output = model(images)
    assert not output.stages
    plain = plain_of(sections, prefix_tokens=prefix_tokens)
    plain.load_state_dict(model.backbone.state_dict())
    expected = last_head_alone(model, plain(images).maps[-1])
    torch.testing.assert_close(output.mask_logits, expected)
    if "shrink" in sections:
        assert output.mask_logits.shape[-2:] == (3, 4)
        assert output.padded_size == (96, 128)
    without = plain_of({}, prefix_tokens=prefix_tokens)
    without.load_state_dict(model.backbone.state_dict(), strict=False)
    other = last_head_alone(model, without(images).maps[-1])
    assert other.shape != expected.shape or not torch.allclose(other, expected)


RULES = [
    {"threshold": 0.6, "keep_per_class": 1},
    {"rule": "remove", "threshold": 0.6},
    {"rule": "average", "threshold": 0.6},
    {"rule": "share", "share": 0.4},
]


@pytest.mark.parametrize("size", [(128, 160), SIZE])
@pytest.mark.parametrize("pruning", RULES, ids=["top_k", "remove", "average", "share"])
@pytest.mark.parametrize("sections", CASES, ids=str)
@torch.no_grad()
def test_a_batch_is_its_images_one_by_one(sections, pruning, size):
    model = awake(
        model_of(pruning=pruning, decoder={"kind": "fcn", "auxiliary": "fcn"}, **sections)
    )
    images = images_of(3, size)
    exits = exit_map(model, images)
    assert {0, 1, 2} == set(exits.unique().tolist())  # tokens leave at both exits, and some stay
    grid = (-(-size[0] // 16), -(-size[1] // 16))
    half = ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
    assert exits.shape[1:] == (half if "shrink" in sections else grid)
    together = model(images).scores()
    alone = torch.cat([model(image[None]).scores() for image in images])
    torch.testing.assert_close(together, alone, **CLOSE)
    torch.testing.assert_close(exits, torch.cat([exit_map(model, x[None]) for x in images]))


SYMMETRIC = ("nearest", "average_pool", "conv")


def halved_by_hand(rule: str, maps: Tensor, conv: torch.nn.Module | None) -> Tensor:
    height, width = maps.shape[-2:]
    padded = functional.pad(maps, (0, width % 2, 0, height % 2))
    if rule == "conv":
        assert conv is not None
        return conv(padded)
    corners = padded.unfold(2, 2, 2).unfold(3, 2, 2)  # (b, c, h, w, 2, 2)
    if rule == "nearest":
        return corners[..., 0, 0]
    there = functional.pad(torch.ones_like(maps), (0, width % 2, 0, height % 2))
    return corners.sum((-2, -1)) / there.unfold(2, 2, 2).unfold(3, 2, 2).sum((-2, -1))


@pytest.mark.parametrize("shrink", SHRINKS, ids=str)
@pytest.mark.parametrize("rule", SYMMETRIC)
@torch.no_grad()
def test_a_shrunk_grid_is_halved_once_more(rule, shrink):
    """5 x 7 cells, 3 x 4 behind the block that shrinks, 2 x 2 behind the exit."""
    sections = {"pruning": {"rule": rule}, "shrink": shrink}
    model = model_of(backbone={**BACKBONE, "taps": [1, 5]}, **sections)
    images = images_of(2, SIZE)
    output = model(images)
    assert output.mask_logits.shape[-2:] == (2, 2)
    assert output.padded_size == (128, 128)
    assert output.scores().shape[-2:] == SIZE
    vit = model.backbone
    shrunk = plain_of({"shrink": shrink}, taps=[1])
    shrunk.load_state_dict(vit.state_dict(), strict=False)
    stream = shrunk.start(images)
    for steps in shrunk.steps:
        for step in steps:
            stream = step(stream)
    assert stream.maps[-1].shape[-2:] == (3, 4)
    prefix = stream.positions.num_prefix_tokens
    halved = halved_by_hand(rule, stream.maps[-1], getattr(vit, "halve", None))
    x = torch.cat([stream.x[:, :prefix], halved.flatten(2).transpose(1, 2)], 1)
    anywhere = TokenPositions((2, 2), prefix)  # attention of this ViT does not ask
    for block in vit.blocks[2:]:
        x = block(x, anywhere, None, None, None)
    maps = x[:, prefix:].transpose(1, 2).unflatten(-1, (2, 2))
    torch.testing.assert_close(output.mask_logits, last_head_alone(model, maps), **CLOSE)


@torch.no_grad()
def test_tokens_of_a_grid_that_is_halved_twice_stand_where_they_stood():
    model = model_of(
        backbone={**BACKBONE, "taps": [1, 5]}, pruning={"rule": "nearest"}, shrink={"block": 1}
    )
    stream = model.backbone.start(images_of(1, SIZE))
    prefix = stream.positions.num_prefix_tokens
    for steps in model.backbone.steps[:2]:
        for step in steps:
            stream = step(stream)
    assert stream.cover == GridCover((2, 2), (128, 128))
    expected = [*range(prefix), *(prefix + 7 * row + column for row in (0, 4) for column in (0, 4))]
    assert stream.positions.indices(stream.x.device).tolist() == expected


@pytest.mark.parametrize("rule", SYMMETRIC)
def test_training_on_a_grid_that_is_halved_twice_reaches_every_parameter(rule):
    sections = {"pruning": {"rule": rule}, "shrink": {"block": 1, "method": "conv"}}
    backbone = {**BACKBONE, "taps": [1, 5]}
    model = model_of(backbone=backbone, **sections).train()
    config = parse(DtopConfig, {"backbone": backbone, **sections})
    output = model(images_of(2, SIZE))
    assert [stage.name for stage in output.stages] == ["exit_1"]
    assert output.stages[0].mask_logits.shape[-2:] == (3, 4)
    terms = config.criterion()(output, torch.randint(NUM_CLASSES, (2, *SIZE)))
    sum(terms.values()).backward()
    missing = [name for name, value in model.named_parameters() if value.grad is None]
    assert not missing


@pytest.mark.parametrize("sections", CASES, ids=str)
def test_training_while_pruning_reaches_every_parameter(sections):
    model = model_of(pruning={"rule": "share", "share": 0.4}, **sections).train()
    config = parse(DtopConfig, {"backbone": BACKBONE, **sections})
    output = model(images_of(2, SIZE))
    assert [stage.name for stage in output.stages] == ["exit_1", "exit_3"]
    assert set(output.extras) == ({"semantic"} if "semantic" in sections else set())
    terms = config.criterion()(output, torch.randint(NUM_CLASSES, (2, *SIZE)))
    assert ("loss_semantic" in terms) == ("semantic" in sections)
    torch.stack(list(terms.values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"shrink": {"block": 1}, "semantic": {"blocks": [0, 3]}},
            r"semantic\.blocks \[0, 3\] stand on both sides of shrink\.block, where the grid is halved",
        ),
        (
            {
                "backbone": {**BACKBONE, "taps": [1, 5]},
                "pruning": {"rule": "nearest"},
                "semantic": {"blocks": [1, 2]},
            },
            r"both sides of the first of backbone\.taps",
        ),
        ({"shrink": {"block": 2}}, r"taps \[1, 3, 5\] begin before shrink\.block 2"),
        ({"semantic_weight": 0.1}, "semantic_weight belongs to semantic"),
    ],
)
def test_contradictions_are_named(sections, message):
    config = {"backbone": BACKBONE, **sections}
    with pytest.raises(ConfigError, match=message), shapes_alone():
        parse(DtopConfig, config).build(NUM_CLASSES, (64, 96))


@pytest.mark.parametrize("blocks", [[0, 1], [2, 3]])
def test_semantic_layers_on_one_side_of_a_halved_grid(blocks):
    sections = {"backbone": {**BACKBONE, "taps": [1, 5]}, "semantic": {"blocks": blocks}}
    model = model_of(pruning={"rule": "average_pool"}, **sections).train()
    semantic = model(images_of(2, SIZE)).extras["semantic"]
    assert semantic.mask_logits.shape[-2:] == ((5, 7) if blocks == [0, 1] else (3, 4))
    assert semantic.scores().shape == (2, NUM_CLASSES, *SIZE)
