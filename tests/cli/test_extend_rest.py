"""A class that only stands for pixels without annotation is never new, whatever format the data have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.exports import EXPORTS, write_cvat_mask
from tests.tiny import make_model, make_record, photo
from vitseg.checkpoint.model_dir import read_record, save_model
from vitseg.classes import ClassTable
from vitseg.data.catalog import open_dataset
from vitseg.errors import ConfigError
from vitseg.extend.new_classes import announcement, chosen_classes, is_rest
from vitseg.inference.predictor import load

SIZE = (64, 80)
KNOWN = ClassTable.from_names(["sky", "road"])
BOX = (20, 30, 36, 50)
"""Where the object is: top, left, bottom, right."""


def masks(root: Path) -> list[np.ndarray]:
    """Two images below a root; where their object is, as bool."""
    (root / "images").mkdir(parents=True)
    found = []
    for number in range(2):
        Image.fromarray(photo(*SIZE, seed=number)).save(root / "images" / f"{number}.png")
        inside = np.zeros(SIZE, bool)
        inside[BOX[0] : BOX[2], BOX[1] + number : BOX[3] + number] = True
        found.append(inside)
    return found


def polygon(number: int) -> list[int]:
    top, left, bottom, right = BOX
    left, right = left + number, right + number
    return [left, top, right, top, right, bottom, left, bottom]


def write_yolo(root: Path, names: list[str]) -> str:
    masks(root)
    (root / "labels").mkdir()
    lines = "".join(f"{number}: {name}\n  " for number, name in enumerate(names))
    (root / "data.yaml").write_text(f"train: images\nval: images\nnames:\n  {lines}\n")
    car = names.index("car")
    for number in range(2):
        points = np.array(polygon(number)).reshape(-1, 2) / SIZE[::-1]
        text = " ".join(f"{value:.6f}" for value in points.ravel())
        (root / "labels" / f"{number}.txt").write_text(f"{car} {text}\n")
    return f"yolo:{root}"


def write_coco(root: Path, names: list[str]) -> str:
    masks(root)
    (root / "annotations").mkdir()
    content = {
        "images": [
            {"id": number, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]}
            for number in range(2)
        ],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(names)],
        "annotations": [
            {
                "id": number,
                "image_id": number,
                "category_id": names.index("car") + 1,
                "segmentation": [polygon(number)],
            }
            for number in range(2)
        ],
    }
    (root / "annotations" / "train.json").write_text(json.dumps(content))
    return f"coco:{root}"


def write_binary(root: Path, names: list[str]) -> str:
    for number, inside in enumerate(masks(root)):
        for name in names:
            (root / "masks" / name).mkdir(parents=True, exist_ok=True)
            drawn = inside if name == "car" else np.zeros(SIZE, bool)
            Image.fromarray(np.uint8(255) * drawn).save(root / "masks" / name / f"{number}.png")
    (root / "train.txt").write_text("0\n1\n")
    return f"binary:{root}"


def write_index(root: Path, names: list[str]) -> str:
    """No reader adds a class here: the class file lists it, and it is drawn."""
    names = list(dict.fromkeys(["background", *names]))
    (root / "masks").mkdir(parents=True)
    for number, inside in enumerate(masks(root)):
        Image.fromarray(np.uint8(names.index("car")) * inside).save(root / f"masks/{number}.png")
    (root / "classes.json").write_text(json.dumps({"classes": names}))
    (root / "train.txt").write_text("0\n1\n")
    return f"index:{root}"


WRITERS = {"yolo": write_yolo, "coco": write_coco, "binary": write_binary}
ALL = {**WRITERS, "index": write_index}


@pytest.mark.parametrize("names", [["car"], ["background", "car"], ["car", "sky"]], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_the_rest_is_never_new(tmp_path, name, names):
    data = ALL[name](tmp_path, names)
    dataset = open_dataset(data, "train")
    assert "background" in dataset.classes.names
    new = chosen_classes(dataset, KNOWN, [])
    assert new == ["car"]
    line = announcement(dataset, KNOWN, new, data)
    assert line.startswith(f"learning car from {data}; not learnt, since it is what no class")
    assert ("known already: sky" in line) == ("sky" in names)


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_reader_adds_cannot_be_asked_for(tmp_path, name):
    dataset = open_dataset(WRITERS[name](tmp_path, ["car"]), "train")
    with pytest.raises(ConfigError, match=r"what pixels without annotation count as.*Name others"):
        chosen_classes(dataset, KNOWN, ["car", "background"])


def test_a_rest_that_is_drawn_can_be_asked_for(tmp_path):
    dataset = open_dataset(write_index(tmp_path, ["car"]), "train")
    assert chosen_classes(dataset, KNOWN, ["background"]) == ["background"]


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_but_the_rest_is_nothing_new(tmp_path, name):
    dataset = open_dataset(WRITERS[name](tmp_path, ["car"]), "train")
    with pytest.raises(ConfigError, match=r"already \(car\), and background is what is none"):
        chosen_classes(dataset, ClassTable.from_names(["car"]), [])


@pytest.mark.parametrize("name", WRITERS)
def test_the_rest_stays_the_rest_under_another_name(tmp_path, name):
    dataset = open_dataset(WRITERS[name](tmp_path, ["car", "tree"]), "train")
    labels = dataset.labels.merged({"surroundings": ["background", "tree"]})
    assert chosen_classes(dataset.with_labels(labels), KNOWN, []) == ["car"]
    assert dataset.labels.merged(ignore=["background"]).rest is None


@pytest.mark.parametrize("name", WRITERS)
def test_old_classes_keep_their_area(vitseg, tmp_path, name):
    """Only pixels of the new class change hands, and nothing called background is learnt."""
    data = WRITERS[name](tmp_path / "data", ["car"])
    base, out = tmp_path / "base", tmp_path / "out"
    save_model(base, make_model(2), make_record(2))
    result = vitseg(
        "extend", base, "training.iterations=2", "training.batch_size=2", "--data", data,
        "--out", out, "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.out.splitlines()[0].startswith(f"learning car from {data}; not learnt")
    assert read_record(out / "best").classes.names == ("sky", "road", "car")
    image = photo(*SIZE)
    before, after = load(base, "cpu")(image).label_map, load(out, "cpu")(image).label_map
    changed = before != after
    assert (after[changed] == 2).all()
    assert ((after != 2) == ~changed).all()


def write_cvat_without_background(root: Path) -> None:
    write_cvat_mask(root, background=False)


LAYOUTS = {name: write for name, (_, _, write) in EXPORTS.items()}
LAYOUTS["cvat-mask-unlisted"] = write_cvat_without_background


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_rest_of_a_tools_export_is_never_new(tmp_path, name):
    LAYOUTS[name](tmp_path)
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    assert "background" in dataset.classes.names
    new = chosen_classes(dataset, KNOWN, [])
    assert new == ["car", "tree"]
    line = announcement(dataset, KNOWN, new, "folder:x")
    assert line == (
        "learning car, tree from folder:x; not learnt, since it is what no class covers: background"
    )


@pytest.mark.parametrize("name", ["labelme", "label-studio-json", "cvat-mask-unlisted"])
def test_a_rest_that_a_reader_adds_to_an_export_cannot_be_asked_for(tmp_path, name):
    LAYOUTS[name](tmp_path)
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    with pytest.raises(ConfigError, match=r"what pixels without annotation count as.*Name others"):
        chosen_classes(dataset, KNOWN, ["car", "background"])


@pytest.mark.parametrize(
    "name",
    [
        "labelme",
        "cvat-mask-unlisted",
        pytest.param("label-studio-json", marks=pytest.mark.slow),
        pytest.param("voc", marks=pytest.mark.slow),
        pytest.param("roboflow", marks=pytest.mark.slow),
    ],
)
def test_old_classes_keep_their_area_with_an_export(vitseg, tmp_path, name):
    """As with the formats above: every pixel that changes hands goes to a class that was drawn."""
    LAYOUTS[name](tmp_path / "data")
    base, out = tmp_path / "base", tmp_path / "out"
    save_model(base, make_model(2), make_record(2))
    result = vitseg(
        "extend", base, "training.iterations=2", "training.batch_size=2",
        "--data", f"folder:{tmp_path / 'data'}", "--out", out, "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert read_record(out / "best").classes.names == ("sky", "road", "car", "tree")
    image = photo(*SIZE)
    before, after = load(base, "cpu")(image).label_map, load(out, "cpu")(image).label_map
    changed = before != after
    assert (after[changed] >= 2).all()
    assert ((after < 2) == ~changed).all()


@pytest.mark.parametrize("name", ["bg", "_background_", "Void", "no_class", "unlabeled"])
def test_other_words_for_the_rest(name):
    assert is_rest(name)


@pytest.mark.parametrize("name", ["car", "otherwise", "restaurant", "backgrounds"])
def test_words_for_something(name):
    assert not is_rest(name)
