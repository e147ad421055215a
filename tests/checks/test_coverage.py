"""Every image of a set is read, once, whatever splits it is in; the last line says how many of how many."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from tests.checks.trees import SIZE, bands, picture, save_image, save_mask, write_classes
from vitseg.checks import image_facts
from vitseg.checks.report import CheckReport
from vitseg.checks.run import check_dataset
from vitseg.checks.sharing import Sharing


def write_lists(root, **lists) -> None:
    for split, keys in lists.items():
        (root / f"{split}.txt").write_text("\n".join(keys) + "\n")


@pytest.fixture
def root(tmp_path):
    """Six images, all of them unlike, in one folder."""
    root = tmp_path / "data"
    for number in range(6):
        save_image(root, f"a{number}", picture(number))
        save_mask(root, f"a{number}", bands(number))
    write_classes(root)
    return root


def check(root, **options) -> CheckReport:
    return check_dataset(f"index:{root}", num_workers=0, **options)


def codes(report: CheckReport, *severities: str) -> set[str]:
    return {f.code for f in report.findings if f.severity in (severities or ("error", "warning"))}


@pytest.mark.parametrize("larger", ["trainval", "trainaug", "all", "train_all", "complete", "x"])
@pytest.mark.parametrize("fault", ["mask", "image"])
def test_what_only_the_larger_split_has_is_read(root, larger, fault):
    """The fault is in an image of the larger split alone."""
    write_lists(root, train=["a0", "a1"], **{larger: ["a0", "a1", "a2", "a3"]})
    assert codes(check(root)) == set()
    if fault == "mask":
        path = save_mask(root, "a3", bands(0) + 9)
    else:
        path = root / "images" / "a3.png"
        path.write_bytes(path.read_bytes()[:100])
    report = check(root)
    (finding,) = [f for f in report.findings if f.severity == "error"]
    assert finding.files == (str(path),)
    assert finding.count == 1
    assert report.coverage == (6, 4, 4 if fault == "mask" else 3)


def test_a_fault_of_shared_files_counts_once(root):
    write_lists(root, train=["a0", "a1"], trainval=["a0", "a1", "a2"], val=["a2"])
    save_mask(root, "a0", bands(0) + 9)
    report = check(root)
    (finding,) = [f for f in report.findings if f.severity == "error"]
    assert finding.count == 1
    assert [split.num_masks for split in report.splits] == [2, 3, 1]
    assert report.coverage == (6, 3, 3)


def test_each_file_is_opened_once(root, monkeypatch):
    write_lists(root, train=["a0", "a1", "a2"], trainval=["a0", "a1", "a2", "a3"], val=["a3"])
    opened = []
    whole = image_facts.read_image
    monkeypatch.setattr(
        image_facts,
        "read_image",
        lambda path, *args: opened.append(path.name) or whole(path, *args),
    )
    check(root)
    assert sorted(opened) == [f"a{number}.png" for number in range(4)]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_are_the_file_that_they_lead_to(root, link):
    link(root / "images" / "a0.png", root / "images" / "b.png")
    save_mask(root, "b", bands(0))
    write_lists(root, train=["a0", "a1"], val=["b"])
    report = check(root)
    assert codes(report) == {"duplicate-across-splits"}
    assert report.coverage.listed == 2


@pytest.mark.parametrize("name", ["trainaug", "train", "train2"])
def test_one_file_in_training_and_in_validation_is_a_leak(root, name):
    write_lists(root, **{name: ["a0", "a1", "a2"]}, trainval=["a0", "a1", "a2", "a3"])
    write_lists(root, val=["a2", "a3"])
    report = check(root)
    (finding,) = [f for f in report.findings if f.severity == "error"]
    assert finding.code == "duplicate-across-splits"
    assert finding.count == 1
    assert str(root / "images" / "a2.png") in finding.files[0]
    assert f"{name}, " in finding.files[0]


def test_the_same_list_for_both_is_a_leak(root):
    write_lists(root, train=["a0", "a1"], val=["a0", "a1"])
    report = check(root)
    assert codes(report) == {"duplicate-across-splits"}
    assert report.coverage.read == 2


@pytest.mark.parametrize("name", ["dev", "holdout", "hold_out", "val_small", "check"])
def test_a_part_of_train_that_may_be_held_out_is_a_leak(root, name):
    write_lists(root, train=["a0", "a1", "a2"], **{name: ["a2"]})
    assert codes(check(root)) == {"duplicate-across-splits"}


def test_a_part_of_train_for_training_is_none(root):
    write_lists(root, train=["a0", "a1", "a2"], train_small=["a2"])
    assert codes(check(root)) == set()


def test_a_split_of_copies_is_made_of_others(tmp_path):
    for split, numbers in {"train": (0, 1), "val": (2,), "trainval": (0, 1, 2)}.items():
        for number in numbers:
            save_image(tmp_path, f"{split}/{number}", picture(number))
            save_mask(tmp_path, f"{split}/{number}", bands(number))
    write_classes(tmp_path)
    report = check(tmp_path)
    assert codes(report) == set()
    assert report.coverage == (6, 6, 6)


def test_an_image_with_two_masks_is_one_image(tmp_path):
    """As VOC's SegmentationClassAug has them."""
    for number in range(2):
        save_image(tmp_path, f"{number}", picture(number))
    for split in ("train", "trainaug"):
        (tmp_path / split).mkdir()
        os.symlink(tmp_path / "images", tmp_path / split / "images")
        for number in range(2):
            save_mask(tmp_path / split, f"{number}", bands(number))
    shown = tmp_path / "all"
    shown.mkdir()
    for split in ("train", "trainaug"):
        (tmp_path / split).rename(shown / split)
    write_classes(shown)
    report = check(shown)
    assert codes(report) == set()
    assert report.coverage.listed == report.coverage.read == 2
    (sizes,) = [f for f in report.findings if f.code == "image-sizes"]
    assert "All 2 images" in sizes.message


