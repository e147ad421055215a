"""What a row of the study is: one training or one look at a trained model, for each of its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from vitseg.errors import ConfigError

FORMATS = {"camvid": "camvid", "ccp": "folder"}
"""The data sets of the study, and the format of their folders (the NAME of NAME:ROOT)."""

TRIMAP = 4
"""Width in pixels of the band around labelled boundaries in which rows with `trimap` are scored, too."""

VALIDATIONS = 4
"""Validations of a training, at equal distances; the last one at its end."""

SAVED_EVERY = 250
"""Iterations between two saves of the state: what a kill may cost."""


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        name: Of its files, unique.
        group: What rows are run together: all rows of a seed before the next seed.
        label: In tables.
        recipe: A recipe that ships with the package.
        overrides: `section.field=value` each, beside those that follow from budget and seed.
        iterations: The budget: steps of the training; of a row in steps, of its first one.
        seeds: One training for each.
        kind: "train" is `vitseg train`; "steps" is `vitseg continual`; "look" trains nothing, and scores the model of
            `start` at another `threshold`.
        data: One of `FORMATS`.
        start: The row whose last model, of the same seed, this one starts from.
        exit_behind: The start has one exit, moved behind this block, first (`benchmarks/_move_exit.py`).
        threshold: Confidence from which tokens leave, of a "look".
        first_of: Of a row in steps: the row whose first step is taken instead of being trained again.
        on_gpu: Run on a GPU alone.
        extra: Run only where it is named: what claims need beyond the list of the study.
        varies: Multiply-adds differ from image to image, and are the mean over all of them.
        trimap: Scored near boundaries, too.
        note: What the table has to say of it.
    """

    name: str
    group: str
    label: str
    recipe: str
    overrides: tuple[str, ...] = ()
    iterations: int = 1000
    seeds: tuple[int, ...] = (0,)
    kind: Literal["train", "steps", "look"] = "train"
    data: str = "camvid"
    start: str | None = None
    exit_behind: int | None = None
    threshold: float | None = None
    first_of: str | None = None
    on_gpu: bool = False
    extra: bool = False
    varies: bool = False
    trimap: bool = False
    note: str = ""

    def all_overrides(self, seed: int) -> tuple[str, ...]:
        """What is put over the recipe, but for paths."""
        interval = -(-self.iterations // VALIDATIONS)  # rounded up, so that there are no more
        budget = [
            f"training.iterations={self.iterations}",
            f"training.seed={seed}",
            f"training.save_interval={SAVED_EVERY}",
        ]
        if self.kind == "train":
            budget.append(f"training.val_interval={interval}")
        return (*self.overrides, *budget)


@dataclass(frozen=True)
class Table:
    """Rows that are ranked with one another.

    Attributes:
        title: Its heading.
        rows: Their names.
        text: What is said above it.
    """

    title: str
    rows: tuple[str, ...]
    text: str = ""


class RowList(NamedTuple):
    """The rows of a study in the order in which they are run, and its tables."""

    rows: tuple[Row, ...]
    tables: tuple[Table, ...]

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)

    def check(self) -> RowList:
        """See that names are unique and lead somewhere; returns itself.

        Raises:
            ConfigError: They do not.
        """
        names = [row.name for row in self.rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        _require(not twice, f"has several rows of the name {', '.join(twice)}")
        for row in self.rows:
            known = ", ".join(FORMATS)
            _require(row.data in FORMATS, f"has a row {row.name} of {row.data!r}: data are {known}")
            for other in filter(None, (row.start, row.first_of)):
                is_before = other in names[: names.index(row.name)]
                _require(is_before, f"has no row {other} before {row.name}, which needs it")
                seeds = set(self.rows[names.index(other)].seeds)
                _require(set(row.seeds) <= seeds, f"has seeds of {row.name} that {other} lacks")
            is_look = row.kind == "look"
            whole = is_look == (row.threshold is not None) and (row.start or not is_look)
            _require(bool(whole), f"has a row {row.name}: a look has a start and a threshold")
        for table in self.tables:
            missing = sorted(set(table.rows) - set(names))
            _require(not missing, f"has no rows {', '.join(missing)} of the table {table.title!r}")
        return self


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ConfigError(f"the list of rows {what}.")


def read_list(path: Path | None) -> RowList:
    """The rows of a Python file that has `ROWS` and `TABLES`; those of the study where none is given.

    Raises:
        ConfigError: It cannot be run, lacks one of them, or its rows do not fit together.
    """
    import runpy

    path = path or Path(__file__).with_name("rows.py")
    try:
        content = runpy.run_path(str(path))
        found = RowList(tuple(content["ROWS"]), tuple(content["TABLES"]))
    except Exception as error:  # whatever a program of somebody's own raises
        said = f"{type(error).__name__}: {error}"
        raise ConfigError(f"the list of rows {path} cannot be read ({said}).") from error
    return found.check()


def with_budget(rows: Sequence[Row], group: str, iterations: int) -> tuple[Row, ...]:
    """The same rows for another number of iterations, in a group of their own; names end in the number."""
    return tuple(
        replace(
            row,
            name=f"{row.name}-{iterations}",
            group=group,
            iterations=iterations,
            start=row.start and f"{row.start}-{iterations}",
        )
        for row in rows
    )
