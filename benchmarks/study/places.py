"""The options that say where data, weights, runs and results are."""

from __future__ import annotations

import argparse
from pathlib import Path

from identity import Places

OUT = Path("docs/results/study")
RUNS = Path("runs/study")


def add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of CamVid")
    parser.add_argument(
        "--ccp", type=Path, metavar="ROOT", help="folder of CCP, for the rows in steps"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help="folder of pretrained weights, such as vit_tiny_patch16_224.safetensors",
    )
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of the result files ({OUT})")
    parser.add_argument("--runs", type=Path, default=RUNS, help=f"folder of the trainings ({RUNS})")
    parser.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        help="another list of rows (a Python file with ROWS and TABLES)",
    )


def places_of(args: argparse.Namespace) -> Places:
    roots = {"camvid": args.data, "ccp": args.ccp}
    at_hand = {name: root for name, root in roots.items() if root is not None}
    return Places(at_hand, args.weights, args.runs, args.out)


def as_arguments(places: Places, rows: Path | None) -> list[str]:
    """The same options for another process."""
    options = {
        "data": places.roots.get("camvid"),
        "ccp": places.roots.get("ccp"),
        "weights": places.weights,
    }
    options |= {"runs": places.runs, "out": places.out, "list": rows}
    return [
        part
        for name, path in options.items()
        if path is not None
        for part in (f"--{name}", str(path))
    ]
