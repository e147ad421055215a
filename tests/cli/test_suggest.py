from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.tiny import NAMES, content, photo
from vitseg.annotations.table import WRITERS
from vitseg.cli.inputs import find_inputs
from vitseg.cli.suggest import Tool
from vitseg.data.catalog import open_dataset
from vitseg.inference.predictor import load

COUNT = 8


@pytest.fixture
def photos(tmp_path):
    """Photos in two folders, one of them twice, and something that is none."""
    root = tmp_path / "photos"
    (root / "b").mkdir(parents=True)
    for number in range(COUNT):
        folder = root / "b" if number % 2 else root
        Image.fromarray(photo(48 + number, 64, seed=number)).save(folder / f"{number}.png")
    shutil.copy(root / "0.png", root / "copy.png")
    return root


def listed(out):
    return json.loads((out / "suggested.json").read_text())


def test_lists_and_a_page_are_written(vitseg, tmp_path, model, photos):
    out = tmp_path / "out"
    result = vitseg("suggest", model, photos, "--count", 3, "--out", out)
    assert result.code == 0, result.err
    assert result.out.splitlines() == [
        f"3 of {COUNT + 1} images -> {out / 'index.html'}",
        "compared by the backbone's deepest features, averaged over the image",
    ]
    found = listed(out)
    assert (found["images"], found["temperature"], found["unreadable"]) == (COUNT + 1, 1.0, [])
    assert [entry["rank"] for entry in found["suggested"]] == [1, 2, 3]
    assert found["suggested"][0]["distance"] is None
    for entry in found["suggested"][1:]:
        assert entry["score"] == pytest.approx(entry["uncertainty"] * entry["distance"], abs=1e-5)
    assert (out / "suggested.txt").read_text().splitlines() == [
        entry["image"] for entry in found["suggested"]
    ]
    page = (out / "index.html").read_text()
    assert page.count("<img ") == 3
    assert all(source.startswith("data:") for source in re.findall(r'(?:src|href)="([^"]*)', page))
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html", "suggested.json", "suggested.txt",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_same_command_suggests_the_same(vitseg, tmp_path, model, photos):
    outs = [tmp_path / name for name in ("one", "two")]
    for out in outs:
        options = ["--count", 5, "--annotations", "cvat"]
        assert vitseg("suggest", model, photos, "--out", out, *options).code == 0
    first, second = (content(out) for out in outs)
    for files in (first, second):
        files["suggested.json"] = re.sub(rb"/(one|two)/", b"/", files["suggested.json"])
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("tool", WRITERS)
def test_annotations_among_the_photos_are_no_photos(vitseg, model, photos, tool):
    before = sorted(path for path, _ in find_inputs([str(photos)]))
    out = photos / "b" / "next"
    result = vitseg("suggest", model, photos, "--count", 2, "--annotations", tool, "--out", out)
    assert result.code == 0, result.err
    assert len(list((out / tool).rglob("*.png"))) >= 2
    assert sorted(path for path, _ in find_inputs([str(photos)])) == before
    again = vitseg("suggest", model, photos, "--count", 2, "--out", photos / "again")
    assert f"{COUNT + 1} images" in again.out
    assert f"{out} holds suggestions: its " in again.err
    copies = next(
        path for path in out.rglob("*.png") if "Segmentation" not in path.parent.name
    ).parent
    assert len(find_inputs([str(copies)])) == 2  # given themselves, they are what is meant


def test_a_copy_is_never_suggested_beside_its_original(vitseg, tmp_path, model, photos):
    out = tmp_path / "out"
    result = vitseg("suggest", model, photos, "--count", 100, "--out", out)
    assert result.code == 0
    assert len(listed(out)["suggested"]) == COUNT
    assert result.messages == [
        "1 are copies or near duplicates of others, of which one is enough",
        f"--count 100: no more than {COUNT} are there that are not alike",
    ]


