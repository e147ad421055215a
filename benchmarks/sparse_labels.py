"""How methods learn from masks in which few pixels are labelled, the rest ignored.

    python benchmarks/sparse_labels.py OUT [--share 0.02] [--iterations 200] [--weights FILE] [--only NAME ...]

The scenes of `vitseg demo`, of whose training masks only dots of 3 x 3 pixels keep their label, until the share is
reached; the validation masks are whole. ViT-Ti, one seed, one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import lightning
import numpy as np
import torch
from _measure import print_table
from PIL import Image

from vitseg.data.scenes import write_scenes
from vitseg.runs import read_result
from vitseg.training.loop import train
from vitseg.training.recipe import load_recipe

IGNORED = 255
NUM_TRAIN, NUM_VAL, SIZE, SEED = 200, 40, (128, 128), 0

COMMON = (
    "backbone.pos_embed_interpolation=bicubic",
    "data.augment.crop_size=[128, 128]",
    "data.augment.scale_range=[0.8, 1.25]",
    "data.augment.max_class_share=1.0",
    "data.num_workers=0",
    "inference.resize=null",
    "optimizer.lr=1e-4",
    "schedule.warmup_iterations=20",
    "training.batch_size=8",
    f"training.seed={SEED}",
)

RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "SegViT, ignored: negatives": ("camvid/segvit-vit_tiny", ()),
    "SegViT, ignored: left_out": ("camvid/segvit-vit_tiny", ("loss.ignored=left_out",)),
    "SegViT, kind: pixels, negatives": ("camvid/segvit-vit_tiny", ("loss.kind=pixels",)),
    "SegViT, kind: pixels, left_out": (
        "camvid/segvit-vit_tiny",
        ("loss.kind=pixels", "loss.ignored=left_out"),
    ),
    "SegViT, kind: pixels, left_out, presence": (
        "camvid/segvit-vit_tiny",
        ("loss.kind=pixels", "loss.ignored=left_out", "decoder.classifier=presence"),
    ),
    "linear, mean over all": ("camvid/linear-vit_tiny-finetuned", ()),
    "linear, mean over labelled": (
        "camvid/linear-vit_tiny-finetuned",
        ("loss.mean_over=labelled",),
    ),
}
"""Name -> recipe and what is different from it."""


def main() -> None:
    parser = argparse.ArgumentParser(description="How methods learn from few labelled pixels.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.02, help="labelled pixels; 1: all")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--weights", help="a file of ViT-Ti; else the pretrained ones are fetched")
    parser.add_argument("--only", nargs="*", default=list(RUNS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = arguments.out / f"scenes-{arguments.share:g}"
    write_scenes(data, NUM_TRAIN, NUM_VAL, SIZE, SEED)
    for number, path in enumerate(sorted((data / "masks").glob("train_*.png"))):
        _thin(path, arguments.share, np.random.default_rng([SEED, number]))
    rows: list[list[str]] = []
    for name in arguments.only:
        recipe, changes = RUNS[name]
        weights = [] if arguments.weights is None else [f"backbone.weights={arguments.weights}"]
        steps = [f"training.{key}={arguments.iterations}" for key in STEPS]
        chosen = load_recipe(recipe, [*COMMON, *steps, *weights, *changes], f"folder:{data}")
        run = arguments.out / f"{name}-{arguments.share:g}-{arguments.iterations}".replace(" ", "_")
        began = time.monotonic()
        train(chosen, run)
        result = read_result(run)["final"]
        minutes = (time.monotonic() - began) / 60
        rows.append([name, f"{100 * result['miou']:.1f}", f"{minutes:.1f}"])
        print(rows[-1], flush=True)
    print(f"torch {torch.__version__}, lightning {lightning.__version__}, 1 thread")
    title = f"{arguments.share:.0%} of the pixels labelled, {arguments.iterations} iterations"
    print_table(title, ["run", "mIoU", "minutes"], rows)


STEPS = ("iterations", "val_interval", "save_interval")


def _thin(path: Path, share: float, rng: np.random.Generator) -> None:
    """Keep the labels of random dots of 3 x 3 pixels, until they cover the share of the mask."""
    with Image.open(path) as image:
        labels, palette = np.array(image), image.getpalette()
    kept = np.full(labels.shape, share >= 1)
    while kept.mean() < share:
        row, column = rng.integers(0, labels.shape[0]), rng.integers(0, labels.shape[1])
        kept[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
    thin = Image.fromarray(np.where(kept, labels, IGNORED).astype(np.uint8), "P")
    if palette is not None:
        thin.putpalette(palette)
    thin.save(path)


if __name__ == "__main__":
    main()
