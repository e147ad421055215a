"""Model directories of older and newer formats: loaded by renaming, or refused with what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.checkpoint.test_model_dir import edit_config, refusal, renew_sums
from tests.tiny import CROP, make_record, write_model
from vitseg.checkpoint.formats import FORMAT, renamed_state
from vitseg.checkpoint.model_dir import load_model, save_model
from vitseg.checkpoint.places import CONFIG, WEIGHTS
from vitseg.config import parse
from vitseg.errors import CheckpointError
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel

BACKBONE = {"name": "test_vit", "pretrained": False, "taps": [1, 3, 5]}
ONE_EXIT = {**BACKBONE, "taps": [1, 5]}
ONE_TAP = {**BACKBONE, "taps": [5]}
OLD_PARTS = {
    "shrink.": "conv.",
    "halve.": "conv.",
    "edge_head.": "edge_head.",
    "semantic.": "semantic.",
}
"""In format 1 these parts stood beside the ViT, which was "backbone.vit"."""

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "shrunk": ("shrunk", {"backbone": ONE_TAP, "shrink": {"block": 2}}),
    "shrunk, convolution": (
        "shrunk",
        {"backbone": ONE_TAP, "shrink": {"block": 2, "method": "conv"}},
    ),
    "shrunk, edges": (
        "shrunk",
        {"backbone": ONE_TAP, "shrink": {"block": 0}, "edges": {"threshold": 0.5}},
    ),
    "dtop, pruned": ("dtop", {"backbone": BACKBONE, "pruning": {"threshold": 0.3}}),
    "dtop, convolution": ("dtop", {"backbone": ONE_EXIT, "pruning": {"rule": "conv"}}),
    "semaskvit": ("semaskvit", {"backbone": BACKBONE, "semantic": {"blocks": [1, 4]}}),
    "eomt": ("eomt", {"backbone": {**ONE_TAP, "tap_norm": True}, "decoder": {"num_queries": 12}}),
}
BESIDE = {
    "shrunk, convolution": {"conv"},
    "shrunk, edges": {"edge_head"},
    "dtop, convolution": {"conv"},
    "semaskvit": {"semantic"},
}


def make(case: str) -> tuple[SegmentationModel, dict[str, Any]]:
    """A model in evaluation mode, of weights that all matter, and the fields of its record."""
    name, raw = CASES[case]
    config = parse(METHODS[name], raw)
    torch.manual_seed(0)
    model = config.build(3, CROP)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    fields = {"method": name, "architecture": config.model_dump(mode="json")}
    return model.eval(), fields


def old_name(name: str) -> str:
    """A parameter's name in format 1."""
    if not name.startswith("backbone."):
        return name
    rest = name.removeprefix("backbone.")
    for ours, old in OLD_PARTS.items():
        if rest.startswith(ours):
            return f"backbone.{old}{rest.removeprefix(ours)}"
    return f"backbone.vit.{rest}"


def write_old(path: Path, case: str) -> SegmentationModel:
    """A model directory of format 1; returns its model."""
    model, fields = make(case)
    save_model(path, model, make_record(format_version=1, **fields))
    change_state(path, {old_name(n): v for n, v in load_file(path / WEIGHTS).items()})
    return model


def change_state(path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, path / WEIGHTS)
    renew_sums(path)


def format_of(path: Path) -> object:
    return json.loads((path / CONFIG).read_text())["format_version"]


def test_every_method_with_old_names_is_covered():
    assert {name for name, _ in CASES.values()} == {n for n, c in METHODS.items() if c.old_names}


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_a_directory_of_format_1_gives_the_same_bits(tmp_path, case):
    model = write_old(tmp_path / "old", case)
    assert format_of(tmp_path / "old") == 1
    backbone = [n for n in load_file(tmp_path / "old" / WEIGHTS) if n.startswith("backbone.")]
    assert {n.split(".")[1] for n in backbone} == {"vit"} | BESIDE.get(case, set())

    loaded, record = load_model(tmp_path / "old")
    assert record.format_version == FORMAT == 2
    assert not loaded.training
    for size in (CROP, (50, 71)):
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        assert torch.equal(loaded(images).scores(), model(images).scores())

    save_model(tmp_path / "new", loaded, record)
    assert format_of(tmp_path / "new") == 2
    again = load_file(tmp_path / "new" / WEIGHTS)
    assert again.keys() == model.state_dict().keys()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())
    assert load_model(tmp_path / "new")[1] == record


