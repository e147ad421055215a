"""Every ViT family against timm, at any size, with fewer queries than keys and on subsets of tokens."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import timm
import torch
from timm.models.beit import Beit
from torch import Tensor, nn

from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.backbones.blocks import ViTBlock
from vitseg.backbones.families import family_of
from vitseg.methods.method import Encoder

FAMILIES = {
    "AugReg": "vit_tiny_patch16_224",
    "DeiT distilled": "deit_tiny_distilled_patch16_224",
    "DeiT-3": "deit3_small_patch16_224",
    "MAE": "vit_base_patch16_224.mae",
    "CLIP": "vit_base_patch16_clip_224",
    "SigLIP": "vit_base_patch16_siglip_224",
    "DINOv2 with registers": "vit_small_patch14_reg4_dinov2",
    "BEiT": "beit_base_patch16_224",
    "BEiT-v2": "beitv2_base_patch16_224",
    "EVA-02": "eva02_tiny_patch14_224",
    "EVA-02, split projections": "eva02_base_patch14_224",
    "DINOv3": "vit_small_patch16_dinov3",
    "LingBot": "vit_small_patch16_lingbot",
    "LingBot giant": "vit_giant_patch16_lingbot",
    "TIPSv2": "vit_base_patch14_reg1_tipsv2",
    "PE-Spatial": "vit_pe_spatial_tiny_patch16_512",
    "PE-Spatial gigantic": "vit_pe_spatial_gigantic_patch14_448",
    "SigLIP-2 so400m": "vit_so400m_patch14_siglip_378.v2_webli",
}
DEPTH = 3

NARROWER = {
    "vit_small_patch16_lingbot": {"embed_dim": 128, "num_heads": 2},
    "vit_giant_patch16_lingbot": {"embed_dim": 192, "num_heads": 3},
    "vit_base_patch14_reg1_tipsv2": {"embed_dim": 128, "num_heads": 2},
    "vit_pe_spatial_tiny_patch16_512": {"embed_dim": 128, "num_heads": 2},
    "vit_pe_spatial_gigantic_patch14_448": {"embed_dim": 192, "num_heads": 2},
    "vit_so400m_patch14_siglip_378.v2_webli": {"embed_dim": 144, "num_heads": 2},
}
"""Of large models fewer heads, each as wide as the model's own: 64 channels, of so400m 72, of gigantic 96."""


def build_timm(name: str) -> nn.Module:
    """A shallow model of the family with weights in which every term matters."""
    return copy.deepcopy(_build_timm(name))


@cache
def _build_timm(name: str) -> nn.Module:
    torch.manual_seed(0)
    options = {"depth": DEPTH, "num_classes": 0, **NARROWER.get(name, {})}
    module = timm.models.model_entrypoint(name.partition(".")[0]).__module__
    if not module.endswith("beit"):
        options["dynamic_img_size"] = True
    vit = timm.create_model(name, pretrained=False, **options).eval()
    with torch.no_grad():
        for parameter in vit.parameters():
            center = parameter if parameter.ndim == 1 else 0
            parameter.copy_(center + 0.05 * torch.randn_like(parameter))
    return vit


def build(name: str, **options) -> PlainViT:
    config = BackboneConfig(name=name, pretrained=False, **{"taps": (0, DEPTH - 1), **options})
    vit = build_timm(name)
    family = family_of(vit)
    assert family is not None
    return PlainViT(vit, family, config).eval()


@pytest.fixture(scope="module", params=list(FAMILIES), ids=list(FAMILIES))
def name(request) -> str:
    return FAMILIES[request.param]


