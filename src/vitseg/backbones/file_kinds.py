"""What a file is that holds no weights, by its first bytes: most are downloads that went wrong."""

from __future__ import annotations

import re
import tarfile
import zipfile
from pathlib import Path

HEAD = 1024
"""Bytes at the start of a file that are looked at."""

_LFS = b"version https://git-lfs"
_PAGE = re.compile(rb"^\s*<(!doctype|html|head|body|\?xml|script|!--)", re.IGNORECASE)
_JSON = re.compile(rb"^\s*[{\[]\s*[\"{\[\]}]")
_ONNX = re.compile(rb"^\x08[\x01-\x20]\x12.{1,2}(pytorch|tf2onnx|onnx|skl2onnx|keras|vitseg)", re.DOTALL)  # fmt: skip

_TAR_MARK_AT = 257

_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"7z\xbc\xaf\x27\x1c": ("7z", "7z x"),
    b"Rar!": ("RAR", "unrar x"),
}
_OTHERS = {
    b"\x89HDF\r\n\x1a\n": "weights of Keras or TensorFlow (HDF5)",
    b"GGUF": "a GGUF file of quantised weights",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"\x93NUMPY": "a numpy array",
}
_DOWNLOAD = "download it again, with the address of the file itself"
_FORMATS = "Weights are read from files of torch.save and from .safetensors"


def file_kind(path: Path) -> str | None:
    """What a file is and what to do, behind "it"; None: nothing that is known.

    Args:
        path: A file that no reader of weights takes.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "is empty (0 bytes): download or copy it again."
    if not head.strip(b"\0"):
        return "begins with zero bytes alone, as a download that was cut off: download or copy it again."
    if head.startswith(_LFS):
        return (
            "is a pointer of Git LFS, not the weights: get the file itself with 'git lfs pull' in the clone, or "
            "download it from the page of the repository."
        )
    if _PAGE.match(head):
        return (
            f"is a web page, not weights (a login, a warning or an error of the server): {_DOWNLOAD}, in a browser "
            "where it asks for a consent."
        )
    packed = next((tool for mark, tool in _PACKED.items() if head.startswith(mark)), None)
    if packed is not None:
        return f"is packed with {packed[0]}: unpack it first ({packed[1]} FILE)."
    other = next((noun for mark, noun in _OTHERS.items() if head.startswith(mark)), None)
    if other is not None:
        return f"is {other}. {_FORMATS}."
    if _ONNX.match(head) or path.suffix.lower() == ".onnx":
        return f"is an ONNX model. {_FORMATS}: give those that it was exported from."
    return _archive(path, head) or _text(head)


def _archive(path: Path, head: bytes) -> str | None:
    """The same for archives that are none of torch.save's, or are cut off."""
    if head[_TAR_MARK_AT:].startswith(b"ustar"):  # an archive in it may look like one itself
        return _tar(path)
    try:
        is_zip = zipfile.is_zipfile(path)
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if is_zip:
        if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
            return (
                "is a TorchScript archive, which holds code: refused. Where you trust it, save its weights alone: "
                "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')."
            )
        if any(name.endswith(".npy") for name in names):
            return f"is an archive of numpy arrays (.npz). {_FORMATS}; of a plain ViT, JAX's .npz too, by that suffix."
        if not any(name.endswith("data.pkl") for name in names):
            return f"is a zip archive with {_shown(names)}: unpack it, and give the file with the weights."
        return None
    if head.startswith(b"PK\x03\x04"):
        return "is cut off: the end of the archive is missing. Download or copy it again."
    return None


def _tar(path: Path) -> str | None:
    try:
        with tarfile.open(path, "r:") as archive:
            first = archive.next()
    except (tarfile.TarError, OSError, ValueError):
        return None
    inside = _shown([first.name]) if first else "nothing in it"
    return f"is a tar archive with {inside}: unpack it, and give the file with the weights."


def _shown(names: list[str]) -> str:
    """The first names in an archive, on one line."""
    return ", ".join(" ".join(name.split())[:80] for name in names[:3]) or "nothing in it"


def _text(head: bytes) -> str | None:
    """The same for text."""
    if b"\0" in head or any(byte < 9 or 13 < byte < 32 for byte in head):
        return None
    try:
        words = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return None
        words = head[: error.start].decode()
    begins = " ".join(words.split())[:60]
    if not begins:
        return None
    what = "JSON text" if _JSON.match(head) else "text"
    return f"is {what}, not weights (it begins with {begins!r}): {_DOWNLOAD}."
