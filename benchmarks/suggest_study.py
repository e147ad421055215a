"""Whether the images that `vitseg suggest` chooses teach a model more than images drawn at random.

    python benchmarks/suggest_study.py --data camvid:ROOT --weights vit_tiny_patch16_224.safetensors --out runs/suggest

For each seed, a model is trained on some labelled images drawn at random. Further ones are then chosen from the rest of
the training split twice: as it suggests, and at random. Two models are trained from the start on the first images and
either of these, with the same recipe and the same number of iterations, and scored on the validation split. Prints mIoU
of the model after the last iteration. What is finished is kept in the folder; the same command goes on.

CamVid's validation split is one drive of the three of the training split, and half of that split is of the same drive.
A choice that spreads over all drives gives less of it than chance does, so `--also test` scores the kept models on the
test split, too, most of which is of a fourth drive.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from vitseg.data.catalog import open_dataset
from vitseg.data.listed_split import write_list
from vitseg.files import write_json
from vitseg.runs import LAST, read_result

RESULTS = "results.json"
KINDS = ("suggested", "random")  # the longer first: it trains the model that suggests, too


class Study(NamedTuple):
    """What is trained; None of `val_images`: all of them."""

    data: str
    recipe: str
    weights: str
    out: Path
    iterations: int
    batch_size: int
    start: int
    add: int
    val_images: int | None


def drawn(ids: Sequence[str], count: int, seed: int, salt: str) -> list[str]:
    """Some ids, the same ones for a seed."""
    return sorted(random.Random(f"{salt} {seed}").sample(sorted(ids), count))


def train(study: Study, name: str, ids: Sequence[str], seed: int) -> float:
    """MIoU after the last iteration of a training on some images; it lies in `runs/NAME`."""
    from vitseg.studies.continued import train_or_continue
    from vitseg.training.display import Display
    from vitseg.training.recipe import load_recipe

    lists = study.out / "lists"
    write_list(lists / f"{name}.txt", "train", ids)
    overrides = [
        f"data.train_split={(lists / f'{name}.txt').resolve()}",
        f"backbone.weights={Path(study.weights).resolve()}",
        f"training.iterations={study.iterations}",
        f"training.batch_size={study.batch_size}",
        f"training.val_interval={study.iterations}",
        f"training.save_interval={max(1, study.iterations // 4)}",
        f"training.seed={seed}",
        f"schedule.warmup_iterations={min(100, study.iterations // 4)}",
        "data.num_workers=0",
    ]
    if study.val_images is not None:
        overrides.append(f"data.val_split={(lists / 'val.txt').resolve()}")
    folder = study.out / "runs" / name
    recipe = load_recipe(study.recipe, overrides, study.data)
    train_or_continue(recipe, folder, Display(quiet=True))
    return read_result(folder)["final"]["miou"]


def suggested(study: Study, model: Path, labelled: Sequence[str]) -> list[str]:
    """The ids that a model suggests, beyond those that it was trained on."""
    from vitseg.inference.predictor import load
    from vitseg.suggest.look import Looker
    from vitseg.suggest.suggest import suggest

    dataset = open_dataset(study.data, "train")
    paths = {key: Path(str(dataset.image_source(at))) for at, key in enumerate(dataset.ids)}
    pool = [(path, key) for key, path in paths.items() if key not in set(labelled)]
    looker = Looker(load(model, "cpu"))
    found = suggest(looker, pool, study.add, [paths[key] for key in labelled])
    return [each.name for each in found.chosen]


def run(task: tuple[Study, int, str]) -> tuple[int, str, dict[str, Any]]:
    """One of the two models of a seed, with the one that suggests where it is needed."""
    import torch

    torch.set_num_threads(1)
    study, seed, kind = task
    began = time.monotonic()
    ids = open_dataset(study.data, "train").ids
    first = drawn(ids, study.start, seed, "start")
    result: dict[str, Any] = {}
    if kind == "random":
        more = drawn([key for key in ids if key not in set(first)], study.add, seed, "more")
    else:
        result["first_miou"] = train(study, f"seed{seed}-first", first, seed)
        more = suggested(study, study.out / "runs" / f"seed{seed}-first" / LAST, first)
    result["miou"] = train(study, f"seed{seed}-{kind}", [*first, *more], seed)
    result["images"] = len(first) + len(more)
    result["minutes"] = round((time.monotonic() - began) / 60, 1)
    return seed, kind, result


def score(task: tuple[Study, str, str]) -> tuple[str, float]:
    """MIoU of a run's last model on a split."""
    import torch

    from vitseg.evaluation.evaluate import evaluate
    from vitseg.inference.predictor import load

    torch.set_num_threads(1)
    study, name, split = task
    found = evaluate(load(study.out / "runs" / name / LAST, "cpu"), open_dataset(study.data, split))
    return name, found.scores.mean_iou


