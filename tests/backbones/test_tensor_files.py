"""Weight files of other programs: their tensors are read, and nothing else is imported, called or kept."""

from __future__ import annotations

import argparse
import contextlib
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vitseg.backbones.tensor_files import read_tensors
from vitseg.errors import CheckpointError

HISTORY_MODULE = "mmengine.logging.history_buffer"


@pytest.fixture
def state() -> dict[str, Tensor]:
    return OrderedDict(weight=torch.arange(6.0).reshape(2, 3), bias=torch.ones(2))


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "weights.pth"


HISTORY = """
import numpy

class HistoryBuffer:
    def __init__(self):
        self.history = numpy.arange(3.0)

    def mean(self):
        raise AssertionError("code of the file ran")

    def __getstate__(self):
        return self.__dict__ | {"statistics": {"mean": HistoryBuffer.mean}}

    def __setstate__(self, state):
        raise AssertionError("code of the file ran")
"""
"""As mmengine's logs pickle: numpy arrays, and functions of the class by name."""


@pytest.fixture
def history(monkeypatch) -> Any:
    """An object of mmengine's class, which can be written as long as the modules are there."""
    module = types.ModuleType(HISTORY_MODULE)
    exec(HISTORY, module.__dict__)
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, HISTORY_MODULE, module)
    return module.HistoryBuffer()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensors_of_an_mmengine_checkpoint_are_read(path, state, history, monkeypatch, zipped):
    content = {
        "meta": {"epoch": 1, "seed": np.int64(3), "best": np.float64(0.5), "classes": ("a", "b")},
        "message_hub": {"log_scalars": OrderedDict(loss=history), "resumed_keys": {"loss": True}},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2, 3)}}, "param_groups": [{"lr": 0.1}]},
        "state_dict": state,
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(Exception, match=r"HistoryBuffer|numpy"):
        torch.load(path, weights_only=True)  # else this test says nothing
    for name in ("mmengine", "mmengine.logging", HISTORY_MODULE):
        monkeypatch.delitem(sys.modules, name)
    allowed = set(torch.serialization.get_safe_globals())
    read = read_tensors(path)
    assert list(read) == ["weight", "bias"]
    assert all(torch.equal(read[name], state[name]) for name in state)
    assert HISTORY_MODULE not in sys.modules
    assert set(torch.serialization.get_safe_globals()) == allowed


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "module", None])
def test_the_settings_of_a_training_are_left_out(path, state, wrapper):
    content = state if wrapper is None else {wrapper: state, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, path)
    assert torch.equal(read_tensors(path)["weight"], state["weight"])


def test_numpy_arrays_are_no_weights(path, state):
    torch.save({"state_dict": state | {"array": np.zeros(3)}}, path)
    with pytest.raises(CheckpointError, match="holds no table of tensors"):
        read_tensors(path)


class Custom:
    def __reduce__(self):
        return print, ("code of the file ran",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_else_a_pickle_wants_is_named_and_refused(path, state, zipped, capfd):
    torch.save({"state_dict": state, "x": Custom()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"asks for print, which is no tensor.*refused"):
        read_tensors(path)
    assert capfd.readouterr() == ("", "")


def test_getattr_leads_nowhere(path, state):
    """It may be named, since logs name it; what is read is a stand-in that gives nothing."""

    class Reach:
        def __reduce__(self):
            return getattr, (torch.Tensor, "__class__")

    torch.save({"state_dict": state | {"reached": Reach()}}, path)
    with pytest.raises(CheckpointError, match="holds no table of tensors"):
        read_tensors(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_damaged_file_is_one_clear_error(path, state, zipped):
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for length in [0, 1, 2, *rng.integers(3, len(whole) - 1, 30)]:
        path.write_bytes(whole[:length])
        if zipped or length < 300:  # an old file may lose its last bytes: the tensors' data
            with pytest.raises(CheckpointError) as caught:
                read_tensors(path)
            assert "\n" not in str(caught.value)
    for _ in range(100):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        with contextlib.suppress(CheckpointError):  # or tensors of other values
            read_tensors(path)


@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80", b"\x89PNG\r\n", b"PK\x03\x04"])
def test_other_files_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        read_tensors(path)


def test_places_that_are_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder: give the file in it"):
        read_tensors(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        read_tensors(tmp_path / "none.pth")


def test_safetensors(tmp_path, state):
    from safetensors.torch import save_file

    save_file(dict(state), tmp_path / "a.safetensors")
    assert torch.equal(read_tensors(tmp_path / "a.safetensors")["bias"], state["bias"])
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(CheckpointError, match="damaged"):
        read_tensors(tmp_path / "a.safetensors")
