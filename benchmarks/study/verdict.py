"""What a claim rests on, and whether it holds by the results that there are.

A check compares rows, or figures that a file of docs/results states; how it ends is nowhere written down
beforehand. Names of rows with `{}` stand for several budgets. All checks of a claim are made at one of them: the
largest at which all rows have all their seeds, else the largest at which they have a seed in common.

Outcomes: it holds; it does not; it cannot be told at this size, where the interval over images or the seeds leave both
open (`Difference.unlike`, beside a margin the same rule as beside nothing; `Difference.in_general` of one model that is
run in two ways), where a row has not learnt, or where a claim needs what the study has not; not run, where results are
missing. Of several checks, one that does not hold decides; then one that is not run; then one that cannot be told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from bootstrap import Difference, Interval
from study import MEASURES, Study

from vitseg import parsing
from vitseg.errors import ConfigError

Outcome = Literal["holds", "does not hold", "cannot be told", "not run"]
ORDER: tuple[Outcome, ...] = ("does not hold", "not run", "cannot be told", "holds")

BUDGETS = ("full", "3000", "1000")
"""What stands for `{}`, the largest first."""

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


class Finding(NamedTuple):
    """What came of a check."""

    outcome: Outcome
    text: str


class Check(Protocol):
    """What a claim rests on, in part or as a whole."""

    def rows(self) -> tuple[str, ...]:
        """Names of the rows that it compares, with `{}` for a budget."""
        ...

    def criterion(self) -> str:
        """What would count as holding."""
        ...

    def judge(self, study: Study, budget: str = "") -> Finding:
        """What comes of it at a budget."""
        ...


def best_budget(names: Sequence[str], study: Study) -> str:
    """The budget at which rows are compared; empty: their names have none."""
    open_ = [name for name in names if "{}" in name]
    if not open_:
        return ""

    seeds = {each: study.seeds(*(name.format(each) for name in open_)) for each in BUDGETS}
    begun = [each for each in BUDGETS if seeds[each]]
    whole = [each for each in begun if len(seeds[each]) == _most(open_, each, study)]
    return next(iter(whole or begun), BUDGETS[-1])


def _most(names: Sequence[str], budget: str, study: Study) -> int:
    """Seeds that rows are to have in common."""
    rows = [study.rows.row(name.format(budget)) for name in names]
    return len(set.intersection(*(set(row.seeds) for row in rows if row is not None)))


def at_others(check: Ahead | NotBehind, budget: str, study: Study) -> str:
    """The same difference at other budgets, in words."""
    text = ""
    if "{}" not in check.one + check.other:
        return text
    for other in BUDGETS:
        one, two = (name.format(other) for name in check.rows())
        found = None if other == budget else study.difference(one, two, check.measure)
        if found is not None:
            seeds = "" if len(found.by_seed) > 1 else ", one seed"
            text += f"; at {other}: {points(found.mean)} {within(found.interval)}{seeds}"
    return text


def _not_run(names: Sequence[str]) -> Finding:
    return Finding(
        "not run", f"there are no results of {', '.join(dict.fromkeys(names))} with a common seed"
    )


def points(value: float) -> str:
    return f"{100 * value:+.1f}"


def within(found: Interval) -> str:
    return f"[{points(found.low)}, {points(found.high)}]"


def told(one: str, other: str, found: Difference, measure: str) -> str:
    """A difference in words."""
    seeds = "" if len(found.by_seed) == 1 else f"; by seed {', '.join(map(points, found.by_seed))}"
    what = "" if measure == "miou" else f", {MEASURES[measure]}"
    return f"`{one}` less `{other}`{what}: {points(found.mean)} {within(found.interval)}{seeds}"


def _compared(
    check: Ahead | NotBehind, study: Study, budget: str
) -> tuple[Difference, str] | Finding:
    """How far a check's one row is ahead of the other, and that in words; a finding where that says nothing."""
    one, other = (name.format(budget) for name in check.rows())
    found = study.difference(one, other, check.measure)
    if found is None:
        return _not_run((one, other))
    text = told(one, other, found, check.measure)
    if check.published is not None:
        text += f"; published {check.published:+.1f}"
    text += at_others(check, budget, study)
    unlearnt = [said for name in (one, other) if (said := study.unlearnt(name, check.measure))]
    if unlearnt:
        return Finding("cannot be told", f"{text} ({'; '.join(unlearnt)})")
    return found.in_general, text


