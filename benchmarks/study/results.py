"""Result files: one for each row and seed, small enough to be kept with the code.

Beside scores and where they are from, a file has the pixel counts of every image, by which differences are judged: as
confusion matrices, or of a row in steps as the pixels that were hit, labelled and predicted of each class. Counts are
32-bit integers, their bytes sorted by place, compressed and written in base64.
"""

from __future__ import annotations

import base64
import lzma
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from identity import Identities
from row import Row

from vitseg import parsing
from vitseg.errors import ConfigError

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


def packed(counts: np.ndarray, kind: Literal["confusions", "hits"]) -> dict[str, Any]:
    """An array of counts as plain values.

    Args:
        counts: Of every image, (n, k, k) by label and prediction ("confusions"), or (n, k, 3) as `hits_of` gives them.
        kind: Which of these.
    """
    assert counts.min() >= 0
    assert counts.max() < 2**32
    places = np.ascontiguousarray(counts.astype("<u4")).reshape(-1, 1).view(np.uint8).T
    data = lzma.compress(places.tobytes(), format=lzma.FORMAT_RAW, filters=FILTERS)
    return {"kind": kind, "shape": list(counts.shape), "data": base64.b64encode(data).decode()}


def unpacked(content: Mapping[str, Any]) -> np.ndarray:
    """The array that `packed` was given.

    Raises:
        ValueError: It is damaged.
    """
    try:
        data = base64.b64decode(content["data"], validate=True)
        places = lzma.decompress(data, format=lzma.FORMAT_RAW, filters=FILTERS)
        planes = np.frombuffer(places, np.uint8).reshape(4, -1)
        return np.ascontiguousarray(planes.T).view("<u4").astype(np.int64).reshape(content["shape"])
    except (KeyError, TypeError, ValueError, lzma.LZMAError) as error:
        raise ValueError(f"its counts cannot be read: {error}") from error


def hits_of(counts: np.ndarray) -> np.ndarray:
    """Of confusion matrices (n, k, k), the pixels of each class that were hit, labelled and predicted: (n, k, 3)."""
    return np.stack([np.diagonal(counts, axis1=1, axis2=2), counts.sum(2), counts.sum(1)], axis=-1)


@dataclass(frozen=True)
class Result:
    """A result file that belongs to the study.

    Attributes:
        row: Its row.
        seed: Its seed.
        content: All that it says.
    """

    row: Row
    seed: int
    content: dict[str, Any]

    @property
    def miou(self) -> float:
        return self.content["miou"]

    @property
    def minutes(self) -> float | None:
        return self.content["minutes"]

    @property
    def gmacs(self) -> float | None:
        return self.content["gmacs"]

    def counts(self, name: str) -> np.ndarray | None:
        """Counts of every image, (n, k, 3): "last", and where there are any "trimap" or "learnt"."""
        packed_counts = self.content["images"].get(name)
        if packed_counts is None:
            return None
        counts = unpacked(packed_counts)
        return hits_of(counts) if packed_counts["kind"] == "confusions" else counts


def result_files(folder: Path) -> Iterator[Path]:
    """All result files of a folder, sorted."""
    yield from sorted(folder.glob("*.json"))


def read_file(path: Path) -> Any:
    """What a result file says.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return parsing.read_json(path)
    except parsing.UnreadableError as error:
        raise ConfigError(
            f"{path} cannot be read: {error}. Restore it, or delete it to have it made anew."
        ) from error


def read_results(folder: Path, identities: Identities) -> list[Result]:
    """All results of a study.

    Raises:
        ConfigError: A file is damaged, or belongs to another study; the first such file is named.
    """
    found = []
    for path in result_files(folder):
        content = read_file(path)
        difference = identities.difference(content)
        if difference is not None:
            raise ConfigError(
                f"{path} {difference}. Results are not mixed: give another --out, or delete the file to have it made "
                "anew. Nothing was changed."
            )
        row = identities.rows.row(content["row"])
        assert row is not None
        if path.name != f"{row.name}-seed{content['seed']}.json":
            raise ConfigError(
                f"{path} says that it is of {row.name}, seed {content['seed']}: give it its name back."
            )
        _require_whole(path, content)
        found.append(Result(row, content["seed"], content))
    _require_same_images(folder, found)
    return found


def _require_whole(path: Path, content: Mapping[str, Any]) -> None:
    try:
        for name in ("miou", "minutes", "gmacs", "device", "validations", "per_class"):
            content[name]
        for counts in content["images"].values():
            unpacked(counts)
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{path} is damaged ({type(error).__name__}: {error}). Restore it, or delete it to have it made anew."
        ) from error


def _require_same_images(folder: Path, results: list[Result]) -> None:
    """Also without the data at hand: all results of a data set have to be of the same images."""
    first: dict[str, Result] = {}
    for result in results:
        data = result.content["data"]
        other = first.setdefault(data["name"], result)
        if other.content["data"] != data:
            names = " and ".join(
                f"{each.row.name}-seed{each.seed}.json" for each in (other, result)
            )
            raise ConfigError(f"{folder}: {names} are of other data: results are not mixed.")
