from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.plan.test_split import unsplit
from vitseg.data.catalog import open_dataset
from vitseg.errors import DataError
from vitseg.plan.data_facts import survey
from vitseg.plan.thickness import measure_outlines, width


def test_the_width_of_a_strip_is_near_its_own():
    label_map = np.zeros((200, 200), np.int64)
    label_map[:, 50:60] = 1
    area, edges = measure_outlines(label_map, 3)
    assert area.tolist() == [38_000, 2000, 0]
    assert edges.tolist() == [400, 400, 0]
    assert width(area[1], edges[1]) == pytest.approx(10 * 4 / np.pi)
    assert width(area[2], edges[2]) is None

    y, x = np.mgrid[:200, :200]
    slanted = (np.abs(x - y / 2 - 50) < 10 * np.sqrt(1.25) / 2).astype(np.int64)
    area, edges = measure_outlines(slanted, 2)
    assert width(area[1], edges[1]) == pytest.approx(10, rel=0.2)


def test_ignored_pixels_are_outside():
    label_map = np.full((10, 10), -1, np.int64)
    label_map[2:8, 2:8] = 0
    assert measure_outlines(label_map, 1).edges.tolist() == [24]


def test_a_survey(tmp_path):
    stems = [f"p{n}" for n in range(6)]
    root = unsplit(tmp_path / "data", stems, ("sky", "road", "cat", "dog"), labels={"p0": 2})
    Image.fromarray(np.zeros((60, 20, 3), np.uint8)).save(root / "images" / "p5.png")
    Image.fromarray(np.zeros((60, 20), np.uint8)).save(root / "masks" / "p5.png")
    dataset = open_dataset(f"folder:{root}", "all")
    data = survey(dataset, None)
    assert (data.num_train, data.num_val, data.num_counted) == (6, 0, 6)
    assert (data.distinct, data.largest, data.median, data.short) == (2, (60, 20), (32, 32), 32)
    sky, road, cat, dog = data.classes
    assert (cat.pixels, cat.images, cat.is_hopeless) == (64, 1, True)
    assert (dog.pixels, dog.width) == (0, None)
    assert [each.name for each in data.learnable] == ["sky", "road"]
    assert data.imbalance == pytest.approx(sky.pixels / road.pixels)
    assert data.ignored == 0
    assert survey(dataset, None, seconds=0).num_counted == 1


def test_masks_without_a_label_are_refused(tmp_path):
    root = unsplit(tmp_path / "data", ["a", "b"])
    table = {"classes": ["sky", "road"], "ignore_index": 255}
    (root / "classes.json").write_text(json.dumps(table))
    for stem in "ab":
        Image.fromarray(np.full((32, 32), 255, np.uint8)).save(root / "masks" / f"{stem}.png")
    with pytest.raises(DataError, match=r"none of the 2 masks .* has a labelled pixel"):
        survey(open_dataset(f"folder:{root}", "all"), None)


def test_scenes_beyond_what_is_decoded_are_told_by_their_header(tmp_path):
    root = unsplit(tmp_path / "data", ["a", "b"])
    image = root / "images" / "a.png"
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    content = image.read_bytes()
    image.write_bytes(content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:])
    dataset = open_dataset(f"folder:{root}", "all")
    with pytest.raises(DataError, match=r"a\.png is 40,000 x 40,000 pixels.*tiles of, say, 1024"):
        survey(dataset, None)
