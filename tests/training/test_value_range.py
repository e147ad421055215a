"""Images of more than 8 bits whose black and white the recipe states: data set, model and prediction agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitseg.data.catalog import open_dataset
from vitseg.errors import ConfigError
from vitseg.evaluation.evaluate import evaluate
from vitseg.images.value_range import ValueRange
from vitseg.training.recipe import load_recipe, parse_recipe
from vitseg.training.task import open_splits

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "camvid" / "segvit-vit_tiny.yaml"
RANGE = (0, 3060)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Grey images in which 12 stands for each of 255 steps; none of them uses the whole range."""
    generator = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for split, number in (("train", 0), ("val", 1)):
        eight = generator.integers(40, 180, (32, 48))
        sixteen = 12 * eight + generator.integers(0, 5, eight.shape)  # rounded, they are the same
        Image.fromarray(sixteen.astype(np.uint16)).save(tmp_path / "images" / f"{number}.png")
        mask = generator.integers(0, 2, (32, 48)).astype(np.uint8)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
        (tmp_path / f"{split}.txt").write_text(f"{number}\n")
        np.save(tmp_path / f"{number}.npy", eight)
    (tmp_path / "classes.json").write_text('{"classes": ["one", "two"]}')
    return tmp_path


def recipe_of(root: Path, value_range=RANGE):
    raw = load_recipe(RECIPE).to_mapping()
    raw["data"] |= {"source": f"folder:{root}", "value_range": value_range}
    return parse_recipe(raw)


def test_the_recipes_range_is_that_of_both_splits_and_of_the_model(root):
    recipe = recipe_of(root)
    for number, dataset in enumerate(open_splits(recipe.data)):
        expected = np.repeat(np.load(root / f"{number}.npy")[..., None], 3, 2)
        np.testing.assert_array_equal(dataset[0].image, expected)
    assert recipe.preprocessing().value_range == RANGE


def test_without_it_an_image_has_its_own_range(root):
    train_set, _ = open_splits(recipe_of(root, None).data)
    assert train_set.value_range is None
    assert train_set[0].image.min() == 0


def test_an_evaluation_reads_the_data_set_as_the_model_was_trained(root):
    seen = []

    class Spy:
        classes = open_dataset(f"folder:{root}", "val").classes
        preprocessing = recipe_of(root).preprocessing()

        def scores(self, image):
            seen.append(image)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(Spy(), open_dataset(f"folder:{root}", "val"))
    np.testing.assert_array_equal(seen[0][..., 0], np.load(root / "1.npy"))


def test_the_same_range_changes_nothing(root):
    dataset = open_dataset(f"folder:{root}", "val").with_value_range(ValueRange(*RANGE))
    assert dataset.with_value_range(ValueRange(*RANGE)) is dataset


@pytest.mark.parametrize("value_range", [[5, 5], [9, 1], [0, float("inf")]])
def test_a_range_that_is_none_is_refused(root, value_range):
    with pytest.raises(ConfigError, match="the first below the second"):
        recipe_of(root, value_range)
