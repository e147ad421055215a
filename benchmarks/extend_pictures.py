"""What an extension changed: the picture and the figures of `docs/extend.md`.

    python benchmarks/extend_pictures.py BEFORE AFTER --data NAME:ROOT --images 3,20 --out picture.png [--split val]

For every image of the split: whether the scores of the old classes are the same bits, and whether labels changed to new
classes alone. The picture has a row for each image that is named: the labels before, after, and those that changed. No
photo is in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vitseg.classes import Color
from vitseg.data.catalog import open_dataset
from vitseg.inference.predictor import Predictor, load
from vitseg.inference.scores import full_scores, label_map
from vitseg.render.overlay import LegendEntry, append_legend
from vitseg.render.palette import colorize

GAP = 8
UNCHANGED: Color = (225, 225, 222)


def labels_of(predictors: list[Predictor], image: np.ndarray) -> list[np.ndarray]:
    """The labels of an image before and after.

    Raises:
        AssertionError: A score of an old class is another, or a label changed to an old one.
    """
    before, after = (predictor.scores(image) for predictor in predictors)
    old = before.num_classes
    assert torch.equal(full_scores(before), full_scores(after)[:old])
    first, second = label_map(before), label_map(after)
    assert ((first == second) | (second >= old)).all()
    return [first, second]


def row_of(labels: list[np.ndarray], after: Predictor) -> Image.Image:
    """Labels before, after, and what changed."""
    classes = after.record.classes
    first, second = labels
    changed = colorize(second, classes)
    changed[first == second] = UNCHANGED
    pictures = [colorize(first, classes), colorize(second, classes), changed]
    gap = np.full((len(first), GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return Image.fromarray(np.concatenate(parts, axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description="What an extension changed.")
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", required=True, help="numbers in the split, from 0")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    predictors = [load(folder, device="cpu") for folder in (args.before, args.after)]
    after, dataset = predictors[1], open_dataset(args.data, args.split)
    wanted = [int(number) for number in args.images.split(",")]
    rows, changed, pixels = {}, 0, 0
    for index in range(len(dataset)):
        labels = labels_of(predictors, dataset.sample(index).image)
        changed += int((labels[0] != labels[1]).sum())
        pixels += labels[0].size
        if index in wanted:
            rows[index] = row_of(labels, after)
    print(f"{len(dataset)} images: every score of an old class is the same bits;")
    print(f"{changed / pixels:.2%} of the labels changed, all of them to new classes")
    drawn = [rows[number] for number in wanted]
    height = sum(row.height for row in drawn) + GAP * (len(drawn) - 1)
    sheet = Image.new("RGB", (drawn[0].width, height), (255, 255, 255))
    for number, row in enumerate(drawn):
        sheet.paste(row, (0, number * (row.height + GAP)))
    classes = after.record.classes
    entries = [LegendEntry(*pair) for pair in zip(classes.palette, classes.names, strict=True)]
    legend = append_legend(sheet, [*entries, LegendEntry(UNCHANGED, "unchanged")])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    legend.quantize(64).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
