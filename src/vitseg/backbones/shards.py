"""Weights that are split over several files: the list of the parts says which tensor is where.

The Hugging Face libraries write large models as `model-00001-of-00003.safetensors` and so on, with a
`model.safetensors.index.json` beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from vitseg import parsing
from vitseg.errors import CheckpointError, first_names
from vitseg.types import StateDict
from vitseg.weight_files import INDEX, PART


def require_no_part(path: Path) -> None:
    """Raise CheckpointError for one of several parts: alone it is no model."""
    match = PART.match(path.name)
    if match and int(match["count"]) > 1:
        index = path.with_name(f"{match['stem']}{match['suffix']}{INDEX}")
        missing = "" if index.is_file() else ", which belongs beside them and is not there"
        raise CheckpointError(
            f"{path} is part {int(match['number'])} of {int(match['count'])} of a model: give {index.name}{missing}."
        )


def read_shards(path: Path, read: Callable[[Path], Any]) -> StateDict:
    """The tensors of all parts of a list.

    Args:
        path: The list.
        read: Reader of the content of one part.

    Raises:
        CheckpointError: The list cannot be read, names a file elsewhere, or a part or a tensor is missing.
    """
    try:
        content = parsing.read_json(path)
    except parsing.UnreadableError as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    places = content.get("weight_map") if isinstance(content, dict) else None
    if (
        not isinstance(places, dict)
        or not places
        or not all(isinstance(n, str) for n in places.values())
    ):
        raise CheckpointError(
            f"{path} lists no parts of a model: such a list has a weight_map with the file of every tensor."
        )
    files = sorted(set(places.values()))
    elsewhere = [name for name in files if PurePosixPath(name).name != name or "\\" in name]
    if elsewhere:
        raise CheckpointError(
            f"{path} names {first_names(elsewhere)}, but the parts of a model lie beside their list: refused."
        )
    absent = [name for name in files if not (path.parent / name).is_file()]
    if absent:
        raise CheckpointError(
            f"{path} lists {len(files)} parts, but {first_names(absent)} is not beside it: copy all of them."
        )
    tensors: StateDict = {}
    for name in files:
        part = read(path.parent / name)
        wanted = [tensor for tensor, file in places.items() if file == name]
        lacking = [tensor for tensor in wanted if not isinstance(part, dict) or tensor not in part]
        if lacking:
            raise CheckpointError(
                f"{path.parent / name} lacks {first_names(lacking)}, which {path.name} says is in it: copy both again."
            )
        tensors |= {tensor: part[tensor] for tensor in wanted}
    return tensors
