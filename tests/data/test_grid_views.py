"""Fixed views cover an image, and are the same every time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny import write_dataset
from vitseg.classes import IGNORE_INDEX
from vitseg.config import parse
from vitseg.data.catalog import open_dataset
from vitseg.data.grid_views import GridViews, GridViewsConfig, covering_windows
from vitseg.errors import ConfigError
from vitseg.images.preprocess import Preprocessing
from vitseg.images.window import Window
from vitseg.training.recipe import DataConfig

HALF = Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (100, 201), (30, 300), (1, 1), (128, 192)])
def test_windows_are_few_and_cover_the_image(size):
    windows = covering_windows(size, (64, 64))
    seen = np.zeros(size, int)
    for top, left, height, width in windows:
        assert (height, width) == (min(size[0], 64), min(size[1], 64))
        seen[top : top + height, left : left + width] += 1
    assert seen.min() == 1 or (size == (100, 201) and seen.min() >= 1)
    assert len(windows) == -(-size[0] // 64) * -(-size[1] // 64)


def test_windows_are_evenly_spread():
    assert covering_windows((64, 150), (64, 64)) == [
        Window(0, left, 64, 64) for left in (0, 43, 86)
    ]


def views(tmp_path, **settings) -> GridViews:
    config = GridViewsConfig(views="grid", **{"crop_size": (48, 48), **settings})
    data = open_dataset(f"folder:{write_dataset(tmp_path / 'data')}", "train")
    return GridViews(data, config, HALF)


def test_a_view_is_its_part_of_the_image(tmp_path):
    grid = views(tmp_path)  # images of 64 x 80
    assert len(grid) == 4 * 4
    assert [view.image for view in grid.views] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    (image, labels), (mirrored, mirrored_labels) = grid.crops([(7, False), (7, True)])
    sample = grid.dataset[1]
    expected = (sample.image[16:, 32:].transpose(2, 0, 1) - 127.5) / 127.5
    np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)
    np.testing.assert_array_equal(labels.numpy(), sample.label_map[16:, 32:])
    assert torch.equal(mirrored, image.flip(-1))
    assert torch.equal(mirrored_labels, labels.flip(-1))


def test_an_image_is_scaled_to_the_base_size_and_padded(tmp_path):
    grid = views(tmp_path, base_size=(40, 40))  # 32 x 40
    assert len(grid) == 4
    ((image, labels),) = grid.crops([(2, False)])
    assert image.shape == (3, 48, 48)
    assert (labels[:32, :40] != IGNORE_INDEX).all()
    assert (labels[32:] == IGNORE_INDEX).all()
    assert (labels[:, 40:] == IGNORE_INDEX).all()
    assert not image[:, 32:].any()


@pytest.mark.parametrize(("probability", "flips"), [(0, (False,)), (1, (True,)), (0.5, (False, True))])  # fmt: skip
def test_which_flips_occur(probability, flips):
    config = GridViewsConfig(views="grid", crop_size=(8, 8), flip_probability=probability)
    assert config.flips == flips


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        ({"scale_range": [0.5, 2]}, ("scale_range would do nothing", "leave it out")),
        ({"photometric_distortion": False, "max_class_share": 1}, ("max_class_share, photo",)),
        ({"views": "random"}, ("augment.views is 'random'", "'grid'")),
        ({"base_size": [30, 40]}, ("swap them",)),
    ],
)
def test_what_fixed_views_cannot_have_is_refused(augment, words):
    fixed = {"views": "grid", "crop_size": [8, 8], **augment}
    with pytest.raises(ConfigError) as error:
        parse(DataConfig, {"augment": fixed})
    assert all(word in str(error.value) for word in words), error.value


def test_rare_class_crops_need_random_crops():
    fixed = {"views": "grid", "crop_size": [8, 8]}
    with pytest.raises(ConfigError, match=r"rare_class_crops .* augment\.views is grid"):
        parse(DataConfig, {"augment": fixed, "balance": {"rare_class_crops": 0.5}})
    assert isinstance(parse(DataConfig, {"augment": fixed}).augment, GridViewsConfig)
