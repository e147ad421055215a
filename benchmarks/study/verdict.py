"""What a claim rests on, and whether it holds by the results that there are.

A check compares rows, or figures that a file of docs/results states; how it ends is nowhere written down
beforehand. Names of rows with `{}` stand for several budgets:
the check is made at the largest of which there are results.

Outcomes: it holds; it does not; it cannot be told at this size, where the interval over images or the seeds leave both
open, or where a claim needs what the study has not; not run, where results are missing. Of several checks, one that
does not hold decides; then one that is not run; then one that cannot be told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from bootstrap import ONE_SEED, Difference, Interval
from study import MEASURES, Study

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

    def criterion(self) -> str:
        """What would count as holding."""
        ...

    def judge(self, study: Study) -> Finding: ...


def at_largest(names: Sequence[str], study: Study) -> list[str] | None:
    """The names at the largest budget of which all have results of a common seed; None: there is none."""
    budgets = BUDGETS if any("{}" in name for name in names) else ("",)
    for budget in budgets:
        found = [name.format(budget) for name in names]
        if study.seeds(*found):
            return found
    return None


def at_smaller(names: Sequence[str], found: Sequence[str], study: Study, measure: str) -> str:
    """The same difference at smaller budgets, in words."""
    text, is_smaller = "", False
    if not any("{}" in name for name in names):
        return text
    for budget in BUDGETS:
        smaller = [name.format(budget) for name in names]
        other = study.difference(smaller[0], smaller[1], measure) if is_smaller else None
        if other is not None:
            text += f"; at {budget}: {points(other.mean)} {within(other.interval)}"
        is_smaller = is_smaller or smaller == list(found)
    return text


def _not_run(names: Sequence[str], study: Study) -> Finding:
    shown = ", ".join(dict.fromkeys(name.replace("{}", BUDGETS[-1]) for name in names))
    return Finding("not run", f"there are no results of {shown} with a common seed")


def points(value: float) -> str:
    return f"{100 * value:+.1f}"


def within(found: Interval) -> str:
    return f"[{points(found.low)}, {points(found.high)}]"


def told(one: str, other: str, found: Difference, measure: str) -> str:
    """A difference in words."""
    seeds = "" if len(found.by_seed) == 1 else f"; by seed {', '.join(map(points, found.by_seed))}"
    what = "" if measure == "miou" else f", {MEASURES[measure]}"
    return f"`{one}` less `{other}`{what}: {points(found.mean)} {within(found.interval)}{seeds}"


def _compared(check: Ahead | NotBehind, study: Study) -> tuple[Difference, str] | Finding:
    """How far a check's one row is ahead of the other, and that in words; a finding where they were not run."""
    rows = (check.one, check.other)
    names = at_largest(rows, study)
    if names is None:
        return _not_run(rows, study)
    found = study.difference(names[0], names[1], check.measure)
    assert found is not None
    text = told(names[0], names[1], found, check.measure)
    if check.published is not None:
        text += f"; published {check.published:+.1f}"
    return found, text + at_smaller(rows, names, study, check.measure)


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

    def criterion(self) -> str:
        return f"`{self.one}` is ahead of `{self.other}`" + (
            "" if self.measure == "miou" else f" in {MEASURES[self.measure]}"
        )

    def judge(self, study: Study) -> Finding:
        compared = _compared(self, study)
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

    def criterion(self) -> str:
        what = "" if self.measure == "miou" else f" in {MEASURES[self.measure]}"
        return f"`{self.one}` is at most {self.margin:g} points behind `{self.other}`{what}"

    def judge(self, study: Study) -> Finding:
        compared = _compared(self, study)
        if isinstance(compared, Finding):
            return compared
        found, text = compared
        least = -self.margin / 100
        if found.interval.low >= least and min(found.by_seed) >= least:
            if len(found.by_seed) == 1 and self.margin / 100 < ONE_SEED:
                return Finding("cannot be told", f"{text} (one seed, a margin below two points)")
            return Finding("holds", text)
        if found.interval.high < least and max(found.by_seed) < least:
            if len(found.by_seed) == 1 and found.mean > -ONE_SEED:
                return Finding("cannot be told", f"{text} (one seed, below two points)")
            return Finding("does not hold", text)
        return Finding("cannot be told", f"{text} (the margin lies within what is possible)")


