"""Where tokens left a pruned model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny import make_predictor, make_record, photo
from tests.tiny_dtop import make_dtop
from vitseg.errors import ConfigError
from vitseg.explain.exits import exit_map, read_exits
from vitseg.features import ExitCells, Features, GridCover
from vitseg.inference.predictor import Predictor
from vitseg.layers.ragged import RaggedTokens


def predictor_of(**pruning) -> Predictor:
    model, config = make_dtop(pruning=pruning)
    record = make_record(method="dtop", architecture=config.model_dump(mode="json"))
    return Predictor(model, record, "cpu")


def test_the_map_counts_all_exits_of_the_model():
    """Two images of 1 x 3 cells; exit 0 of three was not used."""
    stayed = RaggedTokens(torch.zeros(3, 4), torch.tensor([1, 0, 2]), (1, 2))
    features = Features(
        (),
        (8, 24),
        (8, 24),
        ragged=(stayed,),
        cover=GridCover((1, 3), (8, 24)),
        exits=(
            ExitCells(3, torch.arange(6)),  # cell 0 of the first image leaves here
            ExitCells(5, torch.tensor([1, 2, 3, 4, 5])),
        ),
    )
    assert exit_map(features, [1, 3, 5, 7]).tolist() == [[[1, 3, 2]], [[3, 2, 3]]]


def test_where_nobody_is_asked_everybody_stays():
    features = Features((torch.zeros(2, 4, 3, 5),), (24, 40), (24, 40))
    assert (exit_map(features, [1, 7]) == torch.ones(2, 3, 5)).all()


@pytest.mark.parametrize("exits", [(0,), (1,), (0, 1)])
def test_an_image_is_explained_at_the_exits_that_are_used(exits):
    predictor = predictor_of(rule="share", share=0.5, exits=exits)
    found = read_exits(predictor, photo(60, 90))
    names = [stage.name for stage in found.stages]
    assert names == [*(f"exit behind block {(1, 3)[number]}" for number in exits), "the end"]
    shares = [stage.alive_share for stage in found.stages]
    assert shares == [*(0.5 ** (order + 1) for order in range(len(exits))), shares[-2]]
    assert np.array_equal(found.stages[-1].left, found.stages[-2].left)
    assert np.array_equal(found.segmentation.label_map, predictor(photo(60, 90)).label_map)


@pytest.mark.parametrize("pruning", [{"threshold": 1.0}, {"threshold": 1.0, "rule": "remove"}])
def test_a_model_that_nobody_leaves_is_refused(pruning):
    with pytest.raises(ConfigError, match="no token can leave this model early"):
        read_exits(predictor_of(**pruning), photo(64, 64))


def test_a_model_that_halves_its_grid_is_refused():
    backbone = {"name": "test_vit", "pretrained": False, "taps": [1, 3]}
    model, config = make_dtop(backbone=backbone, pruning={"rule": "nearest"})
    record = make_record(method="dtop", architecture=config.model_dump(mode="json"))
    with pytest.raises(ConfigError, match="its rule asks no head"):
        read_exits(Predictor(model, record, "cpu"), photo(64, 64))


def test_another_model_has_no_exits():
    with pytest.raises(ConfigError, match="a model of method segvit has no exits"):
        read_exits(make_predictor(), photo(64, 64))
