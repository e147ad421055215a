"""The own drawing of long outlines: the pixels of pycocotools, in bounded memory, without a crash."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask

from vitseg.data.formats import rasterise
from vitseg.data.formats.rasterise import decode_counts, polygons_to_runs
from vitseg.errors import DataError

SLOW = pytest.mark.slow
rle_tools: Any = mask  # its types are narrower than what it takes


def pixels(runs: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


@pytest.mark.parametrize("kind", ["anywhere", "whole", "tenths", "inside", "halves"])
def test_the_own_way_gives_the_pixels_of_pycocotools(monkeypatch, kind):
    rng = np.random.default_rng(0)
    scale = {"whole": 1, "tenths": 10, "halves": 2}.get(kind)
    for _ in range(150):
        height, width = (int(side) for side in rng.integers(1, 60, 2))
        parts = []
        for _ in range(int(rng.integers(1, 3))):
            points = rng.uniform(-30, 90, (int(rng.integers(3, 12)), 2))
            if kind == "inside":
                points = rng.uniform(0, 1, points.shape) * (width, height)
            parts.append(points if scale is None else np.round(points * scale) / scale)
        flat = [part.ravel() for part in parts]
        theirs = rle_tools.merge(rle_tools.frPyObjects(flat, height, width))["counts"]
        with monkeypatch.context() as patch:
            patch.setattr(rasterise, "MAX_STEPS", -1)
            patch.setattr(rasterise, "_CHUNK", 37)
            ours = polygons_to_runs(parts, (height, width))
        assert int(ours.sum()) == height * width
        np.testing.assert_array_equal(pixels(ours), pixels(decode_counts(theirs)))


def test_what_would_take_too_long_is_refused():
    points = np.array([[0, 0], [150e6, 0], [150e6, 1], [0, 1]], float)
    with pytest.raises(DataError, match=r"4 points crosses the columns .* 300,000,000 times"):
        polygons_to_runs([points], (1, 150_000_000))


def zigzag(count: int, width: int, height: int, upright: bool) -> np.ndarray:
    """Points to and fro across an image, in pixels."""
    steps = np.linspace(0, 1, count)
    sides = np.arange(count) % 2
    pair = (steps * width, sides * height) if upright else (sides * width, steps * height)
    return np.stack(pair, axis=1)


def header_of_png(width: int, height: int) -> bytes:
    """A PNG file that declares a size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    ihdr = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + pixels + chunk(b"IEND", b"")


def write_coco(root: Path, points: np.ndarray, declared: tuple[int, int], png: bytes) -> str:
    (root / "images").mkdir()
    (root / "images" / "a.png").write_bytes(png)
    width, height = declared
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": width, "height": height}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [points.ravel().tolist()]}
        ],
        "categories": [{"id": 1, "name": "car"}],
    }
    (root / "annotations.json").write_text(json.dumps(content))
    return f"coco:{root}"


def write_yolo(root: Path, points: np.ndarray, declared: tuple[int, int], png: bytes) -> str:
    for kind in ("images", "labels"):
        (root / kind).mkdir()
    (root / "images" / "a.png").write_bytes(png)
    values = " ".join(f"{value:.8f}" for value in (points / declared).ravel())
    (root / "labels" / "a.txt").write_text(f"0 {values}\n")
    (root / "classes.txt").write_text("car\n")
    return f"yolo:{root}"


SCRIPT = textwrap.dedent(
    """
    import resource, sys
    from vitseg.data.catalog import list_splits, open_unchecked
    from vitseg.errors import DataError
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    limit = used + int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    dataset = open_unchecked(sys.argv[1], list_splits(sys.argv[1])[0])
    try:
        raw = dataset.raw_ids(0)
        print("drawn", raw.shape, int((raw == raw.max()).sum()))
    except DataError as error:
        print("refused", error)
    """
)


OUTLINES = [
    pytest.param(10_000, (1000, 1000), None, 300, "drawn (1000, 1000)", id="ten thousand"),
    pytest.param(
        100_000,
        (1000, 1000),
        None,
        500,
        "drawn (1000, 1000)",
        id="hundred thousand",
        marks=SLOW,
    ),
    pytest.param(10_000, (12_000, 1000), None, 800, "drawn (1000, 12000)", id="wide", marks=SLOW),
    pytest.param(4, (150_000_000, 1), None, 1500, "refused", id="one row"),
    pytest.param(4, (1, 150_000_000), None, 1500, "", id="one column", marks=SLOW),
    pytest.param(10_000, (64, 48), (12_000, 12_000), 800, "refused", id="declares too much"),
    pytest.param(4, (64, 48), (150_000_000, 1), 800, "refused", id="declares one row", marks=SLOW),
]
"""Points, size of the picture, size that the file declares (None: none), megabytes, and what is said."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
@pytest.mark.parametrize(
    ("write", "points", "size", "declared", "megabytes", "says"),
    [
        pytest.param(write, *case.values, id=f"{case.id}-{write.__name__}", marks=case.marks)
        for case in OUTLINES
        for write in (write_coco, write_yolo)
        if write is write_coco or case.values[2] is None  # YOLO files declare no size
    ],
)
@pytest.mark.parametrize("upright", [True, pytest.param(False, marks=SLOW)])
def test_long_outlines_neither_crash_nor_fill_the_memory(
    tmp_path, write, points, size, declared, megabytes, says, upright
):
    width, height = declared or size
    if points == 4:
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    else:
        corners = zigzag(points, width, height, upright)
    spec = write(tmp_path, corners, (width, height), header_of_png(*size))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, spec, str(megabytes << 20)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(says), done.stdout
    assert done.stdout.count("\n") == 1
