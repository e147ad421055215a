from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.content import (
    COLORS,
    FORMATS,
    IN_TABLES,
    NAMES,
    items,
    photo,
    save,
    write_binary_by_class,
    write_classes,
    write_coco_polygons,
    write_color,
    write_index,
    write_photos,
    write_yolo,
)
from vitseg.classes import ClassTable
from vitseg.data.catalog import (
    DATASETS,
    FOLDER,
    PUBLISHED,
    list_splits,
    open_dataset,
    open_unchecked,
)
from vitseg.data.catalog import FORMATS as FORMATS_OF_FOLDERS
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.format import DataFormat
from vitseg.data.formats.folder import AnyFolder
from vitseg.data.formats.mask_files import IndexMasks
from vitseg.data.labels import LabelTable
from vitseg.errors import DataError

detect = FOLDER.detect

EVIDENCE = {
    "index": "the headers of 6 masks: 6 PNG of mode L",
    "palette": "the headers of 6 masks: 6 PNG of mode P",
    "16-bit": "the headers of 6 masks: 6 PNG of mode I;16",
    "color": "the headers of 6 masks: 6 PNG of mode RGB",
    "binary-by-class": "7 masks masks/train/CLASS/STEM",
    "binary-by-image": "7 masks masks/train/STEM/CLASS",
    "coco-polygons": "the annotation file annotations/instances_train.json and 1 more",
    "coco-runs": "the annotation file annotations/instances_train.json and 1 more",
    "coco-compressed-runs": "the annotation file annotations/instances_train.json and 1 more",
    "yolo": "the names in data.yaml",
    "huggingface": "the files of save_to_disk",
    "parquet": "2 .parquet files and no others",
    "webdataset": "2 .tar files and no others",
}


@pytest.mark.parametrize("written", FORMATS)
def test_formats_and_what_speaks_for_them(tmp_path, written):
    if written in IN_TABLES:
        pytest.importorskip(IN_TABLES[written])
    name, write = FORMATS[written]
    write(tmp_path)
    found = detect(tmp_path)
    assert found.name == name
    assert found.evidence == EVIDENCE[written]