@torch.inference_mode()
def test_a_method_that_kept_its_names_loads_from_format_1_as_it_is(tmp_path):
    folder = write_model(tmp_path / "model")
    images = torch.randn(1, 3, *CROP)
    expected = load_model(folder)[0](images).scores()
    edit_config(folder, format_version=1)
    model, record = load_model(folder)
    assert record.format_version == FORMAT
    assert torch.equal(model(images).scores(), expected)


def test_old_names_in_the_present_format_are_refused(tmp_path):
    """They are renamed in format 1 alone."""
    write_old(tmp_path / "old", "eomt")
    edit_config(tmp_path / "old", format_version=FORMAT)
    assert f"{WEIGHTS} does not fit its {CONFIG}" in refusal(tmp_path / "old")


@pytest.mark.parametrize("name", ["backbone.vit.left_over", "backbone.conv.left_over"])
def test_a_parameter_that_is_left_over_is_named(tmp_path, name):
    folder = tmp_path / "old"
    write_old(folder, "shrunk, convolution")
    change_state(folder, load_file(folder / WEIGHTS) | {name: torch.zeros(1)})
    message = refusal(folder)
    assert f"{folder / WEIGHTS} does not fit its {CONFIG}" in message
    part = "shrink." if ".conv." in name else ""
    assert f"Unexpected key(s) in state_dict: backbone.{part}left_over" in message


def test_a_parameter_that_is_missing_is_named(tmp_path):
    folder = tmp_path / "old"
    write_old(folder, "dtop, convolution")
    state = load_file(folder / WEIGHTS)
    del state["backbone.conv.bias"]
    change_state(folder, state)
    assert "Missing key(s) in state_dict: backbone.halve.bias" in refusal(folder)


@pytest.mark.parametrize(
    ("case", "old", "new"),
    [
        ("eomt", "backbone.vit.norm.weight", "backbone.norm.weight"),
        ("shrunk, convolution", "backbone.conv.weight", "backbone.shrink.weight"),
    ],
)
def test_two_parameters_that_would_become_one_are_refused(tmp_path, case, old, new):
    folder = tmp_path / "old"
    write_old(folder, case)
    state = load_file(folder / WEIGHTS)
    change_state(folder, state | {new: state[old].clone()})
    message = refusal(folder)
    assert f"{folder / WEIGHTS} has two parameters for {new}, one of them called " in message
    assert message.endswith("it was not written by vitseg. Convert the weights again.")


def test_the_second_of_two_names_is_told():
    state = {"a.x": torch.zeros(1), "b.x": torch.ones(1), "x": torch.ones(1)}
    assert renamed_state({"a.x": state["a.x"]}, ((r"^a\.", ""),), "file") == {"x": state["a.x"]}
    with pytest.raises(CheckpointError, match=r"file has two parameters for x, .* called b\.x:"):
        renamed_state(state, ((r"^a\.", ""), (r"^b\.", "")), "file")


def test_a_newer_format_says_what_to_install(tmp_path):
    folder = write_model(tmp_path / "model")
    config = json.loads((folder / CONFIG).read_text())
    versions = config["versions"] | {"vitseg": "7.8.9"}
    edit_config(folder, format_version=3, versions=versions, a_field_of_tomorrow=1)
    message = refusal(folder)
    assert (
        f"{folder / CONFIG} has format_version 3, but this vitseg reads formats 1 to 2" in message
    )
    assert message.endswith("install vitseg 7.8.9 or newer (pip install --upgrade vitseg).")


@pytest.mark.parametrize("versions", [{}, None, "7.8.9", {"torch": "2"}])
def test_a_newer_format_whose_writer_is_unknown(tmp_path, versions):
    folder = write_model(tmp_path / "model")
    edit_config(folder, format_version=3, versions=versions)
    assert "install a newer vitseg (pip install" in refusal(folder)


def test_a_newer_format_under_the_present_version_names_none(tmp_path):
    """As a copy of the source has it between two releases."""
    folder = write_model(tmp_path / "model")
    edit_config(folder, format_version=3)
    assert "install a newer vitseg (pip install" in refusal(folder)


@pytest.mark.parametrize("version", ["2", "two", 1.0, 2.5, True, None, [2], {"is": 2}, 0, -1])
def test_a_format_that_is_none_is_refused(tmp_path, version):
    folder = write_model(tmp_path / "model")
    edit_config(folder, format_version=version)
    message = refusal(folder)
    assert f"{folder / CONFIG} has format_version {version!r}, but this vitseg reads" in message
    assert re.search(r"formats 1 to 2: it was not written by vitseg\. Restore the file\.$", message)
