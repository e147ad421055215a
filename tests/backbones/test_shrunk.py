"""The shrinking backbone: which tokens it keeps, and what it is equal to."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from vitseg.backbones import BackboneConfig, create_backbone
from vitseg.backbones.positions import TokenPositions
from vitseg.backbones.steps.edges import EdgeHead, EdgeHeadConfig, add_edges
from vitseg.backbones.steps.shrink import ShrinkConfig, add_shrinking, half_grid
from vitseg.backbones.vit import PlainViT
from vitseg.errors import ConfigError

SIZE = (80, 112)  # 5 x 7 cells


def plain(**options) -> PlainViT:
    torch.manual_seed(0)
    config = BackboneConfig(name="test_vit", pretrained=False, **{"taps": (5,), **options})
    vit = create_backbone(config, SIZE)
    assert isinstance(vit, PlainViT)
    return vit.eval()


def shrunk(vit: PlainViT, config: ShrinkConfig, edge_head: EdgeHead | None = None) -> PlainViT:
    """A copy of a ViT that shrinks."""
    vit = copy.deepcopy(vit)
    if edge_head is not None:
        add_edges(vit, edge_head)
    add_shrinking(vit, config)
    return vit


def as_map(x: Tensor, positions: TokenPositions) -> Tensor:
    """The grid's tokens of a full sequence as a map."""
    return x[:, positions.num_prefix_tokens :].transpose(1, 2).unflatten(-1, positions.grid)


def images_of(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *SIZE, generator=torch.Generator().manual_seed(1))


class GivenEdges(EdgeHead):
    """Says "edge" for given cells, whatever the tokens are."""

    def __init__(self, embed_dim: int, cells: list[list[int]]):
        super().__init__(embed_dim, EdgeHeadConfig())
        self.cells = cells

    def forward(self, tokens: Tensor) -> Tensor:
        logits = torch.zeros(*tokens.shape[:2], 2)
        for image, cells in enumerate(self.cells):
            logits[image, cells, 1] = 5.0
        return logits


@torch.inference_mode()
@pytest.mark.parametrize("prefix_tokens", ["keep", "drop"])
@pytest.mark.parametrize("block", [0, 2, 5])
def test_queries_are_the_sparse_tokens_and_keys_are_all(block, prefix_tokens):
    vit = plain(prefix_tokens=prefix_tokens)
    features = shrunk(vit, ShrinkConfig(block=block))(images_of())
    x, positions = vit.embed(images_of())
    for module in vit.blocks[:block]:
        x = module(x, positions)
    torch.testing.assert_close(features.maps[0], as_map(x, positions))
    attended = x + vit.blocks[block].attn(vit.blocks[block].norm1(x), positions, None)
    x = attended + vit.blocks[block].mlp(vit.blocks[block].norm2(attended))
    prefix = positions.num_prefix_tokens
    cells = x[:, prefix:].unflatten(1, (5, 7))[:, ::2, ::2].flatten(1, 2)
    x = torch.cat([x[:, :prefix], cells], 1)
    for module in vit.blocks[block + 1 :]:
        x = module(x, positions)  # a plain ViT's blocks do not look at positions
    expected = x[:, prefix:].transpose(1, 2).unflatten(-1, (3, 4))
    torch.testing.assert_close(features.maps[1], expected)
    assert not features.ragged


@torch.inference_mode()
def test_fewer_keys_where_the_ablation_says_so():
    vit = plain()
    features = shrunk(vit, ShrinkConfig(block=1, method="nearest_qkv"))(images_of())
    x, positions = vit.embed(images_of())
    x = vit.blocks[0](x, positions)
    rows = [0, *(1 + 7 * y + x for y in (0, 2, 4) for x in (0, 2, 4, 6))]
    x = x[:, rows]
    for module in vit.blocks[1:]:
        x = module(x, positions)
    torch.testing.assert_close(features.maps[1].flatten(2), x[:, 1:].transpose(1, 2))