def test_yolo_without_description(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("car\ntree\n")
    assert detect(tmp_path) == ("yolo", "the label file labels/train/0.txt and 5 more")


def test_a_yaml_file_without_names_is_no_description(tmp_path):
    write_index(tmp_path)
    (tmp_path / "dataset.yaml").write_text("title: streets\n")
    assert detect(tmp_path).name == "index"


def test_json_files_of_other_kinds_are_no_annotations(tmp_path):
    write_index(tmp_path)
    for name in ("licenses.json", "annotations/0.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"images": {"a.jpg": "CC0"}}')
    assert detect(tmp_path).name == "index"


@pytest.mark.parametrize(
    ("writers", "names"),
    [
        ((write_index, write_yolo), ("index", "yolo")),
        ((write_index, write_coco_polygons), ("index", "coco")),
        ((write_yolo, write_coco_polygons), ("coco", "yolo")),
        ((write_binary_by_class, write_coco_polygons), ("binary", "coco")),
    ],
)
def test_several_formats_are_listed_with_what_speaks_for_each(tmp_path, writers, names):
    for write in writers:
        write(tmp_path)
    with pytest.raises(DataError, match="can be read in 2 ways") as caught:
        list_splits(f"folder:{tmp_path}")
    for name in names:
        assert f"{name}:{tmp_path} by the " in str(caught.value) or "masks masks/" in str(
            caught.value
        )
        assert len(open_dataset(f"{name}:{tmp_path}", "train")) == 4


def test_masks_of_different_kinds(tmp_path):
    write_index(tmp_path)
    colored = tmp_path / "masks" / "train" / "1.png"
    Image.open(colored).convert("RGB").save(colored)
    with pytest.raises(DataError, match=r"are of different kinds \(5 PNG of mode L, 1 PNG of"):
        open_dataset(f"folder:{tmp_path}", "train")
    write_coco_polygons(tmp_path)
    with pytest.raises(DataError, match=r"2 ways: coco:.* index:.* are of different kinds"):
        open_dataset(f"folder:{tmp_path}", "train")


@pytest.mark.parametrize("palette", [None, COLORS])
def test_index_masks_saved_as_rgb(tmp_path, palette):
    write_index(tmp_path)
    write_classes(tmp_path, **({} if palette is None else {"palette": palette}))
    masks = [tmp_path / "masks" / split / f"{number}.png" for split, number in items()]
    for mask in masks:
        Image.open(mask).convert("RGB").save(mask)
    with pytest.raises(DataError, match=r"values 0, 1, 2\): these are index masks saved as RGB"):
        open_dataset(f"folder:{tmp_path}", "train")
    for path in masks:  # what the message says
        Image.open(path).getchannel(0).save(path)
    assert open_dataset(f"folder:{tmp_path}", "train").classes.names == NAMES


def test_grey_colours_of_the_palette_are_colours(tmp_path):
    greys = [[0, 0, 0], [128, 128, 128], [255, 255, 255]]
    write_photos(tmp_path)
    write_classes(tmp_path, palette=greys)
    for split, number in items():
        mask = np.full((48, 64, 3), 128, np.uint8)
        save(tmp_path / "masks" / split / f"{number}.png", mask)
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    assert (dataset[0].label_map == 1).all()


def test_colour_masks_without_palette(tmp_path):
    write_color(tmp_path)
    write_classes(tmp_path)
    with pytest.raises(DataError, match=r"gives no colours, but the masks are colour masks"):
        open_dataset(f"folder:{tmp_path}", "train")


def test_only_some_masks_are_looked_at(tmp_path):
    write_classes(tmp_path)
    for number in range(50):
        save(tmp_path / "images" / f"{number}.png", np.zeros((2, 2, 3), np.uint8))
        save(tmp_path / "masks" / f"{number}.png", np.zeros((2, 2), np.uint8))
    assert detect(tmp_path).evidence == "the headers of 20 masks: 20 PNG of mode L"


def test_damaged_masks_are_left_to_the_reader(tmp_path):
    write_index(tmp_path)
    (tmp_path / "masks" / "train" / "0.png").write_bytes(b"x")
    assert detect(tmp_path).evidence == "the headers of 5 masks: 5 PNG of mode L"


def test_images_alone(tmp_path):
    write_photos(tmp_path)
    write_classes(tmp_path)
    (tmp_path / "masks" / "train").mkdir(parents=True)
    dataset = open_unchecked(f"folder:{tmp_path}", "train")
    assert [finding.code for finding in dataset.findings] == ["image-without-mask"]


@pytest.mark.parametrize("folders", [(), ("images",), ("pictures", "truth")])
def test_no_known_layout(tmp_path, folders):
    for folder in folders:
        (tmp_path / folder).mkdir()
    with pytest.raises(DataError, match=r"A data set folder holds images/.*COCO json in annot"):
        open_dataset(f"folder:{tmp_path}", "train")


def test_real_folders(shared):
    for name in ("camvid", "ccp", "coco_panoptic_sem"):
        assert detect(shared / "data" / name).name == "index"


class Lists(DataFormat):
    """A format that exists only here."""

    name = "lists"
    summary = "a list"

    def open(self, root, split):
        labels = LabelTable(ClassTable.from_names(("a",)), {0: 0}, {})
        return SegmentationDataset(
            self.name, split, labels, ("x",), (b"",), IndexMasks(()), "a list"
        )

    def splits(self, root):
        return ("all",)

    def looks_like(self, root):
        return "the list" if (root / "list").is_file() else None


def test_a_new_format_needs_nothing_but_its_object(tmp_path):
    folder = AnyFolder((Lists(),))
    with pytest.raises(DataError, match=r"Known formats: lists \(a list\)\.$"):
        folder.splits(tmp_path)
    (tmp_path / "list").touch()
    assert folder.splits(tmp_path) == ("all",)
    dataset = folder.open(tmp_path, "all")
    assert (dataset.name, dataset.source) == ("folder", "a list (detected by the list)")


def test_every_format_has_a_name_of_its_own_and_a_summary():
    formats = (*FORMATS_OF_FOLDERS, FOLDER, *PUBLISHED)
    assert list(DATASETS.values()) == list(formats)
    assert all(each.summary for each in formats)


def recoded(path, mode: str) -> None:
    """Save a mask anew as what programs that shrink PNG files make of it: the same colours in another mode."""
    image = Image.open(path).convert("RGB")
    (image.quantize(8) if mode == "P" else image.convert(mode)).save(path)


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_the_same_colours_in_several_modes(tmp_path, mode):
    write_color(tmp_path)
    for number in (0, 2):
        recoded(tmp_path / "masks" / "train" / f"{number}.png", mode)
    save(tmp_path / "masks" / "train" / "1.png", np.zeros((48, 64), np.uint8))  # black, as grey
    assert detect(tmp_path).name == "color"
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    reference = tmp_path / "reference"
    write_color(reference)
    for number in (0, 2, 3):
        wanted = open_dataset(f"color:{reference}", "train")[number].label_map
        np.testing.assert_array_equal(dataset[number].label_map, wanted)
    assert (dataset[1].label_map == 0).all()


def test_palettes_of_their_own_are_read_by_the_colours_of_the_class_file(tmp_path):
    write_color(tmp_path)
    for split, number in items():
        colors = np.array(COLORS[::-1], np.uint8)
        path = tmp_path / "masks" / split / f"{number}.png"
        pixels = np.array(Image.open(path).convert("RGB"))
        numbers = (pixels[:, :, None] == colors).all(-1).argmax(-1).astype(np.uint8)
        mask = Image.fromarray(numbers)
        mask.putpalette(colors.ravel().tolist())
        mask.save(path)
    dataset = open_dataset(f"folder:{tmp_path}", "train")
    assert "color masks" in dataset.source
    assert dataset[0].label_map[0, 0] == 0
    write_classes(tmp_path)  # without colours, the numbers count
    assert detect(tmp_path).name == "index"


def test_palettes_that_contradict_each_other_are_named(tmp_path):
    write_index(tmp_path)
    for split, number in items():
        path = tmp_path / "masks" / split / f"{number}.png"
        mask = Image.open(path)
        mask.putpalette([0, 0, 0, *((9, 9, 9, 8, 0, 0) if number % 2 else (8, 0, 0, 9, 9, 9))])
        mask.save(path)
    with pytest.raises(DataError, match=r"palettes of the masks of .* differ: 1 is #"):
        open_dataset(f"folder:{tmp_path}", "train")


FOREIGN = {
    "via": ("via_project.json", {"_via_settings": {}, "_via_img_metadata": {}}, "project of VIA"),
    "supervisely": ("meta.json", {"classes": [{"title": "a", "shape": "polygon"}]}, "Supervisely"),
    "datumaro": (
        "annotations/default.json",
        {"items": [], "categories": {"label": {}}},
        "Datumaro",
    ),
    "boxes": ("Annotations/0.xml", "<annotation/>", "holds boxes, and no masks"),
}


@pytest.mark.parametrize("tool", FOREIGN)
def test_files_of_other_tools_are_refused_by_name(tmp_path, tool):
    name, content, said = FOREIGN[tool]
    save(tmp_path / "images" / "0.png", photo("train", 0))
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=said):
        FOLDER.detect(tmp_path)


def test_a_damaged_class_file_is_told_once(tmp_path):
    write_index(tmp_path)
    (tmp_path / "classes.json").write_text('{"classes": ["a"], "palette": [[0, 0, 0, 255]]}')
    with pytest.raises(DataError, match=r"^[^;]*classes\.json is malformed: palette\.0: [^;]*$"):
        FOLDER.detect(tmp_path)
