from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch

import vitseg as package
from tests.checkpoint.test_convert import published_name
from tests.golden.reference import recipe_weight
from tests.shapes_alone import shapes_alone
from tests.tiny import content
from vitseg.backbones import BackboneConfig
from vitseg.checkpoint import hub
from vitseg.checkpoint.model_dir import read_record
from vitseg.cli.convert import CLASS_TABLES, published_classes
from vitseg.data.catalog import DATASETS
from vitseg.decoders.atm import AtmConfig
from vitseg.methods.segvit import SegVitConfig


def write_published(path: Path, num_classes: int, crop=(64, 64), **beside) -> Path:
    """A checkpoint of a small SegViT in the published names; other entries of the file."""
    backbone = BackboneConfig(
        name="vit_tiny_patch16_384", pretrained=False, taps=(11,), prefix_tokens="drop"
    )
    config = SegVitConfig(backbone=backbone, decoder=AtmConfig(num_layers=1))
    with shapes_alone():
        names = config.build(num_classes, crop, load_pretrained=False).state_dict()
    state = {published_name(n): recipe_weight(n, list(v.shape)) for n, v in names.items()}
    torch.save({"meta": {"epoch": 1}, "state_dict": state, **beside}, path)
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
def test_classes_of_a_published_data_set(vitseg, tmp_path, num_classes, dataset, first, resize):
    path = write_published(tmp_path / "segvit.pth", num_classes)
    result = vitseg("convert", path, "--dataset", dataset, "--out", tmp_path / "model")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert f"segvit on vit_tiny_patch16_384, {num_classes} classes, crop 64" in lines[0]
    assert lines[1] == "weights: entry state_dict"
    assert lines[2] == f"classes: those of {dataset}, as --dataset says"
    assert lines[3].startswith("input: mean (0.5, 0.5, 0.5)")
    assert lines[4].startswith("inference: mode slide")
    assert lines[5].startswith("licence: not known")
    assert "'--license published' keeps what holds for them: SegViT's published" in lines[5]
    record = read_record(tmp_path / "model")
    assert record.classes.num_classes == num_classes
    assert record.classes.names[0] == first
    assert record.inference["resize"] == resize
    assert record.metrics == {"converted_from": "segvit.pth", "trained_on": dataset}
    assert record.license is None


@pytest.mark.parametrize("num_classes", [*CLASS_TABLES, 3])
def test_a_number_of_classes_says_nothing(refused, tmp_path, num_classes):
    """Whatever published data set has so many: organs are no streets."""
    path = write_published(tmp_path / "segvit.pth", num_classes)
    before = content(tmp_path)
    line = refused("convert", path, "--out", tmp_path / "model")
    assert f"segvit.pth has {num_classes} classes and does not name them" in line
    assert "--classes classes.json" in line
    if num_classes in CLASS_TABLES:
        assert f"or --dataset {CLASS_TABLES[num_classes][0]}, if it was trained on that" in line
    else:
        assert "no published data set has so many" in line
        assert "ade20k (150)" in line
    assert content(tmp_path) == before


ORGANS = [f"organ {index}" for index in range(19)]
COLORS = [[index, 2 * index, 255 - index] for index in range(19)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "meta",
    [
        {"CLASSES": ORGANS, "PALETTE": COLORS},
        {"CLASSES": tuple(ORGANS), "PALETTE": COLORS, "config": "model = dict()"},
        {"dataset_meta": {"classes": tuple(ORGANS), "palette": COLORS}},
        {"classes": ORGANS, "palette": [tuple(color) for color in COLORS]},
        {"class_names": dict(enumerate(ORGANS)), "colors": COLORS},
    ],
)
@pytest.mark.parametrize("place", ["meta", "dataset_meta", "hyper_parameters"])
def test_the_classes_of_the_file(vitseg, tmp_path, meta, place):
    path = write_published(tmp_path / "a.pth", 19, **{place: meta})
    result = vitseg("convert", path, "--out", tmp_path / "model")
    assert result.code == 0, result.err
    assert "classes: named in the file\n" in result.out
    record = read_record(tmp_path / "model")
    assert record.classes.names == tuple(ORGANS)
    assert [list(color) for color in record.classes.palette] == COLORS
    assert "trained_on" not in record.metrics
    assert record.license is None


def test_names_that_are_those_of_a_published_data_set(vitseg, tmp_path):
    names = published_classes("cityscapes", 19, "x").names
    path = write_published(tmp_path / "a.pth", 19, meta={"CLASSES": names, "PALETTE": None})
    result = vitseg("convert", path, "--out", tmp_path / "model")
    assert "classes: named in the file, those of cityscapes" in result.out
    record = read_record(tmp_path / "model")
    assert record.metrics["trained_on"] == "cityscapes"
    assert record.inference["resize"] == [2048, 1024]


