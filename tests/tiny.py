"""A tiny model, data set and recipe: the real things, small enough to run in every test."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from vitseg.checkpoint.model_dir import ModelRecord, save_model
from vitseg.classes import ClassTable
from vitseg.images.preprocess import Preprocessing
from vitseg.inference.predictor import Predictor
from vitseg.methods.model import SegmentationModel
from vitseg.methods.segvit import SegVitConfig
from vitseg.runtimes.layout import OutputLayout
from vitseg.runtimes.record import ExportRecord, Form

NAMES = ("sky", "road", "tree")
COLORS = ((120, 170, 230), (110, 110, 115), (40, 130, 50))
CROP = (64, 64)
ARCHITECTURE: dict[str, Any] = {
    "backbone": {
        "name": "test_vit",
        "pretrained": False,
        "patch_size": 16,
        "taps": [1, 3],
        "prefix_tokens": "drop",
    },
    # Of random weights, this head gives label maps with several classes.
    "decoder": {"num_layers": 1, "classifier": "presence"},
}


def make_model(num_classes: int = 3, seed: int = 0) -> SegmentationModel:
    """A SegViT whose labels differ from pixel to pixel, in evaluation mode."""
    config = SegVitConfig.model_validate(ARCHITECTURE)
    torch.manual_seed(seed)
    model = config.build(num_classes, CROP)
    with torch.no_grad():
        for parameter in model.decoder.parameters():  # the published start gives nearly flat masks
            scale = 0.5 if parameter.ndim > 1 else 0.05
            parameter.add_(scale * torch.randn_like(parameter))
    return model.eval()


def make_record(num_classes: int = 3, **fields: Any) -> ModelRecord:
    names = [*NAMES, *(f"class_{index}" for index in range(len(NAMES), num_classes))]
    config = SegVitConfig.model_validate(ARCHITECTURE)
    values: dict[str, Any] = {
        "method": "segvit",
        "architecture": config.model_dump(mode="json"),
        "image_size": CROP,
        "classes": ClassTable.from_names(names[:num_classes]),
        "preprocessing": Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    }
    return ModelRecord(**values | fields)


def make_export_record(form: Form = "masks", **fields: Any) -> ExportRecord:
    """What the record of an exported tiny model says."""
    layout = OutputLayout.of(make_model()(torch.zeros(1, 3, *CROP))) if form == "masks" else None
    values: dict[str, Any] = {
        "format": "onnx",
        "form": form,
        "normalises": False,
        "resizes": False,
        "layout": layout,
        "padding": (16, 16),
        "inputs": ("images",),
        "outputs": (form,) if layout is None else tuple(layout.names()),
        "model": make_record(),
        "versions": {},
    }
    return ExportRecord(**values | fields)


def make_predictor(model: SegmentationModel | None = None, **inference: Any) -> Predictor:
    return Predictor(model or make_model(), make_record(inference=inference), "cpu")


def write_model(path: Path, **fields: Any) -> Path:
    save_model(path, make_model(), make_record(**fields))
    return path


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random colours, (H, W, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def write_dataset(root: Path, num_train: int = 4, num_val: int = 2, size=(64, 80)) -> Path:
    """Scenes of a sky, a road and a tree, in the folder layout with train.txt and val.txt."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    (root / "classes.json").write_text(json.dumps({"classes": NAMES, "palette": COLORS}))
    rng = np.random.default_rng(0)
    for split, count in (("train", num_train), ("val", num_val)):
        stems = [f"{split}_{number}" for number in range(count)]
        (root / f"{split}.txt").write_text("\n".join(stems) + "\n")
        for stem in stems:
            labels = np.zeros(size, np.uint8)
            labels[rng.integers(20, 40) :] = 1
            left = rng.integers(0, size[1] - 30)
            labels[10:50, left : left + 24] = 2
            noise = rng.integers(-20, 21, (*size, 3))
            image = (np.array(COLORS)[labels] + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / "images" / f"{stem}.png")
            Image.fromarray(labels).save(root / "masks" / f"{stem}.png")
    return root


def tiny_recipe(**training: Any) -> dict[str, Any]:
    """A recipe of a few iterations, as its file would hold it."""
    return {
        "method": "segvit",
        "backbone": copy.deepcopy(ARCHITECTURE["backbone"]),
        "decoder": {"num_layers": 1},
        "data": {"num_workers": 0, "augment": {"crop_size": list(CROP), "max_class_share": 1.0}},
        "optimizer": {"lr": 1e-3, "head_lr_ratio": 1},
        "schedule": {"warmup_iterations": 1},
        "training": {"iterations": 4, "batch_size": 2, "val_interval": 4, **training},
    }


def write_recipe(path: Path, **training: Any) -> Path:
    path.write_text(yaml.safe_dump(tiny_recipe(**training)))
    return path


def content(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder by its relative path (None for folders), to see that nothing changed."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
