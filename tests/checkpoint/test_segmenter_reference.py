"""A published Segmenter file, made from our own parameters by the inverse of the renaming, becomes the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.golden.reference import recipe_weight
from tests.shapes_alone import shapes_alone
from vitseg.checkpoint.architecture import HALF, IMAGENET
from vitseg.checkpoint.convert import convert_checkpoint, read_checkpoint
from vitseg.checkpoint.detect import recognise
from vitseg.checkpoint.segmenter_reference import segmenter_architecture
from vitseg.classes import ClassTable
from vitseg.config import parse
from vitseg.errors import CheckpointError
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel

NUM_CLASSES, CROP = 5, 96
CLASSES = ClassTable.from_names([f"c{index}" for index in range(NUM_CLASSES)])
BACKBONE = {
    "name": "vit_tiny_patch16_384",
    "pretrained": False,
    "taps": [11],
    "tap_norm": True,
    "pos_embed_interpolation": "bilinear",
    "norm_eps": 1e-5,
}
DECODERS = {"mask": {"kind": "mask", "num_layers": 1}, "linear": {"kind": "linear"}}


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters as the reference names and shapes them, with its classifier."""
    theirs = {
        "encoder.head.weight": torch.zeros(10, 192),
        "encoder.head.bias": torch.zeros(10),
    }
    for name, value in state.items():
        if name in ("decoder.proj_patch.weight", "decoder.proj_classes.weight"):
            theirs[name.removesuffix(".weight")] = value.t()
        elif name == "decoder.head.weight":
            theirs[name] = value[..., 0, 0]
        else:
            theirs[name.replace("backbone.", "encoder.", 1)] = value
    return theirs


@pytest.fixture(scope="module", params=list(DECODERS))
def source(request) -> SegmentationModel:
    raw = {"backbone": BACKBONE, "decoder": DECODERS[request.param]}
    config = parse(METHODS["segmenter"], raw)
    model = config.build(NUM_CLASSES, (CROP, CROP), load_pretrained=False)
    state = model.state_dict()
    model.load_state_dict({n: recipe_weight(n, list(v.shape)) for n, v in state.items()})
    return model.eval()


@pytest.fixture
def write(tmp_path, source):
    """Writes the checkpoint, with changes to its parameters (None removes one)."""

    def write(changes: dict[str, Tensor | None]) -> Path:
        state: dict[str, Any] = published(source.state_dict()) | changes
        state = {name: value for name, value in state.items() if value is not None}
        torch.save({"model": state, "optimizer": {}, "epoch": 63}, tmp_path / "checkpoint.pth")
        return tmp_path / "checkpoint.pth"

    return write


@torch.inference_mode()
def test_a_converted_model_gives_the_scores_of_its_source(source, write):
    model, record = convert_checkpoint(read_checkpoint(write({})), CLASSES, "ade20k")
    for size in ((CROP, CROP), (70, 150)):
        images = torch.randn(1, 3, *size)
        expected = source(images).scores()
        torch.testing.assert_close(model(images).scores(), expected, atol=0, rtol=0)
    assert record.method == "segmenter"
    assert record.architecture["backbone"]["norm_eps"] == 1e-5
    assert record.architecture["backbone"]["tap_norm"] is True
    assert record.image_size == (CROP, CROP)
    assert record.preprocessing == HALF
    assert record.license is None


def test_what_no_segmenter_has_is_refused(write):
    path = write({"encoder.extra": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"does not fit Segmenter .*backbone\.extra"):
        convert_checkpoint(read_checkpoint(path), CLASSES)


def test_a_missing_parameter_is_named(write):
    path = write({"encoder.norm.weight": None})
    with pytest.raises(CheckpointError, match=r"backbone\.norm\.weight"):
        convert_checkpoint(read_checkpoint(path), CLASSES)


def shapes(name: str, decoder: dict[str, Any], crop: int, **backbone: Any) -> dict[str, Tensor]:
    """A published file without values."""
    raw = {"backbone": {**BACKBONE, "name": name, **backbone}, "decoder": decoder}
    config = parse(METHODS["segmenter"], raw)
    with shapes_alone():
        model = config.build(150, (crop, crop), load_pretrained=False)
    return published(model.state_dict())


@pytest.mark.parametrize(
    ("name", "decoder", "crop", "taps"),
    [
        ("vit_small_patch16_384", {"kind": "mask"}, 512, [11]),
        ("vit_large_patch16_384", {"kind": "mask"}, 640, [23]),
        ("vit_base_patch8_224", {"kind": "linear"}, 512, [11]),
        ("deit_base_distilled_patch16_384", {"kind": "mask"}, 512, [11]),
    ],
)
def test_published_architectures_are_told_by_their_shapes(name, decoder, crop, taps):
    state = shapes(name, decoder, crop, taps=taps)
    assert recognise(state).name == "Segmenter"
    found = segmenter_architecture(state)
    assert found.config["backbone"]["name"] == name
    assert list(found.config["backbone"]["taps"]) == taps
    assert found.config["decoder"]["kind"] == decoder["kind"]
    assert (found.num_classes, found.crop) == (150, crop)
    assert found.preprocessing == (IMAGENET if name.startswith("deit") else HALF)
    config = parse(METHODS["segmenter"], found.config)
    with shapes_alone():
        model = config.build(150, (crop, crop), load_pretrained=False)
    ours = recognise(state).convert(state)
    assert {n: v.shape for n, v in model.state_dict().items()} == {
        n: v.shape for n, v in ours.items()
    }


def test_protocols_are_the_published_ones():
    published = recognise(["encoder.pos_embed", "decoder.cls_emb"]).published
    assert published.protocol(512, "ade20k")["stride"] == (512, 512)
    assert published.protocol(480, "pascal_context_60")["stride"] == (320, 320)
    city = published.protocol(768, "cityscapes")
    assert (city["stride"], city["resize"]) == ((512, 512), (2048, 1024))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"encoder.pos_embed": torch.empty(1, 40, 192)},
            "encoder.pos_embed has 40 entries",
        ),
        (
            {"encoder.patch_embed.proj.weight": torch.empty(192, 3, 14, 14)},
            "width 192, 12 blocks and patches of 14 pixels. Known: vit_tiny_patch16_384",
        ),
        (
            {"encoder.dist_token": torch.empty(1, 1, 192)},
            "patches of 16 pixels with a distillation token",
        ),
    ],
)
def test_other_sizes_are_refused(changes, expected):
    state = shapes("vit_tiny_patch16_384", {"kind": "mask"}, 96) | changes
    with pytest.raises(CheckpointError) as caught:
        segmenter_architecture(state)
    assert expected in str(caught.value)
