"""What a result is a result of, and what may not be mixed: versions, budgets, recipes, data.

A result counts for a row as long as these are the same:

- the recipe with all its fields, as the row's file and overrides say now (fields that move no weight may change, and
  fields that the package has gained since are read with their defaults), and that of the row it starts from;
- the budget, which is a part of it and named by itself;
- the versions of vitseg and timm, and torch's up to its minor number: patches of torch are to change no numbers;
- the images and masks of the data set, and the pretrained weights.

The commit is written down but may differ, or no study could go on after a correction of a text. So a change of the code
that trains is not seen: whoever makes one raises vitseg's version, or deletes the results that it concerns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from row import FORMATS, Row, RowList

from vitseg.changes import changed_fields
from vitseg.checkpoint.versions import package_versions
from vitseg.errors import ConfigError
from vitseg.evaluation.provenance import content_hash
from vitseg.runs import LAST

OF_PLACES = ("data.source", "backbone.weights", "training.init_from")
"""Fields of a run's recipe that are paths; what lies there is compared by itself."""

STARTS = ".start"
"""End of the name of the folder in which a changed model lies that a run starts from."""


@dataclass(frozen=True)
class Places:
    """Where everything is.

    Attributes:
        roots: Folder of each data set that is at hand.
        weights: Folder of pretrained weights; None: none are at hand.
        runs: Folder of the runs.
        out: Folder of the result files.
    """

    roots: Mapping[str, Path]
    weights: Path | None
    runs: Path
    out: Path

    def run(self, row: Row, seed: int) -> Path:
        """Folder of a training; of a "look", that of the row whose model it looks at."""
        return self.runs / f"{row.start if row.kind == 'look' else row.name}-seed{seed}"

    def log(self, row: Row, seed: int) -> Path:
        return self.runs / f"{row.name}-seed{seed}.log"

    def begun(self, row: Row, seed: int) -> Path:
        """What the training in a run's folder was begun as."""
        return self.runs / f"{row.name}-seed{seed}.json"

    def start(self, row: Row, seed: int) -> Path:
        """Folder of the changed model that a run starts from."""
        return self.runs / f"{row.name}-seed{seed}{STARTS}"

    def result(self, row: Row, seed: int) -> Path:
        return self.out / f"{row.name}-seed{seed}.json"

    def source(self, row: Row) -> str:
        """NAME:ROOT of a row's data."""
        return f"{FORMATS[row.data]}:{self.roots[row.data].resolve()}"

    def init_from(self, row: Row, seed: int) -> Path | None:
        """The model that a training starts from."""
        if row.start is None or row.kind == "look":
            return None
        if row.exit_behind is not None:
            return self.start(row, seed)
        return self.runs / f"{row.start}-seed{seed}" / LAST

    def overrides(self, row: Row, seed: int, recipe: Mapping[str, Any]) -> list[str]:
        """All overrides of a training, with paths.

        Raises:
            ConfigError: Its pretrained weights are not at hand.
        """
        found = list(row.all_overrides(seed))
        name = weights_name(recipe)
        if name is not None:
            found.append(f"backbone.weights={self.weights_file(name).resolve()}")
        start = self.init_from(row, seed)
        if start is not None:
            found.append(f"training.init_from={start.resolve()}")
        return found

    def weights_file(self, name: str) -> Path:
        if self.weights is None or not (self.weights / name).is_file():
            raise ConfigError(
                f"the pretrained weights {name} are not in {self.weights or 'any folder'}: give --weights DIR."
            )
        return self.weights / name


def weights_name(recipe: Mapping[str, Any]) -> str | None:
    """Name of the file of a recipe's pretrained weights; None: it begins from scratch."""
    backbone = recipe["backbone"]
    if not backbone.get("pretrained", True):
        return None
    return f"{str(backbone['name']).partition('.')[0]}.safetensors"


def recipe_of(row: Row, seed: int) -> dict[str, Any]:
    """The whole recipe of a row as it stands now, without paths.

    Raises:
        ConfigError: There is no such recipe, or an override does not fit.
    """
    from vitseg.studies.continual.recipe import load_continual
    from vitseg.training.recipe import load_recipe

    overrides = list(row.all_overrides(seed))
    if row.start is not None and row.kind == "train":
        overrides.append(f"training.init_from={row.start}")
    source = f"{FORMATS[row.data]}:-"
    if row.kind == "steps":
        steps = load_continual(row.recipe, overrides, source)
        whole = {**steps.to_mapping(), **steps.first.without_paths().to_mapping()}
    else:
        whole = load_recipe(row.recipe, overrides, source).without_paths().to_mapping()
    return json.loads(json.dumps(whole))


def _as_read_today(recipe: Any) -> Any:
    """A recipe of an earlier day with the fields that there are by now; as it is where it does not fit any more."""
    from vitseg.studies.continual.recipe import parse_continual
    from vitseg.training.recipe import parse_recipe

    try:
        parsed = (parse_continual if "continual" in recipe else parse_recipe)(recipe)
        return json.loads(json.dumps(parsed.to_mapping()))
    except (ConfigError, TypeError):
        return recipe


