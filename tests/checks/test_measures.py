"""The measures behind the findings, against plain loops and made-up cases."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.checks.trees import picture
from vitseg.checks.duplicates import Fingerprints
from vitseg.checks.facts import commonest, count_values
from vitseg.checks.fingerprint import Fingerprint, hash_array, hash_source, perceptual_hash
from vitseg.checks.objects import find_objects
from vitseg.checks.smear import SMEARED, measure_smear


def objects_by_flooding(label_map: np.ndarray) -> list[tuple[int, int]]:
    """(label, area) of each region, grown pixel by pixel."""
    height, width = label_map.shape
    seen, found = np.zeros(label_map.shape, bool), []
    for start in np.ndindex(height, width):
        if seen[start] or label_map[start] < 0:
            continue
        stack, area = [start], 0
        seen[start] = True
        while stack:
            y, x = stack.pop()
            area += 1
            for dy, dx in np.ndindex(3, 3):
                near = (y + dy - 1, x + dx - 1)
                if (
                    0 <= near[0] < height
                    and 0 <= near[1] < width
                    and not seen[near]
                    and label_map[near] == label_map[start]
                ):
                    seen[near] = True
                    stack.append(near)
        found.append((int(label_map[start]), area))
    return sorted(found)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (13, 17), (30, 20)])
@pytest.mark.parametrize("num_labels", [1, 2, 5])
def test_objects_are_those_of_a_flood_fill(shape, num_labels):
    for seed in range(3):
        label_map = np.random.default_rng(seed).integers(-1, num_labels, shape)
        found = find_objects(label_map)
        pairs = sorted(zip(found.labels.tolist(), found.areas.tolist(), strict=True))
        assert pairs == objects_by_flooding(label_map)


def test_objects_of_a_spiral_are_one():
    spiral = np.zeros((7, 7), np.int64)
    spiral[0, :], spiral[:, 6], spiral[6, :], spiral[2:, 0], spiral[2, :5], spiral[2:5, 4] = [1] * 6
    found = find_objects(spiral)
    assert sorted(found.labels.tolist()) == [0, 1]


def smear_by_loop(mask: np.ndarray) -> tuple[int, int]:
    steps = between = 0
    for values in (mask, mask.T):
        for row in values.astype(int).tolist():
            for a, b, c in zip(row, row[1:], row[2:], strict=False):
                steps += abs(a - c) >= 2
                between += min(a, c) < b < max(a, c)
    return steps, between


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_smear_is_counted_as_by_a_loop(dtype):
    mask = np.random.default_rng(0).integers(0, 6, (20, 30)).astype(dtype)
    assert measure_smear(mask)[:2] == smear_by_loop(mask)


def blocks() -> np.ndarray:
    ids = np.random.default_rng(1).integers(0, 20, (8, 10), np.uint8)
    return np.kron(ids, np.ones((16, 16), np.uint8))


def through_jpeg(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return Image.open(buffer)


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.75, 1.4, 2])
def test_blended_resizing_smears_and_nearest_neighbour_does_not(factor):
    mask = Image.fromarray(blocks())
    size = (int(mask.width * factor), int(mask.height * factor))
    blended = np.asarray(mask.resize(size, Image.Resampling.BILINEAR))
    exact = np.asarray(mask.resize(size, Image.Resampling.NEAREST))
    assert measure_smear(blended).share > 2 * SMEARED
    assert measure_smear(exact).share < SMEARED / 2


def test_jpeg_smears():
    mask = Image.fromarray(blocks()[5:, 3:])  # so that borders lie inside the blocks of the JPEG
    assert measure_smear(np.asarray(through_jpeg(mask))).share > SMEARED


def test_smear_of_colors():
    palette = np.random.default_rng(2).integers(0, 256, (20, 3), np.uint8)
    colors = Image.fromarray(palette[blocks()])

    def packed(image: Image.Image) -> np.ndarray:
        r, g, b = np.asarray(image).astype(np.int32).transpose(2, 0, 1)
        return r << 16 | g << 8 | b

    assert measure_smear(packed(colors), colors=True).share < 0.02
    assert measure_smear(packed(colors.resize((120, 90))), colors=True).share > SMEARED


def test_few_steps_say_nothing():
    assert measure_smear(np.array([[0, 1, 2]], np.uint8)).share == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_values_are_counted(dtype):
    mask = np.array([[0, 7, 7], [200, 0, 7]], dtype)
    values, counts, where = count_values(mask)
    assert values.tolist() == [0, 7, 200]
    assert counts.tolist() == [2, 3, 1]
    assert (values[where] == mask).all()


def test_only_the_commonest_are_kept():
    pixels = np.arange(1000)
    among = pixels % 2 == 0
    chosen = commonest(pixels, among)
    assert chosen.sum() == 256
    assert np.flatnonzero(chosen).tolist() == list(range(488, 1000, 2))


# fingerprints


def fingerprint(image: Image.Image, content: int) -> Fingerprint:
    return Fingerprint(content, content, *perceptual_hash(np.asarray(image.convert("RGB"))))


def remembered(images: dict[str, list[Image.Image]]) -> Fingerprints:
    fingerprints = Fingerprints()
    content = 0
    for split, of_split in enumerate(images.values()):
        for index, image in enumerate(of_split):
            content += 1
            fingerprints.add(split, index, fingerprint(image, content))
    return fingerprints


def test_the_same_photo_in_other_words_is_near():
    photo = picture(0, (240, 320))
    versions = [
        photo.resize((100, 75)),
        through_jpeg(photo),
        ImageEnhance.Brightness(photo).enhance(0.85),
    ]
    others = [picture(seed, (240, 320)) for seed in range(1, 40)]
    own, elsewhere = remembered({"train": [photo, *others], "val": versions}).near_pairs()
    assert elsewhere.tolist() == [own_best := elsewhere[0], *[-1] * 39, 0, 0, 0]
    assert own_best in (40, 41, 42)
    assert (own[:40] == -1).all()
    assert set(own[40:].tolist()) <= {40, 41, 42}


def test_near_pairs_are_those_of_a_comparison_of_all():
    """Hashes with up to 6 changed bits are found, whichever these are; those with 9 are not."""
    rng = np.random.default_rng(0)
    thumbnail = bytes(rng.integers(0, 256, 256, np.uint8))
    hashes = [int(value) for value in rng.integers(0, 2**63, 300)]
    fingerprints = Fingerprints()
    for number, value in enumerate(hashes):
        fingerprints.add(0, number, Fingerprint(number, 0, value, thumbnail))
    for number, value in enumerate(hashes):
        bits = rng.choice(64, 6 if number % 2 else 9, replace=False)
        changed = value ^ sum(1 << int(bit) for bit in bits)
        fingerprints.add(1, number, Fingerprint(1000 + number, 0, changed, thumbnail))
    _, elsewhere = fingerprints.near_pairs()
    assert elsewhere[1:300:2].tolist() == list(range(301, 600, 2))
    assert (elsewhere[0:300:2] == -1).all()


def test_thousands_of_copies_are_one_group_and_no_near_pairs():
    fingerprints = Fingerprints()
    same = fingerprint(picture(0), 5)
    for index in range(5000):
        fingerprints.add(index % 2, index, same)
    (group,) = fingerprints.copies()
    assert group.tolist() == list(range(5000))
    assert not fingerprints.masks_differ(group)
    own, elsewhere = fingerprints.near_pairs()
    assert (own == -1).all()
    assert (elsewhere == -1).all()


def test_no_images_have_no_pairs():
    own, elsewhere = Fingerprints().near_pairs()
    assert len(own) == len(elsewhere) == 0


def test_hashes_of_content(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert hash_source(path) == hash_source(b"abc") != hash_source(b"abd")
    array = np.arange(6, dtype=np.uint8)
    assert hash_array(array) == hash_array(array.copy())
    assert hash_array(array.reshape(2, 3)) != hash_array(array.reshape(3, 2))
    assert hash_array(array.reshape(2, 3).T) == hash_array(array.reshape(2, 3).T.copy())
