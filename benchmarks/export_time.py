"""An image to labels by torch and by exported files: time over the bare backbone's, and peak memory of the process.

    python export_time.py [MODEL_OR_RECIPE ...] [--size 512] [--classes 150] [--rounds 7] [--threads 2] [--keep FOLDER]
    python export_time.py --pruned [RECIPE]

Forms are run in turn, in one process: medians of rounds, as ratios to timm's backbone in float32, which gives no
labels. Labels are taken by strips, as a predictor takes them. Weights of a recipe are random, so that labels that
differ say nothing of a trained model; those of a model directory are not. The memory is that of a fresh process which
loads the model and labels an image: at the peak, and of that above what it held once the model was loaded.

With --pruned, an exported DToP model of whose tokens 40 % leave at each of two exits, beside the same without pruning.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from _measure import alternating_medians, peak_above, print_table
from models_time import predictor_of

from vitseg.checkpoint.model_dir import save_model
from vitseg.errors import VitsegError
from vitseg.export.export import ENDINGS, ExportOptions, export_model
from vitseg.export.fastest import candidates
from vitseg.export.photos import LabelledPhoto
from vitseg.export.trace import example_of
from vitseg.inference.precision import Precision
from vitseg.inference.predictor import Predictor, load
from vitseg.inference.scores import label_map

RECIPES = (
    "recipes/ade20k/segvit-vit_base_patch16_384.yaml",
    "recipes/ade20k/shrunk-vit_base_patch16_384-jx.yaml",
)
PRUNED = "recipes/ade20k/dtop-vit_base_patch16_384.yaml"
SHARE = ["pruning.rule=share", "pruning.share=0.4", "pruning.threshold=0.95"]
WHOLE = ["mode=whole", "resize=null", "crop_size=null", "stride=null"]
FORMS = {one.name: one.options for one in candidates(ExportOptions(max_differing=1.0))}
ONE_SIZE = ", one size"
"""Behind the name of a form: its file takes images of the benchmark's size alone."""
BARE = "bare backbone"


def photos(size: int, number: int) -> list[np.ndarray]:
    """Smooth made photos."""
    images = example_of(3, (size, size), number).to(torch.uint8)
    return [image.permute(1, 2, 0).numpy() for image in images]


def prepared(
    place: str, size: int, threads: int, dtype: Precision = "fp32"
) -> Callable[[], object]:
    """What a process runs whose memory is measured."""
    torch.set_num_threads(threads)
    predictor = load(place, "cpu", WHOLE, dtype=dtype)
    return functools.partial(labelled, predictor, photos(size, 1)[0])


def labelled(predictor: Predictor, photo: np.ndarray) -> np.ndarray:
    """The labels of a photo."""
    return label_map(predictor.scores(photo))


def compiled(predictor: Predictor) -> Predictor:
    """The same through torch.compile."""
    own = Predictor(predictor.network, predictor.record, "cpu")
    own.model = torch.compile(own.model, dynamic=False)
    return own


def exported(model: Path, size: int, forms: Sequence[str]) -> dict[str, str]:
    """Files of a model in formats and numbers, by name."""
    places = {}
    calibration = [LabelledPhoto(photo) for photo in photos(size, 6)]
    for form in forms:
        options = FORMS[form.removesuffix(ONE_SIZE)]
        assert options is not None
        name = f"{options.format}-{options.precision}"
        if form.endswith(ONE_SIZE):
            options, name = replace(options, size=(size, size)), f"{name}-{size}"
        out = model.parent / f"{name}{ENDINGS[options.format]}"
        try:
            if not out.is_file():
                export_model(model, out, options, calibration)
        except VitsegError as error:
            print(f"{form}: {error}")
            continue
        places[form] = str(out)
    return places


