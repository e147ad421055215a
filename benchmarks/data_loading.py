"""Loading and augmenting 480 x 360 images: images per second on one worker, by step, and against training.

Claims: the loader keeps up with a ViT-Ti training step, from shards as from files; no image is decoded twice; a large
JPEG whose target is much smaller is decoded at a reduced size.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from _measure import print_table
from PIL import Image
from torch.utils.data import DataLoader

from vitseg.data.augment import AugmentConfig, TrainTransform, random_window
from vitseg.data.catalog import open_dataset
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.photometric import distort
from vitseg.data.scenes import write_scenes
from vitseg.data.shards.about import ShardKind
from vitseg.data.shards.write import write_shards
from vitseg.images.decode import read_image
from vitseg.images.geometry import resize_image, resize_labels
from vitseg.images.preprocess import Preprocessing
from vitseg.methods import METHODS
from vitseg.training.sampler import StreamSampler, TrainSamples

BATCH, CROP, NUM_IMAGES, NUM_BATCHES = 4, (256, 256), 24, 60
LARGE = (3000, 4000)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_scenes(root, NUM_IMAGES, 1, (360, 480), seed=0)
        for path in (root / "images").glob("*.png"):  # photos come as JPEG
            Image.fromarray(np.asarray(Image.open(path))).save(path.with_suffix(".jpg"), quality=92)
            path.unlink()
        dataset = open_dataset(f"folder:{root}", "train")
        transform = TrainTransform(
            AugmentConfig(crop_size=CROP), Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3)
        )
        samples = TrainSamples(dataset, transform, seed=0)
        rows = []
        step = step_seconds(dataset.classes.num_classes)
        for workers in (1, 2):
            rate = loading_rate(samples, workers)
            rows.append(
                [f"loader, {workers} worker(s) alone", f"{rate:.1f}", f"{rate * step / BATCH:.1f}"]
            )
        for kind in ("parquet", "webdataset"):
            rate = loading_rate(TrainSamples(sharded(dataset, root / kind), transform, seed=0), 1)
            rows.append([f"loader, 1 worker, {kind}", f"{rate:.1f}", f"{rate * step / BATCH:.1f}"])
        rows.append(["ViT-Ti training step", f"{BATCH / step:.1f}", "1.0"])
        title = f"480 x 360 JPEG to {CROP[0]} x {CROP[1]} crops, batch {BATCH}, 1 thread"
        print_table(title, ["what", "images/s", "ratio"], rows)
        print_table(
            "one sample as it is stored", ["from", "ms/image", "ratio"], read_rows(dataset, root)
        )
        print_table("one worker, by step", ["step", "ms/image", "share"], step_shares(dataset))
        print_table(
            f"a {LARGE[1]} x {LARGE[0]} JPEG for a target of 683 x 512",
            ["decoded", "ms", "ratio"],
            reduced_rows(root),
        )


def loading_rate(samples: TrainSamples, workers: int) -> float:
    """Images per second once the workers run."""
    sampler = StreamSampler(NUM_IMAGES, BATCH, (0, NUM_BATCHES), seed=0)
    start = time.perf_counter()
    for number, _ in enumerate(DataLoader(samples, batch_sampler=sampler, num_workers=workers)):
        if number == 9:
            start = time.perf_counter()
    return (NUM_BATCHES - 10) * BATCH / (time.perf_counter() - start)


def sharded(dataset: SegmentationDataset, out: Path) -> SegmentationDataset:
    """The same data in shards, of the kind that the folder is named after."""
    if not out.exists():
        write_shards({dataset.split: dataset}, out, cast(ShardKind, out.name))
    return open_dataset(f"{out.name}:{out}", dataset.split)


def read_rows(dataset: SegmentationDataset, root: Path) -> list[list[str]]:
    """Milliseconds for the bytes of an image and of its mask in random order, nothing decoded, alternately."""
    order = np.random.default_rng(0).permutation(len(dataset)).tolist()
    rows = {kind: sharded(dataset, root / kind).images for kind in ("parquet", "webdataset")}
    times: dict[str, list[float]] = {"files": [], **{kind: [] for kind in rows}}
    for _ in range(7):
        start = time.perf_counter()
        for index in order:
            cast(Path, dataset.images[index]).read_bytes()
            dataset.mask_files(index)[0].read_bytes()
        times["files"].append(time.perf_counter() - start)
        for kind, images in rows.items():
            start = time.perf_counter()
            for index in order:
                images._rows.content(index, "image")
                images._rows.content(index, "mask")
            times[kind].append(time.perf_counter() - start)
    medians = {kind: sorted(each)[len(each) // 2] for kind, each in times.items()}
    return [
        [kind, f"{1000 * value / len(order):.3f}", f"{value / medians['files']:.1f}"]
        for kind, value in medians.items()
    ]


def step_shares(dataset: SegmentationDataset) -> list[list[str]]:
    """Milliseconds and share of every step, each step run alone on what the one before it gives."""
    rng = np.random.default_rng(0)
    transform = TrainTransform(
        AugmentConfig(crop_size=CROP), Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3)
    )
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable, *arguments: object):
        start = time.perf_counter()
        result = work(*arguments)
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - start
        return result

    rounds = 4
    for index in list(range(len(dataset))) * rounds:
        raw = timed("decode mask", dataset.raw_ids, index)
        label_map = timed("ids to classes", dataset._lookup.label_map, raw, "mask")
        source = dataset.image_source(index)
        image, _ = timed("decode image", read_image, source)
        size = transform.random_size(label_map.shape, rng)
        window = random_window(size, CROP, rng)
        labels = timed("scale and crop mask", resize_labels, label_map, size, window)
        crop = timed("scale and crop image", resize_image, image, size, window)
        crop = timed("distort colours", distort, crop, rng)
        timed("normalise and pad", transform._frame, crop, labels)
    total = sum(spent.values())
    images = rounds * len(dataset)
    rows = [
        [name, f"{1000 * seconds / images:.2f}", f"{seconds / total:.0%}"]
        for name, seconds in spent.items()
    ]
    return [*rows, ["all", f"{1000 * total / images:.2f}", f"{images / total:.0f} images/s"]]


def reduced_rows(root: Path) -> list[list[str]]:
    """A large photo decoded whole and at the size that training asks for, alternately."""
    path = root / "large.jpg"
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(LARGE[::-1], Image.Resampling.BICUBIC).save(path, quality=92)
    times: dict[str, list[float]] = {"whole": [], "reduced": []}
    for _ in range(7):
        for name, at_least in (("whole", None), ("reduced", (1024, 1366))):
            start = time.perf_counter()
            read_image(path, at_least)
            times[name].append(time.perf_counter() - start)
    medians = {name: sorted(values)[len(values) // 2] for name, values in times.items()}
    return [
        [name, f"{1000 * value:.0f}", f"{value / medians['whole']:.2f}"]
        for name, value in medians.items()
    ]


def step_seconds(num_classes: int) -> float:
    """Median seconds of forward, loss and backward of SegViT on ViT-Ti."""
    backbone = {"name": "vit_tiny_patch16_224", "pretrained": False, "taps": [5, 7, 11]}
    method = METHODS["segvit"]
    config = method.model_validate({"backbone": {**backbone, "prefix_tokens": "drop"}})
    model, criterion = config.build(num_classes, CROP).train(), config.criterion()
    images = torch.randn(BATCH, 3, *CROP)
    labels = torch.randint(0, num_classes, (BATCH, 16, 16))
    labels = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
    times = []
    for _ in range(13):
        start = time.perf_counter()
        model.zero_grad()
        sum(criterion(model(images), labels).values()).backward()
        times.append(time.perf_counter() - start)
    return sorted(times[3:])[5]


if __name__ == "__main__":
    main()
