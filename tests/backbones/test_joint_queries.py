"""Attention masks of the blocks, and queries that join the tokens of the last ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.backbones.test_families import DEPTH, FAMILIES, build, image
from vitseg.backbones import BackboneConfig, PlainViT, create_backbone
from vitseg.backbones.steps.joint_queries import JointTokens, add_joint_queries
from vitseg.errors import ConfigError

MASKED = ("AugReg", "BEiT-v2", "DINOv3", "EVA-02, split projections")
NUM_QUERIES = 5

Reader = Callable[[int, JointTokens], Tensor | None]


class GivenQueries(nn.Module):
    """Has queries, and lets a function say what they may attend to."""

    def __init__(self, queries: Tensor):
        super().__init__()
        self.given = queries
        self.allowed: Reader = lambda number, tokens: None

    def queries(self) -> Tensor:
        return self.given

    def read(self, number: int, tokens: JointTokens) -> tuple[None, Tensor | None]:
        return None, self.allowed(number, tokens)


class Joint:
    """A ViT with queries in its last blocks, which are read in front of each where a reader is given."""

    def __init__(self, vit: PlainViT, num_blocks: int):
        generator = torch.Generator().manual_seed(3)
        self.queries = torch.randn(NUM_QUERIES, vit.embed_dim, generator=generator)
        self.head = GivenQueries(self.queries)
        self.vit = vit
        add_joint_queries(vit, num_blocks, self.head)

    def __call__(
        self, images: Tensor, queries: Tensor | None = None, read: Reader | None = None
    ) -> JointTokens:
        self.head.given = self.queries if queries is None else queries
        self.vit.training = read is not None  # of the backbone alone
        if read is not None:
            self.head.allowed = read
        features = self.vit(images)
        assert features.queries is not None
        return JointTokens(
            features.queries, features.maps[0], features.input_size, features.padded_size
        )


def tiny_vit(**options) -> PlainViT:
    config = BackboneConfig(name="test_vit", pretrained=False, taps=(5,), tap_norm=True, **options)
    torch.manual_seed(0)
    return create_backbone(config, (64, 64)).eval()


@torch.inference_mode()
@pytest.mark.parametrize("family", MASKED)
def test_a_masked_token_is_as_good_as_absent(family):
    """A row of a masked block is that row of the block on the allowed tokens alone."""
    backbone = build(FAMILIES[family])
    x, positions = backbone.embed(image(backbone, (4, 5)))
    block, length = backbone.blocks[0], x.shape[1]
    allowed = torch.rand(2, length, length, generator=torch.Generator().manual_seed(2)) < 0.4
    allowed |= torch.eye(length, dtype=torch.bool)
    masked = block(x, positions, mask=allowed)
    for batch, row in ((0, 0), (0, length - 1), (1, length // 2)):
        kept = allowed[batch, row].nonzero()[:, 0]
        own = (kept == row).nonzero()[:, 0]
        alone = block(x[batch : batch + 1, kept], positions.select(kept), own)
        torch.testing.assert_close(masked[batch, row], alone[0, 0], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("family", MASKED)
def test_a_mask_that_allows_all_changes_nothing(family):
    backbone = build(FAMILIES[family])
    x, positions = backbone.embed(image(backbone, (4, 5)))
    everything = torch.ones(2, x.shape[1], x.shape[1], dtype=torch.bool)
    masked = backbone.blocks[0](x, positions, mask=everything)
    torch.testing.assert_close(masked, backbone.blocks[0](x, positions), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("family", list(FAMILIES))
def test_queries_are_a_set(family):
    """In another order they come out in that order, and the patches do not notice: no family gives them a place."""
    backbone = build(FAMILIES[family], taps=(DEPTH - 1,), tap_norm=True)
    model = Joint(backbone, DEPTH - 1)
    images, queries = image(backbone, (3, 5)), model.queries
    order = torch.tensor([3, 0, 4, 1, 2])
    first, second = model(images), model(images, queries[order])
    torch.testing.assert_close(first.queries[:, order], second.queries, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(first.patches, second.patches, atol=1e-4, rtol=1e-4)
    assert first.patches.shape[-2:] == (3, 5)


@torch.inference_mode()
def test_queries_join_the_last_blocks_only():
    """In front of the first joint block, patches are the plain ViT's and queries are as they were learned."""
    model = Joint(tiny_vit(), 2)
    plain = tiny_vit()
    plain.load_state_dict(model.vit.state_dict())
    images = torch.randn(2, 3, 50, 71)
    seen: list[tuple[int, JointTokens]] = []
    tokens = model(images, read=lambda block, early: seen.append((block, early)))
    assert [block for block, _ in seen] == [0, 1]
    before = plain(images)
    assert tokens.input_size == before.input_size
    assert tokens.padded_size == before.padded_size
    assert not torch.allclose(tokens.patches, before.maps[0])  # they do attend to the queries
    x, positions = plain.embed(images)
    for block in plain.blocks[:4]:
        x = block(x, positions)
    patches = plain.norm(x)[:, positions.num_prefix_tokens :].mT.unflatten(2, positions.grid)
    torch.testing.assert_close(seen[0][1].patches, patches)
    expected = plain.norm(model.queries).expand(2, -1, -1)
    torch.testing.assert_close(seen[0][1].queries, expected)


@torch.inference_mode()
def test_a_query_sees_the_patches_that_it_may_see():
    """Another image changes no query to which all patches are forbidden."""
    # Without a class token, which is open to every query and knows of all patches.
    model = Joint(tiny_vit(prefix_tokens="drop"), 1)
    allowed = torch.zeros(1, NUM_QUERIES, 16, dtype=torch.bool)
    allowed[:, :2] = True  # two queries see all patches, three see none
    images = torch.randn(1, 3, 64, 64)
    first, second = (model(x, read=lambda *_: allowed).queries for x in (images, images.flip(-1)))
    assert not torch.allclose(first[:, :2], second[:, :2])
    torch.testing.assert_close(first[:, 2:], second[:, 2:])


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        model = Joint(tiny_vit(gradient_checkpointing=checkpointing).train(), 2)
        images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        allowed = torch.rand(2, NUM_QUERIES, 16, generator=torch.Generator().manual_seed(2)) < 0.5
        tokens = model(images, read=lambda *_, allowed=allowed: allowed)
        (tokens.queries.square().mean() + tokens.patches.square().mean()).backward()
        gradients.append(model.vit.blocks[0].attn.qkv.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_more_joint_blocks_than_blocks_are_refused():
    with pytest.raises(
        ConfigError, match=r"decoder\.num_blocks is 7, but the backbone has 6 blocks"
    ):
        Joint(tiny_vit(), 7)
