"""Make docs/results/study.md of the result files: tables with spread and paired intervals, the best model, verdicts.

python benchmarks/study/tables.py [--out docs/results/study] [--to docs/results/study.md]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from best import PROTOCOLS, folder_of, read_all, trained
from bootstrap import (
    LEVEL,
    RESAMPLES,
    Difference,
    Measured,
    difference,
    draws,
    interval,
    ious,
    least_told,
    mean_iou,
)
from claims import CLAIMS
from identity import Identities
from places import OUT
from results import hits_in, hits_of, read_results, result_files, unpacked
from row import Row, RowList, Table, read_list
from study import MEASURES, Study
from verdict import Claim, Finding, Outcome, points, within

from vitseg import parsing
from vitseg.errors import ConfigError, VitsegError
from vitseg.files import write_whole

TITLE = "# What the study found"

SINGLE = next(iter(PROTOCOLS))

FOLDED = 10
"""Tables of more pairs are folded."""

ONE, TWO, THREE = (f"{100 * least_told(seeds):.1f}" for seeds in (1, 2, 3))

HEAD = f"""{TITLE}

Made by `benchmarks/study/tables.py` of the files in [study](study), and of the tables beside it that verdicts name.
mIoU in percent of the model after the last iteration, over all images of the validation split, single scale. "sd" is
the standard deviation over the seeds. Brackets hold {100 * LEVEL:g} % of {RESAMPLES:,} draws of the images with
replacement, the same draws for both models of a pair; seeds are paired and averaged. Neighbouring images of a drive
are alike, so that intervals are narrower than those of as many independent images.

A difference can be told where the interval leaves 0 out, all seeds agree in its sign, and it is no smaller than {ONE}
points of one seed, {TWO} of two, {THREE} of three: twice the standard deviation by which differences of heads stray
from seed to seed, divided by the root of the number of seeds. Where one model is run in two ways, no training lies
between them, and in tables the interval and the signs alone count; a claim is about more than one model, and asks
more of one seed. A row has not learnt where more than half of its classes are below 1 % IoU (of a row in steps, when
they were learnt): it shows how a model starts, and tells nothing of a claim.

