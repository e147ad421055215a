"""Fingerprints of images: of their files, and of what they show.

The perceptual hash has the signs of the lowest frequencies of a small grey version (Zauner, "Implementation and
Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1: DCT based hash).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped, UInt8
from PIL import Image

SIDE = 32
"""Pixels per side of the grey version."""

THUMBNAIL = 16
"""Pixels per side of the thumbnail by which equal hashes are verified."""

_FREQUENCIES = 8
_MIN_CONTRAST = 4.0  # standard deviation in grey levels below which a hash is noise
_DIGEST_BYTES = 8


class Fingerprint(NamedTuple):
    """What stays in memory of an image.

    Attributes:
        content: Hash of the file.
        mask: Hash of the mask's raw ids; 0 if it is unreadable.
        perceptual: Hash of what it shows; images that differ in few bits look alike.
        thumbnail: `THUMBNAIL` x `THUMBNAIL` grey values, row by row; empty if the image is too flat for its hash to
            say anything.
    """

    content: int
    mask: int
    perceptual: int
    thumbnail: bytes


def perceptual_hash(image: UInt8[np.ndarray, "H W 3"]) -> tuple[int, bytes]:
    """The 64-bit hash and the thumbnail of `Fingerprint`."""
    grey = Image.fromarray(image).convert("L")
    small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
    if small.std() < _MIN_CONTRAST:
        return 0, b""
    low = (_DCT @ small @ _DCT.T).ravel()  # (64,)
    bits = low > np.median(low[1:])  # the first is the mean brightness, which says nothing
    bits[0] = False
    value = int.from_bytes(np.packbits(bits).tobytes(), "big")
    step = SIDE // THUMBNAIL
    thumbnail = small.reshape(THUMBNAIL, step, THUMBNAIL, step).mean((1, 3))
    return value, np.rint(thumbnail).astype(np.uint8).tobytes()


def hash_source(source: Path | bytes) -> int:
    """64-bit hash of a file or of its content."""
    if isinstance(source, bytes):
        return _number(hashlib.blake2b(source, digest_size=_DIGEST_BYTES).digest())
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES))
    return _number(digest.digest())


def hash_array(array: Shaped[np.ndarray, "..."]) -> int:
    """64-bit hash of the shape and the values of an array."""
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=_DIGEST_BYTES)
    digest.update(np.ascontiguousarray(array).data)
    return _number(digest.digest())


def _number(digest: bytes) -> int:
    return int.from_bytes(digest, "big")


def _cosines(frequencies: int, size: int) -> Float64[np.ndarray, "f n"]:
    """The first rows of the type-II discrete cosine transform."""
    places = (2 * np.arange(size) + 1) * np.pi / (2 * size)
    return np.cos(np.arange(frequencies)[:, None] * places)


_DCT = _cosines(_FREQUENCIES, SIDE)
