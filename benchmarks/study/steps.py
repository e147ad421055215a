"""What has to be done for the results that are missing: trainings, changed starts and scorings, and their order."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from identity import Identities, Places, weights_name
from places import as_arguments
from results import read_file
from row import Row, RowList

from vitseg.checkpoint.places import CONFIG, SUMS
from vitseg.errors import ConfigError
from vitseg.files import write_json
from vitseg.runs import LAST, RECIPE, STATE, read_own, stage_of

HERE = Path(__file__).resolve().parent
MOVE_EXIT = HERE.parent / "_move_exit.py"
CONTINUAL_RESULT = "continual.json"


@dataclass(frozen=True)
class Step:
    """One process of the study.

    Attributes:
        name: What is shown, unique.
        needs: Names of the steps that come before it, where they are still to be done.
        log: File that its output is added to.
        command: Makes ready what it needs, and returns its command line.
        after: Called when it has ended well.
    """

    name: str
    needs: tuple[str, ...]
    log: Path
    command: Callable[[], list[str]]
    after: Callable[[], object] = lambda: None


class Plan:
    """The steps that are missing, in the order in which they are begun.

    Args:
        identities: What results have to be.
        places: Where everything is.
        chosen: Rows that are wanted, in order.
        seeds: Only these seeds; None: all.
        list_file: The list of rows, where it is not the study's own.
    """

    def __init__(
        self,
        identities: Identities,
        places: Places,
        chosen: Sequence[Row],
        seeds: Sequence[int] | None = None,
        list_file: Path | None = None,
    ):
        self.identities, self.places, self.list_file = identities, places, list_file
        self.steps: dict[str, Step] = {}
        for row, seed in in_order(chosen, seeds):
            if not places.result(row, seed).is_file():
                self._add_scoring(row, seed)

    def _row(self, name: str) -> Row:
        row = self.identities.rows.row(name)
        assert row is not None
        return row

    def _add_scoring(self, row: Row, seed: int) -> None:
        places = self.places
        trained = self._row(row.start) if row.kind == "look" and row.start else row
        needs = self._add_training(trained, seed)
        if needs:
            self._refuse_another_model(trained, seed)
        arguments = ["--row", row.name, "--seed", str(seed), *as_arguments(places, self.list_file)]
        command = [sys.executable, str(HERE / "score.py"), *arguments]
        name = f"score {row.name}-seed{seed}"
        self.steps[name] = Step(
            name,
            needs,
            places.log(row, seed),
            lambda: command,
            after=lambda: forget_state(places.run(row, seed)),
        )

    def _refuse_another_model(self, trained: Row, seed: int) -> None:
        """See that no model is trained anew of which there are results: those of the next one would stand beside them.

        Raises:
            ConfigError: There are.
        """
        looks = [row for row in self.identities.rows.rows if row.kind == "look"]
        of_model = [trained, *(row for row in looks if row.start == trained.name)]
        there = [path for row in of_model if (path := self.places.result(row, seed)).is_file()]
        if there:
            raise ConfigError(
                f"{there[0]} is of a model that is not in {self.places.run(trained, seed)}: another training would be "
                f"another model. Restore the run, or delete {', '.join(path.name for path in there)}. Nothing was "
                "changed."
            )

    def _add_training(self, row: Row, seed: int) -> tuple[str, ...]:
        """Add a training unless it is finished; returns what has to be waited for."""
        name = f"train {row.name}-seed{seed}"
        run = self.places.run(row, seed)
        if name in self.steps:
            return (name,)
        if is_finished(row, run):
            return ()
        needs: tuple[str, ...] = ()
        for other in (row.start, row.first_of):
            if other is not None:
                needs += self._add_training(self._row(other), seed)
        if row.exit_behind is not None:
            needs = (*needs, *self._add_start(row, seed, needs))
        self.steps[name] = Step(
            name, needs, self.places.log(row, seed), lambda: self._training(row, seed)
        )
        return (name,)

    def _add_start(self, row: Row, seed: int, needs: tuple[str, ...]) -> tuple[str, ...]:
        out = self.places.start(row, seed)
        if (out / SUMS).is_file() and is_begun(row, self.places.run(row, seed)):
            return ()
        base = self.places.run(self._row(row.start or ""), seed) / LAST

        def command() -> list[str]:
            shutil.rmtree(out, ignore_errors=True)  # half of one, or one of an earlier base
            fresh = [str(base), str(out), "--behind", str(row.exit_behind)]
            return [sys.executable, str(MOVE_EXIT), *fresh]

        name = f"start {row.name}-seed{seed}"
        self.steps[name] = Step(name, needs, self.places.log(row, seed), command)
        return (name,)

    def _training(self, row: Row, seed: int) -> list[str]:
        """The command that begins a training, or goes on with it."""
        places = self.places
        run, begun = places.run(row, seed), places.begun(row, seed)
        goes_on = run.is_dir() and is_begun(row, run)
        if not goes_on:
            shutil.rmtree(run, ignore_errors=True)  # stopped before its first save
            write_json(begun, self.identities.of(row, seed))
        overrides = places.overrides(row, seed, self.identities.recipe(row, seed))
        verb = "continual" if row.kind == "steps" else "train"
        options = ["--data", places.source(row), "--out", str(run)]
        if row.first_of is not None:
            options += ["--first-of", str(places.run(self._row(row.first_of), seed))]
        if goes_on:
            options.append("--resume")
        return [sys.executable, "-m", "vitseg", verb, row.recipe, *overrides, *options]

    def refuse_other_runs(self) -> None:
        """See that no folder that would be gone on with or scored holds a run of another study, and weights are there.

        Raises:
            ConfigError: One does, or they are not; it is named.
        """
        for row, seed in self._own():
            if (weights := weights_name(self.identities.recipe(row, seed))) is not None:
                self.places.weights_file(weights)
        for row, seed in self._touched():
            run, begun = self.places.run(row, seed), self.places.begun(row, seed)
            if not run.is_dir() or not any(run.iterdir()):
                continue
            if not begun.is_file():
                raise ConfigError(
                    f"{run} holds a run that the study did not begin ({begun.name} beside it is missing): give another "
                    "--runs, or delete it. Nothing was changed."
                )
            record = read_file(begun, "delete it and the run beside it")
            difference = self.identities.difference(record)
            if difference is None and (record["row"], record["seed"]) != (row.name, seed):
                difference = f"is of {record['row']}, seed {record['seed']}, by {begun.name}"
            if difference is None and (run / RECIPE).is_file():
                changed = self.identities.changed(row, seed, read_own(run / RECIPE))
                if changed:
                    difference = (
                        f"is of another recipe, by its {RECIPE}: {', '.join(changed[:4])} changed"
                    )
            if difference is not None:
                raise ConfigError(
                    f"the run {run} {difference}. Runs are not mixed: give another --runs, or delete it and "
                    f"{begun.name}. Nothing was changed."
                )

    def trained(self) -> Iterable[tuple[Row, int]]:
        """Rows and seeds that are yet to be trained."""
        for row, seed in self._own():
            if f"train {row.name}-seed{seed}" in self.steps:
                yield row, seed

    def _own(self) -> Iterable[tuple[Row, int]]:
        """Rows and seeds of the steps."""
        for name in self.steps:
            row, _, seed = name.partition(" ")[2].rpartition("-seed")
            yield self._row(row), int(seed)

    def _touched(self) -> Iterable[tuple[Row, int]]:
        """Rows and seeds whose folders the plan works with."""
        seen: set[tuple[str, int]] = set()
        for of_step, seed in self._own():
            waiting = [of_step]
            while waiting:
                row = waiting.pop()
                waiting += [self._row(each) for each in (row.start, row.first_of) if each]
                if row.kind != "look" and (row.name, seed) not in seen:
                    seen.add((row.name, seed))
                    yield row, seed


def in_order(rows: Sequence[Row], seeds: Sequence[int] | None) -> list[tuple[Row, int]]:
    """Rows with their seeds: group by group, and within a group all rows of a seed before the next one."""
    groups = list(dict.fromkeys(row.group for row in rows))
    found = []
    for group in groups:
        own = [row for row in rows if row.group == group]
        for seed in sorted({seed for row in own for seed in row.seeds}):
            if seeds is None or seed in seeds:
                found += [(row, seed) for row in own if seed in row.seeds]
    return found


def is_begun(row: Row, run: Path) -> bool:
    """Whether there is something to go on with."""
    if row.kind == "steps":
        return (run / "recipe.yaml").is_file()
    return (run / STATE).is_file()


def is_finished(row: Row, run: Path) -> bool:
    if row.kind == "steps":
        return (run / CONTINUAL_RESULT).is_file()
    return stage_of(run) == "finished" and (run / LAST / CONFIG).is_file()


def choose(rows: RowList, wanted: str | None, has_gpu: bool) -> list[Row]:
    """The rows of `--rows`: names of rows or groups; without it all that are no extras, and fit the machine.

    Raises:
        ConfigError: A name is none, or its row wants a GPU that is not there.
    """
    if wanted is None:
        return [row for row in rows.rows if not row.extra and (has_gpu or not row.on_gpu)]
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if not names:
        raise ConfigError("--rows names no row: --plan lists rows.")
    groups = {row.group for row in rows.rows}
    for name in names:
        if name not in groups and rows.row(name) is None:
            raise ConfigError(
                f"--rows: {name!r} is no row and no group: the groups are {', '.join(sorted(groups))}; --plan lists "
                "rows."
            )
    chosen = [row for row in rows.rows if row.name in names or row.group in names]
    without = [row.name for row in chosen if row.on_gpu and not has_gpu]
    if without:
        raise ConfigError(f"--rows: {without[0]} is run on a GPU alone, and there is none here.")
    return chosen


def forget_state(run: Path) -> None:
    """Of a finished training, delete the state to go on from, which is most of its folder."""
    for path in run.rglob(STATE):
        path.unlink(missing_ok=True)
