"""What the plain ViT does around its blocks: padding, grids, taps, checkpointing, weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from vitseg.backbones import BackboneConfig, create_backbone
from vitseg.backbones.create import pretrained_mean_std
from vitseg.backbones.weights import load_weight_file
from vitseg.errors import CheckpointError, ConfigError

TINY = "test_vit"


def tiny(image_size=(64, 64), **options):
    fields = {"name": TINY, "pretrained": False, "taps": (1, 3), **options}
    torch.manual_seed(0)
    return create_backbone(BackboneConfig(**fields), image_size)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (31, 50), (16, 300), (64, 64)])
def test_any_size_is_padded_to_the_patch(size):
    backbone = tiny().eval()
    images = torch.randn(2, 3, *size)
    features = backbone(images)
    grid = tuple(-(-side // 16) for side in size)
    assert features.input_size == size
    assert features.padded_size == (16 * grid[0], 16 * grid[1])
    assert all(m.shape == (2, 64, *grid) for m in features.maps)
    padded = torch.zeros(2, 3, *features.padded_size)
    padded[..., : size[0], : size[1]] = images
    torch.testing.assert_close(backbone(padded).maps[-1], features.maps[-1])


def test_position_embeddings_are_stored_for_the_training_size():
    backbone = tiny((48, 96))
    assert backbone.grid == (3, 6)
    assert backbone.pos_embed.shape == (1, 1 + 18, 64)


def test_blocks_beyond_the_last_tap_are_not_built():
    assert len(tiny().blocks) == 4
    with pytest.raises(ConfigError, match="taps names block 9, but test_vit has blocks 0-5"):
        tiny(taps=(9,))


def test_the_epsilon_of_every_norm_can_be_set():
    backbone = tiny(norm_eps=1e-3, tap_norm=True)
    norms = [module for module in backbone.modules() if isinstance(module, nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-3}
    assert len(norms) == 2 * 4 + 1
    assert backbone.norm.eps == 1e-3
    assert {m.eps for m in tiny().modules() if isinstance(m, nn.LayerNorm)} == {1e-6}


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        backbone = tiny(gradient_checkpointing=checkpointing).train()
        torch.manual_seed(1)
        images = torch.randn(2, 3, 64, 64)
        sum(m.square().mean() for m in backbone(images).maps).backward()
        gradients.append([p.grad for p in backbone.parameters() if p.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_drop_path_grows_with_depth_and_acts_in_training_only():
    backbone = tiny(drop_path=0.5)
    rates = [block.drop_path.rate for block in backbone.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    images = torch.randn(4, 3, 64, 64)
    assert not torch.equal(backbone.train()(images).maps[-1], backbone(images).maps[-1])
    assert torch.equal(backbone.eval()(images).maps[-1], backbone(images).maps[-1])


def test_the_norm_is_applied_where_a_method_asks_for_it():
    raw, normed = tiny().eval(), tiny(tap_norm=True).eval()
    images = torch.randn(1, 3, 64, 64)
    tokens = raw(images).maps[-1].flatten(2).transpose(1, 2)
    expected = normed.norm(tokens).transpose(1, 2).unflatten(-1, (4, 4))
    torch.testing.assert_close(normed(images).maps[-1], expected)


def test_another_patch_size():
    features = tiny(patch_size=8)(torch.randn(1, 3, 64, 64))
    assert features.maps[0].shape[-2:] == (8, 8)


@pytest.fixture
def weight_file(tmp_path) -> Path:
    torch.manual_seed(3)
    model = timm.create_model(TINY, pretrained=False)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_a_local_file_is_loaded_and_its_classifier_named(weight_file, caplog):
    with caplog.at_level("INFO", logger="vitseg"):
        backbone = tiny((160, 160), weights=weight_file, pretrained=True)
    torch.manual_seed(3)
    expected = timm.create_model(TINY, pretrained=False).state_dict()
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert "head.weight" in caplog.text


def test_a_pickled_file_loads_without_running_code(weight_file, tmp_path):
    from safetensors.torch import load_file

    torch.save({"state_dict": load_file(weight_file)}, tmp_path / "weights.pth")
    tiny(weights=tmp_path / "weights.pth", pretrained=True)


class _Payload:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_a_pickle_that_wants_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"x": _Payload()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="refused"):
        tiny(weights=tmp_path / "evil.pth", pretrained=True)
    assert not (tmp_path / "ran").exists()


def test_missing_and_unexpected_parameters_are_errors(weight_file, tmp_path):
    from safetensors.torch import load_file

    state = load_file(weight_file)
    state["blocks.0.attn.surprise"] = torch.zeros(1)
    del state["blocks.1.mlp.fc1.weight"]
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError) as error:
        tiny(weights=tmp_path / "other.safetensors", pretrained=True)
    assert "missing in the file: blocks.1.mlp.fc1.weight" in str(error.value)
    assert "unknown to the model: blocks.0.attn.surprise" in str(error.value)


def test_weights_of_another_model_are_an_error(weight_file):
    with pytest.raises(CheckpointError, match="of another shape"):
        tiny(name="vit_tiny_patch16_224", weights=weight_file, pretrained=True)


@pytest.mark.parametrize("content", [b"", b"not tensors at all"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".npz"])
def test_a_damaged_file_is_one_clear_error(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights"):
        tiny(weights=path, pretrained=True)
    with pytest.raises(CheckpointError, match="does not exist"):
        tiny(weights=tmp_path / f"absent{suffix}", pretrained=True)


def test_a_larger_grid_in_the_file_is_resampled(tmp_path):
    big = timm.create_model(TINY, pretrained=False, img_size=320)
    save_file(big.state_dict(), tmp_path / "big.safetensors")
    vit = timm.create_model(TINY, pretrained=False, num_classes=0)
    load_weight_file(vit, tmp_path / "big.safetensors", "bicubic")
    assert vit.pos_embed.shape == (1, 101, 64)
    torch.testing.assert_close(vit.pos_embed[:, 0], big.pos_embed[:, 0])


def test_npz_files_of_the_jax_models(tmp_path):
    """A file in the published JAX layout gives back the model it was written from."""
    torch.manual_seed(4)
    source = timm.create_model(TINY, pretrained=False)
    np.savez(tmp_path / "jax.npz", **_jax_layout(source))
    backbone = tiny((160, 160), weights=tmp_path / "jax.npz", pretrained=True)
    expected = source.state_dict()
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)


def _jax_layout(model) -> dict[str, np.ndarray]:
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    dim, heads = 64, 2
    arrays = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
    }
    for index in range(len(model.blocks)):
        ours, theirs = f"blocks.{index}.", f"Transformer/encoderblock_{index}/"
        attention = theirs + "MultiHeadDotProductAttention_1/"
        weights = np.split(state[ours + "attn.qkv.weight"], 3)
        biases = np.split(state[ours + "attn.qkv.bias"], 3)
        for part, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            arrays[f"{attention}{part}/kernel"] = weight.T.reshape(dim, heads, -1)
            arrays[f"{attention}{part}/bias"] = bias.reshape(heads, -1)
        arrays[attention + "out/kernel"] = state[ours + "attn.proj.weight"].T.reshape(
            heads, -1, dim
        )
        arrays[attention + "out/bias"] = state[ours + "attn.proj.bias"]
        for number, layer in ((0, "fc1"), (1, "fc2")):
            mlp = f"{theirs}MlpBlock_3/Dense_{number}/"
            arrays[mlp + "kernel"] = state[f"{ours}mlp.{layer}.weight"].T
            arrays[mlp + "bias"] = state[f"{ours}mlp.{layer}.bias"]
        for number, norm in ((0, "norm1"), (2, "norm2")):
            arrays[f"{theirs}LayerNorm_{number}/scale"] = state[f"{ours}{norm}.weight"]
            arrays[f"{theirs}LayerNorm_{number}/bias"] = state[f"{ours}{norm}.bias"]
    return arrays


def test_names(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'vit_base_patch16_224'"):
        tiny(name="vit_base_patch16_244")
    with pytest.raises(ConfigError, match="is not a known weight tag of vit_base_patch16_224"):
        tiny(name="vit_base_patch16_224.nonsense")
    with pytest.raises(ConfigError, match="no plain ViT"):
        tiny(name="resnet18")


def test_mean_and_std_come_from_the_weights():
    half = BackboneConfig(name="vit_tiny_patch16_224", taps=(0,))
    assert pretrained_mean_std(half) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    dino = BackboneConfig(name="vit_small_patch16_dinov3", taps=(0,))
    assert pretrained_mean_std(dino)[0] == pytest.approx((0.485, 0.456, 0.406))
    own = BackboneConfig(name="vit_tiny_patch16_224", taps=(0,), mean=(0, 0, 0), std=(1, 1, 1))
    assert pretrained_mean_std(own) == ((0, 0, 0), (1, 1, 1))


def test_the_shared_vit_loads(shared):
    weights = shared / "data/weights/vit_tiny_patch16_224.safetensors"
    backbone = tiny((224, 224), name="vit_tiny_patch16_224", weights=weights, pretrained=True)
    assert sum(p.numel() for p in backbone.parameters()) > 1e6
