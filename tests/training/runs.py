"""Trainings that tests start as processes, and what they leave."""

from __future__ import annotations

import csv
from pathlib import Path

STILL = {"decoder.dropout": 0, "backbone.drop_path": 0}
"""Nothing is drawn that depends on the number of the process."""

SMALL = {
    "training.batch_size": 4,
    "training.val_interval": 100,
    "schedule.warmup_iterations": 1,
    "data.augment.crop_size": [64, 64],
    "data.num_workers": 0,
}


def arguments(scenes: Path, out: Path, *options: str, **fields: object) -> list[str]:
    """Those of `vitseg` for a tiny training."""
    return [
        *("train", "scenes/segvit-test_vit"),
        *(f"{key}={value}" for key, value in fields.items()),
        *("--data", f"folder:{scenes}", "--out", str(out), *options),
    ]


def rows(out: Path) -> list[dict[str, str]]:
    """The rows of train.csv without the times."""
    with (out / "train.csv").open() as file:
        return [{**row, "images_per_second": "", "waiting": ""} for row in csv.DictReader(file)]


def losses(out: Path) -> list[float]:
    return [float(row["loss"]) for row in rows(out)]
