from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.tiny import make_model, make_predictor, photo
from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.inference.blending import window_weights
from vitseg.inference.config import InferenceConfig
from vitseg.inference.modes import image_scores
from vitseg.inference.scores import full_scores
from vitseg.inference.shelf import Shelf
from vitseg.inference.window_scores import slide, window_starts

SIZE = (70, 90)


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def run(model, image: torch.Tensor, size=SIZE, **config) -> torch.Tensor:
    protocol = InferenceConfig(**config)
    images = [
        F.interpolate(image, protocol.input_size(SIZE, scale), mode="bilinear")
        for scale in protocol.scales
    ]
    with torch.inference_mode():
        return full_scores(image_scores(model, images, protocol, size))


def test_scores_differ_from_pixel_to_pixel(model, image):
    """Or the comparisons below would show nothing."""
    labels = run(model, image).argmax(0)
    assert len(labels.unique()) > 1


@pytest.mark.parametrize("crop_size", [SIZE, (100, 90), (300, 300)])
def test_one_window_of_the_image_size_or_more_is_the_whole_image(model, image, crop_size):
    whole = run(model, image)
    window = run(model, image, mode="slide", crop_size=crop_size, stride=(10, 10))
    torch.testing.assert_close(window, whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("length", "crop", "stride", "starts"),
    [
        (64, 64, 32, [0]),
        (65, 64, 32, [0, 1]),
        (96, 64, 32, [0, 32]),
        (97, 64, 32, [0, 32, 33]),
        (10, 64, 32, [0]),
        (1, 64, 64, [0]),
        (128, 64, 64, [0, 64]),
        (100, 64, 1, list(range(37))),
        (2049, 512, 341, [0, 341, 682, 1023, 1364, 1537]),
    ],
)
def test_window_starts(length, crop, stride, starts):
    assert window_starts(length, crop, stride) == starts


@torch.inference_mode()
def test_windows_are_averaged_where_they_overlap(model, image):
    scores = full_scores(slide(model, image, (64, 64), (6, 20)))
    total, visits = torch.zeros(3, *SIZE), torch.zeros(SIZE)
    for top in (0, 6):
        for left in (0, 20, 26):
            window = image[..., top : top + 64, left : left + 64]
            total[:, top : top + 64, left : left + 64] += model(window).scores()[0]
            visits[top : top + 64, left : left + 64] += 1
    assert visits.min() == 1
    torch.testing.assert_close(scores, total / visits)


@torch.inference_mode()
@pytest.mark.parametrize("order", [[(100, 130), (0, 20), (100, 130)], [(200, 220), (40, 80)]])
def test_rows_may_be_asked_for_in_any_order(model, order):
    """Where windows are not kept, but run when their rows are reached."""
    tall = torch.randn(1, 3, 220, 100, generator=torch.Generator().manual_seed(1))
    shelf = Shelf(torch.device("cpu"))
    shelf.room = 0
    with torch.inference_mode():
        expected = full_scores(slide(model, tall, (64, 64), (48, 48)))
        windows = slide(model, tall, (64, 64), (48, 48), shelf=shelf)
        assert not windows.is_kept
        for start, stop in order:
            torch.testing.assert_close(windows.rows(start, stop), expected[:, start:stop])