def recipe_hash(recipe: Mapping[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of a recipe's JSON with sorted keys."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions_that_count(versions: Mapping[str, str]) -> dict[str, str]:
    """The versions in which two results that are compared have to agree."""
    return {
        "vitseg": versions.get("vitseg", "?"),
        "torch": ".".join(versions.get("torch", "?").split(".")[:2]),
        "timm": versions.get("timm", "?"),
    }


class Identities:
    """What results of the rows have to be; data are read once.

    Args:
        rows: The study.
        places: Where data and weights are; None: results are compared without them.
    """

    def __init__(self, rows: RowList, places: Places | None = None):
        self.rows, self.places = rows, places
        self._data: dict[str, dict[str, str]] = {}
        self._weights: dict[str, str] = {}
        self._recipes: dict[tuple[str, int], dict[str, Any]] = {}

    @cached_property
    def versions(self) -> dict[str, str]:
        return package_versions()

    def recipe(self, row: Row, seed: int) -> dict[str, Any]:
        key = (row.name, seed)
        if key not in self._recipes:
            self._recipes[key] = recipe_of(row, seed)
        return self._recipes[key]

    def changed(self, row: Row, seed: int, recipe: Any) -> list[str]:
        """Fields in which the recipe that a run was trained by differs from that of a row, sorted."""
        found = changed_fields(_as_read_today(recipe), self.recipe(row, seed))
        return sorted(found - set(OF_PLACES))

    def of(self, row: Row, seed: int) -> dict[str, Any]:
        """What a result of a row says of where it is from; all of it plain values."""
        recipe = self.recipe(row, seed)
        start = self.rows.row(row.start) if row.start else None
        return {
            "format": 1,
            "row": row.name,
            "seed": seed,
            "iterations": row.iterations,
            "recipe_name": row.recipe,
            "overrides": list(row.all_overrides(seed)),
            "recipe_hash": recipe_hash(recipe),
            "recipe": recipe,
            "start": None
            if start is None
            else {
                "row": start.name,
                "exit_behind": row.exit_behind,
                "recipe": self.recipe(start, seed),
            },
            "threshold": row.threshold,
            "data": self.data(row),
            "weights": self.weights(weights_name(recipe)),
            "versions": self.versions,
        }

    def data(self, row: Row) -> dict[str, str] | None:
        """Name and content of a row's data; None where they are not at hand."""
        if self.places is None or row.data not in self.places.roots:
            return None
        if row.data not in self._data:
            from vitseg.data.catalog import open_dataset

            source = self.places.source(row)
            hashes = {
                split: content_hash(open_dataset(source, split)) for split in ("train", "val")
            }
            self._data[row.data] = {"name": row.data, **hashes}
        return self._data[row.data]

    def weights(self, name: str | None) -> dict[str, str] | None:
        if self.places is None or self.places.weights is None or name is None:
            return None
        if name not in self._weights:
            content = self.places.weights_file(name).read_bytes()
            self._weights[name] = hashlib.sha256(content).hexdigest()[:16]
        return {"name": name, "sha256": self._weights[name]}

    def difference(self, found: Any) -> str | None:
        """In what a result, or the record of a begun run, is of another study; None: it belongs to this one.

        Args:
            found: What its file says.
        """
        try:
            return self._difference(found)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            return f"is no result of the study ({type(error).__name__}: {error})"

    def _difference(self, found: Any) -> str | None:
        if found["format"] != 1:
            return f"has format {found['format']}, but this study writes 1"
        row = self.rows.row(found["row"])
        if row is None:
            return f"is of a row {found['row']!r}, which the study does not have"
        seed = found["seed"]
        if type(seed) is not int or seed not in row.seeds:
            return f"is of seed {seed!r}, but the row {row.name} has {list(row.seeds)}"
        theirs, ours = (versions_that_count(each) for each in (found["versions"], self.versions))
        for name, version in ours.items():
            if theirs[name] != version:
                return f"is of {name} {theirs[name]}, but this is {name} {version}"
        if found["iterations"] != row.iterations:
            return f"is of {found['iterations']} iterations, but the row has {row.iterations} now"
        now = self.of(row, seed)
        changed = sorted(changed_fields(_as_read_today(found["recipe"]), now["recipe"]))
        if found["threshold"] != now["threshold"]:
            changed.append("threshold")
        if changed:
            return f"is of another recipe: {', '.join(changed[:4])} changed"
        before, start = found["start"], now["start"]
        if (before is None) != (start is None):
            return "starts from another model"
        if before is not None and start is not None:
            if any(before[name] != start[name] for name in ("row", "exit_behind")):
                return "starts from another model"
            changed = sorted(changed_fields(_as_read_today(before["recipe"]), start["recipe"]))
            if changed:
                return f"starts from a model of another recipe: {', '.join(changed[:4])} changed"
        for name in ("data", "weights"):
            if now[name] is not None and found[name] != now[name]:
                return f"was made with other {name}"
        if found["data"]["name"] != row.data:
            return f"is of the data {found['data']['name']!r}, but the row is of {row.data}"
        if found["weights"] is not None and not isinstance(found["weights"]["name"], str):
            return "does not say of which weights it is"
        return None
