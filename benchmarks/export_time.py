"""An image to labels by torch and by exported files: time over the bare backbone's, and peak memory of the process.

    python export_time.py [--model MODEL_OR_RECIPE] [--size 512] [--classes 150] [--rounds 10] [--threads 2]

Forms are run in turn, in one process: medians of rounds, as ratios to timm's backbone in float32, which gives no
labels. Labels are taken by strips, as a predictor takes them. Weights of a recipe are random, so that labels that
differ say nothing of a trained model; those of a model directory are not. The memory is the peak above what the loaded
model takes, each in a fresh process.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from _measure import alternating_medians, peak_above, print_table
from models_time import predictor_of

from vitseg.checkpoint.model_dir import save_model
from vitseg.errors import VitsegError
from vitseg.export.export import ENDINGS, ExportOptions, LabelledPhoto, export_model
from vitseg.export.trace import example_of
from vitseg.inference.predictor import Predictor, load
from vitseg.inference.scores import label_map

FORMS = {
    "ONNX Runtime": ("onnx", "fp32"),
    "ONNX Runtime, dynamic int8": ("onnx", "int8-dynamic"),
    "OpenVINO": ("openvino", "fp32"),
    "OpenVINO, static int8": ("openvino", "int8-static"),
}


def photos(size: int, number: int) -> list[np.ndarray]:
    """Smooth made photos."""
    images = example_of(3, (size, size), number).to(torch.uint8)
    return [image.permute(1, 2, 0).numpy() for image in images]


def labelled(predictor: Predictor, photo: np.ndarray, is_bf16: bool = False) -> np.ndarray:
    """The labels of a photo."""
    with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
        scores = predictor.scores(photo)
    return label_map(scores)


def prepared(place: str, size: int, threads: int) -> Callable[[], object]:
    """What a process runs whose memory is measured."""
    torch.set_num_threads(threads)
    predictor = load(place, "cpu", ["resize=null"])
    return functools.partial(labelled, predictor, photos(size, 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="recipes/ade20k/segvit-vit_base_patch16_384.yaml")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    size = arguments.size
    with tempfile.TemporaryDirectory() as folder:
        trained = predictor_of(arguments.model, arguments.classes)
        save_model(Path(folder) / "model", trained.network, trained.record)
        places = {"torch": str(Path(folder) / "model")}
        calibration = [LabelledPhoto(photo) for photo in photos(size, 16)]
        for name, (format, precision) in FORMS.items():
            out = Path(folder) / f"{format}-{precision}{ENDINGS[format]}"
            options = ExportOptions(format=format, precision=precision, max_differing=1.0)
            try:
                export_model(places["torch"], out, options, calibration)
            except VitsegError as error:
                print(f"{name}: {error}")
                continue
            places[name] = str(out)
        report(places, trained, size, arguments)


def report(places: dict[str, str], trained: Predictor, size: int, arguments) -> None:
    """Measure and print."""
    predictors = {name: load(place, "cpu", ["resize=null"]) for name, place in places.items()}
    (photo,) = photos(size, 1)
    backbone = trained.record.architecture["backbone"]["name"].partition(".")[0]
    bare = timm.create_model(backbone, img_size=size, num_classes=0).eval()
    images = example_of(3, (size, size), 1) / 255
    torch_one = predictors["torch"]
    runs: dict[str, Callable[[], object]] = {
        "bare backbone": lambda: bare.forward_features(images),
        "torch, bf16": lambda: labelled(torch_one, photo, is_bf16=True),
        **{name: functools.partial(labelled, one, photo) for name, one in predictors.items()},
    }
    expected = labelled(torch_one, photo)
    with torch.inference_mode():
        medians = alternating_medians(runs, arguments.rounds)
        rows = []
        for name, run in runs.items():
            differing = (
                "-" if name == "bare backbone" else f"{100 * (run() != expected).mean():.3f} %"
            )
            memory = "-"
            if name in places:
                before, peak = peak_above(
                    functools.partial(prepared, places[name], size, arguments.threads)
                )
                memory = f"{peak - before:.0f} ({before:.0f})"
            rows.append(
                [name, f"{medians[name] / medians['bare backbone']:.2f}", differing, memory]
            )
    header = ["form", "time over the bare backbone's", "other labels", "peak MiB above (loaded)"]
    print_table(f"{arguments.model}, {size} x {size}, image to labels", header, rows)


if __name__ == "__main__":
    main()
