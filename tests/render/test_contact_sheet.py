"""Pictures in a grid."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vitseg.render.contact_sheet import contact_sheet


def test_pictures_keep_their_ratio_and_order():
    red, blue = Image.new("RGB", (20, 10), "red"), Image.new("L", (10, 10), 77)
    sheet = np.array(contact_sheet([[red, blue], [red, blue]], ["image", "mask"], cell_height=100))
    reds = (sheet == (255, 0, 0)).all(axis=2)
    greys = (sheet == 77).all(axis=2)
    assert reds.sum() == 2 * 200 * 100
    assert greys.sum() == 2 * 100 * 100
    assert np.flatnonzero(reds.any(axis=0)).max() < np.flatnonzero(greys.any(axis=0)).min()


def test_indexed_pictures_are_scaled_without_blending():
    mask = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    mask.putpalette([200, 0, 0, 0, 0, 200])
    sheet = np.array(contact_sheet([[mask]], [""], cell_height=50))
    inside = sheet[-40:-10, 20:80].reshape(-1, 3)
    assert {tuple(color) for color in inside.tolist()} == {(200, 0, 0), (0, 0, 200)}


def test_a_row_of_another_length_is_our_mistake():
    with pytest.raises(AssertionError, match="per header"):
        contact_sheet([[Image.new("RGB", (4, 4))]], ["image", "mask"])
