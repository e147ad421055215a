from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn

from tests.tiny import ARCHITECTURE, CROP, content, make_record, photo
from vitseg.checkpoint.model_dir import save_model
from vitseg.explain.exits import read_exits
from vitseg.inference.predictor import load
from vitseg.methods.dtop import DtopConfig
from vitseg.methods.nrd import NrdConfig
from vitseg.methods.segvit import SegVitConfig


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "a <b> & #1.png"
    Image.fromarray(photo(64, 96)).save(path)
    return path


def test_sheets_and_an_index_are_written(vitseg, tmp_path, model, data):
    out = tmp_path / "out"
    result = vitseg("explain", model, data / "images", "--out", out, "--top", 2)
    assert result.code == 0, result.err
    assert not result.messages
    assert result.out.startswith("6 of 6 images -> ")
    sheets = sorted(path.name for path in out.glob("*.png"))
    assert len(sheets) == 6
    page = (out / "index.html").read_text()
    assert all(f'src="{name}"' in page for name in sheets)
    assert "Every class has a query" in page


def test_top_and_classes_choose_the_rows(vitseg, tmp_path, model, image):
    heights = []
    for number, options in enumerate((["--top", 1], ["--top", 3], ["--classes", "tree, sky"])):
        out = tmp_path / str(number)
        assert vitseg("explain", model, image, "--out", out, *options).code == 0
        (sheet,) = out.glob("*.png")
        heights.append(Image.open(sheet).height)
    assert heights[0] < heights[2] < heights[1]


def test_names_with_signs_lead_to_their_sheets(vitseg, tmp_path, model, image):
    out = tmp_path / "out"
    assert vitseg("explain", model, image, "--out", out).code == 0
    page = (out / "index.html").read_text()
    assert "a &lt;b&gt; &amp; #1.png" in page
    assert 'src="a%20%3Cb%3E%20%26%20%231.png"' in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--classes", "tre"], "'tre' is not a known class. Did you mean 'tree'"),
        (["--classes", " , "], "names no class"),
        (["--classes", "tree", "--top", "2"], "give one"),
    ],
)
def test_wrong_classes_are_named(refused, tmp_path, model, image, options, words):
    out = tmp_path / "out"
    assert words in refused("explain", model, image, "--out", out, *options)
    assert not out.exists()


def test_an_index_is_not_replaced_unasked(refused, vitseg, tmp_path, model, image):
    out = tmp_path / "out"
    assert vitseg("explain", model, image, "--out", out).code == 0
    before = content(out)
    assert "pass --overwrite" in refused("explain", model, image, "--out", out, "--top", 1)
    assert content(out) == before
    assert vitseg("explain", model, image, "--out", out, "--top", 1, "--overwrite").code == 0
    assert content(out) != before


def test_an_image_of_the_input_is_never_replaced(refused, tmp_path, model, image):
    before = content(tmp_path)
    for options in ([], ["--overwrite"]):
        line = refused("explain", model, image, "--out", tmp_path, *options)
        assert f"holds the image {image.name} itself" in line
    assert content(tmp_path) == before


def test_another_picture_is_not_replaced_unasked(refused, tmp_path, model, image):
    out = tmp_path / "out"
    out.mkdir()
    (out / image.name).write_bytes(b"mine")
    line = refused("explain", model, image, "--out", out)
    assert f"has {image.name} already" in line
    assert content(out) == {image.name: b"mine"}


def test_a_damaged_image_is_named_and_left_out(refused, vitseg, tmp_path, model, image):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "out"
    assert "bad.png" in refused("explain", model, tmp_path / "bad.png", "--out", out)
    assert not out.exists()
    result = vitseg("explain", model, tmp_path / "bad.png", image, "--out", out)
    assert result.code == 2
    assert result.out.startswith("1 of 2 images -> ")
    assert sorted(path.name for path in out.iterdir()) == [image.name, "index.html"]


def test_a_model_without_stages_is_refused(refused, tmp_path, model, image, monkeypatch):
    monkeypatch.setattr(SegVitConfig, "explainer", None)
    line = refused("explain", model, image, "--out", tmp_path / "out")
    assert (
        "explain shows the masks of class queries (segvit, shrunk, semaskvit, segvit_joint)" in line
    )
    assert not (tmp_path / "out").exists()


@pytest.fixture
def write_pruned(tmp_path):
    """Writes a DToP model whose heads are of any opinion but about some tokens."""

    def write(threshold: float):
        config = DtopConfig.model_validate(
            {"backbone": ARCHITECTURE["backbone"], "pruning": {"threshold": threshold}}
        )
        torch.manual_seed(0)
        model = config.build(3, CROP)
        for head in (*model.decoder.exits, model.decoder.head):
            nn.init.normal_(head.stage.layers[-1].cross_attn.q.weight)
            nn.init.constant_(head.class_embed.bias[:1], 3)
        record = make_record(method="dtop", architecture=config.model_dump(mode="json"))
        save_model(tmp_path / "pruned", model, record)
        return tmp_path / "pruned"

    return write


def test_a_pruned_model_shows_where_tokens_left(vitseg, tmp_path, write_pruned, image):
    out, pruned = tmp_path / "out", write_pruned(0.5)
    result = vitseg("explain", pruned, image, "--out", out)
    assert result.code == 0, result.err
    assert "The model judges its tokens at every exit" in (out / "index.html").read_text()
    (sheet,) = out.glob("*.png")
    assert Image.open(sheet).width > 3 * 200
    explanation = read_exits(load(pruned, "cpu"), image)
    first, last = explanation.stages
    assert first.name == "exit behind block 1"
    assert 0 < first.alive_share < 1
    assert last.alive_share == first.alive_share
    assert first.left.shape == first.label_map.shape == (64, 96)
    assert first.left.mean() == pytest.approx(1 - first.alive_share)


def test_a_model_that_nobody_leaves_is_refused(refused, tmp_path, write_pruned, image):
    line = refused("explain", write_pruned(1.0), image, "--out", tmp_path / "out")
    assert "no token can leave this model early" in line


def test_classes_are_not_chosen_for_a_pruned_model(refused, tmp_path, write_pruned, image):
    line = refused("explain", write_pruned(0.5), image, "--out", tmp_path / "out", "--top", 1)
    assert "leave them out" in line


@pytest.fixture
def cells_model(tmp_path):
    """A model directory of an NRD with cells of 8 pixels."""
    backbone = {"name": "resnet18c", "pretrained": False, "levels": [0, 1]}
    config = NrdConfig.model_validate(
        {"backbone": backbone, "decoder": {"embed_dim": 8, "auxiliary_dim": 8, "dilations": None}}
    )
    torch.manual_seed(0)
    model = config.build(3, CROP)
    record = make_record(method="nrd", architecture=config.model_dump(mode="json"))
    save_model(tmp_path / "nrd", model, record)
    return tmp_path / "nrd"


def test_an_nrd_shows_its_cells(vitseg, refused, tmp_path, cells_model, image):
    out = tmp_path / "out"
    result = vitseg("explain", cells_model, image, "--out", out)
    assert result.code == 0, result.err
    assert "has a small network of its own" in (out / "index.html").read_text()
    (sheet,) = out.glob("*.png")
    assert Image.open(sheet).width > 4 * 200
    line = refused("explain", cells_model, image, "--out", tmp_path / "other", "--top", 1)
    assert "of NRD there is one sheet with all classes" in line