def test_voc_has_no_leak_within_training(root):
    """trainaug and trainval share train, and neither holds the other."""
    write_lists(
        root,
        train=["a0", "a1"],
        val=["a2"],
        trainval=["a0", "a1", "a2"],
        trainaug=["a0", "a1", "a3", "a4"],
    )
    report = check(root)
    assert codes(report) == set()
    assert report.coverage == (6, 5, 5)
    held = {f.files[0] for f in report.findings if f.code == "split-of-splits"}
    assert held == {"trainval", "trainaug"}


def test_a_near_duplicate_of_validation_in_the_larger_training_split(root):
    image = Image.open(root / "images" / "a0.png").resize((128, 96))
    save_image(root, "z", image, ".jpg")
    save_mask(root, "z", bands(0, (96, 128)))
    write_lists(root, train=["a1"], trainaug=["a1", "z"], val=["a0"])
    assert codes(check(root)) == {"near-duplicate-across-splits"}
    write_lists(root, train=["a0"], trainaug=["a0", "z"], val=["a1"])
    assert codes(check(root)) == {"near-duplicate"}


def test_a_class_of_training_alone_is_told_beside_trainval(root):
    save_mask(root, "a2", np.minimum(bands(2), 1))
    write_lists(root, train=["a0", "a1"], val=["a2"], trainval=["a0", "a1", "a2"])
    assert codes(check(root)) == {"class-in-one-split"}


def test_counts_of_all_splits_count_each_image_once(root):
    write_lists(root, train=["a0", "a1"], trainval=["a0", "a1", "a2"])
    (sizes,) = [f for f in check(root).findings if f.code == "image-sizes"]
    assert "All 3 images" in sizes.message


def test_pictures_in_no_split_are_told(root):
    write_lists(root, train=["a0", "a1"], val=["a2"])
    (root / "images" / ".a.png").write_bytes(b"hidden")
    report = check(root)
    (finding,) = [f for f in report.findings if f.code == "picture-in-no-split"]
    assert finding.count == 3
    assert "a3.png, a4.png, a5.png" in finding.message
    assert report.coverage == (6, 3, 3)
    assert "picture-in-no-split" not in codes(check(root, splits=["train"]), "info")


def test_sub_folders_are_read(tmp_path):
    """A list beside folders: two of six frames were looked at."""
    keys = ["f0", "f1", "f2", "f3", "cam/f4", "cam/f5"]
    for number, key in enumerate(keys):
        save_image(tmp_path, key, picture(number))
        save_mask(tmp_path, key, bands(number))
    write_classes(tmp_path)
    write_lists(tmp_path, default=keys)
    assert check(tmp_path).coverage == (6, 6, 6)


# facts of pictures


