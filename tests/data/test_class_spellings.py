"""Class files of other tools: read, or refused with the value and the cure, in words that are no validator's."""

from __future__ import annotations

import json

import pytest

from tests.data.formats.content import write_index, write_yolo
from vitseg.classes import IGNORE_INDEX
from vitseg.data.catalog import open_dataset
from vitseg.data.class_file import read_class_file
from vitseg.data.class_file_places import find_class_file
from vitseg.data.class_labels import read_labels
from vitseg.errors import DataError

YAML_WORDS = [
    "no", "yes", "on", "off", "y", "null", "~", "2024-01-01", "1", "1.0", "1e3", "0x10", "010", ".inf", "=", "12:30:00",
    "True",
]  # fmt: skip


@pytest.mark.parametrize("style", ["list", "ids", "flow"])
def test_yaml_words_are_names(tmp_path, style):
    lines = {
        "list": "classes:\n" + "".join(f"- {word}\n" for word in YAML_WORDS),
        "ids": "classes:\n" + "".join(f"  {at}: {word}\n" for at, word in enumerate(YAML_WORDS)),
        "flow": f"classes: [{', '.join(YAML_WORDS)}]\n",
    }
    (tmp_path / "classes.yaml").write_text(lines[style] + "ignore_index: 255\npalette: null\n")
    assert read_labels(tmp_path).classes.names == tuple(YAML_WORDS)


