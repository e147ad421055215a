"""Mix Transformers against the transformers library's own, and files in the three namings."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torch import Tensor

from tests.backbones.test_pyramids import ALL, build, images_of
from tests.shapes_alone import shapes_alone
from vitseg.backbones import PyramidConfig, create_backbone, mix_transformer
from vitseg.backbones.mix_transformer_names import mix_transformer_name
from vitseg.errors import CheckpointError, ConfigError
from vitseg.inference.operations import count_operations

NAME = "mit_b0"


@pytest.fixture(autouse=True)
def _library():
    pytest.importorskip("transformers")


def without_library(monkeypatch) -> None:
    for module in [n for n in sys.modules if n.startswith("transformers.models.segformer")]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "transformers", None)


@torch.inference_mode()
def test_maps_are_the_librarys():
    from transformers import SegformerConfig, SegformerModel

    backbone = build(NAME)
    model = SegformerModel(SegformerConfig()).eval()
    model.load_state_dict(backbone.state_dict())
    images = images_of(64, 96)
    theirs = model(images, output_hidden_states=True).hidden_states
    for ours, expected in zip(backbone(images).maps, theirs, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("b0", 3.3), ("b1", 13.2), ("b2", 24.2), ("b3", 44.1), ("b4", 60.8), ("b5", 81.4)],
)
def test_parameters_are_the_published(name, millions):
    """SegFormer's table of encoders, in 10^6, but for its last digit."""
    with shapes_alone():
        config = PyramidConfig(name=f"mit_{name}", pretrained=False, levels=ALL)
        backbone = create_backbone(config, (64, 64))
    total = sum(parameter.numel() for parameter in backbone.parameters())
    assert total / 1e6 == pytest.approx(millions, abs=0.1)


class Whole(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = build(NAME)

    def forward(self, images: Tensor):
        return self.backbone(images)


def test_attention_is_counted():
    """Queries of 8 x 8, 4 x 4, 2 x 2 and 1 cells attend to 1 each: two blocks per stage, two products of the width."""
    model = Whole()
    operations = count_operations(model, lambda: model(images_of(32, 32, batch=1)))
    expected = sum(
        4 * cells * width for cells, width in zip((64, 16, 4, 1), (32, 64, 160, 256), strict=True)
    )
    assert operations.macs["backbone"]["attention"] == expected


def published_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As in the published files of the library's older releases."""
    renames = {
        r"^stages\.(\d)\.patch_embeddings": r"encoder.patch_embeddings.\1",
        r"^stages\.(\d)\.blocks": r"encoder.block.\1",
        r"^stages\.(\d)\.layer_norm": r"encoder.layer_norm.\1",
        "layernorm_before": "layer_norm_1",
        "layernorm_after": "layer_norm_2",
        "attention.q_proj": "attention.self.query",
        "attention.k_proj": "attention.self.key",
        "attention.v_proj": "attention.self.value",
        "attention.o_proj": "attention.output.dense",
        "attention.sequence_reduction.sequence_reduction": "attention.self.sr",
        "attention.sequence_reduction.layer_norm": "attention.self.layer_norm",
        "mlp.fc": "mlp.dense",
    }
    renamed = {}
    for name, value in state.items():
        for old, new in renames.items():
            name = re.sub(old, new, name)
        renamed[f"segformer.{name}"] = value
    return renamed | {"classifier.weight": torch.zeros(1000, 256)}


def author_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As SegFormer's authors have them: keys and values in one layer, stages counted from 1."""
    renames = {
        "patch_embeddings.layer_norm": "patch_embed.norm",
        "patch_embeddings": "patch_embed",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "attention.q_proj": "attn.q",
        "attention.o_proj": "attn.proj",
        "attention.sequence_reduction.sequence_reduction": "attn.sr",
        "attention.sequence_reduction.layer_norm": "attn.norm",
    }
    renamed = {}
    for name, value in state.items():
        if ".v_proj." in name:
            continue
        if ".k_proj." in name:
            value = torch.cat([value, state[name.replace("k_proj", "v_proj")]])
            name = name.replace("attention.k_proj", "attn.kv")
        for old, new in renames.items():
            name = name.replace(old, new)
        _, stage, rest = name.split(".", 2)
        for ours, theirs in (
            ("patch_embed", "patch_embed"),
            ("blocks", "block"),
            ("layer_norm", "norm"),
        ):
            if rest.startswith(ours):
                rest = f"{theirs}{int(stage) + 1}{rest.removeprefix(ours)}"
                break
        renamed[rest] = value
    return renamed | {"head.weight": torch.zeros(1000, 256)}


@pytest.mark.parametrize("names", [dict, published_names, author_names])
def test_files_of_every_naming_load(tmp_path, names):
    state = build(NAME).state_dict()
    path = tmp_path / "weights.pth"
    torch.save(names(state), path)
    config = PyramidConfig(name=NAME, levels=ALL, weights=path)
    loaded = create_backbone(config, (64, 64)).state_dict()
    assert loaded.keys() == state.keys()
    for name, value in loaded.items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("patch_embed1.proj.weight", "stages.0.patch_embeddings.proj.weight"),
        ("patch_embed4.norm.bias", "stages.3.patch_embeddings.layer_norm.bias"),
        ("block3.11.mlp.dwconv.dwconv.weight", "stages.2.blocks.11.mlp.dwconv.dwconv.weight"),
        ("norm2.weight", "stages.1.layer_norm.weight"),
        ("encoder.block.0.1.mlp.dense2.bias", "stages.0.blocks.1.mlp.fc2.bias"),
        ("encoder.layer_norm.3.bias", "stages.3.layer_norm.bias"),
        ("head.weight", "head.weight"),
    ],
)
def test_names_by_hand(name, ours):
    assert mix_transformer_name(name) == ours


