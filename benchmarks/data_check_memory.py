"""Memory of `vitseg data check` at 1,000 and 10,000 images of 512 x 512. Claim: it does not grow with their number."""

from __future__ import annotations

import argparse
import functools
import io
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from _measure import peak_above, print_table
from PIL import Image

from vitseg.checks.run import check_dataset
from vitseg.data.scenes import write_scenes

NUM_DRAWN, SIDE = 16, 512
COUNTS = (1_000, 10_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=int, nargs="*", help="numbers of images")
    counts = parser.parse_args().counts or COUNTS
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder, "drawn")
        elsewhere(write_scenes, drawn, NUM_DRAWN, 1, (SIDE, SIDE), 0)
        for count in counts:
            root = Path(folder, str(count))
            elsewhere(write_variants, drawn, root, count)
            before, peak = peak_above(functools.partial(checking, root))
            per_image = (peak - before) * 2**10 / count
            cells = (before, peak, peak - before)
            rows.append(
                [f"{count:,} images", *(f"{value:.1f}" for value in cells), f"{per_image:.1f}"]
            )
    header = ["", "before (MiB)", "peak (MiB)", "growth (MiB)", "KiB per image"]
    print_table(f"check of {SIDE} x {SIDE} JPEG and index masks, in one process", header, rows)


def elsewhere(work: Callable[..., object], *arguments: object) -> None:
    """Run in another process: a process starts with the peak of the one that starts it, so this one stays small."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(work, arguments)


def write_variants(drawn: Path, root: Path, count: int) -> None:
    """Images that look like 16 others but are files of their own, the worst case for the search of near duplicates."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    (root / "classes.json").write_text((drawn / "classes.json").read_text())
    images = []
    for path in sorted((drawn / "images").glob("train_*.png")):
        encoded = io.BytesIO()
        Image.open(path).save(encoded, "JPEG", quality=90)
        images.append(encoded.getvalue())
    for number in range(count):
        content = images[number % NUM_DRAWN] + number.to_bytes(4, "big")
        (root / "images" / f"{number:06d}.jpg").write_bytes(content)
        mask = drawn / "masks" / f"train_{number % NUM_DRAWN:04d}.png"
        os.link(mask, root / "masks" / f"{number:06d}.png")


def checking(root: Path) -> Callable[[], object]:
    """The check, in the process itself, so that its memory is counted."""
    return functools.partial(check_dataset, f"index:{root}", num_workers=0)


if __name__ == "__main__":
    main()