def test_yaml_words_are_names_in_data_yaml(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(
        "train: images/train\nval: images/val\ntest: null\nnames: [no, on]\n"
    )
    assert open_dataset(f"folder:{tmp_path}", "train").classes.names == ("background", "no", "on")


def test_yaml_words_are_names_of_classes_that_are_joined(tmp_path):
    (tmp_path / "classes.yaml").write_text(
        "classes: [no, yes, 3]\nmerge: {on: [no, yes]}\nignore: [3]\n"
    )
    assert read_labels(tmp_path).classes.names == ("on",)


COLORS = ((128, 64, 128), (0, 255, 0))
CONTENTS = {
    "names in a list": ("classes.json", '["road", "sky"]', None),
    "id2label": ("classes.json", '{"id2label": {"0": "road", "1": "sky"}}', None),
    "both ways": (
        "classes.json",
        '{"id2label": {"0": "road", "1": "sky"}, "label2id": {"road": 0, "sky": 1}}',
        None,
    ),
    "label2id": ("classes.json", '{"label2id": {"road": 0, "sky": 1}}', None),
    "names and ids": ("classes.json", '{"road": 0, "sky": 1}', None),
    "ids and names": ("id2label.json", '{"1": "sky", "0": "road"}', None),
    "names and colours": ("classes.json", '{"road": [128, 64, 128], "sky": [0, 255, 0]}', COLORS),
    "hex palette": ("classes.json", '{"classes": ["road", "sky"], "palette": ["#804080", "0F0"]}', COLORS),
    "hex palette, yaml": ("classes.yaml", "classes: [road, sky]\npalette: ['#804080', '#00ff00']\n", COLORS),
    "colours as text": ("classes.json", '{"names": ["road", "sky"], "colors": ["128,64,128", "0 255 0"]}', COLORS),
    "mmsegmentation": (
        "classes.json", '{"CLASSES": ["road", "sky"], "PALETTE": [[128, 64, 128], [0, 255, 0]]}', COLORS
    ),
    "CVAT constructor": (
        "classes.json",
        '[{"name": "road", "id": 0, "color": "#804080"}, {"name": "sky", "id": 1, "color": "#00ff00"}]',
        COLORS,
    ),
    "Supervisely": (
        "classes.json",
        '{"classes": [{"title": "road", "color": "#804080"}, {"title": "sky", "color": "#00FF00"}]}',
        COLORS,
    ),
    "COCO": ("classes.json", '{"categories": [{"id": 1, "name": "sky"}, {"id": 0, "name": "road"}]}', None),
    "headerless csv": ("class_dict.csv", "road,128,64,128\nsky,0,255,0\n", COLORS),
    "csv, colours first": ("class_dict.csv", "128,64,128,road\n0,255,0,sky\n", COLORS),
    "csv, colours first, named": ("class_dict.csv", "r,g,b,name\n128,64,128,road\n0,255,0,sky\n", COLORS),
    "csv with ids": ("class_dict.csv", "id;name;r;g;b\n1;sky;0;255;0\n0;road;128;64;128\n", COLORS),
    "csv, hex": ("classes.csv", "name,color\nroad,#804080\nsky,#00ff00\n", COLORS),
    "csv, ids and names": ("classes.csv", "0,road\n1,sky\n", None),
    "csv with a comment": ("class_dict.csv", "# mine\nname,r,g,b\nroad,128,64,128\nsky,0,255,0\n", COLORS),
    "names with comments": ("classes.txt", "# my classes\nroad\n# and\nsky\n", None),
    "labelme": ("labels.txt", "__ignore__\nroad\nsky\n", None),
    "labelme in classes.txt": ("classes.txt", "__ignore__\nroad\nsky\n", None),
    "label_colors": ("label_colors.txt", "128 64 128 road\n0 255 0 sky\n", COLORS),
    "label_colors, tabs": ("label_colors.txt", "# color label\n128 64 128\t\troad\n0 255 0\t\tsky\n", COLORS),
    "labels.txt with colours": ("labels.txt", "road 128 64 128\nsky 0 255 0\n", COLORS),
    "labelmap with CamVid's lines": ("labelmap.txt", "128 64 128 road\n0 255 0 sky\n", COLORS),
    "utf-16": ("classes.txt", "road\nsky\n", None),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENTS)
def test_spellings_of_other_tools(tmp_path, name):
    file, text, colors = CONTENTS[name]
    (tmp_path / file).write_text(text, encoding="utf-16" if name == "utf-16" else "utf-8-sig")
    labels = read_labels(tmp_path)
    assert labels.classes.names == ("road", "sky")
    assert labels.mapping == {0: 0, 1: 1, 255: IGNORE_INDEX}
    if colors is not None:
        assert labels.classes.palette == colors
        assert set(read_labels(tmp_path, colors=True).mapping) == {0x804080, 0x00FF00}


WRONG = {
    "null name": ('{"classes": ["a", null]}', "classes.1: None came, but a name is text: put it"),
    "truth value": ('{"classes": [false]}', "classes.0: False came, but a name is text"),
    "empty name": ('{"classes": ["a", " "]}', "classes.1: the name is empty"),
    "one text": ('{"classes": "a"}', "classes: 'a' came, but it is the list of names"),
    "number": ("5", "'5' came, but a class file lists the classes"),
    "no number": ('{"classes": {"a": "road", "b": "sky"}}', "classes: 'a' came as an id, but ids are whole"),
    "twice": ('{"classes": {"1": "a", "01": "b"}}', "classes: the id 1 comes twice"),
    "equal ids": ('[{"name": "a", "id": 1}, {"name": "b", "id": 1}]', "the id 1 comes twice"),
    "no name": ('[{"id": 1}]', "each class that is an object needs a name"),
    "short colour": ('{"classes": ["a"], "palette": [[1, 2]]}', "palette.0: [1, 2] came, but a colour is three"),
    "colour word": ('{"classes": ["a"], "palette": ["red"]}', "palette.0: 'red' came, but a colour is three"),
    "fraction": ('{"classes": ["a"], "palette": [[0.5, 1, 1]]}', "palette.0.0: 0.5 came, but a colour is"),
    "palette": ('{"classes": ["a"], "palette": 5}', "palette: 5 came, but it is a list"),
    "ignored name": ('{"classes": ["a"], "ignore_index": "b"}', "ignore_index: 'b' came, but it is the mask value"),
    "ignored number": ('{"classes": ["a"], "ignore_index": 70000}', "ignore_index: 70000 came, but a mask value is"),
    "merge": ('{"classes": ["a"], "merge": {"b": "a"}}', "merge.b: 'a' came, but it is the name of a joint"),
    "ignore": ('{"classes": ["a"], "ignore": [1]}', "ignore.0: '1' came, but it is the names of"),
    "digits": ('{"classes": {"' + "9" * 5000 + '": "a"}}', "came as an id, but ids are whole numbers"),
    "deep": ("[" * 100_000, "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_quoted_with_the_cure(tmp_path, name):
    text, message = WRONG[name]
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(DataError) as caught:
        read_labels(tmp_path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "classes.json"))
    for word in ("Input should", "validation", "pydantic", "Extra inputs", "Field required", "\n"):
        assert word not in str(caught.value)


def test_a_csv_field_beyond_the_limit_of_the_library(tmp_path):
    (tmp_path / "class_dict.csv").write_text(f"name,r,g,b\n{'a' * 200_000},1,2,3\n")
    with pytest.raises(DataError, match="it is no table"):
        read_labels(tmp_path)


def test_fields_that_a_class_file_has_stay_as_they_are(tmp_path):
    content = {"classes": {"3": "road", "7": "sky"}, "ignore_index": 9, "ignore": "sky"}
    (tmp_path / "classes.json").write_text(json.dumps(content))
    file = read_class_file(tmp_path / "classes.json")
    assert (file.classes, file.ignore_index, file.ignore) == ({3: "road", 7: "sky"}, 9, ("sky",))


def test_the_class_file_of_a_split_folder(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "_classes.csv").write_text("Pixel Value, Class\n0, road\n")
    assert find_class_file(tmp_path) == tmp_path / "train" / "_classes.csv"
    write_index(tmp_path)
    assert find_class_file(tmp_path) == tmp_path / "classes.json"


NUMBERED = {
    "blanks": "0 road\n2 sky\n5 no\n",
    "colons": "0: road\n2: sky\n5: no\n",
    "any order": "5, no\n0, road\n2, sky\n",
    "tabs": "# id name\n0\troad\n2\tsky\n5\tno\n",
    "brackets": "0) road\r\n2) sky\r\n5) no\r\n",
}


@pytest.mark.parametrize("spelling", NUMBERED)
def test_lines_that_begin_with_a_number_of_their_own(tmp_path, spelling):
    for name in ("classes.txt", "labels.txt"):
        path = tmp_path / name
        path.write_text(NUMBERED[spelling])
        assert read_class_file(path).classes == {0: "road", 2: "sky", 5: "no"}


def test_names_with_numbers_are_names(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("1 cent\n1 euro\nroad\n")
    assert list(read_class_file(path).classes.values()) == ["1 cent", "1 euro", "road"]


RED, BLUE = (128, 0, 0), (0, 0, 200)
TABLES = {
    "id,name": ("0,road\n1,yes\n", None),
    "name,id": ("yes,1\nroad,0\n", None),
    "name,#": ("road,#800000\nyes,#0000c8\n", (RED, BLUE)),
    "#,name": ("#800000,road\n#0000c8,yes\n", (RED, BLUE)),
    "name,hex": ("road,800000\nyes,0000c8\n", (RED, BLUE)),
    "id,name,#": ("1,yes,#0000c8\n0,road,#800000\n", (RED, BLUE)),
    "name,id,r,g,b": ("road,0,128,0,0\nyes,1,0,0,200\n", (RED, BLUE)),
    "name,r,g,b,id": ("road,128,0,0,0\nyes,0,0,200,1\n", (RED, BLUE)),
    "id,name,r,g,b": ("0,road,128,0,0\n1,yes,0,0,200\n", (RED, BLUE)),
    "id,r,g,b,name": ("0,128,0,0,road\n1,0,0,200,yes\n", (RED, BLUE)),
    "r,g,b,name": ("128,0,0,road\n0,0,200,yes\n", (RED, BLUE)),
    "name r g b": ("road 128 0 0\nyes 0 0 200\n", (RED, BLUE)),
    "another header": ("Klasse;R;G;B\nroad;128;0;0\nyes;0;0;200\n", (RED, BLUE)),
    "names": ("names\nroad\nyes\n", None),
    "rgb in one cell": ('name,rgb\nroad,"128,0,0"\nyes,"(0, 0, 200)"\n', (RED, BLUE)),
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_are_told_by_what_their_columns_hold(tmp_path, table):
    text, colors = TABLES[table]
    path = tmp_path / "classes.csv"
    path.write_text(text)
    file = read_class_file(path)
    assert file.classes == {0: "road", 1: "yes"}
    assert (file.palette and tuple(file.palette[raw] for raw in (0, 1))) == colors


@pytest.mark.parametrize("text", ["road\nsky\n", "road,street\nsky,air\n", ""])
def test_tables_that_are_not_clear_are_refused(tmp_path, text):
    path = tmp_path / "classes.csv"
    path.write_text(text)
    with pytest.raises(DataError, match="needs a header line, such as name"):
        read_class_file(path)


@pytest.mark.parametrize(
    "color", ["rgb(128, 0, 0)", "(128,0,0)", "[128 0 0]", "0x800000", "#800000"]
)
def test_colours_in_words(tmp_path, color):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"road": color, "sky": "#0000c8"}))
    assert read_class_file(path).palette == {0: RED, 1: BLUE}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.csv", "class,name\n1,road\n3,sky\n"),
        ("classes.csv", "label,class\n1,road\n3,sky\n"),
        ("classes.csv", "class_index,class_name\n1,road\n3,sky\n"),
        ("classes.csv", "code;name;r;g;b\n1;road;1;2;3\n3;sky;4;5;6\n"),
        ("classes.csv", "label,name,r,g,b\n1,road,1,2,3\n3,sky,4,5,6\n"),
        ("classes.csv", "name,Mask Value,instances\nroad,1,70\nsky,3,20\n"),
        ("classes.json", '[{"category_id": 1, "name": "road"}, {"category_id": 3, "name": "sky"}]'),
        ("classes.json", '[{"label": 1, "name": "road"}, {"label": 3, "name": "sky"}]'),
        ("classes.json", '[{"class": 1, "label": "road"}, {"class": 3, "label": "sky"}]'),
    ],
)
def test_ids_under_any_heading_that_says_so(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_class_file(tmp_path / name).classes == {1: "road", 3: "sky"}


@pytest.mark.parametrize(
    "text",
    [
        "name,place\nroad,0\nsky,1\n",
        "name,pixels\nroad,900000\nsky,9000000\n",
        "name,isthing\nroad,0\nsky,0\n",
        "name,trainid\nroad,0\nsky,1\n",
        "name,weight\nroad,0.5\nsky,1.5\n",
    ],
)
def test_numbers_that_are_no_ids(tmp_path, text):
    (tmp_path / "classes.csv").write_text(text)
    assert read_class_file(tmp_path / "classes.csv").classes == {0: "road", 1: "sky"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.csv", "name,thing\nroad,2\nsky,5\n"),
        ("classes.json", '[{"name": "road", "thing": 2}, {"name": "sky", "thing": 5}]'),
    ],
)
def test_numbers_that_may_be_ids_are_asked_about(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=r"'thing' has the numbers 2, 5, .* call it id; else leave"):
        read_class_file(tmp_path / name)