@pytest.mark.parametrize("names", [ORGANS[:18], ["a"] * 19, [1] * 19, "no list", None])
def test_names_that_do_not_fit_are_asked_for(refused, tmp_path, names):
    path = write_published(tmp_path / "a.pth", 19, meta={"CLASSES": names})
    line = refused("convert", path, "--out", tmp_path / "model")
    assert "give --classes classes.json with their names, or --dataset cityscapes" in line


def test_what_the_user_says_goes_first(vitseg, refused, tmp_path):
    path = write_published(tmp_path / "a.pth", 19, meta={"CLASSES": ORGANS, "license": "CC-BY-4.0"})
    (tmp_path / "classes.json").write_text(json.dumps({"classes": [f"c{i}" for i in range(19)]}))
    assert vitseg("convert", path, "--out", tmp_path / "file").code == 0
    assert read_record(tmp_path / "file").license == "CC-BY-4.0"
    command = ("convert", path, "--classes", tmp_path / "classes.json", "--license", "mit")
    assert vitseg(*command, "--dataset", "cityscapes", "--out", tmp_path / "user").code == 0
    record = read_record(tmp_path / "user")
    assert record.classes.names[0] == "c0"
    assert (record.license, record.metrics["trained_on"]) == ("mit", "cityscapes")
    line = refused("convert", path, "--dataset", "ade20k", "--out", tmp_path / "no")
    assert "a.pth has 19 classes, but --dataset ade20k has 150" in line
    line = refused("convert", path, "--dataset", "ade2k", "--out", tmp_path / "no")
    assert "Did you mean 'ade20k'" in line


def test_the_licence_of_published_weights_is_the_users_word(vitseg, tmp_path):
    path = write_published(tmp_path / "a.pth", 150)
    command = ("convert", path, "--dataset", "ade20k", "--license", "published")
    result = vitseg(*command, "--out", tmp_path / "model")
    assert result.code == 0, result.err
    assert "non-commercial" in read_record(tmp_path / "model").license


def test_which_weights_were_taken(vitseg, refused, tmp_path):
    path = write_published(tmp_path / "a.pth", 3)
    content = torch.load(path)
    averaged = {f"module.{n}": (v / 2).half() for n, v in content["state_dict"].items()}
    torch.save({**content, "ema_state_dict": averaged}, path)
    (tmp_path / "classes.json").write_text(json.dumps({"classes": ["a", "b", "c"]}))
    command = ("convert", path, "--classes", tmp_path / "classes.json")
    result = vitseg(*command, "--out", tmp_path / "plain")
    assert "weights: entry state_dict (the file also has others: --weights-of ema)" in result.out
    result = vitseg(*command, "--weights-of", "ema", "--out", tmp_path / "ema")
    assert "weights: entry ema_state_dict, without module." in result.out
    assert "float16 made float32" in result.out
    plain, ema = (package.load(tmp_path / name, "cpu").model for name in ("plain", "ema"))
    halved = (plain.backbone.cls_token / 2).half().float()
    assert torch.equal(ema.backbone.cls_token, halved)
    line = refused(*command, "--weights-of", "teacher", "--out", tmp_path / "no")
    assert "no weights of teacher: it has those of model, ema" in line
    line = refused(*command, "--weights-of", "emma", "--out", tmp_path / "no")
    assert "Did you mean 'ema'" in line


def test_the_grid_of_a_long_crop(vitseg, refused, tmp_path):
    path = write_published(tmp_path / "a.pth", 150, (32, 64))
    command = ("convert", path, "--dataset", "ade20k", "--out", tmp_path / "model")
    assert "8 cells may be a grid of 2 x 4" in refused(*command)
    assert "two numbers of patches" in refused(*command, "--grid", "8")
    result = vitseg(*command, "--grid", "2,4")
    assert result.code == 0, result.err
    assert "crop 32 x 64" in result.out
    assert read_record(tmp_path / "model").inference["stride"] == [21, 42]


@pytest.mark.parametrize("num_classes", CLASS_TABLES)
def test_every_table_has_its_number_of_classes(num_classes):
    dataset, _ = CLASS_TABLES[num_classes]
    assert published_classes(dataset, num_classes, "x.pth").num_classes == num_classes
    assert dataset in DATASETS


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
    address = "hf://user/models@v1/a/ade.pth"
    result = vitseg("convert", address, "--dataset", "ade20k", "--out", tmp_path / "model")
    assert result.code == 0, result.err
    assert asked == [("user/models", "a/ade.pth", "v1")]
    assert (
        read_record(tmp_path / "model").metrics["converted_from"] == "hf://user/models@v1/a/ade.pth"
    )
