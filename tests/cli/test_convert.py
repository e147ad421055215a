from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch

import vitseg as package
from tests.checkpoint.test_convert import published_name
from tests.golden.reference import recipe_weight
from tests.tiny import content
from vitseg.backbones import BackboneConfig
from vitseg.checkpoint import hub
from vitseg.checkpoint.model_dir import read_record
from vitseg.cli.convert import CLASS_TABLES, published_classes
from vitseg.data.catalog import DATASETS
from vitseg.decoders.atm import AtmConfig
from vitseg.methods.segvit import SegVitConfig


def write_published(path: Path, num_classes: int, crop: int = 64) -> Path:
    """A checkpoint of a small SegViT in the published names."""
    backbone = BackboneConfig(
        name="vit_tiny_patch16_384", pretrained=False, taps=(11,), prefix_tokens="drop"
    )
    config = SegVitConfig(backbone=backbone, decoder=AtmConfig(num_layers=1))
    with torch.device("meta"):
        names = config.build(num_classes, (crop, crop), load_pretrained=False).state_dict()
    state = {published_name(n): recipe_weight(n, list(v.shape)) for n, v in names.items()}
    torch.save({"meta": {"epoch": 1}, "state_dict": state}, path)
    return path


@pytest.mark.parametrize(
    ("num_classes", "dataset", "first", "resize"),
    [
        (150, "ade20k", "wall", [2048, 64]),
        (171, "coco_stuff_10k", "person", [2048, 512]),
        (59, "pascal_context_59", "aeroplane", [520, 520]),
        (60, "pascal_context_60", "background", [520, 520]),
    ],
)
def test_classes_follow_from_their_number(vitseg, tmp_path, num_classes, dataset, first, resize):
    path = write_published(tmp_path / "segvit.pth", num_classes)
    result = vitseg("convert", path, "--out", tmp_path / "model")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert f"segvit on vit_tiny_patch16_384, {num_classes} classes, crop 64" in lines[0]
    assert lines[1] == f"classes: {dataset}, by their number; --classes FILE gives others"
    assert lines[2].startswith("input: mean (0.5, 0.5, 0.5)")
    assert lines[3].startswith("inference: mode slide")
    assert lines[4].startswith("licence: SegViT's published weights: non-commercial")
    record = read_record(tmp_path / "model")
    assert record.classes.num_classes == num_classes
    assert record.classes.names[0] == first
    assert record.inference["resize"] == resize
    assert record.metrics == {"converted_from": "segvit.pth", "trained_on": dataset}
    assert record.license in lines[4]


@pytest.mark.parametrize("num_classes", CLASS_TABLES)
def test_every_table_has_its_number_of_classes(num_classes):
    dataset, table = published_classes(num_classes, "x.pth")
    assert table.num_classes == num_classes
    assert dataset in DATASETS


def test_a_number_of_classes_without_a_table_asks_for_names(vitseg, refused, tmp_path):
    path = write_published(tmp_path / "segvit.pth", 3)
    before = content(tmp_path)
    line = refused("convert", path, "--out", tmp_path / "model")
    assert "segvit.pth has 3 classes, as no published data set has" in line
    assert "150 (ade20k)" in line
    assert "--classes classes.json" in line
    assert content(tmp_path) == before
    (tmp_path / "classes.json").write_text(json.dumps({"classes": ["a", "b", "c"]}))
    command = ("convert", path, "--classes", tmp_path / "classes.json", "--out", tmp_path / "model")
    result = vitseg(*command)
    assert result.code == 0, result.err
    assert f"classes: {tmp_path / 'classes.json'}" in result.out
    assert package.load(tmp_path / "model", "cpu").classes.names == ("a", "b", "c")


def test_a_class_file_takes_the_place_of_the_table(refused, tmp_path):
    path = write_published(tmp_path / "segvit.pth", 59)
    (tmp_path / "classes.json").write_text(json.dumps({"classes": ["a", "b", "c"]}))
    before = content(tmp_path)
    line = refused(
        "convert", path, "--classes", tmp_path / "classes.json", "--out", tmp_path / "model"
    )
    assert "has 59 classes, but the class list has 3" in line
    assert content(tmp_path) == before


def test_what_cannot_be_converted_leaves_nothing(refused, tmp_path):
    folder, text, empty = tmp_path / "folder", tmp_path / "text.pth", tmp_path / "empty.pth"
    folder.mkdir()
    text.write_text("no checkpoint")
    empty.touch()
    cut = write_published(tmp_path / "cut.pth", 150)
    cut.write_bytes(cut.read_bytes()[:-1000])
    other = tmp_path / "other.pth"
    torch.save({"state_dict": {"decode_head.c1_bottleneck.0.conv.weight": torch.ones(2)}}, other)
    before = content(tmp_path)
    for path, expected in (
        (folder, "is a folder"),
        (text, "damaged"),
        (empty, "damaged"),
        (cut, "damaged"),
        (tmp_path / "none.pth", "does not exist"),
        (other, "a checkpoint of another model of mmsegmentation"),
        ("hf://user/name", "names no file"),
        ("hf://name", "no address on the hub"),
    ):
        line = refused("convert", path, "--out", tmp_path / "model")
        assert line.startswith("CheckpointError: ")
        assert expected in line
        assert content(tmp_path) == before


def test_a_file_of_the_hub_is_downloaded(vitseg, tmp_path, monkeypatch):
    path = write_published(tmp_path / "ade.pth", 150)
    asked = []

    def download(repo, file, **options):
        asked.append((repo, file, options["revision"]))
        return str(path)

    monkeypatch.setattr(hub, "offline_if_unreachable", lambda: torch.no_grad())
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    result = vitseg("convert", "hf://user/models@v1/a/ade.pth", "--out", tmp_path / "model")
    assert result.code == 0, result.err
    assert asked == [("user/models", "a/ade.pth", "v1")]
    assert (
        read_record(tmp_path / "model").metrics["converted_from"] == "hf://user/models@v1/a/ade.pth"
    )
