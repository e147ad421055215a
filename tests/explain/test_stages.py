from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.tiny import CROP, NAMES, make_model, make_predictor, make_record, photo
from vitseg.errors import ConfigError
from vitseg.explain.stages import read_stages
from vitseg.explain.table import kind_of
from vitseg.images.preprocess import to_tensor
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import full_scores
from vitseg.methods import METHODS
from vitseg.methods.segvit import SegVitConfig
from vitseg.outputs import ClassLogits, MixedMasks, PresenceMasks, QueryMasks, SegOutput


def predictor_with(decoder: dict, taps: list[int]) -> Predictor:
    backbone = {"name": "test_vit", "pretrained": False, "taps": taps}
    config = SegVitConfig.model_validate({"backbone": backbone, "decoder": decoder})
    torch.manual_seed(0)
    model = config.build(len(NAMES), CROP)
    record = make_record(architecture=config.model_dump(mode="json"))
    return Predictor(model, record, "cpu")


def give(predictor: Predictor, output: SegOutput) -> None:
    """Whatever the image, the decoder has this output."""
    predictor.model.decoder.register_forward_hook(lambda *_: output)


def output_of(
    masks: float, logits: torch.Tensor, reading: type[QueryMasks] = PresenceMasks, stages=()
) -> QueryMasks:
    grid = torch.full((1, len(NAMES), 4, 4), masks)
    return reading(grid, (64, 64), (64, 64), class_logits=logits[None], stages=tuple(stages))


@torch.no_grad()
def test_stages_sum_to_the_models_mask_and_labels_are_its_labels():
    predictor, image = make_predictor(), photo(64, 96)
    found = read_stages(predictor, image)
    output = predictor.model(to_tensor(image, predictor.preprocessing)[None])
    assert [stage.name for stage in found.stages] == ["stage 1", "stage 2"]
    total = torch.stack([stage.mask_logits for stage in found.stages]).sum(0)
    assert torch.allclose(total, output.mask_logits[0], atol=1e-5)
    assert not torch.allclose(found.stages[0].mask_logits, found.stages[1].mask_logits, atol=1e-2)
    assert found.summed is not None
    assert torch.equal(found.summed.mask_logits, output.mask_logits[0])
    assert np.array_equal(found.segmentation.label_map, predictor(image).label_map)


def test_a_file_is_named_in_its_segmentation(tmp_path):
    Image.fromarray(photo(64, 96)).save(tmp_path / "a.png")
    assert read_stages(make_predictor(), tmp_path / "a.png").segmentation.path == tmp_path / "a.png"
    assert read_stages(make_predictor(), photo(64, 96)).segmentation.path is None


def test_the_masks_make_the_scores():
    predictor, image = make_predictor(), photo(50, 71)  # padded to 64 x 80
    found = read_stages(predictor, image)
    scores = full_scores(predictor.scores(image))
    for index, probability in enumerate(found.probabilities):
        mask = found.mask(found.columns[-1], index)
        assert mask.shape == (50, 71)
        assert np.allclose(probability * mask, scores[index], atol=1e-5)


def test_of_an_output_made_by_hand():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [-2.0, 0.0]])
    stages = [output_of(1.0, torch.zeros(3, 2)), output_of(1.5, logits)]
    predictor = predictor_with({"classifier": "presence"}, [1, 3, 5])
    give(predictor, output_of(-0.5, logits, stages=stages))
    found = read_stages(predictor, photo(64, 64))
    assert [float(stage.mask_logits[0, 0, 0]) for stage in found.columns] == [1.0, 0.5, -2.0, -0.5]
    assert found.probabilities == pytest.approx([0.8808, 0.5, 0.1192], abs=1e-4)
    assert found.stages[0].probabilities.tolist() == [0.5, 0.5, 0.5]
    assert found.mask(found.stages[0], 2)[10, 20] == pytest.approx(0.7311, abs=1e-4)


def test_extras_are_no_stages():
    logits = torch.zeros(3, 2)
    final = output_of(2.5, logits, stages=[output_of(1.0, logits)])
    edges = ClassLogits(torch.zeros(1, 2, 8, 8), (64, 64), (64, 64))
    predictor = predictor_with({"classifier": "presence"}, [1, 3])
    give(predictor, replace(final, extras={"edges": edges}))
    found = read_stages(predictor, photo(64, 64))
    assert [column.name for column in found.columns] == ["stage 1", "stage 2", "sum = the mask"]
    assert [float(stage.mask_logits[0, 0, 0]) for stage in found.columns] == [1.0, 1.5, 2.5]


