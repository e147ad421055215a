"""What `data check` says of index masks whose palettes disagree."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.checks.trees import SIZE, picture, save_image
from vitseg.checks.run import check_dataset
from vitseg.data.catalog import open_dataset
from vitseg.errors import DataError


def write_index(root, names: tuple[str, ...], masks: list[Image.Image]) -> str:
    for number, mask in enumerate(masks):
        save_image(root, f"a{number:02}", picture(number))
        (root / "masks").mkdir(exist_ok=True)
        mask.save(root / "masks" / f"a{number:02}.png")
    (root / "classes.json").write_text(json.dumps({"classes": names}))
    return f"folder:{root}"


def indexed(ids: np.ndarray, colors: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(ids, "P")
    image.putpalette([channel for color in colors for channel in color])
    return image


THREE = ("road", "sky", "tree")
RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)


@pytest.mark.parametrize(
    "place", [0, 7]
)  # the former is one of those by which the kind of masks is told
def test_palettes_that_number_colours_otherwise(tmp_path, place):
    ids = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint8) % 3
    masks = [indexed(ids, [BLACK, RED, GREEN])] * 40
    masks[place] = indexed(ids, [BLACK, GREEN, RED])
    if place == 0:
        with pytest.raises(DataError, match="palettes of the masks"):
            open_dataset(write_index(tmp_path, THREE, masks), "all")
        return
    found = check_dataset(write_index(tmp_path, THREE, masks), num_workers=0).findings
    (finding,) = [each for each in found if each.code == "palettes-differ"]
    assert (finding.severity, finding.count) == ("warning", 1)
    assert finding.files == (str(tmp_path / "masks" / "a07.png"),)
    assert "1 is #00ff00, but #ff0000 in" in finding.message


@pytest.mark.parametrize("first", ["grey", "palette"])
def test_a_palette_of_greys_beside_masks_without_one(tmp_path, first):
    ids = np.full(SIZE, 2, np.uint8)
    ids[: SIZE[0] // 2] = 0
    grey, shrunk = Image.fromarray(ids), indexed(ids // 2, [BLACK, (2, 2, 2)])
    masks = [grey, shrunk, grey] if first == "grey" else [shrunk, grey, grey]
    found = check_dataset(write_index(tmp_path, THREE, masks), num_workers=0).findings
    (finding,) = [each for each in found if each.code == "palette-of-greys"]
    assert (finding.severity, finding.count) == ("warning", 1)
    assert "1 is the grey 2" in finding.message


@pytest.mark.parametrize(
    "colors",
    [[BLACK, RED, GREEN], [(grey, grey, grey) for grey in range(3)], [BLACK, (255,) * 3, RED]],
)
@pytest.mark.parametrize("with_grey", [False, True])
def test_palettes_that_are_only_to_look_at(tmp_path, colors, with_grey):
    ids = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint8) % 3
    masks = [indexed(ids, colors)] * 3 + [Image.fromarray(ids)] * with_grey
    found = check_dataset(write_index(tmp_path, THREE, masks), num_workers=0).findings
    assert not {"palettes-differ", "palette-of-greys"} & {each.code for each in found}
