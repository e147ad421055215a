"""Reading weight files of any origin, of which nothing but tensors is taken."""

from __future__ import annotations

import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from vitseg.backbones.pickles import require_affordable
from vitseg.backbones.wrappers import Unwrapped, WeightsOf, unwrap
from vitseg.errors import CheckpointError, first_line
from vitseg.files import require_weight_file
from vitseg.types import StateDict

logger = logging.getLogger(__name__)

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

LONGEST_EMPTY = 65_536
"""Longest axis of a tensor without values."""

MOST_SHARED = 4
"""How many times its size a file's tensors may have, where several names share one."""


class Dropped:
    """Stands for an object that is not wanted: takes any arguments and any state, and keeps nothing."""

    def __new__(cls, *arguments: object) -> Dropped:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


class WeightFile(NamedTuple):
    """What a weight file holds.

    Attributes:
        weights: Its tensors, and where they were.
        content: All that the file says, weights included; of a .safetensors file its remarks.
    """

    weights: Unwrapped
    content: Mapping[str, Any]


def read_tensors(path: Path) -> StateDict:
    """The weights of a .safetensors, .pth, .pt or .bin file; errors as for `read_weight_file`."""
    weights = read_weight_file(path).weights
    if weights.line:
        logger.info("%s: taken %s", path.name, weights.line)
    return weights.tensors


def read_weight_file(path: Path, weights_of: WeightsOf | None = None) -> WeightFile:
    """The tensors of a .safetensors, .pth, .pt or .bin file. Pickles are read with `weights_only=True`.

    Args:
        path: The file.
        weights_of: Which of several sets of weights, see `wrappers`.

    Raises:
        CheckpointError: Missing file, damaged file, a pickle that wants to run code or would take far more memory than
            it is large, no such set, or shapes that the file cannot hold.
    """
    require_weight_file(path)
    if path.suffix == ".safetensors":
        try:
            content: Any = load_file(path)
            with safe_open(path, "pt") as file:
                remarks: dict[str, Any] = dict(file.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is damaged or no weight file: {first_line(error)}"
            ) from error
    else:
        content = _read_pickle(path)
        remarks = content if isinstance(content, dict) else {}
    try:
        weights = unwrap(content, weights_of)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if weights is None:
        raise CheckpointError(
            f"{path} holds no table of tensors (nor one under state_dict, model, module or the like)."
        )
    _require_real(weights.tensors, path)
    return WeightFile(weights, remarks)


def _require_real(tensors: StateDict, path: Path) -> None:
    """Raise CheckpointError if the tensors claim more values than the file holds: a copy of them would be made."""
    for name, value in tensors.items():
        shape = "x".join(map(str, value.shape))
        dense = value.layout == torch.strided and not value.is_quantized
        if not dense or value.is_meta:
            raise CheckpointError(
                f"{path}: {name} is no plain tensor: save it dense and unquantised."
            )
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise CheckpointError(
                f"{path}: {name} claims {shape} values, but the file holds fewer for it: refused."
            )
        if not value.numel() and max(value.shape) > LONGEST_EMPTY:
            raise CheckpointError(f"{path}: {name} claims {shape} values and has none: refused.")
    total = sum(value.numel() * value.element_size() for value in tensors.values())
    if total > MOST_SHARED * max(path.stat().st_size, 1024):
        raise CheckpointError(
            f"{path}: its tensors claim {total / 1e9:.1f} GB, but the file has {path.stat().st_size / 1e9:.3f} GB: "
            "refused."
        )


def _read_pickle(path: Path) -> object:
    require_affordable(path)
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