def image(backbone: PlainViT, grid: tuple[int, int], batch: int = 2) -> Tensor:
    size = [cells * side for cells, side in zip(grid, backbone.patch_size, strict=True)]
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
@pytest.mark.parametrize("grid", [(16, 16), (9, 17)], ids=["square", "non-square"])
def test_taps_equal_timm(name, grid):
    backbone = build(name)
    images = image(backbone, grid)
    vit = build_timm(name)
    if isinstance(vit, Beit):
        vit.set_input_size(images.shape[-2:])
    expected = vit.forward_intermediates(images, indices=[0, DEPTH - 1], intermediates_only=True)
    features = backbone(images)
    assert features.input_size == features.padded_size == tuple(images.shape[-2:])
    for ours, reference in zip(features.maps, expected, strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@torch.inference_mode()
def test_taps_equal_timm_at_the_native_size(name):
    """Where nothing is resampled."""
    backbone = build(name)
    images = image(backbone, backbone.grid, batch=1)
    expected = build_timm(name).forward_intermediates(
        images, indices=[DEPTH - 1], intermediates_only=True
    )
    torch.testing.assert_close(backbone(images).maps[-1], expected[0], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_sizes_that_are_no_multiple_of_the_patch(name):
    """They are what timm makes of the image with zeros at the bottom and on the right."""
    backbone, vit = build(name), build_timm(name)
    padded = image(backbone, (5, 7))
    height, width = padded.shape[-2] - 3, padded.shape[-1] - 5
    images = padded[..., :height, :width].clone()
    padded[..., height:, :] = 0
    padded[..., width:] = 0
    if isinstance(vit, Beit):
        vit.set_input_size(padded.shape[-2:])
    expected = vit.forward_intermediates(padded, indices=[0, DEPTH - 1], intermediates_only=True)
    features = backbone(images)
    assert (features.input_size, features.padded_size) == ((height, width), padded.shape[-2:])
    for ours, reference in zip(features.maps, expected, strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


def test_parameter_names_are_timms(name):
    ours = build(name, tap_norm=True).state_dict()
    theirs = build_timm(name).state_dict()
    assert ours.keys() <= theirs.keys()
    classifier = ("head", "fc_norm", "attn_pool")
    assert all(key.startswith(classifier) for key in theirs.keys() - ours.keys())


@torch.inference_mode()
def test_fewer_queries_give_their_rows_of_the_full_result(name):
    backbone = build(name)
    x, positions = backbone.embed(image(backbone, (6, 9)))
    block = backbone.blocks[1]
    full = block(x, positions)
    rows = torch.tensor([0, 3, 17, 40, x.shape[1] - 1])
    torch.testing.assert_close(block(x, positions, rows), full[:, rows], atol=1e-5, rtol=1e-5)
    per_image = torch.stack([rows, rows.flip(0) - torch.tensor([1, 0, 0, 0, 0])])
    expected = torch.stack([full[index, per_image[index]] for index in range(2)])
    torch.testing.assert_close(block(x, positions, per_image), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_subset_of_tokens_keeps_its_coordinates(name):
    """Two blocks on some tokens equal the same blocks on all tokens with the others masked out as keys."""
    backbone = build(name)
    x, positions = backbone.embed(image(backbone, (6, 9)))
    generator = torch.Generator().manual_seed(2)
    num_grid = 6 * 9
    prefix = torch.arange(backbone.num_prefix_tokens)
    kept = []
    for _ in range(2):
        cells = torch.randperm(num_grid, generator=generator)[:20].sort().values
        kept.append(torch.cat([prefix, cells + backbone.num_prefix_tokens]))
    rows = torch.stack(kept)
    subset = x.gather(1, rows[..., None].expand(-1, -1, x.shape[-1]))
    selected = positions.select(rows)
    for block in backbone.blocks[:2]:
        subset = block(subset, selected)
    for index in range(2):
        alone, where = x[index : index + 1, rows[index]], positions.select(rows[index])
        for block in backbone.blocks[:2]:
            alone = block(alone, where)
        torch.testing.assert_close(subset[index : index + 1], alone, atol=1e-5, rtol=1e-5)
    mask = torch.full((2, 1, 1, x.shape[1]), float("-inf"))
    for index in range(2):
        mask[index, ..., rows[index]] = 0
    masked = _run_with_key_mask(backbone, x, positions, mask)
    expected = masked.gather(1, rows[..., None].expand(-1, -1, x.shape[-1]))
    torch.testing.assert_close(subset, expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("lengths", [(7, 4, 11), (6, 6, 6), (1, 9, 3)])
def test_packed_images_equal_the_images_one_by_one(name, lengths):
    """Blocks on the packed tokens of a batch, with a first block whose queries alone are packed tokens."""
    backbone = build(name)
    x, positions = backbone.embed(image(backbone, (4, 5), batch=3))
    num_tokens = x.shape[1]
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randperm(num_tokens, generator=generator)[:m].sort().values for m in lengths]

    alone = []
    for index in range(3):
        y = backbone.blocks[0](x[index : index + 1], positions, rows[index])
        alone.append(backbone.blocks[1](y, positions.select(rows[index])))

    packed = positions.packed(3, x.device)
    flat = torch.cat([row + index * num_tokens for index, row in enumerate(rows)])
    y = backbone.blocks[0](x.flatten(0, 1)[None], packed, flat)
    assert packed.select(flat).lengths == lengths
    together = backbone.blocks[1](y, packed.select(flat))
    torch.testing.assert_close(together, torch.cat(alone, 1), atol=1e-4, rtol=1e-4)


def _run_with_key_mask(backbone: PlainViT, x: Tensor, positions, mask: Tensor) -> Tensor:
    for block in backbone.blocks[:2]:
        attention = block.attn
        plain = attention.bias

        def bias(queries, keys, plain=plain):
            bias = plain(queries, keys)
            return mask if bias is None else bias + mask

        attention.bias = bias
        x = block(x, positions)
        attention.bias = plain
    return x


@torch.inference_mode()
def test_prefix_tokens_can_be_dropped(name):
    kept, dropped = build(name), build(name, prefix_tokens="drop")
    images = image(kept, (4, 5))
    x, positions = dropped.embed(images)
    assert dropped.num_prefix_tokens == 0
    assert x.shape[1] == 20
    with_prefix, _ = kept.embed(images)
    torch.testing.assert_close(x, with_prefix[:, kept.num_prefix_tokens :])
    assert dropped(images).maps[0].shape[-2:] == (4, 5)
    assert not any(token.requires_grad for token in dropped._stored_prefix_tokens())
    full = dropped.blocks[0](x, positions)
    rows = torch.tensor([1, 7, 19])
    torch.testing.assert_close(
        dropped.blocks[0](x, positions, rows), full[:, rows], atol=1e-5, rtol=1e-5
    )


def test_every_family_is_one_class_of_blocks_that_run_on_subsets(name):
    backbone = build(name)
    assert isinstance(backbone, Encoder)
    assert all(isinstance(block, ViTBlock) for block in backbone.blocks)
    assert backbone.is_encoder
