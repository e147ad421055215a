"""Every method, and every family of backbones, exported and compared with its model at all sizes of the parity report.

    python export_parity.py [--formats onnx openvino torch-export] [--cases NAME...] [--list]

Models are small, and trained for moments on how bright made images are; "classes" says how many of them the labels of
another image have. Probabilities and labels are compared as `vitseg export` compares them: nine sizes and more, batches
of one to three. A line that begins with "refused" is the command's own. Exits with 1 where a file is not the model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitseg.checkpoint.model_dir import ModelRecord, save_model
from vitseg.classes import ClassTable
from vitseg.errors import VitsegError
from vitseg.export.export import ENDINGS, WRITERS, ExportOptions, export_model
from vitseg.export.trace import example_of
from vitseg.images.preprocess import Preprocessing
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.runtimes.record import Format

NUM_CLASSES = 5
IMAGE_SIZE = (64, 96)
MEAN, STD = 0.5, 0.25
STEPS, SLOW_STEPS = 40, 400
RATE, SLOW_RATE = 2e-3, 5e-4
SLOW = ("segvit", "shrunk", "dtop")
"""Methods that learn in many small steps alone."""
VIT = {"name": "test_vit", "pretrained": False, "taps": [1, 3, 5]}
LAST = {**VIT, "taps": [5], "tap_norm": True}
RESNET = {"name": "resnet18c", "pretrained": False, "levels": [0, 1]}
SWIN = {"name": "swin_tiny_patch4_window7_224", "pretrained": False, "levels": [0, 1]}
FOUR = {"levels": [0, 1, 2, 3]}
SMALL = {"embed_dim": 32}
SMALL_HEAD = {**SMALL, "auxiliary_dim": 8}
FEW_QUERIES = {"embed_dim": 64, "num_queries": 12, "feedforward_dim": 32}
FEW_LAYERS = {**FEW_QUERIES, "num_layers": 4, "num_pixel_layers": 1}
FEW_POINTS = {"points": 256}
NEVER = {"backbone": VIT, "pruning": {"threshold": 1}}

CASES: dict[str, dict[str, Any]] = {
    "segvit": {"backbone": VIT},
    "segvit, presence": {
        "backbone": {**VIT, "taps": [5], "prefix_tokens": "drop"},
        "decoder": {"classifier": "presence", "self_attention": False, "supervise": "layers"},
    },
    "segvit, dot product": {"backbone": VIT, "decoder": {"masks": "dot_product"}},
    "segvit, Swin": {
        "backbone": SWIN,
        "decoder": {"embed_dim": 64, "projection": "conv_groupnorm"},
    },
    "segvit_cl": {
        "backbone": VIT,
        "tasks": [{"num_classes": 3, "decoder": {}}, {"num_classes": 2}],
    },
    "segvit_joint": {"backbone": LAST},
    "segvit_joint, presence": {
        "backbone": LAST,
        "decoder": {"doublings": 0, "classifier": "presence", "masked_attention": False},
    },
    "shrunk": {"backbone": {**VIT, "taps": [5]}, "shrink": {"block": 2}},
    "shrunk, convolution": {
        "backbone": {**VIT, "taps": [5]},
        "shrink": {"block": 2, "method": "conv"},
    },
    "dtop, all tokens": NEVER,
    "dtop, Shrunk, all tokens": {**NEVER, "shrink": {"block": 1}},
    "dtop, pruned": {"backbone": VIT, "pruning": {"threshold": 0.9}},
    "setr, naive": {"backbone": VIT, "decoder": {"kind": "naive", "auxiliary": [1, 3]}},
    "setr, pup": {"backbone": VIT, "decoder": {"kind": "pup", "auxiliary": [1, 3, 5]}},
    "setr, mla": {
        "backbone": {**VIT, "prefix_tokens": "drop"},
        "decoder": {"kind": "mla", "auxiliary": [1, 3, 5]},
    },
    "segmenter": {"backbone": LAST},
    "segmenter, linear": {"backbone": LAST, "decoder": {"kind": "linear"}},
    "linear": {"backbone": {**LAST, "taps": [2, 5]}},
    "upernet": {"backbone": {**VIT, "taps": [0, 2, 3, 5]}, "decoder": SMALL},
    "upernet, Swin": {"backbone": SWIN, "decoder": {**SMALL, "auxiliary_dim": None}},
    "segformer": {"backbone": VIT, "decoder": SMALL},
    "segformer, Swin": {"backbone": SWIN, "decoder": SMALL},
    "eomt": {"backbone": LAST, "decoder": {"num_queries": 12}},
    "nrd": {"backbone": RESNET, "decoder": SMALL_HEAD},
    "nrd, dilated": {
        "backbone": {**RESNET, "levels": [1, 2], "output_stride": 8},
        "decoder": {**SMALL_HEAD, "guidance_dim": None, "dilations": None},
    },
    "deeplab": {"backbone": RESNET, "decoder": SMALL_HEAD},
    "deeplab, v3": {"backbone": RESNET, "decoder": {**SMALL_HEAD, "kind": "v3"}},
    "pspnet": {"backbone": RESNET, "decoder": SMALL_HEAD},
    "fcn": {"backbone": RESNET, "decoder": SMALL_HEAD},
    "carafe": {"backbone": RESNET, "decoder": SMALL_HEAD},
    "duc": {"backbone": RESNET, "decoder": {"embed_dim": 8, "auxiliary_dim": 8}},
    "fpn": {"backbone": RESNET, "decoder": {"embed_dim": 16}},
    "semaskvit": {"backbone": VIT, "semantic": {"blocks": [1, 4]}},
    "semask": {"backbone": SWIN, "decoder": {"embed_dim": 16}},
    "semask, global": {
        "backbone": SWIN,
        "semantic": {"window_levels": []},
        "decoder": {"embed_dim": 16},
    },
    "maskformer": {"backbone": RESNET, "decoder": FEW_QUERIES},
    "maskformer, SeMask": {"backbone": SWIN, "semantic": {}, "decoder": FEW_QUERIES},
    "mask2former": {
        "backbone": {**RESNET, **FOUR},
        "decoder": FEW_LAYERS,
        "loss": FEW_POINTS,
    },
    "mask2former, FaPN": {
        "backbone": {**RESNET, **FOUR},
        "decoder": {**FEW_LAYERS, "align_features": True},
        "loss": FEW_POINTS,
    },
    "mask2former, SeMask": {
        "backbone": {**SWIN, **FOUR},
        "semantic": {"window_levels": [0, 1, 2]},
        "decoder": FEW_LAYERS,
        "loss": FEW_POINTS,
    },
}
"""Of every method one small model, of some several; (name of the method, what is particular)."""

VITS = (
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "vit_pe_spatial_tiny_patch16_512",
    "eva02_tiny_patch14_224",
    "beitv2_base_patch16_224",
    "vit_base_patch16_siglip_224",
    "vit_base_patch16_clip_quickgelu_224",
)
PYRAMIDS = ("mit_b0", "twins_pcpvt_small", "twins_svt_small", "convnext_atto", "resnext50_32x4d")

CASES |= {
    f"linear, {name}": {"backbone": {"name": name, "pretrained": False, "taps": [0, 1]}}
    for name in VITS
}
CASES |= {
    f"fpn, {name}": {
        "backbone": {"name": name, "pretrained": False, **FOUR},
        "decoder": {"embed_dim": 16},
    }
    for name in PYRAMIDS
}


def make_model(case: str) -> tuple[SegmentationModel, ModelRecord]:
    """The model of a case, and its record."""
    method = case.partition(",")[0]
    config = METHODS[method].model_validate(CASES[case])
    torch.manual_seed(0)
    model = config.build(NUM_CLASSES, IMAGE_SIZE)
    is_slow = method in SLOW
    steps, rate = (SLOW_STEPS, SLOW_RATE) if is_slow else (STEPS, RATE)
    teach(model, config.criterion(), steps, rate)
    record = ModelRecord(
        method=method,
        architecture=config.model_dump(mode="json"),
        image_size=IMAGE_SIZE,
        classes=ClassTable.from_names([f"class {index}" for index in range(NUM_CLASSES)]),
        preprocessing=Preprocessing(mean=(MEAN,) * 3, std=(STD,) * 3),
    )
    return model.eval(), record


def teach(model: SegmentationModel, criterion: nn.Module, steps: int, rate: float) -> None:
    """Train a model for moments on how bright made images are, so that its labels differ from pixel to pixel."""
    pixels = example_of(3, IMAGE_SIZE, 4)
    bright = pixels.mean(1)
    levels = bright.flatten().quantile(torch.linspace(0, 1, NUM_CLASSES + 1)[1:-1])
    labels, images = torch.bucketize(bright, levels), (pixels / 255 - MEAN) / STD
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    model.train()
    for _ in range(steps):
        loss = torch.stack(list(criterion(model(images), labels).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def export(place: str, format: Format) -> list[str]:
    """Columns of one row behind case and format; a refusal is one column.

    Args:
        place: A folder that has the model.
        format: Of the file.
    """
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / f"model{ENDINGS[format]}"
            _, parity = export_model(place, out, ExportOptions(format=format))
    except VitsegError as error:
        return [f"refused: {error}".replace(place, "MODEL")]
    seconds = time.perf_counter() - start
    pixels, differing = (
        sum(getattr(one, name) for one in parity.sizes) for name in ("pixels", "differing")
    )
    largest = max(one.max_difference or 0 for one in parity.sizes)
    mean = max(one.mean_difference or 0 for one in parity.sizes)
    return [f"{largest:.0e}", f"{mean:.0e}", f"{100 * differing / pixels:.4f}", f"{seconds:.0f}"]


@torch.inference_mode()
def classes_seen(model: SegmentationModel) -> int:
    """Classes that an image has labels of."""
    images = (example_of(3, (256, 320), 1) / 255 - MEAN) / STD
    return len(model(images).scores().argmax(1).unique())


def run(cases: Sequence[str], formats: Sequence[Format]) -> bool:
    """Print a line for each case and format; whether none was refused because labels differ."""
    width, wide = max(map(len, cases)) + 2, max(map(len, WRITERS)) + 2
    header = ["max diff.", "mean diff.", "labels %", "seconds", "classes"]
    print(f"{'case':{width}}{'format':{wide}}" + "".join(f"{name:>11}" for name in header))
    is_met = True
    for case in cases:
        model, record = make_model(case)
        with tempfile.TemporaryDirectory() as folder:
            place = str(Path(folder) / "model")
            save_model(Path(place), model, record)
            for format in formats:
                columns = export(place, format)
                is_refused = len(columns) == 1
                is_met = is_met and "is not the model" not in columns[0]
                found = columns if is_refused else [*columns, str(classes_seen(model))]
                text = found[0] if is_refused else "".join(f"{one:>11}" for one in found)
                print(f"{case:{width}}{format:{wide}}{text}", flush=True)
    return is_met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--formats", nargs="+", default=list(WRITERS), choices=list(WRITERS))
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--list", action="store_true", help="print the cases alone")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
        return
    print("Exported files beside their models: differences of probabilities, share of other labels")
    is_met = run(arguments.cases, arguments.formats)
    print(f"torch {torch.__version__}, cpu, float32, {torch.get_num_threads()} threads")
    sys.exit(not is_met)


if __name__ == "__main__":
    main()