def test_a_file_of_another_encoder_is_refused(tmp_path):
    state = author_names(build(NAME).state_dict())
    state["block1.0.attn.kv.bias"] = torch.zeros(63)
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    config = PyramidConfig(name=NAME, levels=ALL, weights=path)
    with pytest.raises(
        CheckpointError, match=r"does not fit this Mix Transformer: .*k_proj\.bias is missing"
    ):
        create_backbone(config, (64, 64))


def test_published_weights_load_under_whichever_name_they_have(tmp_path, monkeypatch):
    state = build(NAME).state_dict()
    asked = []

    def download(repo: str, file: str, **_: str) -> str:
        asked.append((repo, file))
        if file.endswith(".safetensors"):
            raise LocalEntryNotFoundError("not there")
        torch.save(published_names(state), tmp_path / file)
        return str(tmp_path / file)

    monkeypatch.setattr(mix_transformer, "hf_hub_download", download)
    loaded = create_backbone(PyramidConfig(name=NAME, levels=(1,)), (64, 64)).state_dict()
    assert asked == [("nvidia/mit-b0", "model.safetensors"), ("nvidia/mit-b0", "pytorch_model.bin")]
    for name, value in loaded.items():
        assert torch.equal(value, state[name]), name


def test_weights_that_cannot_be_had(monkeypatch):
    def download(repo: str, file: str, **_: str) -> Path:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(mix_transformer, "hf_hub_download", download)
    message = r"weights of mit_b0 could not be downloaded \(offline\).*backbone\.weights=FILE"
    with pytest.raises(CheckpointError, match=message):
        create_backbone(PyramidConfig(name=NAME, levels=(1,)), (64, 64))


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    without_library(monkeypatch)
    config = PyramidConfig(name=NAME, pretrained=False, levels=(1,))
    with pytest.raises(ConfigError, match=r"transformers 5\.12 or later.*vitseg\[transformers\]"):
        create_backbone(config, (64, 64))
