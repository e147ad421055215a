"""Starting from a trained model."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import ARCHITECTURE, CROP, NAMES, make_record
from vitseg.backbones.steps.exit import pruning_of
from vitseg.checkpoint.model_dir import save_model
from vitseg.classes import ClassTable
from vitseg.errors import CheckpointError, ConfigError
from vitseg.methods.dtop import DtopConfig
from vitseg.methods.model import SegmentationModel
from vitseg.training.start import start_from

CLASSES = ClassTable.from_names(NAMES)


def build(seed: int = 0, **sections) -> tuple[SegmentationModel, DtopConfig]:
    config = DtopConfig.model_validate({"backbone": ARCHITECTURE["backbone"], **sections})
    torch.manual_seed(seed)
    return config.build(3, CROP), config


@pytest.fixture
def trained(tmp_path):
    model, config = build(pruning={"threshold": 1.0})
    record = make_record(method="dtop", architecture=config.model_dump(mode="json"))
    save_model(tmp_path / "run" / "best", model, record)
    return tmp_path / "run", model


def test_all_weights_are_taken(trained):
    path, model = trained
    fresh = build(seed=1, pruning={"threshold": 0.9})[0]
    assert start_from(path, fresh, "dtop", CLASSES) is None
    for name, value in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name
    assert pruning_of(fresh.backbone).config.threshold == 0.9


def test_what_is_new_starts_afresh_and_is_named(trained):
    path, model = trained
    fresh = build(seed=1, pruning={"rule": "conv"})[0]
    before = fresh.backbone.halve.weight.clone()
    warning = start_from(path, fresh, "dtop", CLASSES)
    assert warning is not None
    assert "lacks backbone.halve.weight, backbone.halve.bias: they start afresh" in warning
    assert torch.equal(fresh.backbone.halve.weight, before)
    assert torch.equal(fresh.decoder.head.query_embed.weight, model.decoder.head.query_embed.weight)


def test_what_does_not_fit_is_refused(trained):
    path = trained[0]
    model = build()[0]
    with pytest.raises(ConfigError, match="method dtop, but this recipe trains segvit"):
        start_from(path, model, "segvit", CLASSES)
    with pytest.raises(ConfigError, match="knows the classes sky, road, tree, but the data set"):
        start_from(path, model, "dtop", ClassTable.from_names(["road", "sky", "tree"]))
    with pytest.raises(CheckpointError, match="does not exist"):
        start_from(path / "nowhere", model, "dtop", CLASSES)
    with pytest.raises(CheckpointError, match="does not fit the recipe"):
        start_from(path, build(decoder={"kind": "fcn"})[0], "dtop", CLASSES)
