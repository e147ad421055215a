"""Every recipe of `vitseg continual` that ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_recipes import FILES, RECIPES, build_without_weights, name_of
from vitseg.data.official.tables import read_table
from vitseg.errors import ConfigError
from vitseg.studies.continual.approaches import APPROACHES
from vitseg.studies.continual.recipe import load_continual, parse_continual
from vitseg.studies.continual.splits import make_steps
from vitseg.training.recipe import load_recipe

CONTINUAL = [path for path in FILES if path not in RECIPES]
SPLITS = {
    "ade20k": {"100-50", "100-10", "100-5", "50-50"},
    "voc2012": {"15-5", "15-1", "19-1", "10-1"},
    "ccp": {"12-12", "12-4", "12-2"},
    "camvid": {"6-5"},
}


@pytest.fixture(params=CONTINUAL, ids=name_of)
def path(request) -> Path:
    return request.param


def test_a_recipe_parses_and_survives_its_mapping(path):
    recipe = load_continual(path)
    assert parse_continual(recipe.to_mapping()) == recipe
    assert recipe.first.data.source is None
    assert recipe.first.model.backbone.weights is None


def test_a_recipe_is_named_after_its_method_backbone_and_split(path):
    match = re.fullmatch(r"continual-([a-z]+)-([a-z0-9_]+)(-jx)?-([0-9_]+)\.yaml", path.name)
    assert match, path.name
    recipe = load_continual(path)
    assert match[1] == recipe.first.method
    assert recipe.first.model.backbone.name.startswith(match[2])
    assert match[4].replace("_", "-") == recipe.continual.split


def test_a_recipe_of_steps_is_none_of_one_training(path):
    with pytest.raises(ConfigError, match="vitseg continual"):
        load_recipe(path)


def test_a_recipe_builds(path):
    recipe = load_continual(path)
    later = APPROACHES[recipe.continual.approach].adapt(recipe.later())
    assert later.training.iterations < recipe.first.training.iterations
    assert later.training.freeze_backbone == (recipe.continual.approach == "segvit_cl")
    crop_size = later.data.augment.crop_size
    build_without_weights(later.method, later.model.model_dump_json(), crop_size)


def test_every_published_split_has_a_recipe_of_both_methods():
    found = {(load_continual(path).first.method, path.parent.name) for path in CONTINUAL}
    assert found == {(method, name) for method in ("segvit", "linear") for name in SPLITS}
    for method in ("segvit", "linear"):
        for name, splits in SPLITS.items():
            paths = [path for path in CONTINUAL if path.parent.name == name and method in path.name]
            assert {load_continual(path).continual.split for path in paths} == splits


@pytest.mark.parametrize("dataset", ["ade20k", "voc2012", "camvid"])
def test_splits_fit_their_data_sets(dataset):
    names = read_table(dataset, "").classes.names
    for path in CONTINUAL:
        if path.parent.name == dataset:
            config = load_continual(path).continual
            steps = make_steps(names, config.split, config.order, background=config.background)
            assert len(steps.classes) == {"ade20k": 150, "voc2012": 20, "camvid": 11}[dataset]
