"""The table of the recipe shelf: parameters, multiply-adds and memory of every recipe's model, `recipes/figures.csv`.

    python recipe_figures.py                            # what would change
    python recipe_figures.py --write                    # all, in some minutes
    python recipe_figures.py --write folder/small-vit_tiny

Nothing is computed: models are built on torch's meta device, at the size of their crops and with the classes of their
data set (folders of one's own: 20). Memory is that of predicting one crop in float32, weights included, as `vitseg
profile` finds it, label maps apart. A model that looks at the image to decide what it runs (edge-aware Shrunk) has no
such count and stays blank. Scores that were measured here are read from docs/results. What is published stands in
`recipes/published.csv`, which is entered by hand.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path

import torch

from vitseg.data.scene_painter import SCENE_CLASSES
from vitseg.inference.operations import count_operations, peak_memory
from vitseg.studies.continual.recipe import load_continual
from vitseg.studies.reproduce.costs import FlashAttention, outline_of
from vitseg.training.recipe import Recipe, load_recipe
from vitseg.training.recipe_shelf import FIGURES, shipped_names

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    "recipe", "measured", "classes", "height", "width", "parameters_m", "gmacs", "memory_mb",
)  # fmt: skip
CLASSES = {
    "ade20k": 150, "camvid": 11, "ccp": 24, "cityscapes": 19, "coco_stuff_10k": 171, "folder": 20,
    "pascal_context_59": 59, "pascal_context_60": 60, "scenes": SCENE_CLASSES.num_classes, "voc2012": 21,
}  # fmt: skip


def recipe_of(name: str) -> Recipe:
    if name.rpartition("/")[2].startswith("continual-"):
        return load_continual(name).first
    return load_recipe(name)


def count(recipe: Recipe, classes: int) -> tuple[str, str, str]:
    """Millions of parameters that a prediction uses, GMACs and MB; blank where the image decides."""
    model = outline_of(recipe, classes).eval()
    image = torch.empty(1, 3, *recipe.data.augment.crop_size, device="meta")

    def run() -> None:
        model(image).scores()

    try:
        operations = count_operations(model, run)
    except NotImplementedError:  # an operator whose result depends on values
        stored = sum(parameter.numel() for parameter in model.parameters())
        return f"{stored / 1e6:.2f}", "", ""
    with FlashAttention():
        peak = peak_memory(run, torch.device("meta"))
    memory = 4 * operations.used_parameters + peak
    parameters = f"{operations.used_parameters / 1e6:.2f}"
    return parameters, f"{operations.total / 1e9:.2f}", f"{memory / 1e6:.0f}"


def measured(name: str) -> str:
    """Percent mIoU on CamVid's validation set by the short protocol, if docs/results has it."""
    dataset, _, stem = name.partition("/")
    file = ROOT / "docs" / "results" / f"{dataset}-{stem}-short.json"
    if not file.is_file():
        return ""
    return f"{100 * json.loads(file.read_text())['final']['miou']:.1f}"


def table(chosen: list[str]) -> str:
    """The new table; of recipes that are not chosen the rows as they stand."""
    _, *lines = (ROOT / "recipes" / FIGURES).read_text().splitlines()
    rows_before = {line.partition(",")[0]: line.split(",") for line in lines}
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for name in shipped_names():
        if chosen and name not in chosen:
            if name in rows_before:
                rows.writerow(rows_before[name])
            continue
        recipe, classes = recipe_of(name), CLASSES[name.partition("/")[0]]
        height, width = recipe.data.augment.crop_size
        rows.writerow([name, measured(name), classes, height, width, *count(recipe, classes)])
    return text.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", help="of these alone; else of all")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    file = ROOT / "recipes" / FIGURES
    new = table(options.recipes)
    if options.write:
        file.write_text(new)
        print(f"{file}: {len(new.splitlines()) - 1} recipes")
        return
    old = set(file.read_text().splitlines())
    changed = [line for line in new.splitlines() if line not in old]
    print("\n".join(changed) or "the table is what the models give")


if __name__ == "__main__":
    main()
