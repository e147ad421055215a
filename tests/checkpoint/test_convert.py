"""A published SegViT file, made from our own parameters by the inverse of the renaming, becomes the same model."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path

import pytest
import torch

import vitseg
from tests.golden.reference import recipe_weight
from vitseg.backbones import BackboneConfig
from vitseg.checkpoint.convert import convert_checkpoint, read_checkpoint
from vitseg.checkpoint.model_dir import ModelRecord, save_model
from vitseg.checkpoint.protocols import SEGVIT
from vitseg.classes import ClassTable
from vitseg.data.class_labels import read_labels
from vitseg.decoders.atm import AtmConfig
from vitseg.errors import CheckpointError
from vitseg.inference.config import InferenceConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.segvit import SegVitConfig

NUM_CLASSES, CROP = 5, 128
CLASSES = ClassTable.from_names(["sky", "road", "tree", "car", "sign"])

INVERSE = (
    ("backbone.patch_embed.proj.", "backbone.patch_embed.projection."),
    ("backbone.blocks.", "backbone.layers."),
    (".norm1.", ".ln1."),
    (".norm2.", ".ln2."),
    (".attn.qkv.", ".attn.attn.in_proj_"),
    (".attn.proj.", ".attn.attn.out_proj."),
    (".mlp.fc1.", ".ffn.layers.0.0."),
    (".mlp.fc2.", ".ffn.layers.1."),
)
INVERSE_DECODER = (
    ("decoder.query_embed.", "decode_head.q."),
    ("decoder.class_embed.", "decode_head.class_embed."),
    (".self_attn.in_proj.", ".self_attn.in_proj_"),
    (".cross_attn.", ".multihead_attn."),
    (".fc1.", ".linear1."),
    (".fc2.", ".linear2."),
)


def published_name(name: str) -> str:
    if name.startswith("backbone."):
        for ours, theirs in INVERSE:
            name = name.replace(ours, theirs)
        return name
    for stage in range(3):
        for ours, theirs in (("input_proj", "input_proj"), ("input_norm", "proj_norm")):
            name = name.replace(
                f"decoder.stages.{stage}.{ours}.", f"decode_head.{theirs}_{stage + 1}."
            )
        name = name.replace(
            f"decoder.stages.{stage}.layers.", f"decode_head.decoder_{stage + 1}.layers."
        )
    for ours, theirs in INVERSE_DECODER:
        name = name.replace(ours, theirs)
    return name


@pytest.fixture(scope="module")
def source() -> SegmentationModel:
    config = SegVitConfig(
        backbone=BackboneConfig(
            name="vit_tiny_patch16_384",
            pretrained=False,
            taps=(5, 7, 11),
            prefix_tokens="drop",
            pos_embed_interpolation="bicubic",
        ),
        decoder=AtmConfig(num_layers=2),
    )
    model = config.build(NUM_CLASSES, (CROP, CROP))
    weights = {n: recipe_weight(n, list(v.shape)) for n, v in model.state_dict().items()}
    model.load_state_dict(weights)
    return model.eval()


@pytest.fixture(scope="module")
def state(source) -> dict[str, torch.Tensor]:
    state = {published_name(n): v for n, v in source.state_dict().items()}
    return state | {"decode_head.loss_decode.criterion.empty_weight": torch.ones(NUM_CLASSES + 1)}


def write_checkpoint(path: Path, state: dict[str, torch.Tensor]) -> Path:
    meta = {"mmseg_version": "0.29", "epoch": 1, "CLASSES": ("a", "b")}
    torch.save({"meta": meta, "state_dict": state}, path)
    return path


@pytest.fixture
def write(tmp_path, state):
    """Writes the checkpoint, with changes to its parameters (None removes one)."""

    def write(**changes: torch.Tensor | None) -> Path:
        changed = {n: v for n, v in (state | changes).items() if v is not None}
        return write_checkpoint(tmp_path / "segvit.pth", changed)

    return write


@pytest.fixture(scope="module")
def converted(tmp_path_factory, state) -> tuple[SegmentationModel, ModelRecord]:
    path = tmp_path_factory.mktemp("published") / "segvit.pth"
    return convert(write_checkpoint(path, state))


def convert(
    path: Path, classes: ClassTable = CLASSES, dataset: str | None = None
) -> tuple[SegmentationModel, ModelRecord]:
    return convert_checkpoint(read_checkpoint(path), classes, dataset)


def refusal(path: Path, classes: ClassTable = CLASSES) -> str:
    with pytest.raises(CheckpointError) as caught:
        convert(path, classes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@torch.inference_mode()
def test_a_converted_model_gives_the_scores_of_its_source(tmp_path, converted, source):
    save_model(tmp_path / "model", *converted)
    predictor = vitseg.load(tmp_path / "model", "cpu")
    for size in ((CROP, CROP), (70, 150)):
        images = torch.randn(1, 3, *size)
        torch.testing.assert_close(
            predictor.model(images).scores(), source(images).scores(), atol=0, rtol=0
        )


def test_the_names_of_these_files_are_the_published_ones(shared, state):
    """Else the inverse above would prove nothing."""
    lines = (shared / "golden" / "keys_segvit_vitb_ade20k.txt").read_text().splitlines()
    listed = {line.split("\t")[0] for line in lines if not line.startswith("#")}
    third_layer = re.compile(r"decode_head\.decoder_\d\.layers\.2\.")  # the source has two
    assert set(state) == {name for name in listed if not third_layer.match(name)}


def test_the_record_says_what_was_converted(converted):
    _, record = converted
    assert record.architecture["backbone"]["name"] == "vit_tiny_patch16_384"
    assert record.architecture["backbone"]["taps"] == [5, 7, 11]
    assert record.architecture["decoder"]["num_layers"] == 2
    assert record.image_size == (CROP, CROP)
    assert record.inference["crop_size"] == (CROP, CROP)
    assert record.inference["stride"] == (85, 85)
    assert record.inference["resize"] == (2048, CROP)
    assert record.metrics == {"converted_from": "segvit.pth"}
    assert record.license is None  # no name states one
    assert record.classes == CLASSES


def test_classes_are_named_by_the_list_given(tmp_path, write):
    file = tmp_path / "classes.json"
    names = ["a", "b", "c", "d", "e"]
    file.write_text(json.dumps({"classes": [*names, "void"], "ignore_index": 5}))
    _, record = convert(write(), read_labels(file).classes)
    assert record.classes.names == tuple(names)


@pytest.mark.parametrize(
    ("crop", "dataset", "expected"),
    [
        (640, "ade20k", {"resize": (2048, 640), "stride": (608, 608)}),
        (512, "ade20k", {"resize": (2048, 512), "stride": (341, 341)}),
        (512, "coco_stuff_10k", {"resize": (2048, 512), "stride": (341, 341), "min_short": 512}),
        (480, "pascal_context_59", {"resize": (520, 520), "stride": (320, 320), "min_short": 480}),
        (480, None, {"resize": (2048, 480), "stride": (320, 320)}),
    ],
)
def test_protocols_of_the_published_models(crop, dataset, expected):
    protocol = SEGVIT.protocol(crop, dataset)
    assert protocol == {"mode": "slide", "crop_size": (crop, crop), **expected}
    InferenceConfig.model_validate(protocol)


def test_the_data_set_is_recorded(write):
    _, record = convert(write(), dataset="pascal_context_59")
    assert record.metrics["trained_on"] == "pascal_context_59"
    assert record.inference["resize"] == (520, 520)


def test_another_number_of_classes_is_refused(write):
    message = refusal(write(), ClassTable.from_names(["sky", "road"]))
    assert "has 5 classes, but the class list has 2" in message


def test_a_parameter_of_another_model_is_refused(write):
    message = refusal(write(**{"decode_head.conv_seg.weight": torch.zeros(1)}))
    assert "also holds decode_head.conv_seg.weight" in message


def test_what_the_model_does_not_need_is_left_out_and_named(write, caplog):
    unused = {"auxiliary_head.0.conv_seg.weight": torch.zeros(3)}
    with caplog.at_level("INFO", "vitseg"):
        convert(write(**unused))
    left_out = "decode_head.loss_decode.criterion.empty_weight, auxiliary_head.0.conv_seg.weight"
    assert caplog.messages == [f"left out: {left_out}"]


@pytest.mark.parametrize(
    "name",
    [
        "decode_head.q.weight",
        "decode_head.decoder_1.layers.0.multihead_attn.q.weight",
        "backbone.pos_embed",
        "backbone.layers.3.ln1.weight",
    ],
)
def test_a_missing_parameter_is_refused(write, name):
    refusal(write(**{name: None}))


def test_a_parameter_of_another_shape_is_refused(write):
    message = refusal(write(**{"decode_head.class_embed.bias": torch.zeros(9)}))
    assert "does not fit SegViT (vit_tiny_patch16_384)" in message
    assert "decoder.class_embed.bias" in message


def test_another_backbone_is_refused(tmp_path, state):
    narrow = {n: v for n, v in state.items() if not n.startswith("backbone.layers.11.")}
    torch.save({"state_dict": narrow}, tmp_path / "segvit.pth")
    assert "width 192 and 11 blocks" in refusal(tmp_path / "segvit.pth")
    headless = {n: v for n, v in state.items() if not n.startswith("backbone.layers.")}
    torch.save({"state_dict": headless}, tmp_path / "segvit.pth")
    assert "0 blocks" in refusal(tmp_path / "segvit.pth")
    more = {n.replace("decoder_1.", f"decoder_{i}."): v for n, v in state.items() for i in (4, 5)}
    torch.save({"state_dict": state | more}, tmp_path / "segvit.pth")
    assert "12 blocks has 5 stages. Known: 1, 2, 3, 4." in refusal(tmp_path / "segvit.pth")


def test_position_embeddings_of_no_square_grid_are_refused(write):
    message = refusal(write(**{"backbone.pos_embed": torch.zeros(1, 1 + 8 * 9, 192)}))
    assert "backbone.pos_embed has 73 entries" in message
    assert "3 axes" in refusal(write(**{"backbone.pos_embed": torch.zeros(65, 192)}))


def test_a_number_of_layers_is_not_taken_on_trust(write):
    """A name is enough to ask for a billion of them."""
    name = "decode_head.decoder_1.layers.999999999.norm1.weight"
    assert "does not fit" in refusal(write(**{name: torch.zeros(192)}))


def test_other_checkpoints_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"model": {"blocks.0.attn.qkv.weight": torch.zeros(3)}}, path)
    assert "a checkpoint of a backbone alone (it has blocks.0.attn.qkv.weight)" in refusal(path)
    torch.save([1, 2], path)
    assert "holds no table of tensors" in refusal(path)
    path.write_text("not a checkpoint")
    assert str(path) in refusal(path)
    path.write_bytes(b"")
    assert str(path) in refusal(path)
    torch.save({"state_dict": {}}, path)
    assert "holds no table of tensors" in refusal(path)
    assert "does not exist" in refusal(tmp_path / "none.pth")
    assert "is a folder" in refusal(tmp_path)


class Payload:
    """What an attacker's pickle would do."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("write_pickle", [pickle.dump, torch.save])
def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path, write_pickle, state):
    path, proof = tmp_path / "segvit.pth", tmp_path / "code-has-run"
    with path.open("wb") as file:
        write_pickle({"state_dict": state, "meta": Payload(f"touch {proof}")}, file)
    message = refusal(path)
    assert "refused" in message
    assert not proof.exists()
    Payload(f"touch {proof}").__reduce__()[0](f"touch {proof}")
    assert proof.exists()  # the payload would have shown


def test_truncated_files_are_damaged(write):
    path = write()
    path.write_bytes(path.read_bytes()[:5000])
    assert str(path) in refusal(path)
