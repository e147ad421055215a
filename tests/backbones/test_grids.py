"""Position embeddings are resampled once, from the grid that they are of to that of the images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.tiny import ARCHITECTURE, NAMES
from vitseg.backbones import BackboneConfig, create_backbone
from vitseg.checkpoint.model_dir import ModelRecord, load_model, save_model
from vitseg.classes import ClassTable
from vitseg.errors import CheckpointError
from vitseg.images.preprocess import Preprocessing
from vitseg.layers.grid import resample_grid
from vitseg.methods import METHODS
from vitseg.training.start import start_from

NAME = "vit_tiny_patch16_224"
CLASSES = ClassTable.from_names(NAMES)


def write(path: Path, grid: tuple[int, int]) -> Tensor:
    """A file of a ViT with position embeddings of a grid; these, (1, h*w, c)."""
    torch.manual_seed(0)
    size = (16 * grid[0], 16 * grid[1])
    vit = timm.create_model(NAME, pretrained=False, num_classes=0, img_size=size)
    torch.nn.init.normal_(vit.pos_embed)
    if path.suffix == ".npz":
        np.savez(path, **_jax_layout(vit, heads=3))
    else:
        save_file(vit.state_dict(), path)
    return vit.pos_embed.detach()[:, 1:]


def _jax_layout(vit, heads: int) -> dict[str, np.ndarray]:
    state = {name: value.detach().numpy() for name, value in vit.state_dict().items()}
    arrays = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
    }
    dim = state["cls_token"].shape[-1]
    for index in range(len(vit.blocks)):
        ours, theirs = f"blocks.{index}.", f"Transformer/encoderblock_{index}/"
        attention = theirs + "MultiHeadDotProductAttention_1/"
        weights = np.split(state[ours + "attn.qkv.weight"], 3)
        biases = np.split(state[ours + "attn.qkv.bias"], 3)
        for part, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            arrays[f"{attention}{part}/kernel"] = weight.T.reshape(dim, heads, -1)
            arrays[f"{attention}{part}/bias"] = bias.reshape(heads, -1)
        out = state[ours + "attn.proj.weight"].T.reshape(heads, -1, dim)
        arrays[attention + "out/kernel"] = out
        arrays[attention + "out/bias"] = state[ours + "attn.proj.bias"]
        for number, layer in ((0, "fc1"), (1, "fc2")):
            mlp = f"{theirs}MlpBlock_3/Dense_{number}/"
            arrays[mlp + "kernel"] = state[f"{ours}mlp.{layer}.weight"].T
            arrays[mlp + "bias"] = state[f"{ours}mlp.{layer}.bias"]
        for number, norm in ((0, "norm1"), (2, "norm2")):
            arrays[f"{theirs}LayerNorm_{number}/scale"] = state[f"{ours}{norm}.weight"]
            arrays[f"{theirs}LayerNorm_{number}/bias"] = state[f"{ours}{norm}.bias"]
    return arrays


def backbone_of(path: Path, crop: tuple[int, int], **fields):
    config = BackboneConfig(
        name=NAME, weights=path, taps=(11,), pos_embed_interpolation="bicubic", **fields
    )
    return create_backbone(config, crop)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("crop", [(512, 512), (224, 224), (320, 640)])
def test_a_larger_grid_is_never_squeezed_through_that_of_the_name(tmp_path, suffix, crop):
    theirs = write(tmp_path / f"w{suffix}", (32, 32))
    backbone = backbone_of(tmp_path / f"w{suffix}", crop)
    grid = crop[0] // 16, crop[1] // 16
    assert backbone.grid == grid
    torch.testing.assert_close(
        backbone.pos_embed[:, 1:], resample_grid(theirs, (32, 32), grid, "bicubic")
    )


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_grid_that_is_not_square_is_asked_for(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    theirs = write(path, (4, 8))
    with pytest.raises(CheckpointError, match=r"of 32 patches.*backbone\.weights_grid"):
        backbone_of(path, (128, 128))
    with pytest.raises(CheckpointError, match=r"no grid of 5 x 8"):
        backbone_of(path, (128, 128), weights_grid=(5, 8))
    backbone = backbone_of(path, (128, 128), weights_grid=(4, 8))
    torch.testing.assert_close(
        backbone.pos_embed[:, 1:], resample_grid(theirs, (4, 8), (8, 8), "bicubic")
    )


def test_a_grid_of_as_many_cells_as_the_names(tmp_path):
    """7 x 28 and 14 x 14 are both 196 cells."""
    theirs = write(tmp_path / "w.safetensors", (7, 28))
    backbone = backbone_of(tmp_path / "w.safetensors", (112, 448), weights_grid=(7, 28))
    assert torch.equal(backbone.pos_embed[:, 1:], theirs)


@pytest.mark.parametrize("grid", [(8, 8), (4, 16)])
def test_a_grid_that_may_be_that_of_the_crops_is_asked_for(tmp_path, grid):
    """64 cells: nothing in the file says whether they are 8 x 8 or, as the crops have, 4 x 16."""
    path = tmp_path / "w.pth"
    theirs = write(tmp_path / "w.safetensors", grid)
    torch.save(load_file(tmp_path / "w.safetensors"), path)
    with pytest.raises(CheckpointError, match=r"of 8 x 8 or one of 4 x 16.*\[8,8\] or \[4,16\]"):
        backbone_of(path, (64, 256))
    backbone = backbone_of(path, (64, 256), weights_grid=grid)
    expected = resample_grid(theirs, grid, (4, 16), "bicubic")
    torch.testing.assert_close(backbone.pos_embed[:, 1:], expected)


def test_a_square_that_nothing_says_is_named(tmp_path, caplog):
    write(tmp_path / "w.safetensors", (8, 8))
    with caplog.at_level("INFO", "vitseg"):
        backbone_of(tmp_path / "w.safetensors", (128, 256))
    assert any("taken for a grid of 8 x 8" in message for message in caplog.messages)


def test_tokens_in_front_are_counted_by_the_file(tmp_path):
    """Weights of a distilled model, of which a model without distillation takes the class token alone."""
    size = (128, 128)
    torch.manual_seed(0)
    source = timm.create_model(
        "deit_tiny_distilled_patch16_224", pretrained=False, num_classes=0, img_size=size
    )
    torch.nn.init.normal_(source.pos_embed)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    backbone = backbone_of(tmp_path / "w.safetensors", size)
    assert torch.equal(backbone.pos_embed[:, :1], source.pos_embed[:, :1])
    assert torch.equal(backbone.pos_embed[:, 1:], source.pos_embed[:, 2:])


@pytest.mark.parametrize("prefix", ["encoder.", "vit.", "model.image_encoder.", "segmenter.vit."])
def test_a_vit_under_any_name(tmp_path, prefix):
    theirs = write(tmp_path / "w.safetensors", (8, 8))
    state = {f"{prefix}{n}": v for n, v in load_file(tmp_path / "w.safetensors").items()}
    torch.save({"state_dict": state | {"head.weight": torch.ones(2)}}, tmp_path / "w.pth")
    assert torch.equal(backbone_of(tmp_path / "w.pth", (128, 128)).pos_embed[:, 1:], theirs)


def test_two_vits_are_asked_for(tmp_path):
    write(tmp_path / "w.safetensors", (8, 8))
    tensors = load_file(tmp_path / "w.safetensors")
    both = {f"{name}.{n}": v for name in ("first", "second") for n, v in tensors.items()}
    torch.save(both, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"has 2 ViTs, first\., second\."):
        backbone_of(tmp_path / "w.pth", (128, 128))


def test_a_grid_without_a_file_is_refused():
    with pytest.raises(ValueError, match="weights_grid is the grid of the file that weights names"):
        BackboneConfig(name=NAME, taps=(0,), weights_grid=(4, 8))


def test_a_whole_model_with_a_backbone_inside(tmp_path):
    """As of a self-distillation: other parts are left out."""
    torch.manual_seed(0)
    vit = timm.create_model(NAME, pretrained=False, num_classes=0)
    teacher = {f"backbone.{n}": v for n, v in vit.state_dict().items()}
    student = {f"module.backbone.{n}": torch.zeros_like(v) for n, v in vit.state_dict().items()}
    teacher["head.mlp.0.weight"] = torch.zeros(3)
    torch.save({"teacher": teacher, "student": student, "epoch": 3}, tmp_path / "w.pth")
    backbone = backbone_of(tmp_path / "w.pth", (224, 224))
    assert torch.equal(backbone.pos_embed, vit.pos_embed)


METHOD_SECTIONS = {
    "segvit": {"decoder": {"num_layers": 1}},
    "shrunk": {"shrink": {"block": 1}},
    "setr": {"decoder": {"kind": "naive", "auxiliary": []}},
    "segmenter": {"decoder": {"kind": "linear"}},
}
TAPS = {"segvit": [1, 3], "shrunk": [3], "setr": [3], "segmenter": [3]}


def config_of(method: str, taps: list[int] | None = None):
    backbone = {**ARCHITECTURE["backbone"], "taps": taps or TAPS[method], "prefix_tokens": "keep"}
    if method in ("segvit", "shrunk"):
        backbone["prefix_tokens"] = "drop"
    if method == "segmenter":
        backbone["tap_norm"] = True
    return METHODS[method].model_validate({"backbone": backbone, **METHOD_SECTIONS[method]})


HALF = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def save_trained(path: Path, method: str, size: tuple[int, int], taps: list[int] | None = None):
    torch.manual_seed(1)
    config = config_of(method, taps)
    model = config.build(3, size)
    record = ModelRecord(
        method=method,
        architecture=config.model_dump(mode="json"),
        image_size=size,
        classes=CLASSES,
        preprocessing=HALF,
    )
    save_model(path, model, record)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("method", METHOD_SECTIONS)
@pytest.mark.parametrize("size", [(128, 128), (64, 256), (96, 160), (256, 192)])
def test_a_training_starts_from_another_grid(tmp_path, method, size):
    """4 x 16 cells into 8 x 8, as many, and into larger and smaller crops."""
    trained = save_trained(tmp_path / "model", method, (64, 256))
    config = config_of(method)
    fresh = config.build(3, size)
    told = start_from(tmp_path / "model", fresh, method, CLASSES, config=config, preprocessing=HALF)
    assert told is None
    grid, way = (size[0] // 16, size[1] // 16), "bicubic_antialias"
    prefix = trained.backbone.pos_embed.shape[1] - 64
    theirs = trained.backbone.pos_embed.detach()[:, prefix:]
    torch.testing.assert_close(
        fresh.backbone.pos_embed[:, prefix:], resample_grid(theirs, (4, 16), grid, way)
    )
    assert fresh.backbone.grid == grid
    if method == "shrunk":
        queries = trained.decoder.upsample.query_embed.detach()[None]
        expected = resample_grid(queries, (4, 16), grid, "bicubic")[0]
        torch.testing.assert_close(fresh.decoder.upsample.query_embed, expected)
    others = {n: v for n, v in trained.state_dict().items() if "_embed" not in n}
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in others.items())


@torch.inference_mode()
def test_the_same_images_get_the_same_scores(tmp_path):
    """A model directory knows its grid by the size of its training images: nothing is resampled on these."""
    trained = save_trained(tmp_path / "model", "segvit", (64, 256)).eval()
    loaded, record = load_model(tmp_path / "model")
    assert loaded.backbone.grid == (4, 16)
    assert record.image_size == (64, 256)
    images = torch.randn(1, 3, 64, 256)
    assert torch.equal(loaded(images).scores(), trained(images).scores())


def test_the_weights_of_a_model_directory_say_their_grid(tmp_path):
    """As pretrained weights, too: 4 x 16 is not taken for 8 x 8."""
    trained = save_trained(tmp_path / "model", "segmenter", (64, 256), taps=[5])
    path = tmp_path / "weights.safetensors"
    shutil.copy(tmp_path / "model" / "model.safetensors", path)
    backbone = {**ARCHITECTURE["backbone"], "taps": (5,), "pretrained": True, "weights": path}
    built = create_backbone(BackboneConfig.model_validate(backbone), (128, 128))
    theirs = trained.backbone.pos_embed.detach()[:, 1:]
    torch.testing.assert_close(
        built.pos_embed[:, 1:], resample_grid(theirs, (4, 16), (8, 8), "bicubic_antialias")
    )
    assert json.loads((tmp_path / "model" / "config.json").read_text())["image_size"] == [64, 256]