def also_scored(results: dict[str, Any], scores: dict[str, float]) -> dict[str, Any]:
    """The results with the scores of another split in the place of their own."""
    again = {}
    for key, result in results.items():
        again[key] = {"miou": scores[f"seed{key}"]}
        if "first_miou" in result:
            again[key]["first_miou"] = scores[f"seed{key.partition('-')[0]}-first"]
    return again


def show(results: dict[str, Any], seeds: Sequence[int], study: Study, split: str = "val") -> None:
    many = study.start + study.add
    table = Table(
        title=f"mIoU of {study.recipe} on {study.data.partition(':')[0]} {split}, {study.iterations} iterations",
        caption="percent; of the model after the last iteration",
    )
    for name in ("seed", f"{study.start} images", f"{many}, random", f"{many}, suggested", "gain"):
        table.add_column(name, justify="right")
    rows = []
    for seed in seeds:
        ours, others = (results.get(f"{seed}-{kind}") for kind in KINDS)
        if ours and others:
            rows.append((ours["first_miou"], others["miou"], ours["miou"]))
            cells = [f"{100 * value:.2f}" for value in rows[-1]]
            table.add_row(str(seed), *cells, f"{100 * (rows[-1][2] - rows[-1][1]):+.2f}")
    if len(rows) > 1:
        table.add_section()
        gains = [row[2] - row[1] for row in rows]
        means = [f"{100 * statistics.mean(column):.2f}" for column in zip(*rows, strict=True)]
        spread = f"{100 * statistics.mean(gains):+.2f} (sd {100 * statistics.stdev(gains):.2f})"
        table.add_row("mean", *means, spread)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Suggested against random images to label.")
    parser.add_argument("--data", required=True, metavar="NAME:ROOT")
    parser.add_argument("--weights", required=True, help="of the recipe's backbone")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="camvid/segvit_joint-vit_tiny")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--start", type=int, default=50, help="images that are labelled first")
    parser.add_argument("--add", type=int, default=50, help="images that are then chosen")
    parser.add_argument("--val-images", type=int, help="only so many, for a trial of the script")
    parser.add_argument("--also", nargs="*", default=[], help="further splits to score models on")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, of a thread each")
    args = parser.parse_args()
    study = Study(
        args.data, args.recipe, args.weights, args.out, args.iterations, args.batch_size,
        args.start, args.add, args.val_images,
    )  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    if study.val_images is not None:
        val = open_dataset(study.data, "val").ids
        write_list(args.out / "lists" / "val.txt", "val", drawn(val, study.val_images, 0, "val"))
    place = args.out / RESULTS
    content = {"study": study._replace(out=Path())._asdict() | {"out": None}, "results": {}}
    if place.is_file():
        earlier = json.loads(place.read_text(encoding="utf-8"))
        if earlier["study"] != content["study"]:
            parser.error(f"{place} is of other settings ({earlier['study']}): give a new --out")
        content = earlier
    results = content["results"]
    tasks = [
        (study, seed, kind)
        for kind in KINDS
        for seed in args.seeds
        if f"{seed}-{kind}" not in results
    ]
    context = multiprocessing.get_context("spawn")
    with context.Pool(max(1, min(args.jobs, len(tasks)))) as pool:
        for seed, kind, result in pool.imap_unordered(run, tasks):
            results[f"{seed}-{kind}"] = result
            write_json(place, content)
            print(f"seed {seed}, {kind}: {result}", flush=True)
        names = [f"seed{key}" for key in results]
        names += [f"seed{key.partition('-')[0]}-first" for key in results if "suggested" in key]
        also = content.setdefault("also", {})
        for split in args.also:
            scores = also.setdefault(split, {})
            missing = [(study, name, split) for name in names if name not in scores]
            for name, miou in pool.imap_unordered(score, missing):
                scores[name] = miou
                write_json(place, content)
                print(f"{name} on {split}: {miou:.4f}", flush=True)
    show(results, args.seeds, study)
    for split in args.also:
        show(also_scored(results, also[split]), args.seeds, study, split)


if __name__ == "__main__":
    main()
