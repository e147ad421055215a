"""What training looks at before it starts."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.checks.trees import SIZE, bands, picture, save_image, save_mask, write_tree
from vitseg.checks import fast
from vitseg.checks.fast import fast_findings
from vitseg.checks.file_rules import told_of_loss
from vitseg.data.catalog import open_unchecked


@pytest.fixture
def root(tmp_path):
    return write_tree(tmp_path / "data", num_train=8)


def codes(root) -> list[str]:
    train, val = (open_unchecked(f"index:{root}", split) for split in ("train", "val"))
    return [finding.code for finding in fast_findings(train, val)]


def test_a_sound_data_set_has_none(root):
    assert codes(root) == []
    assert fast_findings(open_unchecked(f"index:{root}", "train")) == []


def spoil(root, fault: str, key: str) -> None:
    path = root / "masks" / f"{key}.png"
    if fault == "unreadable-image":
        (root / "images" / f"{key}.png").write_bytes(b"GIF89a")
    elif fault == "unreadable-mask":
        path.write_bytes(b"")
    elif fault == "size-mismatch":
        save_mask(root, key, bands(0, (10, 10)))
    elif fault == "lossy-mask":
        Image.fromarray(bands(0)).save(path, format="WEBP")
    elif fault == "rgb-mask-grey":
        save_mask(root, key, np.repeat(bands(0)[:, :, None], 3, 2))
    elif fault == "image-without-mask":
        path.unlink()
    else:
        save_mask(root, key, bands(0) + 100)


FAULTS = (
    "unreadable-image",
    "unreadable-mask",
    "size-mismatch",
    "lossy-mask",
    "rgb-mask-grey",
    "image-without-mask",
    "id-outside-table",
)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("key", ["train/t3", "val/v1"])
def test_faults_of_both_splits_are_found(root, fault, key):
    spoil(root, fault, key)
    assert codes(root) == [fault]


def test_headers_of_all_files_are_read_but_few_masks_decoded(root, monkeypatch):
    monkeypatch.setattr(fast, "MAX_DECODED", 3)
    spoil(root, "size-mismatch", "train/t1")  # 0, 4 and 7 are decoded
    spoil(root, "id-outside-table", "train/t2")
    assert codes(root) == ["size-mismatch"]
    spoil(root, "id-outside-table", "train/t4")
    assert sorted(codes(root)) == ["id-outside-table", "size-mismatch"]


def test_of_huge_sets_evenly_spread_files_are_read(root, monkeypatch):
    monkeypatch.setattr(fast, "MAX_DECODED", 2)
    monkeypatch.setattr(fast, "MAX_HEADERS", 4)
    assert fast._spread(8, 4) == [0, 2, 5, 7]
    spoil(root, "size-mismatch", "train/t1")
    assert codes(root) == []
    spoil(root, "size-mismatch", "train/t5")
    assert codes(root) == ["size-mismatch"]


def test_no_image_is_decoded(root, monkeypatch):
    """Beyond its header: pixels that are cut off are left to the whole check."""
    (root / "images" / "train" / "t0.png").unlink()
    path = save_image(root, "train/t0", picture(0, SIZE))
    path.write_bytes(path.read_bytes()[:-300])
    assert codes(root) == []


def test_validating_on_training_images_is_warned_of(tmp_path):
    from vitseg.data.catalog import open_unchecked

    root = write_tree(tmp_path / "data")
    (root / "images" / "val" / "v1.png").unlink()
    (root / "images" / "val" / "v1.png").symlink_to(root / "images" / "train" / "t0.png")
    train = open_unchecked(f"folder:{root}", "train")
    val = open_unchecked(f"folder:{root}", "val")
    found = {each.code: each for each in fast_findings(train, val)}
    assert found["validated-on-training"].severity == "warning"
    assert found["validated-on-training"].count == 1
    found = {each.code: each for each in fast_findings(train, train)}
    assert found["validated-on-training"].count == 4
    assert not [each for each in fast_findings(train) if each.code == "validated-on-training"]


@pytest.mark.parametrize(
    ("learns_absence", "words"),
    [
        (True, "this recipe's loss learns from its image that no class is in it"),
        (False, "this recipe's loss learns nothing from its image"),
    ],
)
def test_masks_without_labels_in_the_words_for_the_loss(root, learns_absence, words):
    save_mask(root, "train/t1", np.full(SIZE, 255, np.uint8))
    (finding,) = fast_findings(open_unchecked(f"index:{root}", "train"))
    assert told_of_loss(finding, learns_absence).message == (
        f"1 mask has ignored pixels only: {words}."
    )
