"""Reading weight files of any origin, of which nothing but tensors is taken."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vitseg.errors import CheckpointError, first_line
from vitseg.types import StateDict

DROPPED = (
    "argparse.Namespace",
    "builtins.getattr",  # how pickle writes the name of a method, as HistoryBuffer holds some
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
)
"""What checkpoints of mmcv, mmengine and timm hold beside their tensors: settings, logs and scores, which are not
needed. A pickle may name these; none is imported or called, a `Dropped` stands for each."""

WRAPPERS = ("state_dict", "model", "module")
"""Entries under which checkpoints keep their parameters."""


class Dropped:
    """Stands for an object that is not wanted: takes any arguments and any state, and keeps nothing."""

    def __new__(cls, *arguments: object) -> Dropped:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def read_tensors(path: Path) -> StateDict:
    """All tensors of a .safetensors, .pth, .pt or .bin file. Pickles are read with `weights_only=True`.

    Raises:
        CheckpointError: Missing file, damaged file, or a pickle that wants to run code.
    """
    if not path.is_file():
        found = "is a folder: give the file in it" if path.is_dir() else "does not exist"
        raise CheckpointError(f"weight file {path} {found}.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is damaged or no weight file: {first_line(error)}"
            ) from error
    content = _read_pickle(path)
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if (
        not isinstance(content, dict)
        or not content
        or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
        )
    ):
        raise CheckpointError(
            f"{path} holds no table of tensors (nor one under {', '.join(WRAPPERS[:-1])} or {WRAPPERS[-1]})."
        )
    return content


def _read_pickle(path: Path) -> object:
    stand_ins: list[Any] = [(Dropped, name) for name in DROPPED]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other programs, which are refused
            # Mapped, so that the optimiser's state, twice the size of the weights, is never read.
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except Exception as error:  # a damaged file's bytes lead torch's reader to any of them
        raise CheckpointError(_refusal(path, error)) from error


def _refusal(path: Path, error: Exception) -> str:
    """One line for a file that torch does not read."""
    if isinstance(error, pickle.UnpicklingError):
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted:
            return (
                f"{path} asks for {wanted[1]}, which is no tensor, and loading it would run its code: refused. "
                "Convert it to .safetensors where you trust it."
            )
        with path.open("rb") as file:
            if file.read(1) == pickle.PROTO:
                return f"{path} is damaged, or a pickle of more than tensors: refused. torch.save writes weight files."
    return f"{path} is damaged or no weight file: {first_line(error)}"
