"""A published Shrunk file, made from our own parameters by the inverse of the renaming, becomes the same model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.checkpoint.test_convert import published_name
from tests.golden.reference import recipe_weight
from vitseg.checkpoint.convert import convert_checkpoint, read_checkpoint
from vitseg.classes import ClassTable
from vitseg.config import parse
from vitseg.errors import CheckpointError
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel

NUM_CLASSES, CROP = 5, 96
CLASSES = ClassTable.from_names([f"c{index}" for index in range(NUM_CLASSES)])
ARCHITECTURE = {
    "backbone": {
        "name": "vit_tiny_patch16_384",
        "pretrained": False,
        "taps": [11],
        "prefix_tokens": "drop",
        "pos_embed_interpolation": "bicubic",
    },
    "shrink": {"block": 6},
    "upsample": {"num_layers": 2},
    "decoder": {
        "embed_dim": 96,
        "num_layers": 3,
        "projection": "none",
        "supervise": "layers",
    },
}


def published_shrunk(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters as the published files name and pack them."""
    published: dict[str, Tensor] = {}
    for name, value in state.items():
        if name == "decoder.upsample.query_embed":
            published["decode_head.q.weight"] = value
        elif name.startswith("backbone."):
            published[published_name(name)] = value
        elif name.startswith("decoder.atm."):
            theirs = published_name(name.replace(".atm.", ".", 1))
            published[theirs.replace("decode_head.", "decode_head.atm.", 1)] = value
        else:
            theirs = published_name(name.replace(".upsample.", ".", 1))
            published[theirs.replace("multihead_attn.proj.", "multihead_attn.out_proj.")] = value
    for name in [name for name in published if ".atm." not in name]:
        packed = re.fullmatch(r"(.*\.multihead_attn)\.q\.(weight|bias)", name)
        if packed:
            rows = [published.pop(f"{packed[1]}.{part}.{packed[2]}") for part in "qkv"]
            published[f"{packed[1]}.in_proj_{packed[2]}"] = torch.cat(rows)
    weights = torch.ones(NUM_CLASSES + 1)
    return published | {
        "decode_head.loss_decode.criterion.empty_weight": weights,
        "decode_head.atm.loss_decode.criterion.empty_weight": weights,
    }


@pytest.fixture(scope="module")
def source() -> SegmentationModel:
    config = parse(METHODS["shrunk"], ARCHITECTURE)
    model = config.build(NUM_CLASSES, (CROP, CROP), load_pretrained=False)
    model.load_state_dict(
        {n: recipe_weight(n, list(v.shape)) for n, v in model.state_dict().items()}
    )
    return model.eval()


@pytest.fixture
def write(tmp_path, source):
    """Writes the checkpoint, with changes to its parameters (None removes one)."""

    def write(**changes: Tensor | None) -> Path:
        state = {**published_shrunk(source.state_dict()), **changes}
        path = tmp_path / "shrunk.pth"
        torch.save({"state_dict": {n: v for n, v in state.items() if v is not None}}, path)
        return path

    return write


@torch.inference_mode()
def test_a_converted_model_gives_the_scores_of_its_source(write, source):
    model, record = convert_checkpoint(read_checkpoint(write()), CLASSES)
    assert record.method == "shrunk"
    assert record.image_size == (CROP, CROP)
    assert record.architecture["backbone"]["taps"] == [11]
    assert record.architecture["shrink"]["block"] == 6
    assert record.architecture["upsample"]["num_layers"] == 2
    for size in ((CROP, CROP), (70, 150)):
        images = torch.randn(1, 3, *size)
        torch.testing.assert_close(model(images).scores(), source(images).scores(), atol=0, rtol=0)


def test_the_published_names_are_those_of_the_list(shared, source):
    """Else the inverse above would prove nothing."""
    lines = (shared / "golden" / "keys_segvit_shrunk_vitb_ade20k.txt").read_text().splitlines()
    listed = {line.split("\t")[0] for line in lines if not line.startswith("#")}
    third_layer = re.compile(r"decode_head\.decoder_\d\.layers\.2\.")  # the source has two
    assert set(published_shrunk(source.state_dict())) == {
        name for name in listed if not third_layer.match(name)
    }


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        convert_checkpoint(read_checkpoint(path), CLASSES)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_queries_of_another_crop_are_refused(write):
    message = refusal(write(**{"decode_head.q.weight": torch.zeros(64, 96)}))
    assert "decode_head.q.weight has 64 queries" in message
    assert "grid of 6 x 6 (crop 96), which needs 36" in message


@pytest.mark.parametrize(
    "name",
    [
        "decode_head.decoder_1.layers.0.multihead_attn.in_proj_weight",
        "decode_head.decoder_2.layers.1.multihead_attn.out_proj.bias",
        "decode_head.atm.class_embed.bias",
        "backbone.layers.3.ln1.weight",
    ],
)
def test_a_missing_parameter_is_refused(write, name):
    assert "does not fit SegViT-Shrunk" in refusal(write(**{name: None}))


@pytest.mark.parametrize(
    "name",
    [
        "decode_head.class_embed.bias",
        "decode_head.conv_seg.weight",
        "backbone.ln1.weight",
    ],
)
def test_a_parameter_of_another_model_is_refused(write, name):
    assert f"also holds {name}" in refusal(write(**{name: torch.zeros(3)}))


def test_packed_attention_of_another_shape_is_refused(write):
    name = "decode_head.decoder_1.layers.0.multihead_attn.in_proj_weight"
    for rows in (2, 3 * 96 + 1):
        assert "does not fit" in refusal(write(**{name: torch.zeros(rows, 96)}))
