"""The HTML page of a check."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.checks.trees import bands, picture, save_image, save_mask, write_classes, write_tree
from tests.render.test_page import Page
from vitseg.checks.page import UNKNOWN_COLOR, write_check_page
from vitseg.checks.run import check_dataset


@pytest.fixture
def root(tmp_path):
    return write_tree(tmp_path / "data")


def page(root, kind: str = "index") -> Page:
    path = root.parent / "new" / "check.html"
    write_check_page(path, check_dataset(f"{kind}:{root}", num_workers=0))
    parsed = Page(path.read_text(encoding="utf-8"))
    assert parsed.open == []
    return parsed


def picture_of(image: dict) -> np.ndarray:
    data = base64.b64decode(image["src"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_sound_data_set(root):
    parsed = page(root)
    text = " ".join(" ".join(parsed.words).split())
    assert not parsed.all("script")
    assert not parsed.all("img")
    assert not parsed.all("link")
    for word in ("sky", "road", "tree", "64 x 48", "32 x 32", "Images in train"):
        assert word in text
    assert re.search(r"Errors 0 Warnings 0", text)
    assert "bar" in {cell.get("class") for cell in parsed.all("td")}


def test_unknown_ids_are_loud(root):
    mask = bands(0)
    mask[:20, :20] = 77
    path = save_mask(root, "train/t2", mask)
    (image,) = page(root).all("img")
    assert image["alt"] == str(path)
    pixels = picture_of(image)
    loud = (pixels == UNKNOWN_COLOR).all(2).sum()
    assert 0.5 < loud / (220 * 220 * 20 * 20 / (48 * 48)) < 1.5


@pytest.mark.parametrize("num_colors", [1, 3])
def test_masks_in_rgb_files_are_shown(root, num_colors):
    """Grey ones as the ids that they hold, others as they are."""
    colors = np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2]] if num_colors == 1 else [[9, 9, 0]] * 3)
    save_mask(root, "train/t2", colors.astype(np.uint8)[bands(2)])
    (image,) = page(root).all("img")
    pixels = picture_of(image).reshape(-1, 3)
    assert (pixels == (9, 9, 0)).all(1).any() == (num_colors == 3)
    palette = check_dataset(f"index:{root}", num_workers=0).classes.palette
    assert all((pixels == color).all(1).any() for color in palette) == (num_colors == 1)


def test_at_most_three_pictures_of_a_finding(root):
    for key in ("train/t0", "train/t1", "train/t2", "train/t3"):
        save_mask(root, key, bands(0) + 7)
    parsed = page(root)
    assert len(parsed.all("img")) == 3
    assert str(root / "masks" / "train" / "t3.png") in parsed.words


def test_files_that_cannot_be_shown(root):
    (root / "images" / "train" / "t0.png").write_bytes(b"x")
    (root / "masks" / "train" / "t0.png").write_bytes(b"")
    (root / "masks" / "train" / "t1.png").write_bytes(b"")
    save_mask(root, "train/t2", np.repeat(bands(0)[:, :, None], 3, 2))
    alts = [image["alt"] for image in page(root).all("img")]
    masks = root / "masks" / "train"
    assert set(alts) == {str(masks / "t1.png"), str(masks / "t2.png")}


def test_both_of_a_pair_are_shown(root):
    save_image(root, "val/z", picture(0))
    save_mask(root, "val/z", bands(0))
    alts = [image["alt"] for image in page(root).all("img")]
    assert alts == [str(root / "masks" / "train" / "t0.png"), str(root / "masks" / "val" / "z.png")]


def test_names_are_escaped(root):
    write_classes(root, classes=["<script>alert(1)</script>", "void", "a & b"])
    assert not page(root).all("script")


def test_without_class_file(root):
    (root / "classes.json").unlink()
    assert "not named" in page(root).words
