from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny import make_predictor, write_dataset
from vitseg.classes import ClassTable
from vitseg.data.catalog import open_dataset
from vitseg.errors import DataError
from vitseg.inference.scores import TensorScores
from vitseg.suggest import temperature
from vitseg.suggest.temperature import fit_temperature, images_looked_at


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("distribution", ["share", "softmax"])
def test_the_temperature_that_labels_were_drawn_by_is_found(
    monkeypatch, tmp_path, true, distribution
):
    """Labels are drawn from the softmax of logits; the model says that of `true` times these."""
    predictor = make_predictor()
    dataset = open_dataset(f"folder:{write_dataset(tmp_path / 'd', size=(96, 96))}", "train")
    logits = torch.randn(4, 3, 96, 96, generator=torch.manual_seed(0))
    labels = torch.distributions.Categorical(logits=logits.permute(0, 2, 3, 1)).sample().numpy()
    numbers = iter(range(4))

    def scores(image):
        too_sure = logits[next(numbers)] * true
        rows = too_sure.softmax(0) if distribution == "share" else too_sure
        return TensorScores(rows, distribution)

    drawn = iter(labels)
    monkeypatch.setattr(predictor, "scores", scores)
    real = temperature._at_pixels
    monkeypatch.setattr(
        temperature, "_at_pixels", lambda predictor, image, old: real(predictor, image, next(drawn))
    )
    assert fit_temperature(predictor, dataset) == pytest.approx(true, rel=0.1)


def test_classes_must_be_the_models(tmp_path):
    root = write_dataset(tmp_path / "d")
    (root / "classes.json").write_text('{"classes": ["sky", "road", "bush"]}')
    dataset = open_dataset(f"folder:{root}", "val")
    with pytest.raises(DataError, match="class 2 is 'tree' in the model"):
        fit_temperature(make_predictor(), dataset)


def test_data_without_a_label_are_refused(tmp_path):
    root = write_dataset(tmp_path / "d")
    dataset = open_dataset(f"folder:{root}", "val")
    ignored = dataset.labels.mapping | {0: -1, 1: -1, 2: -1}
    from dataclasses import replace

    dataset = dataset.with_labels(replace(dataset.labels, mapping=ignored))
    assert isinstance(dataset.classes, ClassTable)
    with pytest.raises(DataError, match="no pixel"):
        fit_temperature(make_predictor(), dataset)


def test_of_large_data_some_are_looked_at(monkeypatch, tmp_path):
    dataset = open_dataset(f"folder:{write_dataset(tmp_path / 'd')}", "train")
    assert images_looked_at(dataset) == 4
    monkeypatch.setattr(temperature, "MOST_IMAGES", 3)
    assert images_looked_at(dataset) == 3
    seen = []
    assert fit_temperature(make_predictor(), dataset, lambda: seen.append(1)) > 0
    assert len(seen) == 3
    assert np.isfinite(fit_temperature(make_predictor(), dataset))
