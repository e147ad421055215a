"""Sliding windows and mirrored views of SETR and Segmenter against the reference implementations.

The models are functions of the test code (`reference_models`); windows, views, softmax and resizing are the product's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.golden import reference_models as models
from tests.golden.reference import Golden, load_golden
from vitseg.inference.config import InferenceConfig
from vitseg.inference.modes import image_scores, slide
from vitseg.inference.scores import full_scores, labels_and_confidence, pixel_scores
from vitseg.types import SegOutput

pytestmark = pytest.mark.golden

assert_logits = partial(torch.testing.assert_close, atol=5e-5, rtol=1e-5)
assert_probabilities = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)

PLAIN = InferenceConfig(mode="slide", crop_size=(64, 64), stride=(43, 43))
MIRRORED = PLAIN.model_copy(update={"flip": True})

SETR = {"naive": models.setr_naive, "pup": models.setr_pup, "mla": models.setr_mla}


@pytest.fixture(scope="module", params=list(SETR))
def setr(request, shared) -> tuple[str, Golden, models.State]:
    golden = load_golden(shared, f"setr_{request.param}_tiny")
    assert golden.scalars["slide_stride"] == 43
    return request.param, golden, golden.state_dict()


@pytest.fixture(scope="module")
def segmenter(shared) -> tuple[Golden, Callable[[Tensor], SegOutput]]:
    golden = load_golden(shared, "segmenter_mask_small")
    scalars = golden.scalars
    assert (scalars["slide_cfg/window"], scalars["slide_cfg/stride"]) == (64, 43)
    return golden, partial(models.segmenter, golden.state_dict())


@torch.inference_mode()
def test_setr_is_the_reference(setr):
    name, golden, state = setr
    if name == "mla":
        features = models.setr_mla_features(state, golden["input"])
    else:
        features = models.setr_tokens(state, golden["input"], with_cls=True)
    for ours, reference in zip(features, golden.series("features"), strict=True):
        assert_logits(ours, reference)
    logits = pixel_scores(SETR[name](state, golden["input"]))
    assert_logits(logits, golden["logits"])


@torch.inference_mode()
def test_segmenter_is_the_reference(segmenter):
    golden, model = segmenter
    assert_logits(pixel_scores(model(golden["input"])), golden["output"])
    padded = model(golden["input_padded"])
    assert (padded.input_size, padded.padded_size) == ((90, 75), (96, 80))
    assert_logits(pixel_scores(padded), golden["output_padded"])


@torch.inference_mode()
def test_setr_slide(setr):
    """Windows: the last ones moved to the border, logits averaged before anything else."""
    name, golden, state = setr
    scores = slide(partial(SETR[name], state), golden["slide_input"], (64, 64), (43, 43))
    logits = full_scores(scores)[None, :, ::3, ::3]
    assert_logits(logits, golden["slide_logits[::3,::3]"])


@torch.inference_mode()
def test_setr_views_at_another_size(setr):
    """The golden holds the softmax of the plain view and that of the mirrored one, turned back."""
    name, golden, state = setr
    model, image = partial(SETR[name], state), golden["slide_input"]
    height, width, _ = golden.scalars["slide_ori_shape"]
    plain = golden["slide_probs_rescaled[::3,::3]"][0]
    mirrored = golden["slide_probs_rescaled_flip[::3,::3]"][0]

    scores = image_scores(model, [image], PLAIN, (height, width))
    probs = full_scores(scores).softmax(0)[:, ::3, ::3]
    assert_probabilities(probs, plain)
    assert_labels_and_confidence(scores, plain)

    both = image_scores(model, [image], MIRRORED, (height, width))
    mean = (plain + mirrored) / 2
    assert_probabilities(full_scores(both)[:, ::3, ::3], mean)
    assert_labels_and_confidence(both, mean)


@torch.inference_mode()
def test_segmenter_slide(segmenter):
    """The golden is the mean of the softmaxes of both views."""
    golden, model = segmenter
    height, width = golden.scalars["slide_cfg/ori_shape"]
    scores = image_scores(model, [golden["slide_input"]], MIRRORED, (height, width))
    expected = golden["slide_probs[::3,::3]"]
    assert_probabilities(full_scores(scores)[:, ::3, ::3], expected)
    assert_labels_and_confidence(scores, expected)


def assert_labels_and_confidence(scores, probs: Tensor) -> None:
    """Of every third pixel, by its probabilities."""
    labels, confidence = labels_and_confidence(scores)
    best, index = probs.max(0)
    np.testing.assert_array_equal(labels[::3, ::3], index.numpy())
    np.testing.assert_allclose(confidence[::3, ::3], best.numpy(), atol=1e-5)
