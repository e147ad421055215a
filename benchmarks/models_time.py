"""Models side by side on photos, image to labels: parameters, and as means over the photos multiply-adds and time.

    python models_time.py MODEL_OR_RECIPE... --images FOLDER [--number 12] [--counted 101]

The first model is what the others are compared with. A run folder's mIoU stands beside them. A recipe is built with
random weights, which is as good where the cost does not depend on what the model sees. Parameters are those of the
whole model, with heads that only training uses. Multiply-adds of models that prune differ from image to image, so more
photos may be counted than are timed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _measure import alternating_medians, print_table
from PIL import Image

from vitseg.checkpoint.model_dir import ModelRecord
from vitseg.classes import ClassTable
from vitseg.images.preprocess import Preprocessing
from vitseg.inference.operations import count_operations
from vitseg.inference.predictor import Predictor, load
from vitseg.inference.scores import label_map
from vitseg.training.recipe import load_recipe

NUM_CLASSES = 11


def predictor_of(
    place: str, num_classes: int = NUM_CLASSES, overrides: Sequence[str] = ()
) -> Predictor:
    """A model directory, or a recipe's model with random weights."""
    if not place.endswith(".yaml"):
        return load(place, device="cpu")
    recipe = load_recipe(Path(place), list(overrides))
    size = recipe.data.augment.crop_size
    model = recipe.model.build(num_classes, size, load_pretrained=False)
    record = ModelRecord(
        method=recipe.method,
        architecture=recipe.model.model_dump(mode="json"),
        image_size=size,
        classes=ClassTable.from_names([f"class {index}" for index in range(num_classes)]),
        preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        inference=recipe.inference.model_dump(mode="json"),
    )
    return Predictor(model, record, "cpu")


def miou_of(place: str) -> str:
    """What the run's own evaluation found, in percent; a dash for recipes and other directories."""
    result = Path(place) / "result.json"
    if not result.is_file():
        return "-"
    return f"{100 * json.loads(result.read_text())['final']['miou']:.1f}"


def spread(files: list[Path], number: int) -> list[np.ndarray]:
    """Some photos at equal distances."""
    step = max(1, len(files) // number)
    return [np.array(Image.open(path).convert("RGB")) for path in files[::step][:number]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--number", type=int, default=12)
    parser.add_argument("--counted", type=int, default=0)
    options = parser.parse_args()
    if not options.models or options.images is None:  # as `make bench` calls it
        print("models_time: nothing to compare; give models and --images FOLDER")
        return
    files = sorted(path for path in options.images.iterdir() if path.is_file())
    images = spread(files, options.number)
    counted_images = spread(files, max(options.number, options.counted))
    predictors = {place: predictor_of(place) for place in options.models}

    def run(predictor: Predictor) -> None:
        for image in images:
            label_map(predictor.scores(image))

    medians = alternating_medians(
        {place: (lambda p=predictor: run(p)) for place, predictor in predictors.items()},
        rounds=10,
        warmups=3,
    )
    rows = []
    for place, predictor in predictors.items():
        # Counting needs tensors that autograd may see, which `inference_mode` makes none of.
        inputs = [
            predictor.model_input(image, predictor.inference.input_size(image.shape[:2]))
            for image in counted_images
        ]
        model = predictor.model.eval()
        counted = count_operations(model, lambda m=model, i=inputs: [m(image) for image in i])
        gmacs = counted.total / 1e9 / len(counted_images)
        ratio = medians[place] / medians[options.models[0]]
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        rows.append(
            [Path(place).stem, miou_of(place), f"{millions:.2f}", f"{gmacs:.2f}", f"{ratio:.2f}"]
        )
    height, width = images[0].shape[:2]
    title = (
        f"{len(images)} photos of {height} x {width}; multiply-adds of the model ({len(counted_images)} photos), time "
        "to labels"
    )
    print_table(title, ["model", "mIoU", "M parameters", "GMACs/image", "time ratio"], rows)


if __name__ == "__main__":
    main()
