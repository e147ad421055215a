"""Parameters and multiply-adds of every shipped recipe beside the published ones. Claim: as close as its note says.

    python published_table.py                       # all rows of recipes/published.csv, in some minutes
    python published_table.py ade20k/segvit-vit_large_patch16_384

Nothing is computed: models are built on torch's meta device with the classes of their data set, and counted on the
image that the published figure is of. Parameters are those of the network that is trained, as papers count them. "code"
is what was counted on the authors' code, with a counter (fvcore) that adds normalisation and resizing. mIoU is
published; what of it was reached again is written by `vitseg reproduce`.
"""

from __future__ import annotations

import argparse

import torch

from vitseg.studies.reproduce.costs import Costs, count_costs
from vitseg.studies.reproduce.row import size_of
from vitseg.training.published import PublishedRow, read_published
from vitseg.training.recipe import load_recipe
from vitseg.training.recipe_shelf import read_figures

HEAD = (
    "recipe", "mIoU", "ms", "image", "parameters", "published", "code", "GMACs", "published", "code", "off",
)  # fmt: skip


def shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def off(row: PublishedRow, gmacs: float | None) -> str:
    """Our multiply-adds over the published ones, else over those of the authors' code."""
    other = row.gmacs if row.gmacs is not None else row.code_gmacs
    return "" if other is None or gmacs is None else f"{100 * (gmacs / other - 1):+.1f} %"


def line(name: str, row: PublishedRow, costs: Costs, size: tuple[int, int]) -> tuple[str, ...]:
    return (
        name,
        shown(row.miou, 2),
        shown(row.miou_multi_scale, 2),
        f"{size[0]} x {size[1]}",
        f"{costs.parameters / 1e6:.2f}",
        shown(row.parameters_m, 2),
        shown(row.code_parameters_m, 2),
        shown(costs.gmacs, 2),
        shown(row.gmacs, 1),
        shown(row.code_gmacs, 2),
        off(row, costs.gmacs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", help="of these alone; else of all")
    chosen = parser.parse_args().recipes
    rows, notes = [HEAD], []
    for name, row in read_published().items():
        if chosen and name not in chosen:
            continue
        recipe, classes = load_recipe(name), read_figures()[name].classes
        assert classes is not None
        size = size_of(row, recipe.data.augment.crop_size)
        rows.append(line(name, row, count_costs(recipe, classes, size), size))
        if row.differs:
            notes.append(f"{name}: {row.differs}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        right = (text.rjust(width) for text, width in zip(rest, widths[1:], strict=True))
        print("  ".join([first.ljust(widths[0]), *right]).rstrip())
    print("\nparameters in 10^6, GMACs in 10^9; blank: not stated, or it depends on the image")
    print(f"counted on the meta device, torch {torch.__version__}\n")
    print("\n".join(notes))


if __name__ == "__main__":
    main()
