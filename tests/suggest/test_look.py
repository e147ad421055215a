from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.images.test_windows import planes, write_tiff
from tests.tiny import make_model, make_predictor, photo
from tests.tiny_dtop import write_dtop
from vitseg.classes import IGNORE_INDEX
from vitseg.errors import DataError
from vitseg.inference import scores as scores_module
from vitseg.inference.predictor import load
from vitseg.inference.scores import TensorScores, labels_and_confidence, probabilities
from vitseg.suggest.look import CELLS, Looker, tempered


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(photo(70, 90, seed=2)).save(path)
    return path


def all_probs(source):
    return torch.cat(list(probabilities(source)), 1)


@pytest.mark.parametrize("distribution", ["share", "softmax"])
@pytest.mark.parametrize("strip", [10, 10**6])
def test_probabilities_are_those_of_the_labels(monkeypatch, distribution, strip):
    monkeypatch.setattr(scores_module, "STRIP_ELEMENTS", strip)
    rows = torch.rand(5, 9, 7, generator=torch.manual_seed(0))
    source = TensorScores(rows, distribution)
    probs = all_probs(source)
    torch.testing.assert_close(probs.sum(0), torch.ones(9, 7))
    labels, confidence = labels_and_confidence(source)
    np.testing.assert_array_equal(probs.argmax(0), labels)
    np.testing.assert_allclose(probs.amax(0), confidence, rtol=1e-5)


def test_where_no_class_has_a_score_all_are_as_probable():
    probs = all_probs(TensorScores(torch.zeros(4, 2, 3)))
    torch.testing.assert_close(probs, torch.full((4, 2, 3), 0.25))


def test_temperature_is_that_of_logits():
    logits = torch.randn(4, 3, 5, generator=torch.manual_seed(0))
    for temperature in (0.5, 1.0, 3.0):
        torch.testing.assert_close(
            tempered(logits.softmax(0), temperature), (logits / temperature).softmax(0)
        )


def test_uncertainty_is_the_mean_entropy(path):
    predictor = make_predictor()
    look = Looker(predictor)(path)
    probs = all_probs(predictor.scores(np.asarray(Image.open(path)))).double()
    entropy = -(probs * probs.log()).nan_to_num(0).sum(0) / np.log(3)
    assert look.uncertainty == pytest.approx(float(entropy.mean()), rel=1e-5)
    segmentation, seen = Looker(predictor).closely(path)
    np.testing.assert_allclose(seen, entropy, atol=1e-5)
    np.testing.assert_array_equal(segmentation.label_map, probs.argmax(0))
    warm, cold = Looker(predictor, 4.0)(path), Looker(predictor, 0.25)(path)
    assert cold.uncertainty < look.uncertainty < warm.uncertainty


def test_pixels_without_data_say_nothing(tmp_path):
    pixels = photo(70, 90, seed=2)
    pixels[:, :40] = 0
    source = write_tiff(tmp_path / "a.tif", planes(pixels), nodata=0)
    looker = Looker(make_predictor())
    segmentation, seen = looker.closely(source)
    valid = (pixels != 0).any(2)
    np.testing.assert_array_equal(segmentation.valid, valid)
    assert (segmentation.known_labels == IGNORE_INDEX).tolist() == (~valid).tolist()
    assert not seen[~valid].any()
    assert looker(source).uncertainty == pytest.approx(seen[valid].mean(), rel=1e-5)
    empty = write_tiff(tmp_path / "b.tif", planes(0 * pixels), nodata=0)
    assert looker(empty).uncertainty == 0


@pytest.mark.parametrize("protocol", [{}, {"flip": True}])
def test_features_are_the_mean_of_the_deepest_map(path, protocol):
    model = make_model()
    looker = Looker(make_predictor(model, **protocol))
    look = looker(path)
    images = looker.predictor.model_input(np.asarray(Image.open(path)), (70, 90))
    views = [images, images.flip(3)] if protocol else [images]
    with torch.inference_mode():
        means = [model.backbone(view).maps[-1].mean((0, 2, 3)) for view in views]
    expected = torch.stack(means).mean(0)
    np.testing.assert_allclose(look.feature, expected / expected.norm(), atol=1e-5)
    assert not model.backbone._forward_hooks  # nothing listens any more


def test_a_model_that_drops_tokens_has_features(path, tmp_path):
    looker = Looker(load(write_dtop(tmp_path / "model"), "cpu"))
    assert np.linalg.norm(looker(path).feature) == pytest.approx(1)


def test_an_exported_model_is_compared_by_its_probabilities(path):
    looker = Looker(make_predictor())
    looker.has_parts = False  # as of an exported graph
    assert "class probabilities" in looker.features
    feature = looker(path).feature
    assert feature.shape == (3 * CELLS * CELLS,)
    probs = all_probs(looker.predictor.scores(np.asarray(Image.open(path))))
    first = probs[:, :18, :23].sum((1, 2)).sqrt()  # rows 0 to 17 and columns 0 to 22 of 70 x 90
    grid = feature.reshape(3, CELLS, CELLS)[:, 0, 0]
    np.testing.assert_allclose(grid / np.linalg.norm(grid), first / first.norm(), atol=1e-4)


def test_the_same_picture_in_another_file_looks_the_same(path, tmp_path):
    other = tmp_path / "b.bmp"
    Image.open(path).save(other)
    one, two = Looker(make_predictor())(path), Looker(make_predictor())(other)
    np.testing.assert_array_equal(one.feature, two.feature)
    assert one.fingerprint.content != two.fingerprint.content
    assert one.fingerprint[2:] == two.fingerprint[2:]


def test_what_is_no_image_is_an_error(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("no image")
    model = make_model()
    with pytest.raises(DataError):
        Looker(make_predictor(model))(path)
    assert not model.backbone._forward_hooks