def test_windows_may_fade_out_towards_their_border(model, image):
    scores = full_scores(slide(model, image, (64, 64), (6, 20), "cosine"))
    weights = window_weights((64, 64), "cosine")
    total, sums = torch.zeros(3, *SIZE), torch.zeros(SIZE)
    for top in (0, 6):
        for left in (0, 20, 26):
            part = (slice(top, top + 64), slice(left, left + 64))
            total[:, *part] += model(image[..., *part]).scores()[0] * weights
            sums[part] += weights
    torch.testing.assert_close(scores, total / sums, atol=1e-5, rtol=1e-4)
    plain = full_scores(slide(model, image, (64, 64), (6, 20)))
    assert not torch.allclose(scores, plain, atol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("blend", ["mean", "cosine"])
def test_one_window_is_the_whole_image_however_blended(model, image, blend):
    window = full_scores(slide(model, image, (300, 300), (10, 10), blend))
    torch.testing.assert_close(window, model(image).scores()[0], atol=1e-5, rtol=1e-4)


def test_scale_one_without_flip_is_the_plain_run(model, image):
    assert torch.equal(run(model, image), run(model, image, scales=(1.0,), flip=False))


def test_two_equal_views_are_the_softmax_of_one(model, image):
    twice = run(model, image, scales=(1.0, 1.0))
    torch.testing.assert_close(twice, run(model, image).softmax(0))


def test_flip_adds_the_mirrored_view(model, image):
    both = run(model, image, flip=True)
    mirrored = run(model, image.flip(3)).softmax(0).flip(2)
    torch.testing.assert_close(both, (run(model, image).softmax(0) + mirrored) / 2)
    torch.testing.assert_close(run(model, image.flip(3), flip=True).flip(2), both)


def test_views_of_several_scales_meet_at_the_size_asked_for(model, image):
    size = (33, 47)
    config = {"mode": "slide", "crop_size": (64, 64), "stride": (32, 32)}
    scores = run(model, image, size, scales=(0.5, 1.0, 1.5), flip=True, **config)
    assert scores.shape == (3, *size)
    torch.testing.assert_close(scores.sum(0), torch.ones(size))


def test_views_are_ratios_of_the_base_size_not_of_the_image():
    base = InferenceConfig(resize=(2048, 512))
    assert base.input_size((375, 500)) == (512, 683)
    assert base.input_size((375, 500), 0.5) == (256, 341)
    assert InferenceConfig().input_size((375, 501), 0.5) == (188, 251)


def test_setrs_views_do_not_fall_below_the_crop():
    """So that of the ADE20K ratios 0.5, 0.75 and 1 are the same view (facts of the reference)."""
    protocol = InferenceConfig(resize=(2048, 512), min_short=512)
    sizes = [protocol.input_size((375, 500), scale) for scale in (0.5, 0.75, 1.0, 1.25)]
    assert sizes == [(512, 683)] * 3 + [(640, 853)]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"mode": "slide"}, "needs crop_size and stride"),
        ({"mode": "slide", "crop_size": (64, 64)}, "needs crop_size and stride"),
        (
            {"mode": "slide", "crop_size": (64, 64), "stride": (65, 64)},
            r"stride \(65, 64\) must be from 1 to crop_size \(64, 64\)",
        ),
        ({"mode": "slide", "crop_size": (64, 64), "stride": (0, 64)}, "must be from 1"),
        ({"blend": "cosine"}, 'blend belong to mode "slide"'),
        ({"scales": (1.0, 0.0)}, "scales must be positive"),
        ({"scales": ()}, "scales"),
        ({"resize": (0, 0)}, "resize"),
        ({"resize": (360, 960)}, r"resize \(360, 960\) must be \(long, short\)"),
        ({"min_short": 512}, "min_short changes the rule of resize"),
        ({"mode": "windows"}, "mode is 'windows'"),
        ({"crop": (64, 64)}, "Did you mean crop_size"),
    ],
)
def test_contradictions_are_refused(raw, message):
    with pytest.raises(ConfigError, match=message):
        parse(InferenceConfig, raw)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (63, 65)])
@pytest.mark.parametrize(
    "inference",
    [
        {},
        {"mode": "slide", "crop_size": (64, 64), "stride": (40, 40)},
        {"resize": (80, 64)},
        {"resize": (80, 64), "scales": (0.5, 2.0), "flip": True},
    ],
    ids=["whole", "slide", "resize", "views"],
)
def test_images_of_any_size_run(model, size, inference):
    found = make_predictor(model, **inference)(photo(*size))
    assert found.label_map.shape == found.size == size
    assert found.label_map.dtype == np.uint8
