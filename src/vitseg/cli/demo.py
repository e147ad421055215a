"""`vitseg demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitseg.cli import frame
from vitseg.launch import is_repeating, require_one_start

if TYPE_CHECKING:
    from PIL import Image

    from vitseg.data.dataset import SegmentationDataset
    from vitseg.evaluation.evaluate import Evaluation
    from vitseg.inference.predictor import Predictor

RECIPE = Path("scenes/segvit-test_vit")
NUM_TRAIN, NUM_VAL, SCENE_SIZE, SEED = 400, 60, (128, 128), 0
NUM_SHOWN = 4


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the demo.")] = Path("vitseg-demo"),
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.field=value of its recipe.")
    ] = None,
) -> None:
    """Train, evaluate and predict on synthetic scenes, in about three minutes on two CPU cores."""
    from vitseg.claims import claim_folder
    from vitseg.cli.evaluate import score_table
    from vitseg.data.catalog import open_dataset
    from vitseg.data.scenes import write_scenes

    require_one_start("vitseg demo")
    if not is_repeating():
        claim_folder(out, instead="name another with --out, or empty it")

    from vitseg.evaluation.evaluate import evaluate
    from vitseg.inference.predictor import load
    from vitseg.training.display import Display
    from vitseg.training.loop import train
    from vitseg.training.recipe import load_recipe

    source = f"folder:{out / 'scenes'}"
    recipe = load_recipe(RECIPE, overrides or [], source)
    if not is_repeating():
        frame.say(f"drawing {NUM_TRAIN + NUM_VAL} scenes into {out / 'scenes'}")
        write_scenes(out / "scenes", NUM_TRAIN, NUM_VAL, SCENE_SIZE, SEED)
    best = train(recipe, out / "run", display=Display())
    if is_repeating():
        return
    predictor = load(best, "auto")
    dataset = open_dataset(source, "val")
    result = evaluate(predictor, dataset)
    frame.show(score_table(result))
    pictures = _predict(predictor, dataset, out / "predictions")
    page = out / "index.html"
    _write_page(page, result, pictures, out / "run")
    typer.echo(f"mIoU {frame.percent(result.scores.mean_iou, 1)} %")
    typer.echo(f"summary: {page.resolve()}")


def _predict(
    predictor: Predictor, dataset: SegmentationDataset, folder: Path
) -> list[list[Image.Image]]:
    """Masks and overlays of some scenes; returns rows of image, ground truth, prediction, overlay."""
    import numpy as np
    from PIL import Image

    from vitseg.render.palette import colorize

    rows = []
    for index in range(min(NUM_SHOWN, len(dataset))):
        sample = dataset[index]
        found = predictor(sample.image)
        found.save(folder / f"{sample.id}.png")
        found.overlay().save(folder / f"{sample.id}_overlay.png")
        truth = colorize(sample.label_map, dataset.classes)
        labels = colorize(found.label_map.astype(np.int64), dataset.classes)
        overlay = found.overlay(legend=False)
        pictures = [Image.fromarray(array) for array in (sample.image, truth, labels)]
        rows.append([*pictures, overlay])
    return rows


def _write_page(
    page: Path, result: Evaluation, pictures: list[list[Image.Image]], run: Path
) -> None:
    import csv

    from vitseg.render.contact_sheet import contact_sheet
    from vitseg.render.page import ClassRow, write_summary_page
    from vitseg.runs import VAL_LOG, read_result

    scores, classes = result.scores, result.classes
    with (run / VAL_LOG).open(encoding="utf-8") as file:
        curve = [(int(row["iteration"]), float(row["miou"])) for row in csv.DictReader(file)]
    minutes = read_result(run)["training_minutes"]
    headers = ["image", "ground truth", "prediction", "overlay"]
    sheet = contact_sheet(pictures, headers, cell_height=192)
    write_summary_page(
        page,
        "vitseg demo: SegViT on synthetic scenes",
        {
            "mIoU": f"{frame.percent(scores.mean_iou, 1)} %",
            "mean accuracy": f"{frame.percent(scores.mean_accuracy, 1)} %",
            "pixel accuracy": f"{frame.percent(scores.pixel_accuracy, 1)} %",
            "training": f"{minutes:.1f} minutes, {curve[-1][0]} iterations",
            "validation images": str(result.protocol["images"]),
            "device": f"{result.protocol['device']}, {result.protocol['threads']} threads",
        },
        [
            ClassRow(name, float(scores.iou[i]), float(scores.accuracy[i]), classes.palette[i])
            for i, name in enumerate(classes.names)
        ],
        [("Scenes of the validation split that the model has not seen", sheet)],
        curve,
    )
