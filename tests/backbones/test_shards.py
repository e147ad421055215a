"""Weights in several files are read by the list of the parts; a part alone says what to give."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from vitseg.backbones.tensor_files import read_tensors
from vitseg.errors import CheckpointError

PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(PARTS):
        save_file({f"a.{number}.weight": torch.full((2, 3), float(number))}, tmp_path / name)
    places = {f"a.{number}.weight": name for number, name in enumerate(PARTS)}
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return tmp_path


def refusal(path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_parts_are_read(folder):
    tensors = read_tensors(folder / INDEX)
    assert {name: float(value[0, 0]) for name, value in tensors.items()} == {
        "a.0.weight": 0,
        "a.1.weight": 1,
    }


def test_parts_of_torch(folder):
    places = {}
    for number in range(2):
        torch.save({f"b.{number}": torch.ones(2)}, folder / f"pytorch_model-{number}.bin")
        places[f"b.{number}"] = f"pytorch_model-{number}.bin"
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert set(read_tensors(index)) == {"b.0", "b.1"}


def test_one_part_names_the_list(folder):
    message = refusal(folder / PARTS[1])
    assert f"part 2 of 2 of a model: give {INDEX}." in message
    (folder / INDEX).unlink()
    assert "which belongs beside them and is not there" in refusal(folder / PARTS[0])


def test_a_missing_part_is_named(folder):
    (folder / PARTS[1]).unlink()
    assert f"{PARTS[1]} is not beside it" in refusal(folder / INDEX)


def test_a_tensor_that_is_not_in_its_part(folder):
    save_file({"other": torch.ones(2)}, folder / PARTS[1])
    assert "lacks a.1.weight" in refusal(folder / INDEX)


@pytest.mark.parametrize("place", ["../a.safetensors", "/etc/passwd", "x/a.bin", "..\\a.bin", ""])
def test_a_list_leads_nowhere_else(folder, place):
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": place}}))
    message = refusal(folder / INDEX)
    assert "lie beside their list: refused" in message or "is not beside it" in message


@pytest.mark.parametrize(
    "text", ["{}", "[]", "nonsense", '{"weight_map": {}}', '{"weight_map": {"a": 1}}']
)
def test_lists_of_nothing(folder, text):
    (folder / INDEX).write_text(text)
    assert INDEX in refusal(folder / INDEX)


def test_a_folder_names_what_is_in_it(folder):
    assert f"is a folder: give the file in it ({INDEX})." in refusal(folder)


def test_a_distributed_checkpoint_says_how_to_join_it(tmp_path):
    (tmp_path / "__0_0.distcp").write_bytes(b"")
    assert "dcp_to_torch" in refusal(tmp_path)
