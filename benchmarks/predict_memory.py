"""Memory of predicting a 4000 x 3000 photo with 150 classes. Claim: under 2 GB above the weights in every mode."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from _measure import peak_above, print_table

from vitseg.checkpoint.model_dir import ModelRecord
from vitseg.classes import ClassTable
from vitseg.images.preprocess import Preprocessing
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import full_scores, label_map
from vitseg.methods import METHODS

PHOTO = (3000, 4000, 3)
WINDOW = {"mode": "slide", "crop_size": (512, 512), "stride": (341, 341)}
SLIDE = {**WINDOW, "resize": (2048, 512)}
WHOLE = {"mode": "whole", "resize": (2048, 512)}
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


def prepare(inference: dict, strips: bool) -> Callable[[], object]:
    backbone = {"name": "vit_base_patch16_384", "pretrained": False, "taps": [5, 7, 11]}
    config = METHODS["segvit"].model_validate({"backbone": backbone})
    record = ModelRecord(
        method="segvit",
        architecture=config.model_dump(mode="json"),
        image_size=(512, 512),
        classes=ClassTable.from_names([f"class {index}" for index in range(150)]),
        preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        inference=inference,
    )
    model = config.build(150, (512, 512))
    predictor = Predictor(model, record, "cpu")
    photo = np.random.default_rng(0).integers(0, 256, PHOTO, dtype=np.uint8)
    predictor(photo[:64, :64])  # libraries' own buffers
    if strips:
        return lambda: label_map(predictor.scores(photo))
    return lambda: full_scores(predictor.scores(photo)).argmax(0)


def main() -> None:
    rows = []
    for name, inference, strips in (
        ("whole image", WHOLE, True),
        ("whole image, mirrored", {**WHOLE, "flip": True}, True),
        ("whole image, six scales, mirrored", {**WHOLE, "scales": SCALES, "flip": True}, True),
        ("sliding window", SLIDE, True),
        ("sliding window, mirrored", {**SLIDE, "flip": True}, True),
        ("sliding window, six scales, mirrored", {**SLIDE, "scales": SCALES, "flip": True}, True),
        ("sliding window at the photo's own size", WINDOW, True),
        ("the same, mirrored", {**WINDOW, "flip": True}, True),
        ("whole image, one full-size score map", WHOLE, False),
    ):
        before, peak = peak_above(partial(prepare, inference, strips))
        rows.append([name, f"{before:.0f}", f"{peak:.0f}", f"{peak - before:.0f}"])
    header = ["4000 x 3000 photo, SegViT-B, 150 classes", "before MiB", "peak MiB", "above MiB"]
    print_table("Peak memory of a prediction", header, rows)


if __name__ == "__main__":
    main()
