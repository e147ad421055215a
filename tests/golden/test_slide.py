"""Sliding windows and mirrored views of SETR against the reference implementations.

The models have the references' weights, loaded through the importer.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.golden.reference import Golden, load_golden
from tests.golden.toy_setr import CASES, tiny_setr
from vitseg.inference.config import InferenceConfig
from vitseg.inference.modes import image_scores
from vitseg.inference.scores import full_scores, labels_and_confidence
from vitseg.inference.window_scores import slide
from vitseg.methods.model import SegmentationModel

pytestmark = pytest.mark.golden

assert_logits = partial(torch.testing.assert_close, atol=5e-5, rtol=1e-5)
assert_probabilities = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)

PLAIN = InferenceConfig(mode="slide", crop_size=(64, 64), stride=(43, 43))
MIRRORED = PLAIN.model_copy(update={"flip": True})


@pytest.fixture(scope="module", params=["setr_naive_tiny", "setr_pup_tiny", "setr_mla_tiny"])
def setr(request, shared) -> tuple[Golden, SegmentationModel]:
    golden = load_golden(shared, request.param)
    assert golden.scalars["slide_stride"] == 43
    return golden, tiny_setr(golden, CASES[request.param])


@torch.inference_mode()
def test_setr_slide(setr):
    """Windows: the last ones moved to the border, logits averaged before anything else."""
    golden, model = setr
    scores = slide(model, golden["slide_input"], (64, 64), (43, 43))
    logits = full_scores(scores)[None, :, ::3, ::3]
    assert_logits(logits, golden["slide_logits[::3,::3]"])


@torch.inference_mode()
def test_setr_views_at_another_size(setr):
    """The golden holds the softmax of the plain view and that of the mirrored one, turned back."""
    golden, model = setr
    image = golden["slide_input"]
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


def assert_labels_and_confidence(scores, probs: Tensor) -> None:
    """Of every third pixel, by its probabilities."""
    labels, confidence = labels_and_confidence(scores)
    best, index = probs.max(0)
    np.testing.assert_array_equal(labels[::3, ::3], index.numpy())
    np.testing.assert_allclose(confidence[::3, ::3], best.numpy(), atol=1e-5)
