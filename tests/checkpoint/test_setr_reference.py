"""Files of the SETR repository: every name of the published lists, and small files that become models."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vitseg
from tests.golden.reference import recipe_weight
from tests.shapes_alone import shapes_alone
from vitseg.checkpoint.convert import convert_checkpoint, read_checkpoint
from vitseg.checkpoint.detect import recognise
from vitseg.checkpoint.model_dir import save_model
from vitseg.checkpoint.protocols import SETR
from vitseg.classes import ClassTable
from vitseg.config import parse
from vitseg.errors import CheckpointError
from vitseg.inference.config import InferenceConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.setr import SetrConfig

NUM_CLASSES, CROP = 5, 64
CLASSES = ClassTable.from_names(["sky", "road", "tree", "car", "sign"])
DECODERS = {
    "naive": {"taps": (2, 5, 8, 11), "auxiliary": (2, 5, 8)},
    "pup": {"taps": (4, 7, 9, 11), "auxiliary": (4, 7, 9, 11)},
    "mla": {"taps": (2, 5, 8, 11), "auxiliary": (2, 5, 8, 11)},
}


def tiny_setr(kind: str, **decoder) -> SegmentationModel:
    """A SETR on ViT-Ti with the blocks of the published models of 12 blocks, and its weights."""
    blocks = DECODERS[kind]
    backbone = {
        "name": "vit_tiny_patch16_384",
        "pretrained": False,
        "taps": blocks["taps"],
        "prefix_tokens": "drop" if kind == "mla" else "keep",
        "pos_embed_interpolation": "bilinear",
    }
    decoder = {"kind": kind, "auxiliary": blocks["auxiliary"], **decoder}
    config = SetrConfig.model_validate({"backbone": backbone, "decoder": decoder})
    model = config.build(NUM_CLASSES, (CROP, CROP))
    weights = {n: recipe_weight(n, list(v.shape)) for n, v in model.state_dict().items()}
    model.load_state_dict(weights)
    return model.eval()


def published_name(name: str, kind: str) -> str:
    """The inverse of the renaming."""
    classifier = {"naive": "conv_1", "pup": "conv_4", "mla": "cls"}[kind]
    rules = (
        (r"^backbone\.vit\.", "backbone."),
        (r"^backbone\.norms\.(\d)", r"backbone.norm_\1"),
        (r"^backbone\.projections\.(\d)\.", lambda m: f"backbone.mla.mla_p{int(m[1]) + 2}_1x1."),
        (r"^backbone\.smoothings\.(\d)\.", lambda m: f"backbone.mla.mla_p{int(m[1]) + 2}."),
        (r"(mla_p\d(?:_1x1)?)\.conv\.", r"\1.0."),
        (r"(mla_p\d(?:_1x1)?)\.norm\.", r"\1.1."),
        (
            r"^decoder\.head\.branches\.(\d)\.(\d)\.(conv|norm)\.",
            lambda m: (
                f"decode_head.mlahead.head{int(m[1]) + 2}.{3 * int(m[2]) + (m[3] == 'norm')}."
            ),
        ),
        (r"^decoder\.head\.classifier\.", f"decode_head.{classifier}."),
        (r"^decoder\.auxiliary\.(\d)\.weight$", r"auxiliary_head.\1.aux.weight"),
        (r"\.classifier\.", ".conv_1."),
        (r"^decoder\.head\.", "decode_head."),
        (r"^decoder\.auxiliary\.", "auxiliary_head."),
        (r"\.convs\.(\d)\.conv\.", r".conv_\1."),
        (r"\.convs\.(\d)\.norm\.", r".syncbn_fc_\1."),
    )
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def published_state(model: SegmentationModel) -> dict[str, Tensor]:
    config = model.decoder.config
    state = {published_name(n, config.kind): v for n, v in model.state_dict().items()}
    heads = ["decode_head", *(f"auxiliary_head.{i}" for i in range(len(config.auxiliary)))]
    return state | {f"{head}.conv_seg.weight": torch.zeros(5, 512, 1, 1) for head in heads}


@pytest.fixture(scope="module", params=list(DECODERS))
def case(request) -> tuple[SegmentationModel, dict[str, Tensor]]:
    model = tiny_setr(request.param)
    return model, published_state(model)


def write(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save({"meta": {"mmseg_version": "0.6"}, "state_dict": state}, path)
    return path


def refusal(path: Path, state: dict[str, Tensor]) -> str:
    with pytest.raises(CheckpointError) as caught:
        convert_checkpoint(read_checkpoint(write(path, state)), CLASSES)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
@torch.inference_mode()
def test_a_converted_file_gives_the_scores_of_its_source(tmp_path, case):
    source, state = case
    checkpoint = read_checkpoint(write(tmp_path / "setr.pth", state))
    assert checkpoint.dialect.name == "SETR"
    model, record = convert_checkpoint(checkpoint, CLASSES, "cityscapes")
    save_model(tmp_path / "model", model, record)
    predictor = vitseg.load(tmp_path / "model", "cpu")
    for size in ((CROP, CROP), (70, 150)):
        images = torch.randn(1, 3, *size)
        expected = source(images).scores()
        torch.testing.assert_close(predictor.model(images).scores(), expected, atol=0, rtol=0)
    weights = model.state_dict()
    for name, value in source.state_dict().items():  # the auxiliary heads' too
        torch.testing.assert_close(weights[name], value, atol=0, rtol=0)
    assert record.preprocessing.mean == (0.485, 0.456, 0.406)
    assert record.inference["resize"] == (2049, 1025)
    assert record.inference["stride"] == (42, 42)
    assert record.license is None
    assert "fudan-zvg/SETR" in checkpoint.dialect.published.license


def test_a_file_without_auxiliary_heads_gives_a_model_without(tmp_path, case):
    source, state = case
    bare = {n: v for n, v in state.items() if not n.startswith("auxiliary_head.")}
    model, record = convert_checkpoint(read_checkpoint(write(tmp_path / "a.pth", bare)), CLASSES)
    assert len(model.decoder.auxiliary) == 0
    assert record.architecture["decoder"]["auxiliary"] == []
    images = torch.randn(1, 3, CROP, CROP)
    with torch.inference_mode():
        torch.testing.assert_close(model(images).scores(), source(images).scores())


def test_what_no_head_runs_is_left_out_and_named(tmp_path, case, caplog):
    with caplog.at_level("INFO", "vitseg"):
        read_checkpoint(write(tmp_path / "setr.pth", case[1]))
    (message,) = caplog.messages
    assert "decode_head.conv_seg.weight" in message


def test_files_that_no_configuration_gives_are_refused(tmp_path, case):
    model, state = case
    path = tmp_path / "setr.pth"
    fewer = {n: v for n, v in state.items() if not n.startswith("auxiliary_head.2.")}
    assert "auxiliary heads, but SETR-" in refusal(path, fewer)
    assert "also holds decode_head.extra" in refusal(
        path, state | {"decode_head.extra": torch.zeros(1)}
    )
    narrow = {n: v for n, v in state.items() if not n.startswith("backbone.blocks.11.")}
    assert "no published SETR has width 192 and 11 blocks" in refusal(path, narrow)
    last = {"naive": "conv_1", "pup": "conv_4", "mla": "cls"}[model.decoder.config.kind]
    name = f"decode_head.{last}.weight"
    refusal(path, {n: v for n, v in state.items() if n != name})
    assert "axes are expected" in refusal(path, state | {name: torch.zeros(3)})
    missing = {n: v for n, v in state.items() if n != "backbone.blocks.3.norm1.weight"}
    assert "does not fit SETR (vit_tiny_patch16_384)" in refusal(path, missing)


def test_the_older_naive_head_is_named(tmp_path):
    state = published_state(tiny_setr("naive"))
    old = {n: v.repeat(1, 1, 3, 3) if n.endswith("conv_0.weight") else v for n, v in state.items()}
    message = refusal(tmp_path / "setr.pth", old)
    assert "the older SETR-Naive, whose heads have a 3 x 3 convolution" in message
    assert "decode_head.conv_0" in message


@pytest.mark.parametrize(
    ("crop", "dataset", "expected"),
    [
        (768, "cityscapes", {"resize": (2049, 1025), "stride": (512, 512)}),
        (512, "ade20k", {"resize": (2048, 512), "stride": (341, 341)}),
        (480, "pascal_context_60", {"resize": (520, 520), "stride": (320, 320), "min_short": 480}),
    ],
)
def test_protocols_of_the_published_models(crop, dataset, expected):
    protocol = SETR.protocol(crop, dataset)
    assert protocol == {"mode": "slide", "crop_size": (crop, crop), **expected}
    InferenceConfig.model_validate(protocol)


def test_the_short_side_on_pascal_context_is_520():
    config = InferenceConfig.model_validate(SETR.protocol(480, "pascal_context_60"))
    assert config.input_size((375, 500)) == (520, 693)


@pytest.mark.golden
@pytest.mark.parametrize("kind", ["naive", "pup", "mla"])
def test_a_published_list_fits_its_model(shared, kind):
    lines = (shared / "golden" / f"setr_keys_{kind}_vitl_ade.txt").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    state = {row[0]: torch.empty(ast.literal_eval(row[1]), device="meta") for row in rows}
    dialect = recognise(state)
    architecture = dialect.architecture(state)
    assert (dialect.name, architecture.num_classes, architecture.crop) == ("SETR", 150, 512)
    assert architecture.config["backbone"]["name"] == "vit_large_patch16_384"
    config = parse(SetrConfig, architecture.config)
    with shapes_alone():
        model = config.build(150, (512, 512), load_pretrained=False)
    converted = dialect.convert(state)
    shapes = {n: tuple(v.shape) for n, v in model.state_dict().items()}
    assert {n: tuple(v.shape) for n, v in converted.items()} == shapes
    left_out = set(state) - {published_name(n, kind) for n in converted}
    assert left_out == {n for n in state if ".conv_seg." in n}