@torch.inference_mode()
def test_a_convolution_that_picks_the_first_token_is_nearest():
    vit = plain()
    nearest = shrunk(vit, ShrinkConfig(block=2))
    conv = shrunk(vit, ShrinkConfig(block=2, method="conv"))
    asks = conv.get_submodule("shrink")
    assert isinstance(asks, torch.nn.Conv2d)
    assert asks.bias is not None
    asks.weight.zero_()
    asks.weight[..., 0, 0] = torch.eye(vit.embed_dim)
    asks.bias.zero_()
    torch.testing.assert_close(conv(images_of()).maps[1], nearest(images_of()).maps[1])


@torch.inference_mode()
@pytest.mark.parametrize("block", [0, 3])
def test_no_edge_at_all_is_plain_down_sampling(block):
    vit = plain()
    sparse = shrunk(vit, ShrinkConfig(block=block))(images_of())
    edges = shrunk(vit, ShrinkConfig(block=block), GivenEdges(vit.embed_dim, [[], []]))
    features = edges(images_of())
    (tokens,) = features.ragged
    assert tokens.lengths == (12, 12)
    maps = tokens.tokens.view(2, 12, -1).transpose(1, 2).unflatten(-1, half_grid((5, 7)))
    torch.testing.assert_close(maps, sparse.maps[1])


@torch.inference_mode()
def test_edges_everywhere_is_the_plain_model():
    vit = plain()
    every = list(range(35))
    model = shrunk(vit, ShrinkConfig(block=0), GivenEdges(vit.embed_dim, [every, every]))
    (tokens,) = model(images_of()).ragged
    assert tokens.lengths == (35, 35)
    assert tokens.cells.tolist() == every * 2
    maps = tokens.tokens.view(2, 35, -1).transpose(1, 2).unflatten(-1, (5, 7))
    torch.testing.assert_close(maps, vit(images_of()).maps[0])


@torch.inference_mode()
def test_every_image_keeps_its_own_edges():
    vit = plain()
    model = shrunk(vit, ShrinkConfig(block=0), GivenEdges(vit.embed_dim, [[1, 8, 0], [22]]))
    features = model(images_of())
    (tokens,) = features.ragged
    sparse = {7 * y + x for y in (0, 2, 4) for x in (0, 2, 4, 6)}
    assert tokens.lengths == (14, 13)
    assert tokens.cells.tolist() == sorted(sparse | {1, 8}) + sorted(sparse | {22})
    assert features.extras["edges"].mask_logits.shape == (2, 2, 5, 7)
    alone = shrunk(vit, ShrinkConfig(block=0), GivenEdges(vit.embed_dim, [[22]]))
    (second,) = alone(images_of()[1:]).ragged
    torch.testing.assert_close(tokens.tokens[14:], second.tokens, atol=1e-5, rtol=1e-5)


def test_an_edge_is_a_probability_above_the_threshold():
    head = EdgeHead(8, EdgeHeadConfig(threshold=0.7))
    at = torch.tensor([0.69, 0.71]).logit()
    logits = torch.stack([torch.zeros(2), at], -1)[None]
    assert head.is_edge(logits).tolist() == [[False, True]]
    assert not EdgeHead(8, EdgeHeadConfig(threshold=1)).is_edge(logits + 50).any()


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1])
def test_a_threshold_outside_of_probabilities_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        EdgeHeadConfig(threshold=threshold)


def test_taps_before_the_shrinking_block_are_refused():
    with pytest.raises(ConfigError, match=r"taps \[1, 5\] begin before shrink.block 2"):
        shrunk(plain(taps=(1, 5)), ShrinkConfig(block=2))


def test_edges_need_tokens_to_be_added_to():
    vit = plain()
    head = EdgeHead(vit.embed_dim, EdgeHeadConfig())
    with pytest.raises(ConfigError, match='"nearest"'):
        shrunk(vit, ShrinkConfig(block=0, method="conv"), head)


def test_recomputed_blocks_have_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        vit = plain(gradient_checkpointing=checkpointing)
        head = GivenEdges(vit.embed_dim, [[1], [2, 3]])
        model = shrunk(vit.train(), ShrinkConfig(block=1), head)
        model(images_of()).ragged[0].tokens.square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert gradients[0]
    for stored, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(stored, recomputed)
