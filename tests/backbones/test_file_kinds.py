"""Files that are called weights and hold none say what they are and what to do; names and endings are not trusted."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile

import pytest
import torch
from safetensors.torch import save

from vitseg.backbones.safetensors_files import MOST_HEADER
from vitseg.backbones.tensor_files import read_tensors
from vitseg.errors import CheckpointError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3)}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


def torchs() -> bytes:
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    return buffer.getvalue()


def zipped(name: str, data: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def onnx() -> bytes:
    return b"\x08\x08\x12\x07pytorch\x1a\x052.0.0:" + b"x" * 300


KINDS = {
    "lfs": (POINTER, "a pointer of Git LFS.*git lfs pull"),
    "page": (b"<!DOCTYPE html>\n<html><title>Virus scan warning", "a web page.*download it again"),
    "page2": (b"\n\n <html lang=en><body>Sign in", "a web page"),
    "json": (b'{"error":"Entry not found"}', r"JSON text.*begins with '{\"error\""),
    "text": (b"Entry not found", "text, not weights.*'Entry not found'"),
    "empty": (b"", "is empty .0 bytes.: download"),
    "zeros": (bytes(5000), "zero bytes alone"),
    "gzip": (gzip.compress(torchs()), r"packed with gzip: unpack it first \(gunzip"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(50), "packed with zstd"),
    "rar": (b"Rar!\x1a\x07" + bytes(50), "packed with RAR"),
    "onnx": (onnx(), "an ONNX model"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(50), "Keras or TensorFlow"),
    "gguf": (b"GGUF\x03\0\0\0" + bytes(50), "GGUF"),
    "pdf": (b"%PDF-1.4 " + bytes(50), "a PDF"),
    "zip": (zipped("model.pth", torchs()), "a zip archive with model.pth: unpack"),
    "packed": (
        zipped("model.pth", torchs(), zipfile.ZIP_DEFLATED),
        "a zip archive with model.pth: unpack",
    ),
    "npz": (zipped("a.npy", b"\x93NUMPY"), "numpy arrays"),
    "tar": (tarred("model.pth", torchs()), "a tar archive with model.pth: unpack"),
    "cut": (torchs()[:600], "cut off: the end of the archive is missing"),
    "cut at the end": (torchs()[:-30], "cut off"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_file_is_and_what_to_do(tmp_path, kind, suffix):
    data, words = KINDS[kind]
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(data)
    with pytest.raises(
        CheckpointError, match=f"is damaged or no weight file: it .*{words}"
    ) as found:
        read_tensors(path)
    assert "\n" not in str(found.value)
    assert "weights_only" not in str(found.value)  # torch's advice runs the file's code


def test_torchscript(tmp_path):
    with pytest.warns(FutureWarning):
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "a.pt"))
    with pytest.raises(CheckpointError, match=r"TorchScript archive.*torch\.jit\.load.*state_dict"):
        read_tensors(tmp_path / "a.pt")


def test_a_whole_module(tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"asks for .*Linear.*model\.state_dict"):
        read_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "name", ["a.safetensors", "a.pth", "a.bin", "a", "a.SafeTensors", "a.ckpt"]
)
@pytest.mark.parametrize("data", [save(STATE), torchs()], ids=["safetensors", "torch"])
def test_the_content_says_the_format(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert torch.equal(read_tensors(tmp_path / name)["a.weight"], STATE["a.weight"])


def listed(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.slow
def test_a_list_of_very_many_tensors(tmp_path):
    one = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"layers.{index}.weight": one for index in range(250_000)}).encode()
    assert len(header) > MOST_HEADER
    (tmp_path / "a.safetensors").write_bytes(listed(header))
    with pytest.raises(CheckpointError, match=r"list of tensors of [\d,]+ bytes.*refused"):
        read_tensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 99_000_000) + b"{" + b" " * 1000,
        struct.pack("<Q", 2**63) + b"{",
        listed(
            b'{"a":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,4]}}', b"0000"
        ),
        listed(b'{"__metadata__":' + b'{"a":' * 5000 + b"1" + b"}" * 5001),
        save(STATE)[:-5],
        save(STATE) + b"more",
        save(STATE)[:20],
    ],
)
def test_lists_that_lie(tmp_path, data):
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged or no weight file"):
        read_tensors(tmp_path / "a.safetensors")


def test_a_path_that_is_too_long(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_tensors(tmp_path / ("x" * 5000))
