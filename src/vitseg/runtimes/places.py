"""Where an exported model is, and whether it is whole.

Nothing here imports torch, so that a mistyped path is refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitseg import parsing
from vitseg.checkpoint.places import (
    CONFIG,
    WEIGHTS,
    find_model_dir,
    listed_sums,
    require_complete,
    sha256_of,
)
from vitseg.errors import CheckpointError

FORMATS = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch-export"}
"""Endings of exported graphs, and the format of each."""


def is_exported(path: Path | str) -> bool:
    """Whether a path is that of an exported graph, by its ending."""
    return Path(path).suffix.lower() in FORMATS


def find_model(path: Path | str) -> Path:
    """What is meant by a path that predicts: an exported file, or a model directory (`find_model_dir`).

    Raises:
        CheckpointError: There is neither.
    """
    if not is_exported(path) or Path(path).is_dir():
        return find_model_dir(path)
    for file in (Path(path), record_place(Path(path))):
        if not file.is_file():
            raise CheckpointError(
                f"{file} does not exist: an exported model is {Path(path).name} and {record_place(Path(path)).name}, "
                "side by side, as vitseg export wrote them."
            )
    return Path(path)


def hashes(model: Path) -> dict[str, str | None]:
    """SHA-256 of the files of a model, as its list states them.

    Args:
        model: From `find_model`.
    """
    if is_exported(model):
        return {**_listed(model)["sha256"], "record": sha256_of(record_place(model))}
    require_complete(model)
    sums = listed_sums(model)
    return {"weights": sums.get(WEIGHTS), "configuration": sums.get(CONFIG)}


def extra_images(model: Path) -> list[str]:
    """Names of the folders of extra images that a model reads its bands from, as its record states them.

    Args:
        model: From `find_model`; where it cannot be read, loading it will say what is wrong.
    """
    place = record_place(model) if is_exported(model) else model / CONFIG
    try:
        raw = parsing.read_json(place, finite=False)
        record = raw["model"] if is_exported(model) else raw
        return [str(name) for name in record["preprocessing"]["bands"]["extra_images"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # most models have none
        return []


def weights_hash(path: Path | str) -> str:
    """SHA-256 of a model's weights, as its list states them: of the directory's, or of the exported graph."""
    model = find_model(path)
    if is_exported(model):
        return _listed(model)["sha256"][model.name]
    return listed_sums(model)[WEIGHTS]


def record_place(graph: Path) -> Path:
    """The file beside a graph that says what it is."""
    return graph.with_name(f"{graph.name}.json")


def read_verified(graph: Path) -> Mapping[str, Any]:
    """What the file beside a graph says, once the hashes that it lists are those of the files.

    Raises:
        CheckpointError: A file is missing, is a link or lies elsewhere, or has changed since the export.
    """
    raw, place = _listed(graph), record_place(graph)
    for name, digest in raw["sha256"].items():
        file = graph.parent / str(name)
        if file.name != name or (name != graph.name and file.is_symlink()):
            raise CheckpointError(
                f"{place} lists {name!r}, which is not a plain file beside it: export the model again."
            )
        if not file.is_file():
            raise CheckpointError(f"{file} is missing, which {place.name} lists: copy all files.")
        if sha256_of(file) != digest:
            raise CheckpointError(
                f"{file} changed since the export ({place.name} says so): copy it again, or export the model again."
            )
    return raw


def _listed(graph: Path) -> Mapping[str, Any]:
    """What the file beside a graph says, whatever the files are."""
    place = record_place(find_model(graph))
    try:
        raw = parsing.read_json(place, finite=False)
        sums = dict(raw["sha256"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{place} cannot be read as what vitseg export writes beside a graph: {error!r}"
        ) from error
    if graph.name not in sums:
        raise CheckpointError(
            f"{place} is about {', '.join(sums) or 'no file'}, not {graph.name}: an exported file and the one beside "
            "it keep their names."
        )
    return raw
