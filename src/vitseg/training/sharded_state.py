"""The training state of a sharded training: a folder to which every process writes its part, and who reads it.

`state.ckpt` stays the one file that says where a run goes on: it names the folder within `state/` that holds weights
and the optimiser's state, in the format of torch.distributed.checkpoint. A new folder is complete and on the disk
before the file names it, and only then the one of before is removed; so whenever a process is killed or a disk is full,
the file names a whole one. Any number of processes reads it, each its own part, or all of it.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.tensor import DTensor, distribute_tensor

from vitseg.checkpoint.places import sha256_of
from vitseg.errors import ConfigError, SaidElsewhereError, first_names
from vitseg.files import WatchedFile
from vitseg.runs import SHARDS
from vitseg.training.sums import require_sound

_MODEL, _OPTIMIZER = "model.", "optimizer."

_PATIENCE, _PAUSE = 10.0, 0.2
"""Seconds that shared storage may take to show what others have written, and those between two looks."""

_CONTENTS = ".metadata"
_METADATA = (
    "Metadata",
    "MetadataIndex",
    "StorageMeta",
    "TensorStorageMetadata",
    "BytesStorageMetadata",
    "ChunkStorageMetadata",
    "TensorProperties",
    "_MEM_FORMAT_ENCODING",
)
_HARMLESS = {
    *((Metadata.__module__, name) for name in _METADATA),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
}


class ShardedSave:
    """One save, in three steps: `begin` by the first process, `write` by all, `finish` by the first.

    Args:
        out: Folder of the run.
        iteration: Where the run stands; it names the folder.
    """

    def __init__(self, out: Path, iteration: int):
        self.name = f"iteration-{iteration:08d}"
        self._folder = out / SHARDS
        self._fresh = self._folder / f".{self.name}.writing"

    def begin(self, named: str | None) -> None:
        """Make the folder to write to, and remove what killed processes left.

        Args:
            named: The folder that `state.ckpt` names; None: it names none.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._remove_all_but(named)
        self._fresh.mkdir()

    def write(self, rank: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write the part of this process.

        Raises:
            OSError: It could not be written.
            SaidElsewhereError: That of another process could not.
        """
        state = _tensors(model, optimizer)
        try:
            dcp.save(state, storage_writer=_writer(self._fresh))
        except CheckpointException as error:
            own = error.failures.get(rank)
            if own is None:
                raise SaidElsewhereError("another process could not save its part.") from error
            raise own[0] from error

    def finish(self) -> dict[str, str]:
        """Give the folder its name; returns what `state.ckpt` may say of it from now on.

        Raises:
            ConfigError: What other processes have written is not there: it lies on another machine.
        """
        self._require_parts()
        sync_folder(self._fresh)
        os.replace(self._fresh, self._folder / self.name)
        sync_folder(self._folder)
        return {"shards": self.name, "contents": sha256_of(self._folder / self.name / _CONTENTS)}

    def _require_parts(self) -> None:
        """Compare the folder with the parts that its table of contents names."""
        ends: dict[str, int] = {}
        for place in _Reader(self._fresh).read_metadata().storage_data.values():
            name = place.relative_path
            ends[name] = max(ends.get(name, 0), place.offset + place.length)
        until = time.monotonic() + _PATIENCE
        while missing := sorted(n for n, end in ends.items() if _size(self._fresh / n) < end):
            if time.monotonic() > until:
                raise ConfigError(
                    f"{first_names(missing)} of this save, which other processes have written, did not come to "
                    f"{self._folder}: the machines of this training do not share --out. Give one on storage that all "
                    "of them see. What was saved before stays."
                )
            time.sleep(_PAUSE)

    def clean(self) -> None:
        """Remove the folders of before, once `state.ckpt` names this one."""
        self._remove_all_but(self.name)

    def undo(self) -> None:
        """Remove what was written, of a save that failed."""
        shutil.rmtree(self._fresh, ignore_errors=True)

    def _remove_all_but(self, name: str | None) -> None:
        for path in self._folder.iterdir():
            if path.name != name:
                shutil.rmtree(path, ignore_errors=True)


class ShardedTensors:
    """The weights and the optimiser's state in such a folder.

    Args:
        folder: The folder.
        contents: Sum of its table of contents, as `ShardedSave.finish` gave it.

    Raises:
        ValueError: The table is another.
    """

    def __init__(self, folder: Path, contents: str):
        if sha256_of(folder / _CONTENTS) != contents:
            raise ValueError(f"{_CONTENTS} is not what was written")
        self._folder, self._reader = folder, _Reader(folder)
        metadata = self._reader.read_metadata()
        self._sizes, self._places = metadata.state_dict_metadata, metadata.storage_data

    def require_sound(self, rank: int = 0, world_size: int = 1) -> None:
        """Compare what the processes wrote with its sums: each process its share of all.

        Args:
            rank: Number of this process.
            world_size: How many there are.

        Raises:
            zipfile.BadZipFile: A part is another than was written.
        """
        places = {(each.relative_path, each.offset, each.length) for each in self._places.values()}
        for name, offset, length in sorted(places)[rank::world_size]:
            with (self._folder / name).open("rb") as file:
                file.seek(offset)
                require_sound(io.BytesIO(file.read(length)))

    def restore_model(self, model: nn.Module) -> None:
        """Give a model, which is not sharded yet, its weights."""
        state = model.state_dict()
        self._require(f"{_MODEL}{name}" for name in state)
        self._load({f"{_MODEL}{name}": value for name, value in state.items()})

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The state of an optimiser as it loads it, each tensor sharded as its parameter is."""
        parameters = parameters_of(optimizer)
        empty: dict[str, Tensor] = {}
        for key, size in self._sizes.items():
            if key.startswith(_OPTIMIZER) and isinstance(size, TensorStorageMetadata):
                index = int(key.split(".")[1])
                empty[key] = _empty(size, parameters[index])
        self._load(empty)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in empty.items():
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
        return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}

    def _require(self, names: Iterator[str]) -> None:
        missing = [name for name in names if name not in self._sizes]
        if missing:
            raise KeyError(missing[0])

    def _load(self, state: dict[str, Tensor]) -> None:
        """Fill tensors; each process reads what it needs by itself."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            try:
                dcp.load(cast(dict[str, Any], state), storage_reader=self._reader, no_dist=True)
            except CheckpointException as error:  # which is no Exception
                raise next(iter(error.failures.values()))[0] from error


def sharded_as_parameters(
    state: Mapping[str, Any], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """The state of an optimiser from a single file, each tensor sharded as its parameter is."""
    parameters = parameters_of(optimizer)
    return {
        **state,
        "state": {
            index: {name: _sharded(value, parameters[index]) for name, value in values.items()}
            for index, values in state["state"].items()
        },
    }


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The parameters of all groups, numbered as in the optimiser's state."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def sync_folder(folder: Path) -> None:
    """See that the names in a folder are on the disk; nothing where the system cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _size(file: Path) -> int:
    """In bytes; -1: it is not there."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return -1


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    state = {f"{_MODEL}{name}": value for name, value in model.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        state |= {f"{_OPTIMIZER}{index}.{name}": value for name, value in values.items()}
    return state


def _sharded(value: Any, parameter: Tensor) -> Any:
    if not isinstance(parameter, DTensor) or not isinstance(value, Tensor):
        return value
    if value.shape != parameter.shape:  # a count of steps
        return value
    moved = value.to(parameter.device_mesh.device_type)
    placed = parameter.device_mesh, parameter.placements
    return distribute_tensor(moved, *placed, src_data_rank=None)  # every process has all of it


def _empty(size: TensorStorageMetadata, parameter: Tensor) -> Tensor:
    dtype = size.properties.dtype
    if size.size == parameter.shape:
        return torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
    return torch.zeros(size.size, dtype=dtype)


def _writer(folder: Path) -> dcp.FileSystemWriter:
    writer = dcp.FileSystemWriter(folder)
    writer.fs = _Files()
    return writer


class _Reader(dcp.FileSystemReader):
    """The library's reader, whose table of contents is a pickle: this one may name nothing that runs."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with (Path(self.path) / _CONTENTS).open("rb") as file:
            return _Contents(file).load()


class _Contents(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "pathlib._local":  # Python 3.13's name of it, which the others do not know
            module = "pathlib"
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not is_dtype and (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong there")
        return super().find_class(module, name)


class _Stream(WatchedFile):
    """What the checkpoint's writer asks of a file beyond writing."""

    def tell(self) -> int:
        return self._file.tell()

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


class _Files(FileSystem):
    """Files whose errors are those of the system, by the name of the file: torch has words of its own for them."""

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Iterator[Any]:
        stream: _Stream | None = None
        try:
            with Path(path).open(mode) as file:
                stream = _Stream(cast(BinaryIO, file))
                yield stream
        except Exception as error:
            told = error if stream is None else stream.error or error
            if isinstance(told, OSError) and told.errno and told.filename is None:
                told = OSError(told.errno, told.strerror, str(path))
            if told is error:
                raise
            raise told from error
