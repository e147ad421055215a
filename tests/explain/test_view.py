"""What every explanation shows of an image."""

from __future__ import annotations

import numpy as np

from tests.images.test_windows import planes, write_tiff
from tests.tiny import make_predictor, photo
from vitseg.explain.view import View


def test_pixels_without_data_have_no_class(tmp_path):
    pixels = photo(70, 90, seed=2)
    pixels[:, :40] = 0
    view = View.of(make_predictor(), write_tiff(tmp_path / "a.tif", planes(pixels), nodata=0))
    segmentation = view.segmentation(np.ones(view.size, np.uint8))
    np.testing.assert_array_equal(segmentation.valid, (pixels != 0).any(2))
    assert segmentation.class_areas.keys() == {segmentation.classes.names[1]}
