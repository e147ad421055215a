from __future__ import annotations

import weakref

import numpy as np
import pytest
from PIL import Image

from vitseg.render.explain import (
    COLORS,
    LARGEST_CELL,
    ClassMasks,
    cell_size,
    colors_of,
    explanation_sheet,
    heat_map,
)


def row_of(size, name="road", masks=2, **fields) -> ClassMasks:
    values = {
        "color": (200, 30, 30),
        "probability": 0.9,
        "area": 0.25,
        "masks": [np.full(size, number / max(1, masks - 1), np.float32) for number in range(masks)],
        "notes": ["present: 90.0%"] * masks,
        "region": np.zeros(size, bool),
    }
    return ClassMasks(name, **(values | fields))


def sheet_of(size=(100, 160), rows=None, headers=("stage 1", "sum")) -> Image.Image:
    image = np.full((*size, 3), 128, np.uint8)
    return explanation_sheet(image, Image.fromarray(image), headers, rows or [row_of(size)])


def test_colors_are_those_of_the_table_and_linear_between():
    assert colors_of(np.array([0.0, 1.0, 0.5])).tolist() == [list(COLORS[k]) for k in (0, 10, 5)]
    between = (np.array(COLORS[2]) + COLORS[3]) / 2
    assert np.allclose(colors_of(np.array(0.25)), between)


def test_colors_grow_lighter_with_the_value():
    lightness = colors_of(np.linspace(0, 1, 50)) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > 0).all()


def test_a_heat_map_lets_the_image_shine_through():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = 200
    heat = heat_map(image, np.ones((2, 2), np.float32))
    assert np.allclose(heat[1], 0.7 * np.array(COLORS[-1]), atol=1)
    assert np.allclose(heat[0], 0.7 * np.array(COLORS[-1]) + 0.3 * 200, atol=1)


@pytest.mark.parametrize(
    ("size", "cell"),
    [
        ((360, 480), (200, 267)),
        ((100, 1600), (20, 320)),
        ((1, 20000), (1, 320)),
        ((1, 1), (200, 200)),
    ],
)
def test_pictures_keep_their_shape_within_the_cell(size, cell):
    assert cell_size(size) == cell
    assert cell[0] <= LARGEST_CELL[0]
    assert cell[1] <= LARGEST_CELL[1]


def test_masks_and_region_have_their_places():
    region = np.zeros((100, 160), bool)
    region[:, 80:] = True
    sheet = np.asarray(sheet_of(rows=[row_of((100, 160), region=region)]))
    colors = [tuple(color) for color in sheet.reshape(-1, 3)[::1]]
    grey = 0.3 * 128
    for value in (0, -1):  # the first mask is 0 everywhere, the second 1
        expected = tuple(np.rint(0.7 * np.array(COLORS[value]) + grey).astype(int))
        assert colors.count(expected) >= 200 * 320
    reds = ((sheet[..., 0] > 150) & (sheet[..., 1] < 110)).sum()
    assert reds >= 0.9 * 200 * 160


def test_rows_and_columns_make_the_sheet_larger():
    size = (100, 160)
    one = sheet_of()
    more_rows = sheet_of(rows=[row_of(size), row_of(size, name="tree")])
    more_columns = sheet_of(rows=[row_of(size, masks=4)], headers=["1", "2", "3", "sum"])
    assert more_rows.height >= one.height + 200
    assert more_rows.width == one.width
    assert more_columns.width >= one.width + 2 * 320
    assert more_columns.height == one.height


def test_rows_are_drawn_one_at_a_time():
    drawn = []

    def rows():
        for name in ("road", "tree", "sky"):
            assert sum(row() is not None for row in drawn) <= 1  # the last
            row = row_of((40, 40), name=name)
            drawn.append(weakref.ref(row))
            yield row
            del row

    sheet_of((40, 40), rows())
    assert len(drawn) == 3


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_degenerate_images_are_drawn(size):
    assert sheet_of(size).width > 300


def test_long_and_odd_names_are_drawn():
    rows = [row_of((40, 40), name="a" * 200), row_of((40, 40), name="Straße <b>")]
    assert sheet_of((40, 40), rows).height > 400
