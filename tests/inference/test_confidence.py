"""Labels with the probability of each, and scores that are no numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.inference.test_scores import make_output
from tests.tiny import make_predictor, photo
from vitseg.classes import ClassTable
from vitseg.errors import VitsegError
from vitseg.evaluation.class_subset import ClassSubset
from vitseg.inference import scores as module
from vitseg.inference.config import InferenceConfig
from vitseg.inference.modes import image_scores
from vitseg.inference.scores import (
    MeanScores,
    OutputScores,
    ScoreMap,
    TensorScores,
    full_scores,
    label_map,
    labels_and_confidence,
    probabilities,
    resized,
)
from vitseg.inference.window_scores import slide
from vitseg.outputs import ClassLogits, MixedMasks, PresenceMasks, SegOutput
from vitseg.types import spatial_size


def logits_of_pixels(image: torch.Tensor) -> SegOutput:
    """A model whose three class logits are the colours."""
    size = spatial_size(image)
    return ClassLogits(image, size, size)


@pytest.mark.parametrize("reading", [MixedMasks, PresenceMasks])
@pytest.mark.parametrize("target", [None, (101, 23)])
@pytest.mark.parametrize("rows_per_strip", [1, 7, 1000])
def test_confidence_is_the_share_of_the_best_score(monkeypatch, reading, target, rows_per_strip):
    source: ScoreMap = OutputScores(make_output(5, reading))
    source = source if target is None else resized(source, target)
    monkeypatch.setattr(module, "STRIP_ELEMENTS", rows_per_strip * 5 * source.size[1])
    labels, confidence = labels_and_confidence(source)
    expected = label_map(source)
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == expected.dtype
    whole = full_scores(source)
    best = (whole / whole.sum(0)).max(0).values
    np.testing.assert_allclose(confidence, best.numpy(), atol=1e-6)


def test_a_distribution_stays_as_it_is():
    probs = torch.randn(4, 6, 7, generator=torch.Generator().manual_seed(0)).softmax(0)
    _, confidence = labels_and_confidence(TensorScores(probs))
    np.testing.assert_allclose(confidence, probs.max(0).values.numpy(), rtol=1e-6)


@pytest.mark.parametrize("rows_per_strip", [1, 7, 1000])
def test_class_logits_go_through_a_softmax(monkeypatch, rows_per_strip):
    """Also resized, averaged over windows, or without some classes; the softmax comes last."""
    output = make_output(5, ClassLogits)
    classes = ClassTable.from_names(list("abcde"))
    monkeypatch.setattr(module, "STRIP_ELEMENTS", rows_per_strip * 5 * 51)
    sources: list[ScoreMap] = [
        OutputScores(output),
        resized(OutputScores(output), (101, 23)),
        slide(logits_of_pixels, torch.randn(1, 3, 40, 51), (16, 16), (11, 11)),
        ClassSubset(classes, ["b", "d"]).scores(OutputScores(output)),
    ]
    for source in sources:
        labels, confidence = labels_and_confidence(source)
        np.testing.assert_array_equal(labels, label_map(source))
        probs = full_scores(source).softmax(0).max(0).values
        np.testing.assert_allclose(confidence, probs.numpy(), atol=1e-6)


def test_large_class_logits_do_not_overflow():
    scores = torch.tensor([500.0, 499.0, -500.0])[:, None, None]
    _, confidence = labels_and_confidence(TensorScores(scores, "softmax"))
    np.testing.assert_allclose(confidence, 1 / (1 + np.exp(-1)), rtol=1e-6)


def test_views_of_class_logits_are_probabilities_already():
    config = InferenceConfig(flip=True)
    scores = image_scores(logits_of_pixels, [torch.randn(1, 3, 20, 30)], config, (20, 30))
    _, confidence = labels_and_confidence(scores)
    np.testing.assert_allclose(confidence, full_scores(scores).max(0).values.numpy(), rtol=1e-5)


def test_probabilities_of_several_views_are_the_mean_of_theirs():
    image = photo(40, 50)
    source = make_predictor(flip=True).scores(image)
    labels, confidence = labels_and_confidence(source)
    np.testing.assert_array_equal(labels, full_scores(source).argmax(0).numpy())
    one = full_scores(make_predictor().scores(image))
    mirrored = full_scores(make_predictor().scores(np.ascontiguousarray(image[:, ::-1]))).flip(2)
    expected = (one / one.sum(0) + mirrored / mirrored.sum(0)) / 2
    np.testing.assert_allclose(torch.cat(list(probabilities(source)), 1), expected, atol=1e-5)
    chosen = expected.gather(0, torch.from_numpy(labels.astype(np.int64))[None])[0]
    np.testing.assert_allclose(confidence, chosen, atol=1e-5)


@pytest.mark.parametrize("reading", [MixedMasks, PresenceMasks, ClassLogits])
@pytest.mark.parametrize("kept", [None, [3, 0, 1]])
def test_the_same_view_twice_is_as_sure_as_once(monkeypatch, reading, kept):
    source: ScoreMap = OutputScores(make_output(5, reading))
    twice: ScoreMap = MeanScores([source, source])
    if kept is not None:
        classes = ClassTable.from_names(list("abcde"))
        subset = ClassSubset(classes, [classes.names[i] for i in range(5) if i not in kept])
        source, twice = subset.scores(source), subset.scores(twice)
    monkeypatch.setattr(module, "STRIP_ELEMENTS", 5 * source.size[1] * 7)
    for got, expected in zip(
        labels_and_confidence(twice), labels_and_confidence(source), strict=True
    ):
        np.testing.assert_allclose(got, expected, atol=1e-5)
    for got, expected in zip(probabilities(twice), probabilities(source), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_scores_of_nothing_but_zero_have_no_confidence():
    labels, confidence = labels_and_confidence(TensorScores(torch.zeros(3, 2, 2)))
    assert not labels.any()
    assert not confidence.any()


@pytest.mark.parametrize("run", [label_map, labels_and_confidence])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_value_that_is_no_number_is_found(monkeypatch, run, value):
    monkeypatch.setattr(module, "STRIP_ELEMENTS", 1)
    scores = torch.rand(3, 5, 6)
    run(TensorScores(scores))
    scores[1, 2, 4] = value
    with pytest.raises(VitsegError, match="NaN or infinite"):
        run(TensorScores(scores))


@pytest.mark.parametrize(
    ("reading", "part"),
    [
        (MixedMasks, "mask_logits"),
        (MixedMasks, "class_logits"),
        (PresenceMasks, "mask_logits"),
        (PresenceMasks, "class_logits"),
        (ClassLogits, "mask_logits"),
    ],
)
def test_damaged_logits_are_found(reading, part):
    output = make_output(3, reading)
    getattr(output, part)[0, 1, 0] = float("nan")
    with pytest.raises(VitsegError, match="weights are damaged"):
        label_map(OutputScores(output))