def test_labelled_images_are_left_out(vitseg, tmp_path, model, photos):
    out = tmp_path / "out"
    result = vitseg("suggest", model, photos, "--out", out, "--labelled", photos / "b")
    assert result.code == 0
    images = [entry["image"] for entry in listed(out)["suggested"]]
    assert len(images) == COUNT // 2
    assert not any("/b/" in image for image in images)
    assert listed(out)["suggested"][0]["distance"] is not None


def test_what_cannot_be_read_is_told_and_left_out(vitseg, tmp_path, model, photos):
    (photos / "broken.png").write_bytes((photos / "0.png").read_bytes()[:60])
    out = tmp_path / "out"
    result = vitseg("suggest", model, photos, "--count", 2, "--out", out)
    assert result.code == 2
    assert len(listed(out)["suggested"]) == 2
    (bad,) = listed(out)["unreadable"]
    assert bad["image"].endswith("broken.png")
    assert bad["error"]
    assert any("broken.png" in line for line in result.messages)


def test_where_nothing_can_be_read_nothing_is_suggested(vitseg, tmp_path, model):
    (tmp_path / "a.png").write_text("no image")
    out = tmp_path / "out"
    result = vitseg("suggest", model, tmp_path / "a.png", "--out", out)
    assert result.code == 2
    assert listed(out)["suggested"] == []
    assert result.out.startswith("0 of 0 images")


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_annotations_are_the_predictions(vitseg, tmp_path, model, photos, name):
    out = tmp_path / "out"
    options = ["--count", 3, "--annotations", name]
    assert vitseg("suggest", model, photos, "--out", out, *options).code == 0
    assert listed(out)["annotations"] == {name: str(out / name)}
    dataset = open_dataset(f"folder:{out / name}", "default" if name == "cvat" else "all")
    predictor = load(model, "cpu")
    images = {path.stem: path for path in photos.rglob("*.png")}
    assert len(dataset) == 3
    for index in range(3):
        sample = dataset[index]
        stem = dataset.ids[index].rpartition("/")[2].removeprefix("b__")
        expected = predictor(images[stem]).label_map
        read = np.array(dataset.classes.names)[sample.label_map]
        np.testing.assert_array_equal(read, np.array(NAMES)[expected])
        np.testing.assert_array_equal(sample.image, np.asarray(Image.open(images[stem])))


def test_the_option_knows_every_tool():
    assert [tool.value for tool in Tool] == list(WRITERS)


def test_probabilities_are_calibrated_by_labelled_data(vitseg, tmp_path, model, photos, data):
    out = tmp_path / "out"
    options = ["--calibrate", f"folder:{data}", "--split", "train"]
    result = vitseg("suggest", model, photos, "--count", 2, "--out", out, *options)
    assert result.code == 0, result.err
    temperature = listed(out)["temperature"]
    assert temperature != 1
    assert f"temperature {temperature:.2f}, by folder:{data}" in result.messages


def test_what_cannot_be_done_is_refused_before_the_work(refused, tmp_path, model, photos):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").touch()
    assert "is not empty" in refused("suggest", model, photos, "--out", out)
    new = tmp_path / "new"
    assert "matches no file" in refused("suggest", model, photos / "none", "--out", new)
    assert "'fold' is not a known data set" in refused(
        "suggest", model, photos, "--out", new, "--calibrate", "fold:x"
    )
    assert not new.exists()


@pytest.mark.slow
def test_an_exported_model_suggests(vitseg, tmp_path, model, photos):
    graph = tmp_path / "model.pt2"
    options = ["--format", "torch-export", "--out", graph]
    program = "from vitseg.cli.main import run; run()"  # in which no shapes are checked
    subprocess.run([sys.executable, "-c", program, "export", model, *options], check=True)
    out = tmp_path / "out"
    result = vitseg("suggest", graph, photos, "--count", 3, "--out", out)
    assert result.code == 0, result.err
    assert "class probabilities" in listed(out)["features"]
    assert len(listed(out)["suggested"]) == 3
