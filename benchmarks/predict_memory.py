"""Memory of predicting a 4000 x 3000 photo with 150 classes. Claim: under 2 GB above the weights in every mode.

python benchmarks/predict_memory.py [MODEL ...] [--long] measures SegViT, or the models that are named; --long adds the
views of six scales at the photo's own size, nearly 2,000 windows, and the whole photo in one window.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _measure import peak_and_result, print_table
from PIL import Image

from vitseg.checkpoint.model_dir import ModelRecord
from vitseg.classes import ClassTable
from vitseg.images.preprocess import Preprocessing
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import full_scores, label_map
from vitseg.inference.tiles import predict_large
from vitseg.methods import METHODS

PHOTO, NUM_CLASSES = (3000, 4000, 3), 150
VIT = {"name": "vit_tiny_patch16_384", "pretrained": False}
PYRAMID = {"name": "resnet18c", "pretrained": False, "levels": [0, 2, 3]}

# Masks over cells of 16 pixels that are mixed, and logits over cells of 16, 4, 4, 2 and 1 pixels.
MODELS: dict[str, dict[str, Any]] = {
    "segvit": {"backbone": {**VIT, "taps": [5, 7, 11]}},
    "segvit-b": {"backbone": {**VIT, "name": "vit_base_patch16_384", "taps": [5, 7, 11]}},
    "linear": {"backbone": {**VIT, "taps": [11]}},
    "upernet": {"backbone": {**VIT, "taps": [2, 5, 8, 11]}, "decoder": {"embed_dim": 128}},
    "nrd": {"backbone": PYRAMID, "decoder": {"embed_dim": 128}},
    "setr": {"backbone": {**VIT, "taps": [11]}, "decoder": {"kind": "pup"}},
    "duc": {
        "backbone": {**PYRAMID, "levels": [2, 3]},
        "decoder": {"embed_dim": None, "result_stride": 1, "auxiliary_dim": 64},
    },
}

WINDOW = {"mode": "slide", "crop_size": (512, 512), "stride": (341, 341)}
SLIDE = {**WINDOW, "resize": (2048, 512)}
WHOLE = {"mode": "whole", "resize": (2048, 512)}
SIX = {"scales": (0.5, 0.75, 1.0, 1.25, 1.5, 1.75), "flip": True}
MODES: dict[str, dict[str, Any]] = {
    "whole image": WHOLE,
    "whole image, mirrored": {**WHOLE, "flip": True},
    "whole image, six scales, mirrored": {**WHOLE, **SIX},
    "sliding window": SLIDE,
    "sliding window, mirrored": {**SLIDE, "flip": True},
    "sliding window, six scales, mirrored": {**SLIDE, **SIX},
    "sliding window at the photo's own size": WINDOW,
    "the same, mirrored": {**WINDOW, "flip": True},
}
LONG: dict[str, dict[str, Any]] = {
    "the same, six scales, mirrored": {**WINDOW, **SIX},
    "whole image at the photo's own size": {"mode": "whole"},
}
TILES = "tiles, --max-memory 2GB"
FULL = "whole image, one full-size score map"


def prepare(model_name: str, mode: str) -> Callable[[], tuple[float, float]]:
    """All but the prediction, which returns its processor time, and the model's part in it, in seconds."""
    method = model_name.partition("-")[0]
    config = METHODS[method].model_validate(MODELS[model_name])
    record = ModelRecord(
        method=method,
        architecture=config.model_dump(mode="json"),
        image_size=(512, 512),
        classes=ClassTable.from_names([f"class {index}" for index in range(NUM_CLASSES)]),
        preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        inference={**MODES, **LONG, TILES: WINDOW, FULL: WHOLE}[mode],
    )
    model = config.build(NUM_CLASSES, (512, 512))
    predictor = Predictor(model, record, "cpu")
    photo = np.random.default_rng(0).integers(0, 256, PHOTO, dtype=np.uint8)
    predictor(photo[:64, :64])  # libraries' own buffers
    in_model = [0.0]
    model.register_forward_pre_hook(lambda *_: _add(in_model, -time.process_time()))
    model.register_forward_hook(lambda *_: _add(in_model, time.process_time()))

    def run() -> tuple[float, float]:
        before = time.process_time()
        if mode == TILES:
            _in_tiles(predictor, photo)
        elif mode == FULL:
            full_scores(predictor.scores(photo)).argmax(0)
        else:
            label_map(predictor.scores(photo))
        return time.process_time() - before, in_model[0]

    return run


def _add(total: list[float], seconds: float) -> None:
    total[0] += seconds


def _in_tiles(predictor: Predictor, photo: np.ndarray) -> None:
    with TemporaryDirectory() as folder:
        source = Path(folder) / "photo.tif"
        Image.fromarray(photo).save(source)
        predict_large(predictor, source, Path(folder) / "labels.tif", "2GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "models", nargs="*", default=["segvit"], metavar="MODEL", help=", ".join(MODELS)
    )
    parser.add_argument("--long", action="store_true")
    options = parser.parse_args()
    for model in options.models:
        rows = []
        for mode in [
            *MODES,
            *(LONG if options.long else ()),
            TILES,
            *([FULL] if model == "segvit" else ()),
        ]:
            before, peak, (seconds, in_model) = peak_and_result(partial(prepare, model, mode))
            figures = [before, peak - before, seconds, in_model]
            rows.append([mode, *(f"{figure:.0f}" for figure in figures)])
            print(f"{model}, {mode}: {figures}", flush=True)
        header = [
            f"4000 x 3000 photo, {model}, 150 classes",
            "before MiB",
            "above MiB",
            "s",
            "of which model",
        ]
        print_table("Peak memory and processor time of a prediction", header, rows)


if __name__ == "__main__":
    main()
