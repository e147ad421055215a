"""Every recipe that ships."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import timm
import torch

from tests.shapes_alone import shapes_alone
from vitseg.backbones.create_pyramid import OTHERS
from vitseg.inference.operations import count_operations
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.training.optimizer import parameter_groups
from vitseg.training.recipe import Recipe, load_recipe, parse_recipe
from vitseg.training.recipe_files import shipped_recipes
from vitseg.training.recipe_shelf import read_figures
from vitseg.training.schedule import lr_at

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "recipes").rglob("*.yaml"))
RECIPES = [path for path in FILES if not path.name.startswith("continual-")]
"""Of one training; `test_continual_recipes.py` has those of several."""
BUDGETS = {"small", "medium", "large", "tiles"}
"""What recipes for one's own masks are named after, instead of a method."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "recipes").with_suffix("").as_posix()


def test_there_are_recipes_and_the_package_finds_them():
    assert RECIPES
    assert sorted(shipped_recipes().rglob("*.yaml")) == FILES
    assert list((ROOT / "recipes").rglob("*.yml")) == []


@pytest.fixture(params=RECIPES, ids=name_of)
def path(request) -> Path:
    return request.param


@cache
def recipe_of(path: Path) -> Recipe:
    """Read once; no test can change it."""
    return load_recipe(path)


def test_a_recipe_parses_and_survives_its_mapping(path):
    recipe = recipe_of(path)
    assert isinstance(recipe, Recipe)
    assert parse_recipe(recipe.to_mapping()) == recipe


def test_a_recipe_is_named_after_its_method_and_backbone(path):
    match = re.fullmatch(r"([a-z0-9_]+)-([a-z0-9_.]+)(-[a-z0-9_-]+)?\.yaml", path.name)
    assert match, path.name
    method, backbone, _ = match.groups()
    recipe = recipe_of(path)
    if path.parent.name == "folder":
        assert method in BUDGETS
    else:
        assert method == recipe.method
    assert recipe.method in METHODS
    assert recipe.model.backbone.name.startswith(backbone)


def test_a_recipe_names_a_backbone_that_there_is(path):
    name = recipe_of(path).model.backbone.name
    assert timm.is_model(name.partition(".")[0]) or name in OTHERS
    assert "." not in name or timm.is_model_pretrained(name)


def test_a_recipe_is_found_by_its_name(path):
    assert load_recipe(name_of(path)) == recipe_of(path)


def test_a_recipe_names_no_machine(path):
    assert recipe_of(path).data.source is None
    assert recipe_of(path).model.backbone.weights is None


@cache
def build_without_weights(
    method: str, architecture: str, crop_size: tuple[int, int], num_classes: int = 5
) -> SegmentationModel:
    """Once for all recipes that share a model; nothing is computed or allocated."""
    config = METHODS[method].model_validate_json(architecture)
    with shapes_alone():
        return config.build(num_classes, crop_size, load_pretrained=False)


def outline_of(path: Path) -> SegmentationModel:
    """The model of a recipe with the classes of its data set."""
    recipe, classes = recipe_of(path), read_figures()[name_of(path)].classes
    assert classes is not None
    crop_size = recipe.data.augment.crop_size
    return build_without_weights(recipe.method, recipe.model.model_dump_json(), crop_size, classes)


@pytest.mark.slow
def test_a_recipe_builds(path):
    assert all(parameter.is_meta for parameter in outline_of(path).parameters())
    recipe_of(path).model.criterion()


@pytest.mark.slow
def test_every_parameter_that_is_trained_is_in_one_group(path):
    model = outline_of(path)
    groups = parameter_groups(model, recipe_of(path).optimizer)
    counted = Counter(name for group in groups for name in group["names"])
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    assert counted == Counter(trained)
    assert sum(len(group["params"]) for group in groups) == len(trained)


