from __future__ import annotations

import json

import pytest

from vitseg.classes import IGNORE_INDEX
from vitseg.data.class_file import read_class_file
from vitseg.data.class_file_places import find_class_file
from vitseg.data.class_labels import (
    CLASS_FILES,
    names_to_labels,
    read_labels,
    read_labels_with_rest,
)
from vitseg.errors import DataError

PALETTE = ((1, 2, 3), (4, 5, 6))
SPELLINGS = {
    "classes.json": '{"classes": ["sky", "road"], "palette": [[1, 2, 3], [4, 5, 6]]}',
    "classes.yaml": "classes: [sky, road]\npalette: [[1, 2, 3], [4, 5, 6]]\ntrain: images/train\n",
    "class_dict.csv": "name, r, g, b\nsky, 1, 2, 3\nroad, 4, 5, 6\n\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nsky:1,2,3::\nroad:4,5,6::\n",
    "classes.txt": "sky\n\n road \n",
    "classes.yml": "names: [sky, road]\ncolors: ['#010203', '#040506']\nnc: 2\n",
    "classes.csv": "sky,1,2,3\nroad,4,5,6\n",
    "_classes.csv": "Pixel Value, Class\n0, sky\n1, road\n",
    "label_colors.txt": "1 2 3\tsky\n4 5 6\troad\n",
    "class_names.txt": "sky\nroad\n",
    "labels.txt": "__ignore__\nsky\nroad\n",
    "id2label.json": '{"0": "sky", "1": "road"}',
}
WITHOUT_COLORS = ("classes.txt", "_classes.csv", "class_names.txt", "labels.txt", "id2label.json")


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(tmp_path, name):
    (tmp_path / name).write_text(SPELLINGS[name], encoding="utf-8-sig")
    assert find_class_file(tmp_path) == tmp_path / name
    labels = read_labels(tmp_path)
    assert labels.classes.names == ("sky", "road")
    assert labels.mapping == {0: 0, 1: 1, 255: IGNORE_INDEX}
    if name in WITHOUT_COLORS:
        return
    assert labels.classes.palette == PALETTE
    colors = read_labels(tmp_path / name, colors=True)
    assert colors.mapping == {0x010203: 0, 0x040506: 1}
    assert colors.raw_names == {0x010203: "sky", 0x040506: "road"}


def test_every_spelling_is_tested():
    assert set(SPELLINGS) == set(CLASS_FILES)


def write(root, **content):
    path = root / "classes.json"
    path.write_text(json.dumps(content))
    return path


def test_ids_with_gaps(tmp_path):
    write(tmp_path, classes={"7": "road", "3": "sky"}, palette=[[1, 2, 3], [4, 5, 6]])
    labels = read_labels(tmp_path)
    assert labels.mapping == {3: 0, 7: 1, 255: IGNORE_INDEX}
    assert labels.classes.palette == PALETTE  # a list is in the order of ids
    write(tmp_path, classes={"7": "road", "3": "sky"}, palette={"7": [1, 2, 3], "3": [4, 5, 6]})
    assert read_labels(tmp_path).classes.palette == PALETTE[::-1]


def test_255_may_be_a_class(tmp_path):
    write(tmp_path, classes={"0": "sky", "255": "road"})
    assert read_labels(tmp_path).mapping == {0: 0, 255: 1}


def test_merging_and_ignoring(tmp_path):
    write(
        tmp_path,
        classes=["sky", "car", "bus", "void"],
        merge={"vehicle": ["car", "bus"]},
        ignore=["void"],
    )
    labels = read_labels(tmp_path)
    assert labels.classes.names == ("sky", "vehicle")
    assert labels.mapping == {0: 0, 1: 1, 2: 1, 3: -1, 255: -1}


def test_colours_that_are_merged_and_ignored(tmp_path):
    write(
        tmp_path,
        classes=["sky", "car", "bus", "void"],
        palette=[[0, 0, 1], [0, 0, 2], [0, 0, 3], [0, 0, 4]],
        merge={"vehicle": ["car", "bus"]},
        ignore=["void"],
    )
    assert read_labels(tmp_path, colors=True).mapping == {1: 0, 2: 1, 3: 1, 4: -1}


