"""Every recipe that ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm

from vitseg.methods import METHODS
from vitseg.training.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "recipes").with_suffix("").as_posix()


def test_there_are_recipes_and_the_package_finds_them():
    assert RECIPES
    assert sorted(shipped_recipes().rglob("*.yaml")) == RECIPES
    assert list((ROOT / "recipes").rglob("*.yml")) == []


@pytest.fixture(params=RECIPES, ids=name_of)
def path(request) -> Path:
    return request.param


def test_a_recipe_parses_and_survives_its_mapping(path):
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe)
    assert parse_recipe(recipe.to_mapping()) == recipe


def test_a_recipe_is_named_after_its_method_and_backbone(path):
    match = re.fullmatch(r"([a-z0-9]+)-([a-z0-9_.]+)(-[a-z0-9_-]+)?\.yaml", path.name)
    assert match, path.name
    method, backbone, _ = match.groups()
    recipe = load_recipe(path)
    assert method == recipe.method
    assert method in METHODS
    assert METHODS[method].backbone(recipe.model).name.startswith(backbone)


def test_a_recipe_names_a_backbone_of_timm(path):
    recipe = load_recipe(path)
    name = METHODS[recipe.method].backbone(recipe.model).name
    assert timm.is_model(name.partition(".")[0])
    assert "." not in name or timm.is_model_pretrained(name)


def test_a_recipe_is_found_by_its_name(path):
    assert load_recipe(name_of(path)) == load_recipe(path)


def test_a_recipe_names_no_machine(path):
    assert load_recipe(path).data.source is None
    assert METHODS[load_recipe(path).method].backbone(load_recipe(path).model).weights is None
