from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.golden.reference import load_golden
from vitseg.classes import IGNORE_INDEX
from vitseg.data.augment import AugmentConfig, TrainTransform, random_window, window_around
from vitseg.data.balance import RareClassCrops
from vitseg.data.sample import Sample
from vitseg.images.preprocess import Preprocessing
from vitseg.images.window import Window

MEAN = (120.5, 110.5, 100.5)
STD = (60.0, 50.0, 40.0)
PREPROCESSING = Preprocessing(mean=[v / 255 for v in MEAN], std=[v / 255 for v in STD])
PLAIN = {"scale_range": (1.0, 1.0), "flip_probability": 0.0, "photometric_distortion": False}


def transform(**settings) -> TrainTransform:
    return TrainTransform(AugmentConfig(**settings), PREPROCESSING)


def identity(**settings) -> TrainTransform:
    """Without normalisation, so that outputs are grey levels."""
    config = AugmentConfig(**{**PLAIN, **settings})
    return TrainTransform(config, Preprocessing(mean=(0, 0, 0), std=(1 / 255,) * 3))


def noise(height: int, width: int, num_classes: int = 5) -> Sample:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample("noise", image, rng.integers(-1, num_classes, (height, width)))


def coded(height: int, width: int) -> Sample:
    """Labels that say where a pixel was; red and green say the same."""
    rows, columns = np.indices((height, width))
    image = np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    return Sample("coded", image, rows * 1000 + columns)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_types_and_sizes_whatever_the_image():
    for height, width in ((40, 90), (90, 40), (200, 200), (1, 3)):
        image, labels = transform(crop_size=(48, 64))(noise(height, width), rng())
        assert image.shape == (3, 48, 64)
        assert image.dtype == torch.float32
        assert labels.shape == (48, 64)
        assert labels.dtype == torch.int64