def test_the_colour_of_a_class_at_the_ignore_index(tmp_path):
    write(tmp_path, classes=["sky", "void"], palette=PALETTE, ignore_index=1)
    assert read_labels(tmp_path, colors=True).mapping == {0x010203: 0, 0x040506: -1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"classes": ["sky"]}, "gives no colours, but the masks are colour masks"),
        ({"classes": ["a", "b"], "palette": [[1, 1, 1]] * 2}, "'a' and 'b' the same colour #010101"),
        ({"classes": ["a"], "palette": {"1": [1, 1, 1]}}, "must be a list, or have the ids of classes"),
        ({"classes": ["a"], "merge": {"b": ["c"]}}, "merge.b: 'c' is not a known class"),
        ({"classes": {"70000": "a"}}, "ids must be from 0 to 65535, but 70000 came"),
        ({"classes": ["a"], "ignor": ["a"]}, "'ignor' is not a known field of a class file. Did you mean 'ignore'?"),
    ],
)  # fmt: skip
def test_wrong_content(tmp_path, content, message):
    path = write(tmp_path, **content)
    with pytest.raises(DataError) as caught:
        read_labels(tmp_path, colors="merge" not in content)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.yaml", "classes: [a", "not a readable file"),
        ("class_dict.csv", "name,r,g,b\n", "needs a header line"),
        ("class_dict.csv", "name,r,g,b\na,1,2\n", "needs a header line"),
        (
            "class_dict.csv",
            "name,r,g,b\na,1,2,x\n",
            "palette.0.2: 'x' came, but a colour is three whole numbers",
        ),
        ("labelmap.txt", "sky\n", "every line must be name:r,g,b"),
        ("classes.txt", "\n", "classes: "),
    ],
)
def test_malformed_files(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        read_labels(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_other_names(tmp_path):
    (tmp_path / "mine.txt").write_text("sky\n")
    assert read_class_file(tmp_path / "mine.txt").classes == {0: "sky"}
    with pytest.raises(DataError, match=r"mine\.xml is no class file\. Known: classes\.json"):
        read_class_file(tmp_path / "mine.xml")
    with pytest.raises(DataError, match=r"other\.txt does not exist"):
        read_class_file(tmp_path / "other.txt")


@pytest.mark.parametrize(
    ("names", "mapping", "classes", "rest"),
    [
        ({1: "car", 2: "tree"}, {0: 0, 1: 1, 2: 2}, ("background", "car", "tree"), 0),
        ({0: "car", 5: "tree"}, {6: 0, 0: 1, 5: 2}, ("background", "car", "tree"), 6),
        ({0: "car", 5: "background"}, {0: 0, 5: 1}, ("car", "background"), 5),
        ({2: "Background", 1: "car"}, {1: 0, 2: 1}, ("car", "Background"), 2),
    ],
)
def test_pixels_without_annotation_are_background(names, mapping, classes, rest):
    labels, found = names_to_labels(names)
    assert (labels.mapping, labels.classes.names, found) == (mapping, classes, rest)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({1: "car", 2: "car"}, "occur twice: car"),
        ({-1: "car"}, "from 0 to 65535, but -1 came"),
        ({70000: "car"}, "but 70000 came"),
        ({0: "car", 65535: "tree"}, "but 65536 came"),
    ],
)
def test_names_that_make_no_table(names, message):
    with pytest.raises(DataError, match=message):
        names_to_labels(names)


def test_a_class_file_of_annotations_that_leave_pixels_out(tmp_path):
    path = write(
        tmp_path,
        classes=["car", "bus", "void", "tree"],
        palette=[[1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]],
        ignore_index=2,
        merge={"vehicle": ["car", "bus"]},
    )
    labels, rest = read_labels_with_rest(path)
    assert rest == 4
    assert labels.classes.names == ("background", "vehicle", "tree")
    assert labels.classes.palette == ((0, 0, 0), (1, 1, 1), (4, 4, 4))
    assert labels.mapping == {4: 0, 0: 1, 1: 1, 2: -1, 3: 2}
    path = write(tmp_path, classes=["car"], ignore=["background"])
    labels, rest = read_labels_with_rest(path)
    assert (labels.classes.names, labels.mapping[rest]) == (("car",), IGNORE_INDEX)
    path = write(tmp_path, classes=["car"], merge={"a": ["b"]})
    with pytest.raises(DataError, match=r"classes\.json: merge\.a: 'b' is not"):
        read_labels_with_rest(path)
