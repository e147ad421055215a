"""Masks that do not lie on their upright images are found by what is in the pictures, and no others are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.checks.trees import picture
from tests.data.formats.content import FORMATS
from vitseg.checks import fast
from vitseg.checks.fast import fast_findings
from vitseg.checks.mask_fit import fit_scores
from vitseg.checks.mask_turns import APART, CLEAR, MaskTurn, TurnTally
from vitseg.checks.run import check_dataset
from vitseg.checks.tag_counts import count_tags
from vitseg.data.catalog import open_unchecked
from vitseg.data.finding import Finding
from vitseg.data.scene_painter import SCENE_CLASSES, draw_scene
from vitseg.images.orientation import inverse, upright

pytestmark = pytest.mark.slow

ORIENTATION = 0x0112
SQUARE = (160, 160)
TURNS = range(1, 9)
CODES = ("mask-pose", "mask-own-tag", "mask-turned", "mask-on-its-side", "orientation-tags")


def scene(seed: int, size: tuple[int, int] = SQUARE) -> tuple[np.ndarray, np.ndarray]:
    return draw_scene(np.random.default_rng(seed), size, complete=True)


def save(path: Path, pixels: np.ndarray, tag: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = Image.Exif()
    tags[ORIENTATION] = tag
    Image.fromarray(pixels).save(path, exif=tags)


def write(
    root: Path,
    tags: list[int],
    drawn: str | list[str] = "stored",
    size: tuple[int, int] = SQUARE,
    masks: str | None = None,
) -> Path:
    """Scenes whose images are stored as their tags want it, and whose masks are drawn on the one or the other picture.

    Args:
        root: The folder.
        tags: The tag of each image.
        drawn: "stored", "upright", or "aside" (turned by 180 degrees more), for all or for each.
        size: Of the upright scenes.
        masks: The field of the class file.
    """
    for number, tag in enumerate(tags):
        image, label_map = scene(number, size)
        how = drawn if isinstance(drawn, str) else drawn[number]
        turn = {"stored": inverse(tag), "upright": 1, "aside": 3}[how]
        save(root / f"images/{number}.png", upright(image, inverse(tag)), tag)
        save(root / f"masks/{number}.png", upright(label_map, turn).astype(np.uint8))
    content = {"classes": SCENE_CLASSES.names} | ({} if masks is None else {"masks": masks})
    (root / "classes.json").write_text(json.dumps(content))
    return root


def found(root: Path, kind: str = "folder") -> dict[str, Finding]:
    findings = check_dataset(f"{kind}:{root}", num_workers=0).findings
    return {each.code: each for each in findings if each.code in CODES}


# The score of a mask in a turn


@pytest.mark.parametrize("turn", range(2, 9))
def test_only_the_right_turn_of_a_mask_scores(turn):
    for seed in range(3):
        image, label_map = scene(seed)
        scores = fit_scores(image, upright(label_map, inverse(turn)), TURNS)
        assert max(scores, key=lambda each: scores[each]) == turn
        assert scores[turn] >= CLEAR
        assert scores[turn] - scores[1] >= APART
        assert MaskTurn(scores, other=turn).verdict() == "other pose"
        assert MaskTurn(scores, own=turn).verdict() == "without its own tag"


def test_the_image_may_be_smaller_than_the_mask():
    image, label_map = scene(0, (320, 240))
    small = np.asarray(Image.fromarray(image).resize((180, 240)))
    scores = fit_scores(small, label_map, TURNS)
    assert set(scores) == {1, 2, 3, 4}  # the others have another size
    assert scores[1] >= CLEAR


def blocks(rng: np.random.Generator, side: int) -> np.ndarray:
    return np.kron(rng.integers(0, 3, (160 // side,) * 2), np.ones((side, side))).astype(np.uint8)


def tiny(rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros(SQUARE, np.uint8)
    for top, left in rng.integers(0, 150, (3, 2)):
        mask[top : top + 5, left : left + 5] = 1
    return mask


def boxes(rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros(SQUARE, np.uint8)
    for label in range(1, 5):
        top, left, height, width = rng.integers((0, 0, 10, 10), (120, 120, 90, 90))
        mask[top : top + height, left : left + width] = label
    return mask


UNRELATED = {
    "blocks of 4": lambda rng: blocks(rng, 4),
    "blocks of 16": lambda rng: blocks(rng, 16),
    "tiny": tiny,
    "boxes": boxes,
    "another scene": lambda rng: scene(int(rng.integers(1000, 2000)))[1].astype(np.uint8),
    "every pixel by itself": lambda rng: rng.integers(0, 3, SQUARE).astype(np.uint8),
    "one class": lambda rng: np.ones(SQUARE, np.uint8),
    "void alone": lambda rng: np.full(SQUARE, 255, np.uint8),
}
PICTURES = {
    "noise": lambda rng: rng.integers(0, 256, (*SQUARE, 3), np.uint8),
    "soft noise": lambda rng: np.asarray(picture(int(rng.integers(9999)), SQUARE)),
    "one colour": lambda rng: np.full((*SQUARE, 3), 90, np.uint8),
    "stripes": lambda rng: np.repeat(
        np.tile(np.arange(160) // 8 % 2 * 255, (160, 1))[..., None], 3, 2
    ).astype(np.uint8),
    "scene": lambda rng: scene(int(rng.integers(1000)))[0],
}


@pytest.mark.parametrize("mask", UNRELATED)
@pytest.mark.parametrize("image", PICTURES)
def test_nothing_is_said_of_masks_that_have_nothing_to_do_with_their_images(image, mask):
    rng = np.random.default_rng(7)
    tally = TurnTally()
    for _ in range(5):
        scores = fit_scores(PICTURES[image](rng), UNRELATED[mask](rng), TURNS)
        for tag in (2, 3, 6) if scores else ():
            assert tally.add(MaskTurn(scores, other=tag)) in ("untold", "as read")
            assert MaskTurn(scores, own=tag).verdict() in ("untold", "as read")
    assert not tally.other_pose()


@pytest.mark.parametrize("size", [(10, 160), (1, 1), (2, 3000), (0, 5)])
def test_small_pictures_tell_nothing(size):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*(max(1, side) for side in size), 3), np.uint8)
    assert fit_scores(image, rng.integers(0, 3, size).astype(np.uint8), TURNS) == {}


def test_all_masks_together_may_tell_what_none_does_alone():
    tally = TurnTally()
    for _ in range(12):
        weak = MaskTurn(dict.fromkeys(TURNS, 0.0) | {1: 0.2, 6: 3.0}, other=6)
        assert tally.add(weak) == "untold"
    assert tally.other_pose()
    one = TurnTally()
    one.add(MaskTurn(dict.fromkeys(TURNS, 0.0) | {6: 100.0}, other=6))
    for _ in range(30):
        one.add(MaskTurn(dict.fromkeys(TURNS, 0.0), other=6))
    assert not one.other_pose()  # none decides alone


# What the check of a data set says


@pytest.mark.parametrize("tag", range(2, 9))
def test_square_masks_on_the_stored_pixels_are_warned_of_and_the_cure_helps(tmp_path, tag):
    root = write(tmp_path, [tag, 1, tag])
    findings = found(root)
    assert list(findings) == ["mask-pose", "orientation-tags"]
    warning = findings["mask-pose"]
    assert (warning.severity, warning.count) == ("warning", 2)
    assert [Path(file).name for file in warning.files] == ["0.png", "2.png"]
    assert "masks of 2 of 2 images with an orientation tag" in warning.message
    assert warning.fix == f'Say so in {root / "classes.json"}: "masks": "stored".'
    write(tmp_path, [tag, 1, tag], masks="stored")
    assert list(found(root)) == ["orientation-tags"]


def test_right_masks_are_not_warned_of(tmp_path):
    findings = found(write(tmp_path, [2, 3, 4, 5, 6, 7, 8, 1], "upright"))
    assert list(findings) == ["orientation-tags"]
    fact = findings["orientation-tags"]
    assert fact.severity == "info"
    assert fact.message == (
        "7 of 8 images have an orientation tag, by which they are turned upright: 1 with 2, 1 with 3, 1 with 4, "
        "1 with 5, 1 with 6, 1 with 7, 1 with 8."
    )
    assert "those of 7 are seen to" in fact.fix


def test_upright_masks_that_are_read_as_stored_are_warned_of(tmp_path):
    root = write(tmp_path, [6, 3, 8], "upright", masks="stored")
    warning = found(root)["mask-pose"]
    assert warning.count == 3
    assert "lie on the upright picture, not on the pixels as they are stored" in warning.message
    assert warning.fix == f'Say so in {root / "classes.json"}: "masks": "upright".'


def test_where_some_lie_so_and_some_so_no_field_helps(tmp_path):
    drawn = ["stored"] * 3 + ["upright"] * 3
    warning = found(write(tmp_path, [6, 3, 2, 6, 3, 2], drawn))["mask-pose"]
    assert [Path(file).name for file in warning.files] == ["0.png", "1.png", "2.png"]
    assert "3 lie as they are read" in warning.message
    assert warning.fix.startswith("Turn these masks by the tags of their images")


def test_one_among_many_is_named(tmp_path):
    warning = found(write(tmp_path, [6, 3, 8, 6, 2], ["upright"] * 4 + ["stored"]))["mask-pose"]
    assert [Path(file).name for file in warning.files] == ["4.png"]
    assert warning.fix.startswith("Turn these masks")


def test_masks_that_neither_pose_mends(tmp_path):
    findings = found(write(tmp_path, [6, 8, 6], "aside"))
    warning = findings["mask-turned"]
    assert (warning.severity, warning.count) == ("warning", 3)
    assert "turned by 180 degrees" in warning.message
    assert "mask-pose" not in findings


@pytest.mark.parametrize("tag", [5, 6, 7, 8])
@pytest.mark.parametrize("masks", ["upright", "stored"])
def test_masks_on_their_side_are_an_error_that_names_the_cure(tmp_path, tag, masks):
    other = "stored" if masks == "upright" else "upright"
    root = write(tmp_path, [tag, tag], other, (120, 160), masks)
    findings = found(root)
    assert list(findings) == ["mask-on-its-side", "orientation-tags"]
    error = findings["mask-on-its-side"]
    assert (error.severity, error.count) == ("error", 2)
    assert f'say so in {root / "classes.json"}: "masks": "{other}"' in error.fix
    write(tmp_path, [tag, tag], other, (120, 160), other)
    assert list(found(root)) == ["orientation-tags"]


@pytest.mark.parametrize("tag", [2, 3, 4])
def test_oblong_images_whose_tag_keeps_their_size(tmp_path, tag):
    root = write(tmp_path, [tag, tag], size=(120, 160))
    assert found(root)["mask-pose"].count == 2


def test_the_size_of_oblong_images_does_not_say_which_way_they_are_turned(tmp_path):
    assert found(write(tmp_path, [6, 6], "aside", (120, 160)))["mask-turned"].count == 2


def test_a_mask_whose_own_tag_turns_it_away(tmp_path):
    root = write(tmp_path, [1, 6], "upright")
    for number in range(2):
        save(root / f"masks/{number}.png", scene(number)[1].astype(np.uint8), 6)
    findings = found(root)
    assert findings["mask-own-tag"].count == 2
    assert "mask-pose" not in findings
    for number in range(2):  # stored as their tag wants it
        mask = upright(scene(number)[1].astype(np.uint8), inverse(6))
        save(root / f"masks/{number}.png", mask, 6)
    assert list(found(root)) == ["orientation-tags"]


@pytest.mark.parametrize("layout", ["color", "binary-by-class"])
def test_other_kinds_of_masks(tmp_path, layout):
    colors = np.array(SCENE_CLASSES.palette, np.uint8)
    for number, tag in enumerate((6, 3)):
        image, label_map = scene(number)
        save(tmp_path / f"images/{number}.png", upright(image, inverse(tag)), tag)
        stored = upright(label_map, inverse(tag))
        if layout == "color":
            save(tmp_path / f"masks/{number}.png", colors[stored])
            continue
        for name in ("sky", "road"):
            inside = stored == SCENE_CLASSES.names.index(name)
            save(tmp_path / f"masks/{name}/{number}.png", inside.astype(np.uint8) * 255)
    if layout == "color":
        table = {"classes": SCENE_CLASSES.names, "palette": SCENE_CLASSES.palette}
        (tmp_path / "classes.json").write_text(json.dumps(table))
    warning = found(tmp_path)["mask-pose"]
    assert warning.count == 2
    expected = tmp_path / ("classes.json" if layout == "color" else "classes.yaml")
    assert str(expected) in warning.fix
    if layout != "color":
        assert warning.fix == f"Say so in a file {expected} of this one line: masks: stored."
        expected.write_text("masks: stored\n")
        assert list(found(tmp_path)) == ["orientation-tags"]


def test_without_a_class_file_it_is_found_too(tmp_path):
    root = write(tmp_path, [6, 3])
    (root / "classes.json").unlink()
    assert found(root, "index")["mask-pose"].count == 2
    (root / "classes.yaml").write_text("masks: stored\n")
    assert "mask-pose" not in found(root, "index")


def test_masks_in_which_nothing_is_to_be_seen(tmp_path):
    root = write(tmp_path, [6, 3])
    for number, value in enumerate((255, 1)):
        save(root / f"masks/{number}.png", np.full(SQUARE, value, np.uint8))
    findings = found(root)
    assert list(findings) == ["orientation-tags"]
    assert "too little in them to tell" in findings["orientation-tags"].fix


def test_an_untagged_data_set_hears_nothing_of_it_and_no_image_is_read_twice(tmp_path, monkeypatch):
    from vitseg.checks import mask_turns

    monkeypatch.setattr(mask_turns, "decode", None)
    FORMATS["index"][1](tmp_path)
    assert found(tmp_path) == {}


def test_training_looks_at_a_few(tmp_path, monkeypatch):
    root = write(tmp_path, [6, 3, 8, 6])
    dataset = open_unchecked(f"index:{root}", "all")
    assert [(each.code, each.count) for each in fast_findings(dataset)] == [("mask-pose", 4)]
    monkeypatch.setattr(fast, "MAX_TURNS", 2)
    assert [(each.code, each.count) for each in fast_findings(dataset)] == [("mask-pose", 2)]


def test_training_stops_at_masks_on_their_side_by_their_headers(tmp_path, monkeypatch):
    monkeypatch.setattr(fast, "MAX_DECODED", 1)
    root = write(tmp_path, [6, 8, 5], size=(120, 160))
    dataset = open_unchecked(f"index:{root}", "all")
    (error,) = fast_findings(dataset)
    assert (error.code, error.severity, error.count) == ("mask-on-its-side", "error", 3)
    write(tmp_path, [6, 8, 5], size=(120, 160), masks="stored")
    assert fast_findings(open_unchecked(f"index:{root}", "all")) == []


def test_tags_are_counted_from_headers(tmp_path):
    root = write(tmp_path, [6, 3, 1, 6])
    (root / "images/3.png").write_bytes(b"no picture")
    assert count_tags(open_unchecked(f"index:{root}", "all")) == {6: 1, 3: 1, 1: 1}


def write_yolo(root: Path, tags: list[int], drawn: str, size: tuple[int, int]) -> Path:
    """Photos of three boxes, each a class, whose corners are fractions of the one or the other picture."""
    (root / "data.yaml").parent.mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text("train: images\nnames: [a, b, c]\n")
    (root / "labels").mkdir(exist_ok=True)
    for number, tag in enumerate(tags):
        rng = np.random.default_rng(number)
        shown = rng.integers(90, 120, (*size, 3)).astype(np.uint8)
        lines = []
        for label in range(3):
            top, left = 10 + 45 * label, 15 + 30 * label
            low, right = top + int(rng.integers(20, 40)), left + int(rng.integers(40, 90))
            inside = np.zeros(size, bool)
            inside[top:low, left:right] = True
            shown[inside] = rng.integers(0, 60, 3) + 195 * (label % 2)
            placed = upright(inside, inverse(tag)) if drawn == "stored" else inside
            rows, columns = np.nonzero(placed)
            (up, down), (west, east) = ((int(v.min()), int(v.max()) + 1) for v in (rows, columns))
            corners = np.array([[west, up], [east, up], [east, down], [west, down]], float)
            corners /= (placed.shape[1], placed.shape[0])
            lines.append(f"{label} " + " ".join(f"{value:.6f}" for value in corners.ravel()))
        save(root / f"images/{number}.png", upright(shown, inverse(tag)), tag)
        (root / f"labels/{number}.txt").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("tag", range(2, 9))
@pytest.mark.parametrize("size", [(160, 240), (200, 150)])
def test_fractions_fit_any_size_so_that_the_content_alone_tells(tmp_path, tag, size):
    root = write_yolo(tmp_path, [tag, tag], "stored", size)
    warning = found(root)["mask-pose"]
    assert warning.count == 2
    assert (
        warning.fix == f"Say so in a file {root / 'classes.yaml'} of this one line: masks: stored."
    )
    file = root / "data.yaml"
    file.write_text(file.read_text() + "masks: stored\n")
    assert list(found(root)) == ["orientation-tags"]
    write_yolo(tmp_path, [tag, tag], "upright", size)
    assert list(found(root)) == ["orientation-tags"]
    file.write_text(file.read_text() + "masks: stored\n")
    assert found(root)["mask-pose"].fix == f"Say so in {file}: masks: upright."