@dataclass(frozen=True)
class AtLeast:
    """A score of one row is not below a bound.

    Attributes:
        row: Its name.
        measure: One of `MEASURES`.
        bound: In points.
        published: The score in the source.
    """

    row: str
    measure: str
    bound: float
    published: float | None = None

    def criterion(self) -> str:
        return f"`{self.row}`: {MEASURES[self.measure]} is at least {self.bound:g} points"

    def judge(self, study: Study) -> Finding:
        names = at_largest((self.row,), study)
        if names is None:
            return _not_run((self.row,), study)
        found = study.summary(names[0], self.measure)
        text = (
            f"`{names[0]}`, {MEASURES[self.measure]}: {points(found.mean)} {within(found.interval)}"
        )
        if self.published is not None:
            text += f"; published {self.published:+.2f}"
        bound = self.bound / 100
        if found.interval.low >= bound and min(found.by_seed) >= bound:
            return Finding("holds", text)
        if found.interval.high < bound and max(found.by_seed) < bound:
            return Finding("does not hold", text)
        return Finding("cannot be told", f"{text} (the bound lies within what is possible)")


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

    def criterion(self) -> str:
        return f"`{self.one}` takes at most {self.share:g} of the multiply-adds of `{self.other}`"

    def judge(self, study: Study) -> Finding:
        names = at_largest((self.one, self.other), study)
        if names is None:
            return _not_run((self.one, self.other), study)
        one, other = (study.gmacs(name) for name in names)
        if one is None or other is None:
            return Finding("not run", f"multiply-adds of {names[0]} or {names[1]} were not counted")
        text = f"`{names[0]}` {one:.2f}, `{names[1]}` {other:.2f} · 10⁹ multiply-adds: {one / other:.2f}"
        if self.published is not None:
            text += f"; published {self.published:.2f}"
        return Finding("holds" if one / other <= self.share else "does not hold", text)


def stated(file: str, pattern: str) -> float | None:
    """The number that a file of docs/results states; None: it is not there.

    Args:
        file: Its name.
        pattern: A regular expression whose only group is the number.
    """
    path = RESULTS / file
    if not path.is_file():
        return None
    match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    return None if match is None else float(match[1])


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

    def criterion(self) -> str:
        return f"{self.what} are {self.published:g} within {100 * self.tolerance:g} %"

    def judge(self, study: Study) -> Finding:
        del study
        found = stated(self.file, self.pattern)
        if found is None:
            return Finding("not run", f"{self.file} does not state it")
        near = abs(found / self.published - 1) <= self.tolerance
        text = f"{self.what}: {found:g}, published {self.published:g} ([file]({self.file}))"
        return Finding("holds" if near else "does not hold", text)


@dataclass(frozen=True)
class StatedShare:
    """Of two figures that a file states, one is at most (or at least) a share of the other.

    Attributes:
        file: In docs/results.
        one: Finds the one; one group.
        other: Finds the other; one group.
        what: They are.
        share: The bound.
        at_least: Whether it is a lower bound.
        published: The share in the source.
    """

    file: str
    one: str
    other: str
    what: str
    share: float
    at_least: bool = False
    published: float | None = None

    def criterion(self) -> str:
        return f"{self.what}: at {'least' if self.at_least else 'most'} {self.share:g}"

    def judge(self, study: Study) -> Finding:
        del study
        one, other = (stated(self.file, pattern) for pattern in (self.one, self.other))
        if one is None or other is None:
            return Finding("not run", f"{self.file} does not state it")
        share = one / other
        text = f"{self.what}: {one:g} and {other:g}, {share:.2f} ([file]({self.file}))"
        if self.published is not None:
            text += f"; published {self.published:.2f}"
        holds = share >= self.share if self.at_least else share <= self.share
        return Finding("holds" if holds else "does not hold", text)


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
        findings = [check.judge(study) for check in self.checks]
        outcomes = {finding.outcome for finding in findings}
        return next(outcome for outcome in ORDER if outcome in outcomes), findings
