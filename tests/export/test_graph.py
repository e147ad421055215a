"""What is traced, run as it is: the same numbers as a predictor's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests import tiny
from vitseg.export.graph import ExportedModel, traced_input_size
from vitseg.inference.config import InferenceConfig
from vitseg.inference.scores import full_scores, label_map


@pytest.mark.parametrize(
    "protocol",
    [
        InferenceConfig(resize=(2048, 512)),
        InferenceConfig(resize=(96, 80)),
        InferenceConfig(resize=(640, 480), min_short=520),
    ],
)
def test_sizes_in_whole_numbers_are_those_of_the_protocol(protocol):
    rows = np.random.default_rng(0).integers(1, 3000, (2000, 2)).tolist()
    sizes = [(height, width) for height, width in rows]
    wrong = [
        size for size in sizes if traced_input_size(protocol, size) != protocol.input_size(size)
    ]
    assert (
        len(wrong) <= 1
    )  # a quotient in floating point is now and then on the other side of a half


@pytest.mark.parametrize("resize", [None, (96, 80)])
@torch.no_grad()
def test_probabilities_and_labels_are_the_predictors(resize):
    inference = {} if resize is None else {"resize": resize}
    predictor = tiny.make_predictor(**inference)
    pixels = tiny.photo(75, 118)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    parts = (predictor.network, "labels", predictor.preprocessing, predictor.inference)
    (labels,) = ExportedModel(*parts)(images)
    expected = label_map(predictor.scores(pixels))
    assert labels.dtype == torch.uint8
    assert len(np.unique(expected)) > 1
    assert (labels[0].numpy() != expected).mean() < (0.01 if resize else 1e-9)
    (probs,) = ExportedModel(predictor.network, "probs", *parts[2:])(images)
    scores = full_scores(predictor.scores(pixels))
    difference = (probs[0] - scores / scores.sum(0)).abs()
    # 8-bit pixels are resized with weights of few digits: now and then to the next number
    assert difference.mean() < (2e-3 if resize else 1e-6)


@torch.no_grad()
def test_masks_are_those_of_the_model():
    predictor = tiny.make_predictor()
    images = torch.from_numpy(tiny.photo(64, 80)).permute(2, 0, 1)[None].float()
    model = ExportedModel(predictor.network, "masks", predictor.preprocessing, None)
    masks, classes = model(images)
    output = predictor.network(predictor.model_input(tiny.photo(64, 80), (64, 80)))
    torch.testing.assert_close(masks, output.mask_logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(classes, output.class_logits, atol=1e-5, rtol=1e-5)