def test_the_generator_is_the_only_randomness():
    sample, augment = noise(60, 80), transform(crop_size=(32, 32))
    first, again, other = augment(sample, rng(1)), augment(sample, rng(1)), augment(sample, rng(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_the_sample_is_not_changed():
    sample = noise(60, 80)
    image, label_map = sample.image.copy(), sample.label_map.copy()
    for seed in range(10):
        transform(crop_size=(64, 96), base_size=(80, 60))(sample, rng(seed))
    assert np.array_equal(sample.image, image)
    assert np.array_equal(sample.label_map, label_map)


def test_normalisation():
    sample = noise(16, 16)
    image, _ = transform(crop_size=(16, 16), **PLAIN)(sample, rng())
    expected = (sample.image.transpose(2, 0, 1) - np.array(MEAN)[:, None, None]) / np.array(STD)[
        :, None, None
    ]
    assert np.allclose(image.numpy(), expected, atol=1e-6)


def test_small_images_are_padded_after_normalisation():
    sample = noise(10, 20)
    image, labels = transform(crop_size=(16, 32), **PLAIN)(sample, rng())
    assert np.array_equal(labels[:10, :20].numpy(), sample.label_map)
    outside = torch.ones(16, 32, dtype=torch.bool)
    outside[:10, :20] = False
    assert (labels[outside] == IGNORE_INDEX).all()
    assert (image[:, outside] == 0).all()
    assert (image[:, ~outside] != 0).all()


@pytest.mark.parametrize("flip_probability", [0.0, 1.0])
def test_image_and_labels_are_cropped_and_flipped_together(flip_probability):
    image, labels = identity(crop_size=(24, 40), flip_probability=flip_probability)(
        coded(100, 150), rng()
    )
    assert torch.equal(labels // 1000, image[0].long())
    assert torch.equal(labels % 1000, image[1].long())
    steps = labels[0].diff()
    assert (steps == (-1 if flip_probability else 1)).all()


def test_image_and_labels_are_resized_together():
    sample = coded(100, 150)
    for seed in range(20):
        image, labels = identity(crop_size=(64, 64), scale_range=(0.5, 2.0))(sample, rng(seed))
        inside = labels != IGNORE_INDEX
        # Bilinear samples between pixel centres, nearest takes the floor: up to a pixel and a half.
        for plane, place in ((image[0], labels // 1000), (image[1], labels % 1000)):
            assert (plane - place)[inside].abs().max() <= 1.5
        assert set(labels[inside].tolist()) <= set(sample.label_map.ravel().tolist())


def test_half_of_the_samples_are_flipped():
    augment = identity(crop_size=(8, 8), flip_probability=0.5)
    generator = rng()
    flips = sum(bool(augment(coded(8, 8), generator)[1][0, 0] == 7) for _ in range(200))
    assert 70 < flips < 130


def visible_size(labels: torch.Tensor) -> tuple[int, int]:
    inside = labels != IGNORE_INDEX
    return int(inside.any(dim=1).sum()), int(inside.any(dim=0).sum())


def test_the_base_size_bounds_the_image_at_ratio_1():
    sample = coded(100, 150)
    for base_size, expected in (((120, 30), (30, 45)), ((60, 60), (40, 60))):
        _, labels = identity(crop_size=(200, 200), base_size=base_size)(sample, rng())
        assert visible_size(labels) == expected


def test_the_ratio_multiplies_the_base_size_with_truncation():
    _, labels = identity(crop_size=(200, 200), base_size=(151, 101), scale_range=(0.5, 0.5))(
        coded(100, 150), rng()
    )
    assert visible_size(labels) == (50, 75)


def test_ratios_cover_their_range():
    augment, generator = identity(crop_size=(80, 80), scale_range=(0.5, 2.0)), rng()
    heights = [visible_size(augment(coded(40, 40), generator)[1])[0] for _ in range(200)]
    assert 20 <= min(heights) <= 22
    assert 78 <= max(heights) <= 80
    assert abs(np.mean(heights) - 50) < 4


def one_class_with_a_corner() -> Sample:
    """Class 0, but for a corner of class 1; crops elsewhere have one class."""
    label_map = np.zeros((64, 64), np.int64)
    label_map[:24, :24] = 1
    return Sample("corner", np.zeros((64, 64, 3), np.uint8), label_map)


def largest_share(labels: torch.Tensor) -> float:
    counts = torch.bincount(labels[labels != IGNORE_INDEX])
    return float(counts.max() / counts.sum())


def test_crops_of_one_class_are_rare():
    def mixed(max_class_share: float) -> int:
        augment = identity(crop_size=(24, 24), max_class_share=max_class_share)
        crops = [augment(one_class_with_a_corner(), rng(seed))[1] for seed in range(100)]
        return sum(largest_share(labels) < 0.75 for labels in crops)

    assert mixed(max_class_share=1.0) < 30
    assert mixed(max_class_share=0.75) > 60


def test_ignored_pixels_do_not_count_for_the_share():
    label_map = np.full((40, 40), IGNORE_INDEX)
    label_map[::4, ::4] = 0
    label_map[::4, 2::4] = 1
    sample = Sample("sparse", np.zeros((40, 40, 3), np.uint8), label_map)
    generator = rng(5)
    identity(crop_size=(20, 20))(sample, generator)
    once = rng(5)
    identity(crop_size=(20, 20), max_class_share=1.0)(sample, once)
    assert generator.random() == once.random()  # the first candidate was taken


def test_a_crop_that_never_mixes_is_taken_after_ten_retries():
    sample = Sample("sky", np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.int64))
    generator = CountingGenerator()
    _, labels = identity(crop_size=(20, 20))(sample, generator)
    assert generator.draws == 2 * 11
    assert (labels == 0).all()


class CountingGenerator(np.random.Generator):
    """Counts the integers drawn."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))
        self.draws = 0

    def integers(self, *args, **kwargs):
        self.draws += 1
        return super().integers(*args, **kwargs)


def test_windows_reach_every_place_and_no_further():
    generator = rng()
    windows = {random_window((6, 5), (4, 9), generator) for _ in range(100)}
    assert windows == {Window(top, 0, 4, 5) for top in range(3)}


@pytest.mark.golden
def test_the_window_is_that_of_mmsegmentation(shared):
    class LegacyGenerator:
        """The generator that the reference drew from."""

        def __init__(self) -> None:
            self._state = np.random.RandomState(3)

        def integers(self, low: int, high: int) -> int:
            return self._state.randint(low, high)

    golden = load_golden(shared, "setr_mmseg_pipeline")
    image, labels = golden["input_bgr"].numpy(), golden["input_seg"].numpy()
    window = random_window(labels.shape, (64, 64), LegacyGenerator())
    part = (
        slice(window.top, window.top + window.height),
        slice(window.left, window.left + window.width),
    )
    assert np.array_equal(image[part], golden["random_crop_seed3/img"].numpy())
    assert np.array_equal(labels[part], golden["random_crop_seed3/seg"].numpy())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_size": (0, 5)}, "greater than 0"),
        ({"crop_size": (8, 8), "scale_range": (2.0, 0.5)}, "must not exceed its second"),
        ({"crop_size": (8, 8), "base_size": (512, 2048)}, "swap them"),
        ({"crop_size": (8, 8), "max_class_share": 0.0}, "greater than 0"),
        ({"crop_size": (8, 8), "flip_probability": 1.5}, "less than or equal to 1"),
        ({"crop_size": (8, 8), "rotation": 5}, "Extra inputs"),
    ],
)
def test_contradictions_are_errors(settings, message):
    with pytest.raises(ValidationError, match=message):
        AugmentConfig(**settings)


@pytest.mark.parametrize(
    ("place", "expected"),
    [((50, 80), (42, 70)), ((0, 0), (0, 0)), ((99, 159), (80, 140)), ((10, 80), (2, 70))],
)
def test_window_around_a_pixel(place, expected):
    window = window_around(place, (100, 160), (100, 160), (20, 20))
    assert (window.height, window.width) == (20, 20)
    # The middle of an even window is between two pixels; the border moves it.
    assert abs(window.top - (expected[0] if place[0] in (0, 99) else place[0] - 10)) <= 1
    assert abs(window.left - (expected[1] if place[1] in (0, 159) else place[1] - 10)) <= 1


def test_window_around_a_pixel_of_the_unscaled_image():
    window = window_around((50, 80), (100, 160), (200, 320), (21, 21))
    assert window.top <= 101 <= window.top + 20
    assert window.left <= 161 <= window.left + 20
    assert window_around((3, 3), (10, 10), (10, 10), (64, 64)) == Window(0, 0, 10, 10)


def test_crops_on_rare_classes_show_them():
    """One pixel of class 1 in a corner of a large image."""
    image = np.zeros((300, 300, 3), np.uint8)
    label_map = np.zeros((300, 300), np.int64)
    label_map[290, 7] = 1
    config = AugmentConfig(crop_size=(32, 32), **PLAIN)
    counts = np.array([90_000 - 1, 1])
    rare = TrainTransform(config, PREPROCESSING, RareClassCrops(1.0, 0.01, counts))
    anywhere = TrainTransform(config, PREPROCESSING)
    sample = Sample("corner", image, label_map)
    assert all((rare(sample, rng(seed))[1] == 1).any() for seed in range(20))
    assert not all((anywhere(sample, rng(seed))[1] == 1).any() for seed in range(20))


def test_ratios_may_be_a_choice():
    chosen = transform(crop_size=(8, 8), scale_choices=(0.5, 1.0, 1.75))
    sizes = {chosen.random_size((100, 200), rng(seed)) for seed in range(40)}
    assert sizes == {(50, 100), (100, 200), (175, 350)}
    with pytest.raises(ValidationError, match="leave one of them out"):
        AugmentConfig(crop_size=(8, 8), scale_choices=(0.5,), scale_range=(0.5, 1.0))
