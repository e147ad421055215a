"""What a comparison consists of."""

from __future__ import annotations

import pytest
import yaml

from tests.tiny import tiny_recipe, write_recipe
from vitseg.errors import ConfigError
from vitseg.studies.compare.contenders import Contender, make_contenders, require_same_recipe
from vitseg.training.caching import cache_name

DATA = "folder:somewhere"


def test_every_recipe_with_every_backbone(tmp_path):
    paths = [str(write_recipe(tmp_path / name)) for name in ("a.yaml", "b.yaml")]
    found = make_contenders(paths, ["optimizer.lr=1"], DATA, ["test_vit", "vit_tiny_patch16_224"])
    assert [contender.name for contender in found] == [
        "a--test_vit", "a--vit_tiny_patch16_224", "b--test_vit", "b--vit_tiny_patch16_224",
    ]  # fmt: skip
    taps = [contender.recipe.model.model_dump()["backbone"]["taps"] for contender in found]
    assert taps == [(1, 3), (3, 7)] * 2  # of 6 and 12 blocks
    assert all(contender.recipe.optimizer.lr == 1 for contender in found)
    assert [contender.name for contender in make_contenders(paths, [], DATA)] == ["a", "b"]


def test_recipes_of_one_file_name_are_told_apart_by_their_folders(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_recipe(tmp_path / folder / "a.yaml")
    names = [c.name for c in make_contenders([f"{tmp_path}/x/a.yaml", f"{tmp_path}/y/a.yaml"], [], DATA)]  # fmt: skip
    assert names[0].endswith("-x-a")
    assert names[1].endswith("-y-a")


def test_what_else_counts_blocks_moves_with_the_taps(tmp_path):
    raw = tiny_recipe() | {"method": "shrunk", "shrink": {"block": 1}}
    raw["backbone"]["taps"] = [3]
    raw["decoder"] = {"supervise": "layers", "projection": "none"}
    path = tmp_path / "shrunk.yaml"
    path.write_text(yaml.safe_dump(raw))
    (found,) = make_contenders([str(path)], [], DATA, ["vit_tiny_patch16_224"])
    model = found.recipe.model.model_dump()
    assert model["shrink"]["block"] == 3
    assert model["backbone"]["taps"] == (7,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 1}, "training.batch_size is 2 in a and 1 in b"),
        ({"seed": 5}, "training.seed is 0 in a and 5 in b"),
        ({"iterations": 9}, "give training.iterations=... for all of them"),
    ],
)
def test_another_budget_is_refused(tmp_path, changes, words):
    paths = [write_recipe(tmp_path / "a.yaml"), write_recipe(tmp_path / "b.yaml", **changes)]
    with pytest.raises(ConfigError) as error:
        make_contenders([str(path) for path in paths], [], DATA)
    assert words in str(error.value)


def test_one_that_comes_twice_is_refused(tmp_path):
    path = str(write_recipe(tmp_path / "a.yaml"))
    with pytest.raises(ConfigError, match="would be trained twice"):
        make_contenders([path, path], [], DATA)


def test_an_unknown_backbone_is_refused_with_its_recipe(tmp_path):
    path = str(write_recipe(tmp_path / "a.yaml"))
    with pytest.raises(ConfigError, match=r"a\.yaml with vit_tinny: .* not a known timm ViT"):
        make_contenders([path], [], DATA, ["vit_tinny"])


def test_a_run_of_another_recipe_is_noticed(tmp_path):
    (found,) = make_contenders([str(write_recipe(tmp_path / "a.yaml"))], [], DATA)
    require_same_recipe(found, tmp_path / "nowhere")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(found.recipe.to_mapping()))
    require_same_recipe(found, tmp_path)
    other = Contender("a", found.recipe.model_copy(update={"method": "shrunk"}))
    with pytest.raises(ConfigError, match=r"another recipe \(method changed\)"):
        require_same_recipe(other, tmp_path)


def test_recipes_of_the_same_features_share_a_cache(tmp_path):
    path = str(write_recipe(tmp_path / "a.yaml"))

    def name(*overrides: str) -> str:
        (found,) = make_contenders([path], overrides, DATA)
        return cache_name(found.recipe)

    assert name() == name("decoder.num_layers=2", "backbone.drop_path=0.1", "optimizer.lr=2")
    assert name().startswith("test_vit-")
    others = ("backbone.taps=[2, 3]", "data.augment.crop_size=[32, 32]", "backbone.tap_norm=true")
    assert len({name(), *map(name, others)}) == 4
