"""Result files: one for each row and seed, small enough to be kept with the code.

Beside scores and where they are from, a file has the pixel counts of every image, by which differences are judged: as
confusion matrices, or of a row in steps as the pixels that were hit, labelled and predicted of each class. Counts are
32-bit integers, their bytes sorted by place, compressed and written in base64.
"""

from __future__ import annotations

import base64
import lzma
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from bootstrap import ious, mean_iou
from identity import Identities, recipe_hash, weights_name
from row import Row

from vitseg import parsing
from vitseg.errors import ConfigError
from vitseg.studies.continual.splits import step_sizes

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
        shape = content["shape"]
        if not all(type(each) is int and 0 < each < 2**31 for each in shape):
            raise ValueError(f"their shape is {shape}")
        size = 4 * math.prod(shape)
        data = base64.b64decode(content["data"], validate=True)
        reader = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=FILTERS)
        places = reader.decompress(data, max_length=size + 1)  # however much there is behind it
        if len(places) != size:
            raise ValueError(f"they are no {size} bytes")
        planes = np.frombuffer(places, np.uint8).reshape(4, -1)
        return np.ascontiguousarray(planes.T).view("<u4").astype(np.int64).reshape(shape)
    except (KeyError, TypeError, ValueError, lzma.LZMAError) as error:
        raise ValueError(f"its counts cannot be read: {error}") from error


def hits_of(counts: np.ndarray) -> np.ndarray:
    """Of confusion matrices (n, k, k), the pixels of each class that were hit, labelled and predicted: (n, k, 3)."""
    return np.stack([np.diagonal(counts, axis1=1, axis2=2), counts.sum(2), counts.sum(1)], axis=-1)


def hits_in(content: Mapping[str, Any]) -> np.ndarray:
    """What `packed` was given, as `hits_of` gives it.

    Raises:
        ValueError: It is damaged.
    """
    counts = unpacked(content)
    if (
        content.get("kind") == "confusions"
        and counts.ndim == 3
        and counts.shape[1] == counts.shape[2]
    ):
        return hits_of(counts)
    if content.get("kind") != "hits" or counts.ndim != 3 or counts.shape[2] != 3:
        raise ValueError(f"counts of kind {content.get('kind')!r} have the shape {counts.shape}")
    if (counts[..., 0] > counts[..., 1:].min(-1)).any():
        raise ValueError("more pixels of a class are hit than labelled or predicted")
    return counts


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
        return None if packed_counts is None else hits_in(packed_counts)


def result_files(folder: Path) -> Iterator[Path]:
    """All result files of a folder, sorted; none where there is no folder.

    Raises:
        OSError: It cannot be listed.
    """
    if folder.exists():
        yield from sorted(path for path in folder.iterdir() if path.suffix == ".json")