@dataclass(frozen=True)
class Ahead:
    """One row is ahead of another.

    Attributes:
        one: Name of the row that is said to be.
        other: Name of the other one.
        published: By how many points, in the source.
        measure: One of `MEASURES`.
    """

    one: str
    other: str
    published: float | None = None
    measure: str = "miou"

    def rows(self) -> tuple[str, ...]:
        return self.one, self.other

    def criterion(self) -> str:
        return f"`{self.one}` is ahead of `{self.other}`" + (
            "" if self.measure == "miou" else f" in {MEASURES[self.measure]}"
        )

    def judge(self, study: Study, budget: str = "") -> Finding:
        compared = _compared(self, study, budget)
        if isinstance(compared, Finding):
            return compared
        found, text = compared
        if not found.can_be_told:
            return Finding("cannot be told", f"{text} ({found.unlike})")
        return Finding("holds" if found.mean > 0 else "does not hold", text)


@dataclass(frozen=True)
class NotBehind:
    """One row loses no more than a margin to another.

    Attributes:
        one: Name of the row that is said not to lose.
        other: Name of the other one.
        margin: In points.
        published: By how many points it is ahead in the source.
        measure: One of `MEASURES`.
    """

    one: str
    other: str
    margin: float
    published: float | None = None
    measure: str = "miou"

    def rows(self) -> tuple[str, ...]:
        return self.one, self.other

    def criterion(self) -> str:
        what = "" if self.measure == "miou" else f" in {MEASURES[self.measure]}"
        return f"`{self.one}` is at most {self.margin:g} points behind `{self.other}`{what}"

    def judge(self, study: Study, budget: str = "") -> Finding:
        compared = _compared(self, study, budget)
        if isinstance(compared, Finding):
            return compared
        found, text = compared
        return _beside_bound(found.beside(-self.margin / 100), text)


def _beside_bound(found: Difference, text: str) -> Finding:
    """What a score above a bound, or below it, says."""
    if not found.can_be_told:
        return Finding("cannot be told", f"{text} (beside the bound: {found.unlike})")
    return Finding("holds" if found.mean > 0 else "does not hold", text)


@dataclass(frozen=True)
class AtLeast:
    """What a training has lost since an earlier step of its own is not below a bound.

    Attributes:
        row: Its name.
        measure: One of `MEASURES` that compare a training with itself.
        bound: In points.
        published: The score in the source.
    """

    row: str
    measure: str
    bound: float
    published: float | None = None

    def rows(self) -> tuple[str, ...]:
        return (self.row,)

    def criterion(self) -> str:
        return f"`{self.row}`: {MEASURES[self.measure]} is at least {self.bound:g} points"

    def judge(self, study: Study, budget: str = "") -> Finding:
        name = self.row.format(budget)
        if not study.seeds(name):
            return _not_run((name,))
        found = study.summary(name, self.measure)
        text = f"`{name}`, {MEASURES[self.measure]}: {points(found.mean)} {within(found.interval)}"
        if self.published is not None:
            text += f"; published {self.published:+.2f}"
        if unlearnt := study.unlearnt(name, self.measure):
            return Finding("cannot be told", f"{text} ({unlearnt})")
        change = Difference(found.mean, found.interval, found.by_seed, is_within=True)
        return _beside_bound(change.in_general.beside(self.bound / 100), text)


@dataclass(frozen=True)
class Cheaper:
    """One row takes at most a share of another's multiply-adds.

    Attributes:
        one: Name of the row.
        other: Name of the other one.
        share: At most so much of the other's.
        published: The share in the source.
    """

    one: str
    other: str
    share: float
    published: float | None = None

    def rows(self) -> tuple[str, ...]:
        return self.one, self.other

    def criterion(self) -> str:
        return f"`{self.one}` takes at most {self.share:g} of the multiply-adds of `{self.other}`"

    def judge(self, study: Study, budget: str = "") -> Finding:
        names = [name.format(budget) for name in self.rows()]
        seeds = study.seeds(*names)
        if not seeds:
            return _not_run(names)
        one, other = (study.gmacs(name, seeds) for name in names)
        if one is None or other is None:
            return Finding("not run", f"multiply-adds of {names[0]} or {names[1]} were not counted")
        text = f"`{names[0]}` {one:.2f}, `{names[1]}` {other:.2f} · 10⁹ multiply-adds: {one / other:.2f}"
        if self.published is not None:
            text += f"; published {self.published:.2f}"
        # Where they differ from image to image they depend on what was learnt.
        told = [study.unlearnt(name) for name in names if _varies(name, study)]
        if any(told):
            return Finding("cannot be told", f"{text} ({'; '.join(filter(None, told))})")
        return Finding("holds" if one / other <= self.share else "does not hold", text)


