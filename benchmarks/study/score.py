"""Score the model of one row and seed, and write its result file; `run.py` calls this once the training is finished.

python score.py --row segvit-1000 --seed 0 --data camvid=ROOT --runs runs/study --out docs/results/study
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from identity import Identities, Places
from places import add_places, places_of
from results import packed
from row import TRIMAP, Row, read_list

from vitseg.backbones import PlainViT
from vitseg.backbones.steps.exit import pruning_of, set_pruning
from vitseg.data.catalog import open_dataset
from vitseg.data.dataset import SegmentationDataset
from vitseg.errors import ConfigError, VitsegError
from vitseg.evaluation.evaluate import SampleResult, evaluate
from vitseg.evaluation.measures import plain
from vitseg.files import write_whole
from vitseg.inference.operations import count_operations
from vitseg.inference.predictor import Predictor, load
from vitseg.metrics.boundary import Trimap
from vitseg.runs import LAST, VAL_LOG, read_own, read_result


def at_threshold(predictor: Predictor, threshold: float) -> None:
    vit = cast(PlainViT, predictor.network.backbone)
    config = pruning_of(vit).config
    set_pruning(vit, config.model_copy(update={"threshold": threshold}))


def mean_gmacs(predictor: Predictor, dataset: SegmentationDataset, images: int) -> float:
    """Multiply-adds of the model up to its scores, in 10⁹, over the first images of a split."""
    total = 0.0
    model = predictor.network.eval()
    for index in range(images):
        image = dataset.sample(index).image
        inputs = predictor.model_input(image, predictor.inference.input_size(image.shape[:2]))
        total += count_operations(model, lambda i=inputs: model(i)).total / 1e9
    return total / images


class ImageCounts:
    """Collects what is found on each image: its confusion matrix, and that of the band around boundaries."""

    def __init__(self, num_classes: int, trimap: bool = False):
        self.num_classes = num_classes
        self.whole: list[np.ndarray] = []
        self.band: list[np.ndarray] | None = [] if trimap else None

    def add(self, sample: SampleResult) -> None:
        self.whole.append(sample.counts)
        if self.band is not None:
            trimap = Trimap(self.num_classes, (TRIMAP,))
            trimap.update(sample.prediction, sample.labels)
            self.band.append(trimap.counts[0])


def score_training(row: Row, seed: int, places: Places) -> dict[str, Any]:
    """What is found out about the model after the last iteration of one training."""
    run = places.run(row, seed)
    predictor = load(run / LAST)
    if row.threshold is not None:
        at_threshold(predictor, row.threshold)
    dataset = open_dataset(places.source(row), "val")
    counts = ImageCounts(dataset.classes.num_classes, row.trimap)
    found = evaluate(predictor, dataset, on_sample=counts.add)
    images = {"last": packed(np.stack(counts.whole), "confusions")}
    if counts.band is not None:
        images["trimap"] = packed(np.stack(counts.band), "confusions")
    on_a_cpu = load(run / LAST, "cpu")
    if row.threshold is not None:
        at_threshold(on_a_cpu, row.threshold)
    result = read_result(run)
    return {
        **_facts(found.protocol),
        "minutes": None if row.kind == "look" else result["training_minutes"],
        "validations": [] if row.kind == "look" else validations(run),
        "miou": plain(found.scores.mean_iou),
        "per_class": _by_name(found.classes.names, found.scores.iou),
        "gmacs": round(mean_gmacs(on_a_cpu, dataset, len(dataset) if row.varies else 1), 4),
        "images": images,
    }


def validations(run: Path) -> list[list[float]]:
    """Iteration and mIoU of each validation of a training."""
    with (run / VAL_LOG).open(newline="") as file:
        return [[int(line["iteration"]), float(line["miou"])] for line in csv.DictReader(file)]


def score_steps(row: Row, seed: int, places: Places, identities: Identities) -> dict[str, Any]:
    """What is found out about a run in steps: every class when it was learnt, and at the end.

    Pixels of the background count in no class, and are not kept.
    """
    from vitseg.studies.continual.datasets import class_table
    from vitseg.studies.continual.recipe import parse_continual
    from vitseg.studies.continual.scoring import score_step
    from vitseg.studies.continual.splits import make_steps

    run = places.run(row, seed)
    config = parse_continual(identities.recipe(row, seed)).continual
    val = open_dataset(places.source(row), "val")
    background = config.background
    steps = make_steps(
        val.classes.names, config.split, config.order, config.order_seed, config.classes, background
    )
    trained = steps.joint() if config.approach == "joint" else steps
    learnt: list[np.ndarray] = []
    last, facts, iou = np.zeros(0), {}, {}
    for number in range(len(trained)):
        dataset = val.with_labels(
            class_table(val.labels, trained.seen(number), background=background)
        )
        folder = run / f"step_{number}"
        predictor = load(folder / read_own(folder / "scores.json")["model"])
        counts = ImageCounts(dataset.classes.num_classes)
        found = score_step(predictor, dataset, background, on_sample=counts.add)
        names = found.classes.names
        hits = _hits(np.stack(counts.whole))
        new = [names.index(name) for name in trained.steps[number]]
        learnt.append(hits[:, new])
        last = hits[:, [names.index(name) for name in trained.seen(number)]]
        facts, iou = _facts(found.protocol), _by_name(names, found.scores.iou)
    iou = {name: iou[name] for name in trained.classes}
    known = [value for value in iou.values() if value is not None]
    images = {"last": packed(last, "hits")}
    if len(trained) > 1:
        images["learnt"] = packed(np.concatenate(learnt, 1), "hits")
    return {
        **facts,
        "minutes": round(sum(read_own(run / "continual.json")["training_minutes"]), 1),
        "validations": [],
        "miou": sum(known) / len(known) if known else None,
        "per_class": iou,
        "tasks": [list(names) for names in steps.steps],
        "gmacs": None,
        "images": images,
    }


def _hits(counts: np.ndarray) -> np.ndarray:
    from results import hits_of

    return hits_of(counts)


def _facts(protocol: dict[str, Any]) -> dict[str, Any]:
    return {name: protocol[name] for name in ("device", "threads", "commit", "inference")}


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    return {name: plain(value) for name, value in zip(names, values, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Score the model of one row and seed.")
    parser.add_argument("--row", required=True)
    parser.add_argument("--seed", type=int, required=True)
    add_places(parser)
    args = parser.parse_args()
    rows = read_list(args.list)
    row = rows.row(args.row)
    assert row is not None, args.row
    places = places_of(args)
    identities = Identities(rows, places)
    if (count := torch.get_num_threads()) > 1 and not torch.cuda.is_available():
        print(f"{count} threads")
    try:
        if places.result(row, args.seed).exists():
            raise ConfigError(f"{places.result(row, args.seed)} is there, and is not replaced.")
        if row.kind == "steps":
            scored = score_steps(row, args.seed, places, identities)
        else:
            scored = score_training(row, args.seed, places)
        write_result(places.result(row, args.seed), {**identities.of(row, args.seed), **scored})
    except VitsegError as error:
        sys.exit(f"{row.name}-seed{args.seed}: {error}")
    print(f"mIoU {100 * (scored['miou'] or 0):.2f}")


def write_result(path: Path, content: dict[str, Any]) -> None:
    """Write a result file, a line for each of its fields."""
    import json

    lines = [
        f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}"
        for name, value in content.items()
    ]
    write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
