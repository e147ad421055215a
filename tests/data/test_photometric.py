from __future__ import annotations

import colorsys

import numpy as np
import pytest

from tests.golden.reference import load_golden
from vitseg.data.photometric import distort


class Scripted:
    """Stands for a generator: gives the values of a script, in order."""

    def __init__(self, *values: float) -> None:
        self._values = list(values)

    def _next(self, *_args) -> float:
        return self._values.pop(0)

    random = uniform = integers = _next

    @property
    def is_used_up(self) -> bool:
        return not self._values


YES, NO = 0.1, 0.9
FIRST, LAST = 0.1, 0.9


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def scripted(image: np.ndarray, *values: float) -> np.ndarray:
    script = Scripted(*values)
    result = distort(image, script)
    assert script.is_used_up
    return result


def as_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def test_nothing_chosen_changes_nothing(image):
    assert np.array_equal(scripted(image, FIRST, NO, NO, NO, NO), image)
    assert np.array_equal(scripted(image, LAST, NO, NO, NO, NO), image)


@pytest.mark.parametrize("shift", [-31.7, 20.2])
def test_brightness_adds_clips_and_truncates(image, shift):
    result = scripted(image, LAST, YES, shift, NO, NO, NO)
    assert np.array_equal(result, as_bytes(image.astype(np.float32) + shift))


@pytest.mark.parametrize("factor", [0.51, 1.49])
def test_contrast_multiplies_here_or_last(image, factor):
    expected = as_bytes(image.astype(np.float32) * factor)
    assert np.array_equal(scripted(image, FIRST, NO, YES, factor, NO, NO), expected)
    assert np.array_equal(scripted(image, LAST, NO, NO, NO, YES, factor), expected)


def test_brightness_is_truncated_before_contrast(image):
    brighter = as_bytes(image.astype(np.float32) + 30.5).astype(np.float32)
    result = scripted(image, FIRST, YES, 30.5, YES, 1.3, NO, NO)
    assert np.array_equal(result, as_bytes(brighter * 1.3))


@pytest.mark.parametrize("saturation", [0.5, 1.4])
@pytest.mark.parametrize("steps", [-18, 0, 17])
def test_saturation_and_hue(image, saturation, steps):
    result = scripted(image, LAST, NO, YES, saturation, YES, steps, NO)
    expected = np.empty_like(image)
    for place in np.ndindex(image.shape[:2]):
        hue, chroma, value = colorsys.rgb_to_hsv(*(image[place] / 255))
        turned = colorsys.hsv_to_rgb((hue + steps / 180) % 1, min(chroma * saturation, 1), value)
        expected[place] = np.round(np.array(turned) * 255)
    # Hue has 180 levels, 30 of which span the range of a channel; two conversions truncate.
    assert np.abs(result.astype(int) - expected).max() <= 12
    assert np.abs(result.astype(int) - expected).mean() < 2


def test_a_change_of_hue_keeps_grey(image):
    grey = np.repeat(image[..., :1], 3, axis=2)
    assert np.array_equal(scripted(grey, LAST, NO, YES, 1.4, YES, 17, NO), grey)


def test_each_change_comes_half_of_the_time():
    image = np.full((1, 1, 3), (200, 120, 60), np.uint8)
    rng = np.random.default_rng(0)
    unchanged = sum(np.array_equal(distort(image, rng), image) for _ in range(1000))
    assert 30 < unchanged < 110  # 1/16, and changes that round to nothing


def test_the_image_itself_is_not_changed(image):
    before = image.copy()
    rng = np.random.default_rng(0)
    for _ in range(10):
        distort(image, rng)
    assert np.array_equal(image, before)


def published_choices(seed: int) -> list[float]:
    """What the published pipeline draws from NumPy's old generator, in the order in which `distort` asks."""
    random = np.random.RandomState(seed)

    def chosen(draw) -> list[float]:
        return [YES, draw()] if random.randint(2) else [NO]

    def contrast() -> list[float]:
        return chosen(lambda: random.uniform(0.5, 1.5))

    brightness = chosen(lambda: random.uniform(-32, 32))
    contrast_first = random.randint(2) == 1
    early = contrast() if contrast_first else []
    saturation = chosen(lambda: random.uniform(0.5, 1.5))
    hue = chosen(lambda: random.randint(-18, 18))
    late = [] if contrast_first else contrast()
    return [FIRST if contrast_first else LAST, *brightness, *early, *saturation, *hue, *late]


@pytest.mark.golden
@pytest.mark.parametrize(("seed", "largest"), [(0, 3), (1, 3), (2, 1), (3, 1)])
def test_same_colours_as_the_published_pipeline(shared, seed, largest):
    """To the rounding of a conversion, which the published pipeline does in another way in the last 31 columns."""
    golden = load_golden(shared, "setr_mmseg_pipeline")
    image = golden["input_bgr"].numpy()[..., ::-1]
    expected = golden[f"photometric_seed{seed}"].numpy()[..., ::-1].astype(int)
    difference = np.abs(scripted(image, *published_choices(seed)) - expected)
    assert difference.max() <= largest
    assert (difference[:, :96] == 0).mean() > 0.8
    assert difference.mean() < 0.3
