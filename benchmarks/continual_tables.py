"""Finished runs of `vitseg continual` as result files: a JSON for each, and one table for each split and order.

    python benchmarks/continual_tables.py --name ccp --out docs/results/continual RUN...

Runs of one split and order stand side by side; a joint training is the oracle of every split of its classes. What a
run's folder holds beside (models, pages) stays there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vitseg.studies.continual import results
from vitseg.studies.continual.results import RunResult


def title_of(name: str, run: RunResult) -> str:
    """The data set, the split, and the order where it is not the listed one."""
    content = run.content
    order = f"-order{content['order_seed']}" if content["order"] == "random" else ""
    return f"{name}-{content['split']}{order}"


def file_of(name: str, run: RunResult) -> str:
    """Of its result; runs of one approach that differ in the length of a step are told apart by it."""
    if run.is_joint:
        return f"{name}-joint-{run.method}"
    return f"{title_of(name, run)}-{run.label.replace(':', '-')}-{run.iterations}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Finished runs of vitseg continual as result files."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="--out of finished runs")
    parser.add_argument("--name", required=True, help="of the data set, to begin file names with")
    parser.add_argument("--out", type=Path, required=True, help="folder of the result files")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    runs = [RunResult.read(folder) for folder in args.runs]
    groups: dict[str, list[RunResult]] = {}
    for run in runs:
        text = json.dumps(run.to_json(), separators=(",", ":"))
        (args.out / f"{file_of(args.name, run)}.json").write_text(text + "\n", encoding="utf-8")
        if not run.is_joint:
            groups.setdefault(title_of(args.name, run), []).append(run)
    oracles = [run for run in runs if run.is_joint]
    for title, group in groups.items():
        beside = results.side_by_side(group[0], [*group[1:], *oracles])
        scores, kept = results.score_rows(beside), results.forgetting_rows(beside)
        text = results.as_text(scores) + "\n" + results.as_text(kept)
        curve = results.as_csv(results.curve_rows(beside))
        (args.out / f"{title}.txt").write_text(text, encoding="utf-8")
        (args.out / f"{title}-curve.csv").write_text(curve, encoding="utf-8")
        print(f"{title}\n{text}")


if __name__ == "__main__":
    main()
