"""`vitseg data preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitseg.cli import frame, options, places
from vitseg.cli.places import Before
from vitseg.errors import ConfigError

DEFAULT_RECIPE = "folder/medium-vit_small"


def preview(
    data: options.DataArgument,
    *,
    out: Annotated[Path, typer.Option(help="The picture to write (PNG or JPEG).")] = Path(
        "preview.png"
    ),
    recipe: Annotated[
        str,
        typer.Option(help="Recipe whose augmentation, sampling and seed are shown."),
        Before(places.require_recipe),
    ] = DEFAULT_RECIPE,
    split: Annotated[
        str | None, typer.Option(help="Split; else the recipe's training split.")
    ] = None,
    num: Annotated[int, typer.Option(help="Samples to show.", min=1, max=64)] = 6,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="section.field=value of the recipe.")
    ] = None,
    merge: options.Merge = None,
    ignore: options.Ignore = None,
) -> None:
    """Draw images, masks and augmented crops, exactly as training would see them first."""
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"--out {out} is no PNG or JPEG file: name it {out.stem}.png.")
    frame.require_place("--out", out)

    from PIL import Image

    from vitseg.cli.default_split import training_split
    from vitseg.data.catalog import open_dataset
    from vitseg.render.contact_sheet import contact_sheet
    from vitseg.render.overlay import append_legend, draw_overlay, legend_entries
    from vitseg.render.palette import colorize
    from vitseg.training.preview import preview as preview_samples
    from vitseg.training.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or [], data)
    joint = options.parse_merge(merge) or loaded.data.merge
    of_recipe = loaded.data.train_split
    split = split or (training_split(data) if of_recipe == "train" else of_recipe)
    dataset = open_dataset(data, split, joint, ignore or loaded.data.ignore)
    rows, seen = [], []
    for shown in preview_samples(loaded, dataset, num):
        sample, classes = shown.sample, dataset.classes
        painted = draw_overlay(sample.image, sample.label_map, classes, 0.55, legend=False)
        labels = Image.fromarray(colorize(shown.crop_labels, classes))
        rows.append([Image.fromarray(sample.image), painted, Image.fromarray(shown.crop), labels])
        seen += [sample.label_map.ravel(), shown.crop_labels.ravel()]
    height, width = loaded.data.augment.crop_size
    headers = ["image", "mask", f"crop {width}x{height}", "its labels"]
    sheet = contact_sheet(rows, headers, cell_height=220)
    append_legend(sheet, legend_entries(_column(seen), dataset.classes)).save(out)
    typer.echo(
        f"{dataset.source}: {len(rows)} of {len(dataset)} samples of {dataset.split} in {out}"
    )


def _column(parts: list):
    import numpy as np

    return np.concatenate(parts)[:, None]