def _varies(name: str, study: Study) -> bool:
    row = study.rows.row(name)
    return row is not None and row.varies


def stated(file: str, pattern: str) -> float | None:
    """The number that a file of docs/results states; None: it is not there.

    Args:
        file: Its name.
        pattern: A regular expression whose only group is the number.

    Raises:
        ConfigError: The file cannot be read, or states something else there.
    """
    path = RESULTS / file
    if not path.is_file():
        return None
    try:
        text = parsing.read_text(path)
    except parsing.UnreadableError as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        return None
    try:
        if (number := float(match[1])) > 0:
            return number
    except ValueError:
        pass
    raise ConfigError(f"{path} states {match[1]!r} where a number above 0 is expected.")


@dataclass(frozen=True)
class Stated:
    """A figure that a file states is the published one, within a share of it.

    Attributes:
        file: In docs/results.
        pattern: Finds it; one group.
        published: The figure of the source.
        what: It is.
        tolerance: Share of the published figure.
    """

    file: str
    pattern: str
    published: float
    what: str
    tolerance: float = 0.01

    def rows(self) -> tuple[str, ...]:
        return ()

    def criterion(self) -> str:
        return f"{self.what} are {self.published:g} within {100 * self.tolerance:g} %"

    def judge(self, study: Study, budget: str = "") -> Finding:
        del study, budget
        found = stated(self.file, self.pattern)
        if found is None:
            return Finding("not run", f"{self.file} does not state it")
        near = abs(found / self.published - 1) <= self.tolerance
        text = f"{self.what}: {found:g}, published {self.published:g} ([file]({self.file}))"
        return Finding("holds" if near else "does not hold", text)


@dataclass(frozen=True)
class StatedShare:
    """Of two figures that a file states, one is at most a share of the other.

    Attributes:
        file: In docs/results.
        one: Finds the one; one group.
        other: Finds the other; one group.
        what: They are.
        share: The bound.
        published: The share in the source.
    """

    file: str
    one: str
    other: str
    what: str
    share: float
    published: float | None = None

    def rows(self) -> tuple[str, ...]:
        return ()

    def criterion(self) -> str:
        return f"{self.what}: at most {self.share:g}"

    def judge(self, study: Study, budget: str = "") -> Finding:
        del study, budget
        one, other = (stated(self.file, pattern) for pattern in (self.one, self.other))
        if one is None or other is None:
            return Finding("not run", f"{self.file} does not state it")
        share = one / other
        text = f"{self.what}: {one:g} and {other:g}, {share:.2f} ([file]({self.file}))"
        if self.published is not None:
            text += f"; published {self.published:.2f}"
        return Finding("holds" if share <= self.share else "does not hold", text)


@dataclass(frozen=True)
class Claim:
    """A claim of a paper.

    Attributes:
        source: Document, with table, section or equation.
        text: What it says, with its numbers.
        checks: What it rests on here; none: it cannot be told.
        lacks: What would be needed, where there is no check.
        note: What differs from the source.
    """

    source: str
    text: str
    checks: tuple[Check, ...] = ()
    lacks: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        assert bool(self.checks) != bool(self.lacks), self.text

    def judge(self, study: Study) -> tuple[Outcome, list[Finding]]:
        """The verdict, and what it rests on."""
        if not self.checks:
            return "cannot be told", [Finding("cannot be told", f"needs {self.lacks}")]
        budget = best_budget([name for check in self.checks for name in check.rows()], study)
        findings = [check.judge(study, budget) for check in self.checks]
        outcomes = {finding.outcome for finding in findings}
        return next(outcome for outcome in ORDER if outcome in outcomes), findings
