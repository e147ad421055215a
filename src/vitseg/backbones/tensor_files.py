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

from vitseg.backbones.file_kinds import file_kind
from vitseg.backbones.pickles import require_affordable
from vitseg.backbones.safetensors_files import is_safetensors, read_safetensors
from vitseg.backbones.shards import read_shards, require_no_part
from vitseg.backbones.weight_values import require_usable
from vitseg.backbones.wrappers import Unwrapped, WeightsOf, unwrap
from vitseg.errors import CheckpointError, first_line
from vitseg.types import StateDict
from vitseg.weight_files import INDEX, require_weight_file

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


NO_WEIGHTS = "is damaged or no weight file:"


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
            it is large, no such set, shapes that the file cannot hold, or values that are no weights.
    """
    require_weight_file(path)
    size = path.stat().st_size
    if path.name.endswith(INDEX):
        content: Any = read_shards(path, lambda part: _content(part)[0])
        remarks: Mapping[str, Any] = {}
        size = sum(part.stat().st_size for part in path.parent.iterdir() if part.is_file())
    else:
        require_no_part(path)
        content, remarks = _content(path)
    try:
        weights = unwrap(content, weights_of)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if weights is None:
        raise CheckpointError(
            f"{path} holds no table of tensors (nor one under state_dict, model, module or the like)."
        )
    _require_real(weights.tensors, path, size)
    require_usable(weights.tensors, str(path))
    return WeightFile(weights, remarks)


def _content(path: Path) -> tuple[Any, Mapping[str, Any]]:
    """What a file holds, by its own beginning and not by its name, and what it says beside its tensors."""
    if is_safetensors(path):
        return read_safetensors(path)
    with path.open("rb") as file:
        is_torchs = file.read(2) in (b"PK", b"\x80\x02")
    if path.suffix.lower() == ".safetensors" and not is_torchs:
        return read_safetensors(path)  # which says what it is
    content = _read_pickle(path)
    return content, content if isinstance(content, dict) else {}


def _require_real(tensors: StateDict, path: Path, size: int) -> None:
    """Raise CheckpointError if the tensors claim more values than the file holds: a copy of them would be made.

    Args:
        tensors: What was read.
        path: The file.
        size: Of all files that the tensors are from, in bytes.
    """
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
    if total > MOST_SHARED * max(size, 1024):
        raise CheckpointError(
            f"{path}: its tensors claim {total / 1e9:.1f} GB, but the file has {size / 1e9:.3f} GB: "
            "refused."
        )


def _read_pickle(path: Path) -> object:
    try:
        require_affordable(path)
    except CheckpointError as error:
        kind = file_kind(path)  # a TorchScript archive or a zip file is packed, too
        raise CheckpointError(f"{path} {NO_WEIGHTS} it {kind}") if kind else error from error
    stand_ins: list[Any] = [(Dropped, name) for name in DROPPED]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other programs, which are refused
            if path.suffix.lower() == ".safetensors":  # torch goes by the name, if it is given one
                with path.open("rb") as file:
                    return torch.load(file, map_location="cpu", weights_only=True)
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
                "Where you trust it, save its weights alone (torch.save(model.state_dict(), FILE)) or as .safetensors."
            )
    kind = file_kind(path)
    if kind:
        return f"{path} {NO_WEIGHTS} it {kind}"
    with path.open("rb") as file:
        is_pickle = file.read(1) == pickle.PROTO
    if is_pickle and isinstance(error, pickle.UnpicklingError):
        return f"{path} is damaged, or a pickle of more than tensors: refused. torch.save writes weight files."
    reason = first_line(error)
    if "weights_only" in reason or "eights only" in reason:  # torch advises to run the file's code
        reason = "its bytes are none that torch.save or safetensors write"
    return f"{path} {NO_WEIGHTS} {reason}"