def measure(name: str, arguments: argparse.Namespace) -> None:
    """All forms of one model."""
    size = arguments.size
    with tempfile.TemporaryDirectory() as fresh:
        folder = Path(fresh) if arguments.keep is None else arguments.keep / Path(name).stem
        built = predictor_of(name, arguments.classes)
        model = folder / "model"
        if not model.is_dir():
            save_model(model, built.network, built.record)
        places = {"torch, fp32": str(model), **exported(model, size, arguments.forms)}
        if arguments.rounds == 0:
            return
        own = {each: load(place, "cpu", WHOLE) for each, place in places.items()}
        own["torch, bf16"] = load(model, "cpu", WHOLE, dtype="bf16")
        own["torch.compile, fp32"] = compiled(own["torch, fp32"])
        (photo,) = photos(size, 1)
        backbone = built.record.architecture["backbone"]["name"].partition(".")[0]
        bare = timm.create_model(backbone, img_size=size, num_classes=0).eval()
        images = example_of(3, (size, size), 1) / 255
        runs: dict[str, Callable[[], object]] = {
            BARE: lambda: bare.forward_features(images),
            **{each: functools.partial(labelled, one, photo) for each, one in own.items()},
        }
        with torch.inference_mode():
            medians = alternating_medians(runs, arguments.rounds, warmups=2)
            expected = labelled(own["torch, fp32"], photo)
            rows = []
            for each in sorted(runs, key=medians.__getitem__):
                row = [each, f"{medians[each] / medians[BARE]:.2f}", f"{1000 * medians[each]:.0f}"]
                differing = (
                    "-"
                    if each == BARE
                    else f"{100 * np.mean(labelled(own[each], photo) != expected):.3f} %"
                )
                place = str(model) if each == "torch, bf16" else places.get(each)
                memory = "-"
                if place is not None:
                    dtype = "bf16" if each == "torch, bf16" else "fp32"
                    job = functools.partial(prepared, place, size, arguments.threads, dtype)
                    before, peak = peak_above(job)
                    memory = f"{peak:.0f}, {peak - before:.0f}"
                rows.append([*row, differing, memory])
        header = ["form", "time over the bare backbone's", "ms", "other labels", "MiB: peak, above"]
        print_table(f"{name}, {size} x {size}, image to labels", header, rows)


def measure_pruned(name: str, arguments: argparse.Namespace) -> None:
    """An exported DToP beside itself without pruning; random weights are sure of nothing, so a share leaves."""
    size = arguments.size
    with tempfile.TemporaryDirectory() as folder:
        built = predictor_of(name, arguments.classes, arguments.overrides)
        model = Path(folder) / "model"
        save_model(model, built.network, built.record)
        predictors = {}
        for each, is_whole in (("pruned", False), ("unpruned", True)):
            out = Path(folder) / f"{each}.onnx"
            export_model(model, out, ExportOptions(unpruned=is_whole, max_differing=1.0))
            predictors[each] = load(out, "cpu", WHOLE)
        (photo,) = photos(size, 1)
        runs = {each: functools.partial(labelled, one, photo) for each, one in predictors.items()}
        with torch.inference_mode():
            features = built.network.backbone(built.model_input(photo, (size, size)))
            arrived = [len(exit.cells) for exit in features.exits]
            last = len(features.alive.tokens.cells)
            medians = alternating_medians(runs, arguments.rounds, warmups=2)
        rows = [
            [each, f"{medians[each] / medians['unpruned']:.2f}", f"{1000 * medians[each]:.0f}"]
            for each in runs
        ]
        tokens = f"tokens at the exits {arrived}, at the end {last}"
        print_table(f"{name}, {size} x {size}, ONNX: {tokens}", ["form", "time", "ms"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--pruned", action="store_true")
    parser.add_argument("--overrides", nargs="*", default=SHARE)
    forms = [*FORMS, *(f"{name}{ONE_SIZE}" for name in FORMS)]
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=forms)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=7, help="0: write the files alone")
    parser.add_argument("--keep", type=Path, help="folder of the files, which are written once")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.models or ([PRUNED] if arguments.pruned else RECIPES):
        (measure_pruned if arguments.pruned else measure)(name, arguments)


if __name__ == "__main__":
    main()