def read_file(path: Path, otherwise: str = "delete it to have it made anew") -> Any:
    """What a result file says.

    Args:
        path: The file.
        otherwise: What can be done where it cannot be restored.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return parsing.read_json(path)
    except parsing.UnreadableError as error:
        raise ConfigError(f"{path} cannot be read: {error}. Restore it, or {otherwise}.") from error


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
        _require_whole(path, row, content)
        found.append(Result(row, content["seed"], content))
    _require_same_images(folder, found)
    _require_other_trainings(folder, found)
    return found


def _require_whole(path: Path, row: Row, content: Mapping[str, Any]) -> None:
    """See that a file says all that tables and claims read, and that its scores are those of its counts.

    Raises:
        ConfigError: It does not.
    """
    try:
        _require_provenance(content)
        parts = ["last", *(["trimap"] if row.trimap else [])]
        if row.kind == "steps":
            _require_tasks(content)
            is_joint = content["recipe"]["continual"]["approach"] == "joint"
            parts += ["learnt"] if len(content["tasks"]) > 1 and not is_joint else []
        kind = "hits" if row.kind == "steps" else "confusions"
        for name in parts:
            require(content["images"][name]["kind"] == kind, f"images.{name} are no {kind}")
        hits = {name: hits_in(content["images"][name]) for name in parts}
        shape = (len(hits["last"]), len(content["per_class"]), 3)
        for name, counts in hits.items():
            require(
                counts.shape == shape, f"images.{name} has counts of {counts.shape}, not {shape}"
            )
        if "trimap" in hits:
            labelled, band = (hits[name][..., 1] for name in ("last", "trimap"))
            within = (band <= labelled).all() and band.sum() < labelled.sum()
            require(bool(within), "images.trimap is no part of images.last")
        if "learnt" in hits:
            labelled, then = (hits[name][..., 1] for name in ("last", "learnt"))
            same = bool((labelled == then).all())
            require(same, "images.learnt and images.last are of other images or masks")
        require_scores(content, hits["last"])
    except (ConfigError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{path} is damaged ({type(error).__name__}: {error}). Restore it, or delete it to have it made anew."
        ) from error


def _require_tasks(content: Mapping[str, Any]) -> None:
    """See that the classes of each step are as many as the recipe's split says, and all of them those that are scored.

    Raises:
        ValueError: They are not.
    """
    tasks = content["tasks"]
    classes = [name for task in tasks for name in task]
    same = classes == list(content["per_class"])
    require(same, "tasks and per_class have other classes, or in another order")
    sizes, split = [len(task) for task in tasks], content["recipe"]["continual"]["split"]
    wanted = step_sizes(split, len(classes))
    require(
        sizes == wanted, f"tasks have {sizes} classes, but {split} of {len(classes)} are {wanted}"
    )


def _require_provenance(content: Mapping[str, Any]) -> None:
    """See that a file says where it is from, in what the protocol has every result say.

    Raises:
        ValueError: It does not.
    """
    for name in ("minutes", "gmacs"):
        value = content[name]
        require(value is None or (is_number(value) and value >= 0), f"{name} is no number")
    require(content["gmacs"] != 0, "gmacs is 0")
    require(isinstance(content["device"], str), "device is no text")
    require(content["commit"] is None or isinstance(content["commit"], str), "commit is no text")
    require(is_number(content["threads"]), "threads is no number")
    require(isinstance(content["inference"], dict), "inference has no fields")
    for name in ("validations", "overrides"):
        require(isinstance(content[name], list), f"{name} is no list")
    recipe = content["recipe"]
    require(content["recipe_hash"] == recipe_hash(recipe), "recipe_hash is that of another recipe")
    same = content["inference"] == recipe["inference"]
    require(same, "inference is not that of its recipe: it was scored in another way")
    name = weights_name(recipe)
    said = None if content["weights"] is None else content["weights"]["name"]
    require(said == name, f"weights are {said}, but its recipe starts from {name}")


def require_scores(content: Mapping[str, Any], hits: np.ndarray) -> None:
    """See that a file's mIoU and the IoU of each of its classes are those of the counts of all images.

    Args:
        content: What the file says: "miou" and "per_class".
        hits: Its counts, (n, k, 3).

    Raises:
        ValueError: They are others.
    """
    miou, said = content["miou"], content["per_class"]
    require(is_number(miou), "miou is no number")
    require(len(said) == hits.shape[1], f"{len(said)} classes, but counts of {hits.shape[1]}")
    found = ious(hits)
    _require_near("miou", miou, float(mean_iou(found)))
    for (name, value), of_counts in zip(said.items(), found, strict=True):
        require(value is None or is_number(value), f"per_class.{name} is no number")
        _require_near(f"per_class.{name}", math.nan if value is None else value, float(of_counts))


def _require_near(name: str, said: float, of_counts: float) -> None:
    same = math.isclose(of_counts, said, abs_tol=1e-6) or (
        math.isnan(said) and math.isnan(of_counts)
    )
    require(same, f"{name} is {said:.6f}, but {of_counts:.6f} by its counts")


def refuse_mixed(folder: Path, facts: Iterable[tuple[str, Mapping[tuple[str, ...], Any]]]) -> None:
    """See that files agree in what they say of the same things.

    Args:
        folder: Where they lie.
        facts: Name of each file, and what it says, by what it says it of.

    Raises:
        ConfigError: Two do not; they are named.
    """
    first: dict[tuple[str, ...], tuple[str, Any]] = {}
    for name, said in facts:
        for key, value in said.items():
            other, known = first.setdefault(key, (name, value))
            if known != value:
                raise ConfigError(
                    f"{folder}: {other} and {name} are of other {key[0]} ({', '.join(key[1:])}): "
                    "results are not mixed."
                )


def require(holds: bool, what: str) -> None:
    """Raises ValueError with `what` unless something holds."""
    if not holds:
        raise ValueError(what)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require_same_images(folder: Path, results: list[Result]) -> None:
    """Also without the data at hand: results of a data set have to be of the same images, masks, weights and devices.

    Raises:
        ConfigError: Two are not; they are named.
    """
    refuse_mixed(
        folder, ((f"{each.row.name}-seed{each.seed}.json", _facts(each)) for each in results)
    )


def _require_other_trainings(folder: Path, results: list[Result]) -> None:
    """See that no result of a row counts as that of another seed, too.

    Raises:
        ConfigError: Two have the same counts; they are named.
    """
    first: dict[tuple[str, bytes], int] = {}
    for each in results:
        hits = each.counts("last")
        assert hits is not None
        if (hits[..., 2].sum(0) > 0).sum() < 2:
            continue  # two that say the same class of all pixels are alike
        seed = first.setdefault((each.row.name, hits.tobytes()), each.seed)
        if seed != each.seed:
            raise ConfigError(
                f"{folder}: {each.row.name}-seed{seed}.json and {each.row.name}-seed{each.seed}.json have the same "
                "counts of every image, as no two trainings have: delete the one that is a copy."
            )


def _facts(result: Result) -> dict[tuple[str, ...], Any]:
    content, data, weights = result.content, result.content["data"], result.content["weights"]
    labelled = zip(content["per_class"], _labelled(result).T.tolist(), strict=True)
    facts: dict[tuple[str, ...], Any] = {("data", data["name"]): data}
    if weights is not None:
        facts["weights", weights["name"]] = weights
    facts["classes", data["name"]] = sorted(content["per_class"])
    facts |= {("masks", data["name"], name): counts for name, counts in labelled}
    band = result.counts("trimap")
    if band is not None:
        near = zip(content["per_class"], band[..., 1].T.tolist(), strict=True)
        facts |= {("bands", data["name"], name): counts for name, counts in near}
    if not result.row.on_gpu:
        facts["devices", "of the rows that any machine runs"] = device_kind(content)
    return facts


def device_kind(content: Mapping[str, Any]) -> str:
    return "cpu" if content["device"] == "cpu" else "a GPU"


def _labelled(result: Result) -> np.ndarray:
    """Labelled pixels of every image and class, (n, k)."""
    counts = result.counts("last")
    assert counts is not None
    return counts[..., 1]
