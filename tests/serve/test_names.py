import pytest

from vitseg.errors import ConfigError
from vitseg.serve.names import named_models


def test_names_come_from_folders_files_and_people(tmp_path):
    run = tmp_path / "camvid run" / "model"
    assert named_models([str(tmp_path / "a"), "exports/b.onnx", "c=exports/b.onnx", str(run)]) == {
        "a": str(tmp_path / "a"),
        "b": "exports/b.onnx",
        "c": "exports/b.onnx",
        "camvid-run": str(run),
    }


def test_a_place_with_an_equals_sign_in_its_folders_has_no_given_name(tmp_path):
    place = str(tmp_path / "lr=3" / "run")
    assert named_models([place]) == {"run": place}


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a b", "-a", "ä", "a" * 101, "a\x00", "a\n", "<b>", "a%2f"]
)
def test_names_that_would_be_trouble_in_addresses_are_refused(name):
    with pytest.raises(ConfigError, match="model"):
        named_models([f"{name}=runs/a", "x=runs/b", f"{name}=runs/c"])


def test_two_models_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="two models would be named a"):
        named_models(["runs/a", "other/a"])