def test_of_a_shrunk_model_with_edges():
    backbone = {"name": "test_vit", "pretrained": False, "taps": [3], "prefix_tokens": "drop"}
    raw = {"backbone": backbone, "shrink": {"block": 0}, "edges": {}}
    config = METHODS["shrunk"].model_validate(raw)
    model = config.build(len(NAMES), CROP).eval()
    record = make_record(method="shrunk", architecture=config.model_dump(mode="json"))
    predictor, image = Predictor(model, record, "cpu"), photo(64, 96)
    with torch.no_grad():
        output = model(to_tensor(image, predictor.preprocessing)[None])
    assert "edges" in output.extras
    found = read_stages(predictor, image)
    assert [column.name for column in found.columns] == ["layer 1", "layer 2", "layer 3"]
    assert torch.allclose(found.columns[-1].mask_logits, output.mask_logits[0], atol=1e-5)


def test_masks_without_probabilities_are_refused():
    predictor = predictor_with({}, [1])
    give(predictor, ClassLogits(torch.ones(1, 3, 4, 4), (64, 64), (64, 64)))
    with pytest.raises(ConfigError, match="has only masks"):
        read_stages(predictor, photo(64, 64))


def test_of_a_model_that_mixes_its_queries_the_query_of_the_class_counts():
    logits = torch.zeros(3, 4)
    logits[1, 1] = 5.0
    predictor = predictor_with({"classifier": "classes"}, [1])
    give(predictor, output_of(1.0, logits, MixedMasks))
    expected = [0.25, np.exp(5) / (np.exp(5) + 3), 0.25]
    assert read_stages(predictor, photo(64, 64)).probabilities == pytest.approx(expected, abs=1e-4)


def test_layers_that_are_not_summed_stand_alone():
    predictor = predictor_with({"supervise": "layers", "num_layers": 2}, [3])
    found = read_stages(predictor, photo(64, 64))
    output = predictor.model(to_tensor(photo(64, 64), predictor.preprocessing)[None])
    assert [stage.name for stage in found.columns] == ["layer 1", "layer 2"]
    assert found.summed is None
    assert torch.allclose(found.stages[1].mask_logits, output.mask_logits[0], atol=1e-5)


@pytest.mark.parametrize("classifier", ["classes", "presence"])
def test_queries_in_the_backbone_are_read_in_front_of_every_block_and_behind_the_last(classifier):
    backbone = {"name": "test_vit", "pretrained": False, "taps": [5], "tap_norm": True}
    raw = {"backbone": backbone, "decoder": {"num_blocks": 2, "classifier": classifier}}
    config = METHODS["segvit_joint"].model_validate(raw)
    torch.manual_seed(0)
    model = config.build(len(NAMES), CROP).eval()
    record = make_record(method="segvit_joint", architecture=config.model_dump(mode="json"))
    predictor, image = Predictor(model, record, "cpu"), photo(64, 96)
    images = to_tensor(image, predictor.preprocessing)[None]
    with torch.no_grad():
        before = model(images)
        found = read_stages(predictor, image)
        after = model(images)
    assert [stage.name for stage in found.columns] == ["reading 1", "reading 2", "reading 3"]
    assert found.summed is None
    assert before.stages == after.stages == (), "only what is explained is read on the way"
    assert torch.equal(found.columns[-1].mask_logits, before.mask_logits[0])
    assert not torch.allclose(found.stages[0].mask_logits, found.stages[1].mask_logits, atol=1e-3)
    assert np.array_equal(found.segmentation.label_map, predictor(image).label_map)
    assert "beside the patches" in found.how_to_read


def test_a_single_stage_has_no_sum():
    found = read_stages(predictor_with({}, [3]), photo(64, 64))
    assert [stage.name for stage in found.columns] == ["stage 1"]


def test_the_strongest_classes_have_most_pixels_and_then_most_probability():
    found = read_stages(make_predictor(), photo(64, 96))
    areas = found.segmentation.class_areas
    order = found.strongest(3)
    shares = [areas.get(NAMES[index], 0.0) for index in order]
    assert sorted(order) == [0, 1, 2]
    assert shares == sorted(shares, reverse=True)
    assert found.strongest(1) == order[:1]
    assert found.strongest(99) == order


def test_protocols_with_windows_run_whole():
    slide = {"mode": "slide", "crop_size": (32, 32), "stride": (16, 16), "resize": (64, 32)}
    found = read_stages(make_predictor(**slide), photo(100, 150))
    assert found.input_size == (32, 48)
    assert found.segmentation.size == (100, 150)


def test_other_decoders_are_refused():
    model = make_model()
    model.decoder = nn.Identity()
    with pytest.raises(ConfigError, match="decodes with Identity, which has none"):
        kind_of(Predictor(model, make_record(method="linear"), "cpu"))
