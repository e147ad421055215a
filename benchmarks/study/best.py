"""Score one model on several splits, at one scale and at several, and keep the pixel counts of every image.

    python benchmarks/study/best.py RUN --name joint --data ROOT_OF_CAMVID [--splits val test]

Several scales are the papers': 0.5, 0.75, 1, 1.25, 1.5 and 1.75, each with its mirror image. `tables.py` makes of the
files mIoU and IoU of each class with their intervals over images, what each class is taken for, and what several scales
gain.
Choose on val; score test once, at the end. What is there is not made again; a file of another model is refused. It can
be stopped at any image, and the same command goes on: what is begun lies beside the result, in a .part file.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from begun import Begun
from bootstrap import ious, mean_iou
from identity import versions_that_count
from places import OUT
from results import (
    device_kind,
    hits_in,
    hits_of,
    is_number,
    packed,
    read_file,
    refuse_mixed,
    require,
    require_scores,
    result_files,
)
from score import write_result

from vitseg.checkpoint.versions import package_versions
from vitseg.data.catalog import open_dataset
from vitseg.data.picked import picked
from vitseg.errors import ConfigError, VitsegError
from vitseg.evaluation.evaluate import evaluate
from vitseg.evaluation.measures import plain
from vitseg.evaluation.provenance import content_hash
from vitseg.inference.predictor import load
from vitseg.runs import RESULT, read_result, run_of
from vitseg.runtimes.places import weights_hash

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
PROTOCOLS: dict[str, tuple[str, ...]] = {
    "single": (),
    "multi": (f"scales={list(SCALES)}", "flip=true"),
}


SAME = ("method", "backbone", "iterations", "weights_sha256")
"""What all files of a model have to agree in."""


def folder_of(out: Path) -> Path:
    return out / "best"


def read_best(path: Path) -> Any:
    """What a file of a scored model says.

    Raises:
        ConfigError: It is damaged, of another format, or has the name of another file.
    """
    content = read_file(path)
    try:
        if content["format"] != 1:
            raise ValueError(f"format {content['format']}")
        for name in ("model", "split", "protocol", "content_hash", "weights_sha256", "device"):
            require(isinstance(content[name], str), f"{name} is no text")
        for name in ("method", "backbone", "commit"):
            require(isinstance(content[name], str | None), f"{name} is no text")
        iterations = content["iterations"]
        require(iterations is None or is_number(iterations), "iterations are no number")
        for name in versions_that_count({}):
            require(isinstance(content["versions"][name], str), f"versions have no {name}")
        trained(content)
        scales, flip = (content["inference"][name] for name in ("scales", "flip"))
        wanted = ([1.0], False) if not PROTOCOLS[content["protocol"]] else (list(SCALES), True)
        require((scales, flip) == wanted, f"scales {scales}, flip {flip} are not its protocol's")
        name = f"{content['model']}-{content['split']}-{content['protocol']}.json"
        require(name == path.name, f"it says that it is {name}")
        hits = hits_in(content["images"]["last"])
        require(content["images"]["last"]["kind"] == "confusions", "it has no confusions")
        require_scores(content, hits)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{path} is no result of best.py ({type(error).__name__}: {error}): restore it, or delete it to have it "
            "made anew."
        ) from error
    return content


def read_all(folder: Path) -> list[Any]:
    """What all files of scored models say.

    Raises:
        ConfigError: One is damaged or of other versions, or two of a model are of other weights or recipes, or two of a
            split of other images.
    """
    found = {path.name: read_best(path) for path in result_files(folder)}
    for name, content in found.items():
        _require_versions(folder / name, content)
    refuse_mixed(folder, ((name, _facts(content)) for name, content in found.items()))
    return list(found.values())


def _facts(content: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    labelled = hits_in(content["images"]["last"])[..., 1].T.tolist()
    of_classes = zip(content["per_class"], labelled, strict=True)
    return {
        ("weights", content["model"]): [content[name] for name in SAME],
        ("recipes", content["model"]): content["recipe"],
        ("devices", "of all"): device_kind(content),
        ("images", content["split"]): content["content_hash"],
        ("classes", "of all"): sorted(content["per_class"]),
        **{("masks", content["split"], name): counts for name, counts in of_classes},
    }


class Trained(NamedTuple):
    """How a scored model was trained, and what images were brought to.

    Attributes:
        seed: None: the model's record has no training, as that of a converted checkpoint.
        crop_size: (height, width) in pixels; None: likewise.
        resize: (width, height) into which images are fit; None: they keep their size.
        minutes: Of the training; None: not known.
    """

    seed: int | None
    crop_size: tuple[int, int] | None
    resize: tuple[int, int] | None
    minutes: float | None


def trained(content: Mapping[str, Any]) -> Trained:
    """What a file says of how its model was trained.

    Raises:
        ValueError: It says something else there, or nothing.
    """
    recipe = content["recipe"]
    seed = recipe["training"]["seed"] if "training" in recipe else None
    crop = recipe["data"]["augment"]["crop_size"] if "data" in recipe else None
    resize, minutes = content["inference"]["resize"], content["training_minutes"]
    for name, value in {"crop_size": crop, "resize": resize}.items():
        if value is not None and [type(each) for each in value] != [int, int]:
            raise ValueError(f"{name} is {value}")
    for name, value in {"seed": seed, "training_minutes": minutes}.items():
        if value is not None and not is_number(value):
            raise ValueError(f"{name} is {value!r}")
    sizes = (None if each is None else (each[0], each[1]) for each in (crop, resize))
    return Trained(seed, *sizes, minutes)


def _require_versions(path: Path, content: Mapping[str, Any]) -> None:
    """See that a file is of the versions that are installed.

    Raises:
        ConfigError: It is not.
    """
    theirs, ours = map(versions_that_count, (content["versions"], package_versions()))
    if theirs != ours:
        raise ConfigError(
            f"{path} is of {theirs}, but this is {ours}: results are not mixed. Nothing was changed."
        )


def training_minutes(model: Path) -> float | None:
    """Minutes that a run was trained; None: it is a model directory, which does not say."""
    run = run_of(model)
    return read_result(run)["training_minutes"] if (run / RESULT).is_file() else None


def score(model: Path, name: str, source: str, split: str, protocol: str, to: Path) -> None:
    """Write the result of a model on one split with one protocol; goes on with what is begun.

    Raises:
        ConfigError: What is begun is damaged or of something else.
    """
    predictor = load(model, protocol=PROTOCOLS[protocol])
    dataset = open_dataset(source, split)
    weights, images = weights_hash(model), content_hash(dataset)
    identity = {
        "weights": weights,
        "images": images,
        "inference": predictor.inference.model_dump(mode="json"),
        "versions": versions_that_count(package_versions()),
    }
    part = to.with_name(f"{to.name}.part")
    with Begun(part, identity, len(dataset), dataset.classes.num_classes) as begun:
        rest = picked(dataset, range(len(begun.counts), len(dataset)))
        found = evaluate(predictor, rest, on_sample=begun.add)
    counts = np.stack(begun.counts)
    each = ious(hits_of(counts))
    recipe = predictor.record.recipe
    content = {
        "format": 1,
        "model": name,
        "method": predictor.record.method,
        "backbone": recipe.get("backbone", {}).get("name"),
        "iterations": predictor.record.metrics.get("iteration"),
        "recipe": recipe,
        "training_minutes": training_minutes(model),
        "weights_sha256": weights,
        "split": split,
        "protocol": protocol,
        "inference": found.protocol["inference"],
        "content_hash": images,
        "versions": found.protocol["versions"],
        "commit": found.protocol["commit"],
        "device": found.protocol["device"],
        "minutes": begun.minutes,
        "miou": plain(mean_iou(each)),
        "per_class": dict(zip(found.classes.names, map(plain, each), strict=True)),
        "images": {"last": packed(counts, "confusions")},
    }
    write_result(to, content)
    begun.path.unlink(missing_ok=True)
    print(f"{to}: mIoU {100 * (content['miou'] or 0):.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Score one model on splits and scales.")
    parser.add_argument("model", type=Path, help="a run folder or model directory")
    parser.add_argument("--name", required=True, help="of its files")
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="folder of CamVid")
    parser.add_argument("--format", default="camvid", help="of the data set: the NAME of NAME:ROOT")
    parser.add_argument("--splits", nargs="+", default=["val"], help="such as val test")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    for name in (args.name, *args.splits):
        if not re.fullmatch(r"\w[\w.-]*", name):
            parser.error(
                f"{name!r} is to be a part of a file's name: letters, digits, '_', '-', '.'"
            )
    wanted = {
        folder_of(args.out) / f"{args.name}-{split}-{protocol}.json": (split, protocol)
        for split in args.splits
        for protocol in args.protocols
    }
    try:
        for path in filter(Path.is_file, wanted):
            _require_same(path, args.model)
        for path, (split, protocol) in wanted.items():
            if path.is_file():
                print(f"{path} is there")
                continue
            score(args.model, args.name, f"{args.format}:{args.data}", split, protocol, path)
    except KeyboardInterrupt:
        print("stopped; the same command goes on.", file=sys.stderr)
        sys.exit(130)
    except (VitsegError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)


def _require_same(path: Path, model: Path) -> None:
    content = read_best(path)
    if content["weights_sha256"] != weights_hash(model):
        raise ConfigError(f"{path} is of another model: give another --name. Nothing was changed.")
    _require_versions(path, content)


if __name__ == "__main__":
    main()
