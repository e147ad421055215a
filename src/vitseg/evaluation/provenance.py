"""What a result was made from: data content and code version."""

from __future__ import annotations

import hashlib
import subprocess
from functools import lru_cache
from pathlib import Path

from vitseg.data.dataset import SegmentationDataset


@lru_cache(maxsize=4)
def content_hash(dataset: SegmentationDataset) -> str:
    """SHA-256 over ids, images and masks of a split, in order; its first 16 hex digits.

    Of an image or mask that is a file, the file is hashed; of another mask, its raw ids as 32-bit little-endian; of
    masks that are not upright, also that they are not.
    """
    digest = hashlib.sha256()
    if dataset.mask_pose != "upright":
        digest.update(dataset.mask_pose.encode())
    for index, sample_id in enumerate(dataset.ids):
        digest.update(sample_id.encode(errors="surrogateescape"))
        image = dataset.image_source(index)
        digest.update(image if isinstance(image, bytes) else image.read_bytes())
        for extra in dataset.extra_files(index):
            digest.update(extra if isinstance(extra, bytes) else extra.read_bytes())
        mask = dataset.mask_picture(index)
        if mask is not None:
            digest.update(mask.read_bytes())
        else:
            digest.update(dataset.raw_ids(index).astype("<i4").tobytes())
    return digest.hexdigest()[:16]


def current_commit() -> str | None:
    """Commit of the source tree this package runs from; None for an installed package."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
