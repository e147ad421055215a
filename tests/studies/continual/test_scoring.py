"""The background by threshold, and which classes a model is scored on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny import make_model, make_predictor, make_record, photo
from vitseg.classes import ClassTable
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.labels import LabelTable
from vitseg.errors import ConfigError, DataError
from vitseg.images.decoded import Decoded
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import TensorScores, full_scores, label_map
from vitseg.studies.continual.scoring import BackgroundScores, WithBackground, score_step


def test_a_pixel_is_background_where_no_class_reaches_a_half():
    scores = torch.tensor([[[0.4, 0.6, 0.51]], [[0.49, 0.1, 0.7]]])
    labels = label_map(BackgroundScores(TensorScores(scores)))
    assert labels.tolist() == [[0, 1, 2]]


def test_logits_have_no_threshold():
    with pytest.raises(ConfigError, match="logits"):
        BackgroundScores(TensorScores(torch.zeros(2, 3, 3), "softmax"))


class Labels:
    are_pictures = False

    def __init__(self, labels):
        self.labels = labels

    def read(self, index, size):
        return self.labels

    def files(self, index):
        return ()


def dataset_of(names, labels):
    mapping = {index: index for index in range(len(names))} | {255: -1}
    table = LabelTable(ClassTable.from_names(names), mapping, {})

    class One(SegmentationDataset):
        def _read_image(self, index, at_least):
            return Decoded(photo(*labels.shape), labels.shape, ())

    return One("toy", "val", table, ["0"], [b"image"], Labels(labels.astype(np.uint8)), "")


def test_a_model_without_background_is_scored_with_one():
    predictor = make_predictor()
    names = predictor.classes.names
    wrapped = WithBackground(predictor, ClassTable.from_names(("none", *names)))
    truth = label_map(wrapped.scores(photo(48, 40)))
    assert truth.max() > 0
    result = score_step(predictor, dataset_of(("none", *names), truth), "none")
    assert result.classes.names == ("none", *names)
    assert result.scores.pixel_accuracy == 1
    best = label_map(predictor.scores(photo(48, 40))).astype(int) + 1
    unsure = full_scores(predictor.scores(photo(48, 40))).amax(0).numpy() < 0.5
    assert np.array_equal(truth, np.where(unsure, 0, best))


def test_a_softmax_background_is_left_out_where_the_data_has_none():
    predictor = Predictor(make_model(), make_record(), "cpu")
    names = predictor.classes.names
    scores = full_scores(predictor.scores(photo(48, 40)))
    truth = scores[1:].argmax(0).numpy()
    result = score_step(predictor, dataset_of(names[1:], truth), None)
    assert result.classes.names == names[1:]
    assert result.scores.pixel_accuracy == 1
    kept = score_step(predictor, dataset_of(names, scores.argmax(0).numpy()), names[0])
    assert kept.classes.names == names
    assert kept.scores.pixel_accuracy == 1


def test_a_model_of_other_classes_is_refused():
    with pytest.raises(DataError, match="does not have the model's classes"):
        score_step(make_predictor(), dataset_of(("x", "y"), np.zeros((8, 8))), None)