@pytest.mark.parametrize(("most", "severity"), [(True, "warning"), (False, "info")])
def test_images_that_use_few_values(root, most, severity):
    """As 12 bits that were taken for 16 are read."""
    for number in range(6 if most else 2):
        dark = Image.fromarray(np.asarray(picture(number)) // 16)
        save_image(root, f"a{number}", dark)
    (finding,) = [f for f in check(root).findings if f.code == "narrow-range"]
    assert finding.severity == severity
    assert finding.count == (6 if most else 2)
    assert "has 0 to 1" in finding.message


def write_binary(root, mask: np.ndarray) -> None:
    for number in range(3):
        save_image(root, f"a{number}", picture(number))
        save_mask(root, f"cell/a{number}", mask)


def test_soft_borders_of_binary_masks_are_a_fact(tmp_path):
    hard = np.zeros(SIZE, np.uint8)
    hard[10:40, 10:50] = 255
    soft = np.asarray(Image.fromarray(hard).resize((32, 24)).resize(SIZE[::-1]))
    write_binary(tmp_path, hard)
    assert not {"soft-border", "not-binary"} & codes(check_binary(tmp_path), "info", "warning")
    save_mask(tmp_path, "cell/a1", soft)
    (finding,) = [f for f in check_binary(tmp_path).findings if f.code == "soft-border"]
    assert finding.severity == "info"
    assert finding.files == (str(tmp_path / "masks" / "cell" / "a1.png"),)


def test_a_heat_map_is_no_binary_mask(tmp_path):
    write_binary(tmp_path, np.tile(np.linspace(0, 255, SIZE[1]).astype(np.uint8), (SIZE[0], 1)))
    (finding,) = [f for f in check_binary(tmp_path).findings if f.code == "not-binary"]
    assert finding.severity == "warning"
    assert finding.count == 3


def check_binary(root) -> CheckReport:
    return check_dataset(f"binary:{root}", num_workers=0)


def test_roles_by_name():
    names = ["train", "val", "trainval", "train_all", "minival", "x"]
    sharing = Sharing(names)
    sharing.add({0, 2, 3})
    sharing.add({1, 2, 3, 4, 5})
    assert [sorted(roles) for roles in sharing.roles] == [
        ["train"],
        ["val"],
        ["train", "val"],
        ["train", "val"],
        ["val"],
        [],
    ]
    apart = {frozenset((names[a], names[b])) for a, b in np.argwhere(sharing.apart) if a != b}
    assert apart == {frozenset(("train", other)) for other in ("val", "minival", "x")}


def write_folds(root, names: str = "{0}_{1}", leak: bool = False) -> None:
    """Three folds of the six images; with a leak, one that fold 1 trains on and is scored on."""
    for fold in range(3):
        held = [f"a{number}" for number in range(6) if number // 2 == fold]
        trained = [f"a{number}" for number in range(6) if number // 2 != fold]
        trained += held[:1] if leak and fold == 1 else []
        write_lists(root, **{names.format("train", fold): trained, names.format("val", fold): held})


FOLD_NAMES = (
    "{0}_{1}",
    "{0}{1}",
    "fold{1}_{0}",
    "fold-{1}-{0}",
    "{0}_fold_{1}",
    "cv{1}.{0}",
    "{0}_split{1}",
)


@pytest.mark.parametrize("names", FOLD_NAMES)
def test_folds_of_a_cross_validation_are_no_leak(root, names):
    write_folds(root, names)
    report = check(root)
    assert report.num_errors == 0
    (finding,) = [each for each in report.findings if each.code == "folds"]
    assert "6 splits are the 3 folds" in finding.message


def test_a_leak_within_a_fold_is_one(root):
    write_folds(root, leak=True)
    report = check(root)
    (leak,) = [each for each in report.findings if each.code == "duplicate-across-splits"]
    assert (leak.severity, leak.count) == ("error", 1)
    assert "a2" in leak.files[0]


def test_a_test_split_beside_folds_is_held_out_of_all(root):
    write_folds(root)
    write_lists(root, test=["a5"])
    report = check(root)
    assert [each.count for each in report.findings if each.code == "duplicate-across-splits"] == [1]


def test_years_are_no_folds():
    sharing = Sharing(["train2014", "val2014", "train2017", "val2017"])
    assert sharing.folds == (None,) * 4
    assert sharing.apart[2, 1]
    assert Sharing(["train_0", "train_1", "val_2"]).folds == (None,) * 3  # no fold is whole
