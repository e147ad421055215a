from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from vitseg.images.preprocess import Preprocessing, to_padded_tensor, to_pixels, to_tensor

IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_numbers_are_those_of_the_formula():
    image = noise(5, 7)
    expected = (image / 255 - np.array(IMAGENET.mean)) / np.array(IMAGENET.std)
    found = to_tensor(image, IMAGENET)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.permute(1, 2, 0).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("flip", [False, True])
def test_training_and_prediction_see_the_same_bits(flip):
    image = noise(30, 41)
    image = image[:, ::-1] if flip else image
    padded = to_padded_tensor(image, IMAGENET, (32, 48))
    assert torch.equal(padded[:, :30, :41], to_tensor(image, IMAGENET))
    assert not padded[:, 30:].any()
    assert not padded[:, :, 41:].any()


def test_the_colours_of_a_pixel_lie_side_by_side_for_a_prediction():
    batch = to_tensor(noise(4, 6), IMAGENET)[None]
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_pixels_come_back():
    image = noise(9, 4)
    assert np.array_equal(to_pixels(to_tensor(image, IMAGENET), IMAGENET), image)


def test_padding_comes_back_as_the_mean_colour():
    pixels = to_pixels(to_padded_tensor(noise(1, 1), IMAGENET, (2, 2)), IMAGENET)
    assert pixels[1, 1].tolist() == [124, 116, 104]


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4), r"both are in \[0, 1\]: divide them by 255"),
        ((0.5, 0.5, 0.5), (0.2, 0.0, 0.2), "must be positive"),
        ((0.5, 0.5), (0.2, 0.2, 0.2), "mean"),
    ],
)
def test_mean_and_std_are_checked(mean, std, message):
    with pytest.raises(ValidationError, match=message):
        Preprocessing(mean=mean, std=std)