Minutes are of trainings of one thread each, two at a time, on a machine that others may use, too.
"""


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> list[str]:
    return [line(head), line("---" for _ in head), *map(line, lines), ""]


def section(study: Study, wanted: Table) -> list[str]:
    """A table of rows from the best on, and that of its pairs; rows without results are named."""
    there = [name for name in wanted.rows if name in study.results]
    text = [f"## {wanted.title}", ""]
    if wanted.text:
        text += [wanted.text, ""]
    if not there:
        return [*text, "Not run.", ""]
    measures = _measures(study, there)
    summaries = {
        (name, each): study.summary(name, each)
        for name in there
        for each in measures
        if _has(study, name, each)
    }
    there.sort(key=lambda name: -summaries[name, "miou"].mean)
    lines = []
    for name in there:
        row = _row(study.rows, name)
        found = summaries[name, "miou"]
        gmacs, minutes = study.gmacs(name), study.minutes(name)
        more = [
            f"{percent(summary.mean)} {within_percent(summary.interval)}" if summary else ""
            for summary in (summaries.get((name, each)) for each in measures[1:])
        ]
        lines.append(
            [
                row.label,
                f"`{name}`",
                percent(found.mean),
                percent(found.spread),
                within_percent(found.interval),
                ", ".join(percent(value) for value in found.by_seed),
                *more,
                "" if gmacs is None else f"{gmacs:.2f}",
                "" if minutes is None else f"{minutes:.0f}",
            ]
        )
    head = [
        "row",
        "name",
        "mIoU",
        "sd",
        "over images",
        "by seed",
        *(MEASURES[each] for each in measures[1:]),
        "10⁹ multiply-adds",
        "minutes",
    ]
    text += table(head, lines)
    notes = [
        f"{_row(study.rows, name).label}: {note}"
        for name in there
        if (note := _row(study.rows, name).note)
    ]
    text += [*notes, ""] if notes else []
    missing = study.missing(*wanted.rows)
    if missing:
        text += [f"Not run: {', '.join(f'`{name}`' for name in missing)}.", ""]
    return [*text, *pairs(study, there)]


def within_percent(found) -> str:
    return f"[{percent(found.low)}, {percent(found.high)}]"


def _row(rows: RowList, name: str) -> Row:
    row = rows.row(name)
    assert row is not None
    return row


def _measures(study: Study, names: Sequence[str]) -> list[str]:
    rows = [_row(study.rows, name) for name in names]
    found = ["miou"]
    if any(row.trimap for row in rows):
        found.append("trimap")
    if any(row.kind == "steps" for row in rows):
        found += ["old", "new", "kept", "later_kept"]
    return found


def _has(study: Study, name: str, measure: str) -> bool:
    content = next(iter(study.results[name].values())).content
    if measure in ("kept", "later_kept"):
        return "learnt" in content["images"]
    if measure in ("old", "new"):
        return "tasks" in content
    return measure != "trimap" or "trimap" in content["images"]


def pairs(study: Study, names: Sequence[str]) -> list[str]:
    """Every two rows of a ranking, the better one first."""
    lines = []
    for one, other in combinations(names, 2):
        found = study.difference(one, other)
        if found is not None:
            lines.append(
                [
                    f"`{one}` less `{other}`",
                    points(found.mean),
                    within(found.interval),
                    ", ".join(map(points, found.by_seed)),
                    _told(found),
                ]
            )
    if not lines:
        return []
    text = table(["pair", "points", "over images", "by seed", "can be told"], lines)
    return text if len(lines) <= FOLDED else folded(f"All {len(lines)} pairs", text)


def folded(title: str, text: Sequence[str]) -> list[str]:
    """Shown where its title is clicked, by GitHub as well as on the site."""
    return ["<details>", f"<summary>{title}</summary>", "", *text, "</details>", ""]


Scored = tuple[str, str, str]
"""Name of a model, split and scales."""


def best_models(out: Path) -> list[str]:
    """What `best.py` has scored, the best model first, and how far it is ahead of the others."""
    scored = read_all(folder_of(out))
    text = ["## The best model", ""]
    if not scored:
        return [*text, "Not run.", ""]
    measured = {_key(each): _measured(each) for each in scored}
    ranked = sorted(
        {each["model"]: each for each in scored}.values(),
        key=lambda each: -_on_val(measured, each["model"]),
    )
    text += table(
        ["model", "method", "iterations", "seed", "crops", "images are brought to", "minutes"],
        [_trained(each) for each in ranked],
    )
    lines = []
    for name, split, protocol in _in_order(ranked, measured):
        found = measured[name, split, protocol]
        single = measured.get((name, split, SINGLE))
        gain = "" if protocol == SINGLE or single is None else _ahead(found, single)[0]
        drawn = within_percent(interval(found.drawn))
        lines.append([name, split, protocol, percent(found.value), drawn, gain])
    text += table(
        ["model", "split", "scales", "mIoU", "over images", "gained by several scales"], lines
    )
    best = ranked[0]["model"]
    if (best, "val", SINGLE) not in measured:
        return [*text, "None was scored on val at one scale, by which models are chosen.", ""]
    lines = [
        [
            f"{best} less {name}",
            split,
            protocol,
            *_ahead(measured[best, split, protocol], measured[name, split, protocol]),
        ]
        for name, split, protocol in _in_order(ranked, measured)
        if name != best and (best, split, protocol) in measured
    ]
    if lines:
        text += table(["pair", "split", "scales", "points over images", "can be told"], lines)
    for each in scored:
        if each["model"] == best and each["protocol"] == SINGLE:
            text += classes(each)
    return text


def _on_val(measured: dict[Scored, Measured], name: str) -> float:
    """By what models are chosen."""
    found = measured.get((name, "val", SINGLE))
    return 0.0 if found is None else found.value


def _in_order(ranked: Sequence[dict[str, Any]], keys: Iterable[Scored]) -> list[Scored]:
    """Names, splits and scales: model by model, val before test."""
    place = {each["model"]: number for number, each in enumerate(ranked)}
    return sorted(keys, key=lambda key: (place[key[0]], key[1] != "val", key[1], key[2] != SINGLE))


def _ahead(one: Measured, other: Measured) -> tuple[str, str]:
    """How far one of two trainings is ahead, and whether that can be told."""
    found = difference([one], [other])
    return f"{points(found.mean)} {within(found.interval)}", _told(found)


def _told(found: Difference) -> str:
    return "yes" if found.can_be_told else f"no: {found.unlike}"


def _trained(content: dict[str, Any]) -> list[object]:
    seed, crop, size, minutes = trained(content)
    return [
        content["model"],
        content["method"],
        content["iterations"],
        "" if seed is None else seed,
        "" if crop is None else " x ".join(map(str, crop)),
        "their own size" if size is None else f"fit into {size[0]} x {size[1]}",
        "" if minutes is None else f"{minutes:.0f}",
    ]


def _key(content: dict[str, Any]) -> Scored:
    return content["model"], content["split"], content["protocol"]


def _measured(content: dict[str, Any]) -> Measured:
    hits = hits_in(content["images"]["last"])
    weights = draws(len(hits))
    return Measured(float(mean_iou(ious(hits))), mean_iou(ious(hits, weights)))


def classes(content: dict[str, Any]) -> list[str]:
    """IoU of each class with its interval, and what its pixels are taken for."""
    counts = unpacked(content["images"]["last"])
    hits = hits_of(counts)
    drawn = ious(hits, draws(len(hits)))
    whole, names = counts.sum(0), list(content["per_class"])
    lines = []
    for place, name in enumerate(names):
        labelled = whole[place].sum()
        taken = whole[place].copy()
        taken[place] = 0
        other = int(taken.argmax())
        shared = taken[other] / labelled if labelled else 0.0
        low, high = (
            interval(drawn[:, place])
            if not np.isnan(drawn[:, place]).all()
            else (float("nan"), float("nan"))
        )
        lines.append(
            [
                name,
                percent(content["per_class"][name]),
                f"[{percent(low)}, {percent(high)}]",
                int((hits[:, place, 1] > 0).sum()),
                percent(labelled / whole.sum()),
                f"{names[other]} ({percent(shared)})",
            ]
        )
    title = f"{content['model']}, {content['split']}, {content['protocol']} scale:"
    return [
        title,
        "",
        *table(
            [
                "class",
                "IoU",
                "over images",
                "images",
                "% of pixels",
                "most taken for (% of its pixels)",
            ],
            lines,
        ),
    ]


Judged = dict[str, list[tuple[Claim, Outcome, list[Finding]]]]
"""Claims by document, each with its verdict and what it rests on."""


def judge(study: Study) -> Judged:
    return {
        title: [(claim, *claim.judge(study)) for claim in claims]
        for title, claims in CLAIMS.items()
    }


def overview(judged: Judged) -> list[str]:
    """How many verdicts of each kind there are."""
    outcomes: tuple[Outcome, ...] = ("holds", "does not hold", "cannot be told", "not run")
    lines = []
    every = []
    for title, claims in judged.items():
        found = [outcome for _, outcome, _ in claims]
        every += found
        anchor = title.lower().replace(" ", "-")
        lines.append([f"[{title}](#{anchor})", *(found.count(outcome) for outcome in outcomes)])
    lines.append(["all", *(every.count(outcome) for outcome in outcomes)])
    return [
        "Rows and their pairs come first, then [the best model](#the-best-model) and [all claims](#claims).",
        "",
        *table(["claims", *outcomes], lines),
    ]


def verdicts(judged: Judged) -> list[str]:
    """All claims with their verdicts."""
    text = [
        "## Claims",
        "",
        "`{}` is a budget: the largest at which all rows of the claim have all their seeds, else the largest at which "
        "they have one in common. A verdict is of this size: a ViT-Ti, some hundred photos and 1,000 to 5,000 "
        "iterations, where the papers trained large models to the end.",
        "",
    ]
    for title, claims in judged.items():
        text += [f"### {title}", ""]
        lines = []
        for claim, outcome, findings in claims:
            source, said = claim.source, claim.text
            lines.append(
                [
                    source,
                    said,
                    _criteria(claim),
                    f"**{outcome}**",
                    "<br>".join(finding.text for finding in findings),
                ]
            )
        text += table(["source", "claim", "holds where", "verdict", "rests on"], lines)
    return text


def _criteria(claim: Claim) -> str:
    said = "<br>".join(check.criterion() for check in claim.checks)
    return f"{said}<br>{claim.note}".removeprefix("<br>") if claim.note else said


def page(study: Study, out: Path) -> str:
    judged = judge(study)
    text = [HEAD, *overview(judged)]
    for wanted in study.rows.tables:
        text += section(study, wanted)
    text += best_models(out)
    text += verdicts(judged)
    text += made_with(study, out)
    return "\n".join(text).rstrip() + "\n"


def made_with(study: Study, out: Path) -> list[str]:
    contents = [each.content for seeds in study.results.values() for each in seeds.values()]
    if not contents:
        return []
    contents += read_all(folder_of(out))

    def every(values: Iterable[object]) -> str:
        return ", ".join(sorted({str(value) for value in values}))

    versions = (
        f"{name} {every(each['versions'][name] for each in contents)}"
        for name in ("vitseg", "torch", "timm")
    )
    devices = every(each["device"] for each in contents)
    commits = every(each["commit"] for each in contents)
    return ["## Made with", "", f"{', '.join(versions)}; {devices}; commits {commits}.", ""]


def require_page(path: Path) -> None:
    """See that only an earlier page is replaced.

    Raises:
        ConfigError: The path holds something else.
    """
    if not path.exists():
        return
    try:
        begins = parsing.read_text(path).startswith(f"{TITLE}\n") if path.is_file() else False
    except parsing.UnreadableError:
        begins = False
    if not begins:
        raise ConfigError(
            f"{path} is no page of the study: give another --to. Nothing was changed."
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the page of the study.")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the result files")
    parser.add_argument("--to", type=Path, help="the page; beside that folder if not given")
    parser.add_argument("--list", type=Path, help="another list of rows")
    args = parser.parse_args()
    out = args.out if args.out.name.strip(".") else args.out.resolve()
    path = args.to or out.with_name(f"{out.name}.md")
    try:
        rows = read_list(args.list)
        if not any(result_files(args.out)):
            raise ConfigError(f"--out {args.out} has no result files. Nothing was changed.")
        require_page(path)
        study = Study(rows, read_results(args.out, Identities(rows, None)))
        write_whole(path, page(study, args.out))
    except (VitsegError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    print(path)


if __name__ == "__main__":
    main()
