"""Loading and augmenting 480 x 360 images against a ViT-Ti training step. Claim: the loader keeps up."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _measure import print_table
from PIL import Image
from torch.utils.data import DataLoader

from vitseg.data.augment import AugmentConfig, TrainTransform
from vitseg.data.catalog import open_dataset
from vitseg.data.scenes import write_scenes
from vitseg.methods import METHODS
from vitseg.training.sampler import StreamSampler, TrainSamples

BATCH, CROP, NUM_IMAGES, NUM_BATCHES = 4, (256, 256), 24, 60


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_scenes(root, NUM_IMAGES, 1, (360, 480), seed=0)
        for path in (root / "images").glob("*.png"):  # photos come as JPEG
            Image.fromarray(np.asarray(Image.open(path))).save(path.with_suffix(".jpg"), quality=92)
            path.unlink()
        dataset = open_dataset(f"folder:{root}", "train")
        transform = TrainTransform(AugmentConfig(crop_size=CROP), (127.5,) * 3, (127.5,) * 3)
        samples = TrainSamples(dataset, transform, seed=0)
        rows = []
        step = step_seconds(dataset.classes.num_classes)
        for workers in (1, 2):
            rate = loading_rate(samples, workers)
            rows.append(
                [f"loader, {workers} worker(s) alone", f"{rate:.1f}", f"{rate * step / BATCH:.1f}"]
            )
        rows.append(["ViT-Ti training step", f"{BATCH / step:.1f}", "1.0"])
    title = f"480 x 360 JPEG to {CROP[0]} x {CROP[1]} crops, batch {BATCH}"
    print_table(title, ["what", "images/s", "ratio"], rows)


def loading_rate(samples: TrainSamples, workers: int) -> float:
    """Images per second once the workers run."""
    sampler = StreamSampler(NUM_IMAGES, BATCH, (0, NUM_BATCHES), seed=0)
    start = time.perf_counter()
    for number, _ in enumerate(DataLoader(samples, batch_sampler=sampler, num_workers=workers)):
        if number == 9:
            start = time.perf_counter()
    return (NUM_BATCHES - 10) * BATCH / (time.perf_counter() - start)


def step_seconds(num_classes: int) -> float:
    """Median seconds of forward, loss and backward of SegViT on ViT-Ti."""
    backbone = {"name": "vit_tiny_patch16_224", "pretrained": False, "taps": [5, 7, 11]}
    method = METHODS["segvit"]
    config = method.config.model_validate({"backbone": {**backbone, "prefix_tokens": "drop"}})
    model, criterion = method.build(config, num_classes, CROP).train(), method.build_loss(config)
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
