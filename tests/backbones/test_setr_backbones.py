"""What SETR's variants ask of the plain ViT: the class token alone, and a CNN in front of it."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from vitseg.backbones import BackboneConfig, PlainViT, create_backbone
from vitseg.backbones.create import pretrained_mean_std
from vitseg.errors import ConfigError

HYBRID = "vit_tiny_r_s16_p8_384"  # a stem of stride 4, and patches of 8 of its cells


def distilled(prefix_tokens: str) -> PlainViT:
    torch.manual_seed(0)
    config = BackboneConfig(
        name="deit_tiny_distilled_patch16_224",
        pretrained=False,
        taps=(3, 11),
        prefix_tokens=prefix_tokens,
        pos_embed_interpolation="bilinear",
    )
    return create_backbone(config, (64, 96)).eval()


@torch.inference_mode()
def test_the_class_token_alone_is_a_vit_without_distillation_token():
    """As SETR loads a distilled DeiT: the first position is the class token's, the last ones are the grid's."""
    backbone = distilled("class")
    vit = VisionTransformer(
        img_size=(64, 96), embed_dim=192, num_heads=3, num_classes=0, dynamic_img_size=True
    )
    state = {n: v for n, v in backbone.state_dict().items() if n != "dist_token"}
    pos_embed = state["pos_embed"]
    assert pos_embed.shape == (1, 2 + 24, 192)
    state["pos_embed"] = torch.cat([pos_embed[:, :1], pos_embed[:, 2:]], dim=1)
    missing, unexpected = vit.load_state_dict(state, strict=False)
    assert (set(missing), unexpected) == ({"norm.weight", "norm.bias"}, [])
    images = torch.randn(2, 3, 64, 96)
    expected = vit.eval().forward_intermediates(images, [3, 11], intermediates_only=True)
    for ours, theirs in zip(backbone(images).maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    both = distilled("keep")(images).maps[-1]
    assert not torch.allclose(both, expected[-1], atol=1e-3)


def test_a_token_that_does_not_run_is_not_trained():
    for prefix_tokens, trained in (("keep", (1, 1)), ("class", (1, 0)), ("drop", (0, 0))):
        backbone = distilled(prefix_tokens)
        assert backbone.num_prefix_tokens == sum(trained)
        tokens = (backbone.cls_token, backbone.dist_token)
        assert tuple(token.requires_grad for token in tokens) == trained


def test_register_tokens_are_left_out_too():
    name = "vit_small_patch14_reg4_dinov2"
    config = BackboneConfig(name=name, pretrained=False, taps=(0,), prefix_tokens="class")
    backbone = create_backbone(config, (56, 56)).eval()
    assert backbone.num_prefix_tokens == 1
    assert backbone(torch.randn(1, 3, 56, 56)).maps[0].shape == (1, 384, 4, 4)


def test_a_backbone_without_class_token_is_named():
    config = BackboneConfig(
        name="vit_base_patch16_siglip_224", pretrained=False, taps=(0,), prefix_tokens="class"
    )
    with pytest.raises(ConfigError, match="siglip_224 has no class token: set prefix_tokens to"):
        create_backbone(config, (32, 32))


def hybrid(image_size=(64, 96), **fields) -> PlainViT:
    torch.manual_seed(0)
    config = BackboneConfig(name=HYBRID, **{"pretrained": False, "taps": (3, 11), **fields})
    return create_backbone(config, image_size).eval()


@torch.inference_mode()
def test_a_hybrid_equals_timm():
    vit = timm.create_model(HYBRID, num_classes=0, img_size=(64, 96)).eval()
    backbone = hybrid()
    assert (backbone.patch_size, backbone.grid) == ((32, 32), (2, 3))
    names = set(backbone.state_dict())
    assert names == {n for n in vit.state_dict() if not n.startswith(("norm.", "fc_norm."))}
    backbone.load_state_dict({n: v for n, v in vit.state_dict().items() if n in names})
    images = torch.randn(2, 3, 64, 96)
    expected = vit.forward_intermediates(images, [3, 11], intermediates_only=True)
    for ours, theirs in zip(backbone(images).maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (50, 71), (33, 64)])
def test_a_hybrid_takes_any_size(size):
    features = hybrid()(torch.randn(1, 3, *size))
    grid = tuple(-(-side // 32) for side in size)
    assert features.padded_size == (32 * grid[0], 32 * grid[1])
    assert all(level.shape == (1, 192, *grid) for level in features.maps)


def test_a_hybrid_reads_a_weight_file(tmp_path):
    vit = timm.create_model(HYBRID, num_classes=0)
    save_file(vit.state_dict(), tmp_path / "hybrid.safetensors")
    backbone = hybrid(pretrained=True, weights=tmp_path / "hybrid.safetensors")
    weights = vit.state_dict()
    loaded = {n: v for n, v in backbone.state_dict().items() if n != "pos_embed"}
    assert any(n.startswith("patch_embed.backbone.") for n in loaded)
    for name, value in loaded.items():
        torch.testing.assert_close(value, weights[name], atol=0, rtol=0)
    assert pretrained_mean_std(backbone.config) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_the_base_hybrid_is_a_resnet_50_of_stride_16():
    config = BackboneConfig(name="vit_base_r50_s16_384", pretrained=False, taps=(11,))
    with torch.device("meta"):
        backbone = create_backbone(config, (512, 512), load_pretrained=False)
    assert (backbone.patch_size, backbone.grid, backbone.channels) == ((16, 16), (32, 32), (768,))
    cnn = sum(parameter.numel() for parameter in backbone.patch_embed.backbone.parameters())
    assert cnn == 11_894_848
