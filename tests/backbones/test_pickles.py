"""A checkpoint never costs much more memory than its file is large."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from tests.memory import peak_bytes
from vitseg.backbones import pickles
from vitseg.backbones.tensor_files import read_tensors
from vitseg.errors import CheckpointError


def archive(path: Path, data: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/version", b"3\n")
        file.writestr("archive/byteorder", b"little")
    return path


def refusal(path: Path) -> str:
    before = peak_bytes()
    with pytest.raises(CheckpointError) as caught:
        read_tensors(path)
    assert peak_bytes() - before < 300 * 2**20
    assert "\n" not in str(caught.value)
    return str(caught.value)


MANY_DICTS = b"\x80\x02]" + b"(" + b"}" * 10_000_000 + b"e."
"""64 bytes of memory for each of its bytes."""


@pytest.mark.slow
def test_many_small_objects(tmp_path):
    assert "instructions in its pickle" in refusal(archive(tmp_path / "a.pth", MANY_DICTS))


@pytest.mark.slow
def test_many_small_objects_in_an_old_file(tmp_path):
    header = io.BytesIO()
    for content in (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {}):
        pickle.dump(content, header, protocol=2)
    (tmp_path / "a.pth").write_bytes(header.getvalue() + MANY_DICTS)
    assert "instructions in its pickle" in refusal(tmp_path / "a.pth")


def test_a_compressed_archive(tmp_path):
    path = archive(tmp_path / "a.pth", MANY_DICTS, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    assert "is packed" in refusal(path)


def test_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MOST_MEMBERS", 2)
    assert "has 3 members" in refusal(archive(tmp_path / "a.pth", b"."))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_shapes_that_the_file_does_not_hold(tmp_path, zipped):
    wide = torch.zeros(1, dtype=torch.float16).expand(1_000_000_000, 4)
    torch.save({"pos_embed": wide}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert "pos_embed claims 1000000000x4 values" in refusal(tmp_path / "a.pth")


def test_shapes_without_values(tmp_path):
    torch.save({"weight": torch.zeros(10**12, 0)}, tmp_path / "a.pth")
    assert "weight claims 1000000000000x0 values and has none" in refusal(tmp_path / "a.pth")


def test_one_storage_under_many_names(tmp_path):
    value = torch.zeros(1000, dtype=torch.float16)
    torch.save({f"name_{index}": value for index in range(1000)}, tmp_path / "a.pth")
    assert "its tensors claim" in refusal(tmp_path / "a.pth")


def test_tied_weights_are_read(tmp_path):
    value = torch.zeros(1000)
    torch.save({"a": value, "b": value}, tmp_path / "a.pth")
    assert set(read_tensors(tmp_path / "a.pth")) == {"a", "b"}


def test_sparse_tensors_are_named(tmp_path):
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "a.pth")
    assert "a is no plain tensor" in refusal(tmp_path / "a.pth")
