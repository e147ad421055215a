"""Rows of DToP's tables for trained runs: mIoU, mean multiply-adds over the split, and time beside the first row.

    python dtop_tables.py --data NAME:ROOT RUN[@THRESHOLD]... [--split val] [--timed 6]

RUN is a run folder; @THRESHOLD runs its model at another confidence (1: nobody leaves), as the thesis' @Direct does.
Times go from image to labels on some images of the split, all rows in turn.
"""

from __future__ import annotations

import argparse
from typing import cast

from _measure import alternating_medians, print_table

from vitseg.backbones import PlainViT
from vitseg.backbones.steps.exit import pruning_of, set_pruning
from vitseg.data.catalog import open_dataset
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.picked import spread_indices
from vitseg.evaluation.evaluate import evaluate
from vitseg.inference.operations import count_operations
from vitseg.inference.predictor import Predictor, load
from vitseg.inference.scores import label_map


def predictor_of(row: str) -> Predictor:
    run, at, threshold = row.partition("@")
    predictor = load(run, device="cpu")
    if at:
        vit = cast(PlainViT, predictor.model.backbone)
        config = pruning_of(vit).config
        set_pruning(vit, config.model_copy(update={"threshold": float(threshold)}))
    return predictor


def mean_gmacs(predictor: Predictor, dataset: SegmentationDataset) -> float:
    """Of the model alone, over all images."""
    total = 0.0
    for index in range(len(dataset)):
        image = dataset.sample(index).image
        inputs = predictor.model_input(image, predictor.inference.input_size(image.shape[:2]))
        model = predictor.model.eval()
        total += count_operations(model, lambda m=model, i=inputs: m(i)).total / 1e9
    return total / len(dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--data")
    parser.add_argument("--split", default="val")
    parser.add_argument("--timed", type=int, default=6)
    options = parser.parse_args()
    if not options.rows or options.data is None:  # as `make bench` calls it
        print("dtop_tables: nothing to compare; give --data and runs")
        return
    dataset = open_dataset(options.data, options.split)
    predictors = {row: predictor_of(row) for row in options.rows}
    images = [dataset.sample(n).image for n in spread_indices(len(dataset), options.timed)]

    def run(predictor: Predictor) -> None:
        for image in images:
            label_map(predictor.scores(image))

    medians = alternating_medians(
        {row: (lambda p=predictor: run(p)) for row, predictor in predictors.items()},
        rounds=10,
        warmups=3,
    )
    first = options.rows[0]
    lines = []
    for row, predictor in predictors.items():
        gmacs = mean_gmacs(predictor, dataset)
        miou = evaluate(predictor, dataset).scores.mean_iou
        name = row.rstrip("/").rpartition("/")[2]
        ratio = medians[row] / medians[first]
        lines.append([name, f"{100 * miou:.1f}", f"{gmacs:.2f}", f"{ratio:.2f}"])
        print(", ".join(lines[-1]), flush=True)  # all rows take minutes
    title = f"DToP on {dataset.name} {dataset.split}, {len(dataset)} images; times on {len(images)}"
    print_table(title, ["run", "mIoU", "GMACs/image", "time ratio"], lines)


if __name__ == "__main__":
    main()