def test_the_learning_rate_rises_to_its_own_and_falls_to_its_least(path):
    recipe = recipe_of(path)
    base, schedule, iterations = recipe.optimizer.lr, recipe.schedule, recipe.training.iterations
    places = range(0, iterations, max(1, iterations // 500))
    rates = [lr_at(at, base, iterations, schedule) for at in places]
    assert 0.85 * base < max(rates) <= base
    highest = places[rates.index(max(rates))]
    assert abs(highest - schedule.warmup_iterations) <= places.step
    last = lr_at(iterations - 1, base, iterations, schedule)
    assert schedule.min_lr <= last < 0.05 * base + schedule.min_lr


def test_a_recipe_of_windows_predicts_with_its_training_crop(path):
    recipe = recipe_of(path)
    if recipe.inference.mode == "slide":
        assert recipe.inference.crop_size == recipe.data.augment.crop_size


def test_no_two_recipes_are_the_same_run():
    runs = [
        (path.parent.name, path.read_text().partition("\nmethod:")[2])  # the folder is the data set
        for path in RECIPES
    ]
    assert len(set(runs)) == len(runs)


ADE20K_L = {"crop": 640, "stride": 608, "iterations": 160_000, "power": 1.0, "decay": 0.01}
COCO_L = {"crop": 512, "stride": 341, "iterations": 80_000, "power": 2.0, "decay": 0.02}
CONTEXT_L = {"crop": 480, "stride": 320, "iterations": 80_000, "power": 1.0, "decay": 0.03}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ade20k/segvit-vit_large_patch16_384", ADE20K_L),
        ("coco_stuff_10k/segvit-vit_large_patch16_384", COCO_L),
        ("pascal_context_60/segvit-vit_large_patch16_384", CONTEXT_L),
        (
            "pascal_context_59/segvit-vit_large_patch16_384",
            {**CONTEXT_L, "power": 2.0, "decay": 0.02, "lr": 5e-6},
        ),
        (
            "ade20k/segvit-vit_base_patch16_384-jx",
            {**ADE20K_L, "crop": 512, "stride": 341, "drop_path": 0.1},
        ),
        (
            "coco_stuff_10k/segvit-vit_base_patch16_384-jx",
            {**COCO_L, "power": 1.0, "drop_path": 0.1},
        ),
        (
            "pascal_context_60/segvit-vit_base_patch16_384-jx",
            {**CONTEXT_L, "decay": 0.02, "drop_path": 0.1},
        ),
    ],
)
def test_published_settings(name, expected):
    recipe = load_recipe(name)
    backbone = recipe.model.backbone
    found = {
        "crop": recipe.data.augment.crop_size[0],
        "stride": recipe.inference.stride[0],
        "iterations": recipe.training.iterations,
        "power": recipe.schedule.power,
        "decay": recipe.optimizer.weight_decay,
        "lr": recipe.optimizer.lr,
        "drop_path": backbone.drop_path,
    }
    assert found == {"lr": 2e-5, "drop_path": 0.3, **expected}
    assert recipe.optimizer.clip_grad_norm == 35
    assert recipe.optimizer.head_lr_ratio == 10
    assert (recipe.schedule.warmup_iterations, recipe.schedule.warmup_ratio) == (1500, 1e-6)
    assert recipe.training.batch_size == 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_classes", "parameters", "gmacs"),
    [
        ("ade20k/segvit-vit_base_patch16_384-jx", 150, 108_736_279, 120.9),
        ("ade20k/segvit-vit_base_patch16_384-jx-single", 150, None, 115.8),
        ("ade20k/segvit-vit_large_patch16_384", 150, 344_305_303, 637.9),
        ("ade20k/segvit-swin_tiny_patch4_window7_224", 150, 37_425_041, None),
        ("ade20k/segvit-swin_tiny_patch4_window7_224-four_levels", 150, None, 48.0),
    ],
)
def test_published_sizes(name, num_classes, parameters, gmacs):
    """Parameters of the authors' models exactly, multiply-adds of the papers within 1 %."""
    recipe = load_recipe(name)
    crop_size = recipe.data.augment.crop_size
    with shapes_alone():
        model = recipe.model.build(num_classes, crop_size, False).eval()
        image = torch.empty(1, 3, *crop_size)
    if parameters is not None:
        assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    if gmacs is not None:
        operations = count_operations(model, lambda: model(image).scores())
        total = sum(sum(part.values()) for part in operations.macs.values())
        assert total / 1e9 == pytest.approx(gmacs, rel=0.01)
