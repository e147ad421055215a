"""`vitseg predict` by both engines. Claim: Ray takes at most 1.10 x the time of one process for 500 images.

Time is that of the whole command, on one machine without a GPU, with SegViT-S at 512 x 512. The share that a start
takes shrinks with the number of images; the table has it apart.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _measure import print_table
from PIL import Image

from vitseg.checkpoint.model_dir import ModelRecord, save_model
from vitseg.classes import ClassTable
from vitseg.images.preprocess import Preprocessing
from vitseg.methods import METHODS

ENGINES = {"one process": [], "Ray, one worker": ["--engine", "ray"]}


def write_model(folder: Path, backbone: str, num_classes: int, side: int) -> None:
    fields = {"name": backbone, "pretrained": False, "taps": [5, 7, 11], "prefix_tokens": "drop"}
    config = METHODS["segvit"].model_validate({"backbone": fields})
    record = ModelRecord(
        method="segvit",
        architecture=config.model_dump(mode="json"),
        image_size=(side, side),
        classes=ClassTable.from_names([f"class_{index}" for index in range(num_classes)]),
        preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    )
    save_model(folder, config.build(num_classes, (side, side)), record)


def write_photos(folder: Path, count: int, side: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{number:05d}.jpg")


def seconds_of(model: Path, photos: Path, out: Path, options: list[str]) -> float:
    command = [sys.executable, "-m", "vitseg", "predict", model, photos, "--out", out]
    environment = {**os.environ}
    environment.pop("RAY_ADDRESS", None)
    start = time.perf_counter()
    subprocess.run(
        [*map(str, command), "--device", "cpu", *options],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--side", type=int, default=512, help="of the images, in pixels")
    parser.add_argument("--backbone", default="vit_small_patch16_384")
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model", asked.backbone, asked.classes, asked.side)
        write_photos(folder / "one", 1, asked.side)
        write_photos(folder / "all", asked.images, asked.side)
        found: dict[tuple[str, str], list[float]] = {}
        for number in range(asked.rounds):
            for photos in ("one", "all"):
                for index, (engine, options) in enumerate(ENGINES.items()):
                    out = folder / f"{photos}-{index}-{number}"
                    seconds = seconds_of(folder / "model", folder / photos, out, options)
                    found.setdefault((engine, photos), []).append(seconds)
        outs = [folder / f"all-{index}-0" / "masks" for index in range(len(ENGINES))]
        names = [path.name for path in outs[0].iterdir()]
        _, differing, missing = filecmp.cmpfiles(*outs, names, shallow=False)
    base = statistics.median(found["one process", "all"])
    rows = []
    for engine in ENGINES:
        start, whole = (statistics.median(found[engine, photos]) for photos in ("one", "all"))
        rows.append([engine, f"{start:.1f}", f"{whole:.1f}", f"{whole / base:.3f}"])
    title = f"{asked.backbone}, {asked.images} images of {asked.side} x {asked.side}"
    print_table(title, ["engine", "1 image, s", "all, s", "ratio"], rows)
    print(f"masks that differ or are missing: {len(differing) + len(missing)} of {len(names)}")


if __name__ == "__main__":
    main()
