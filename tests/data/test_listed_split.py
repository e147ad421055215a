from __future__ import annotations

import pytest

from tests.tiny import write_dataset
from vitseg.data.catalog import open_dataset
from vitseg.data.listed_split import write_list
from vitseg.errors import DataError


@pytest.fixture
def root(tmp_path):
    return write_dataset(tmp_path / "data")


def test_a_list_is_a_split_of_its_name(root, tmp_path):
    path = tmp_path / "some.txt"
    write_list(path, "train", ["train_3", "train_1"])
    dataset = open_dataset(f"folder:{root}", str(path))
    assert (dataset.split, list(dataset.ids)) == ("some", ["train_3", "train_1"])
    whole = open_dataset(f"folder:{root}", "train")
    assert (dataset[0].image == whole[3].image).all()
    assert (dataset.label_map(1) == whole.label_map(1)).all()


def test_without_a_first_line_the_images_say_of_which_split_they_are(root, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("val_1\nval_1\n")
    assert list(open_dataset(f"folder:{root}", str(path)).ids) == ["val_1"]
    (root / "val.txt").write_text("train_0\nval_1\n")
    path.write_text("train_0\n")
    with pytest.raises(DataError, match=r"may be those of train and val: say which in its first"):
        open_dataset(f"folder:{root}", str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"does not exist: give the name of a split \(train, val\)"),
        ("\n", "lists no ids"),
        ("train_0\nother\n", "names images that the data set does not have: other"),
        ("# images of the split none\na\n", "'none' is not a split"),
    ],
)
def test_refusals(root, tmp_path, text, said):
    path = tmp_path / "list.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=said):
        open_dataset(f"folder:{root}", str(path))


@pytest.mark.parametrize(
    "line", ["val_1", "val_1.png", "images/val_1.jpg", "/data/x/images/val_1.png masks/val_1.png"]
)
def test_lines_are_spelt_as_in_other_lists(root, tmp_path, line):
    path = tmp_path / "mine.txt"
    path.write_text(f"# held out\n{line}\nval_1\n# val_0 was blurred\n")
    assert list(open_dataset(f"folder:{root}", str(path)).ids) == ["val_1"]


def test_a_refused_list_is_shown_what_the_names_look_like(root, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("0001\n")
    with pytest.raises(DataError, match=r"does not have: 0001; it has train_0, val_0 and so on\."):
        open_dataset(f"folder:{root}", str(path))
    path.write_text("# nothing\n")
    with pytest.raises(DataError, match="comments alone"):
        open_dataset(f"folder:{root}", str(path))
