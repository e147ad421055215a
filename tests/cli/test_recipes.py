"""`vitseg recipes` and `vitseg recipes show`."""

from __future__ import annotations

import json

import yaml

from vitseg.training.recipe_files import shipped_names, shipped_recipes


def test_all_are_listed_by_data_set(vitseg):
    result = vitseg("recipes")
    assert result.code == 0
    assert result.err == ""
    lines = result.out.splitlines()
    heads = [line for line in lines if line and not line.startswith(" ")]
    assert heads[:2] == ["ade20k", "camvid"]
    assert "folder: your own masks" in heads
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(set(listed) - {"recipe"}) == shipped_names()
    (row,) = [line for line in lines if line.split()[:1] == ["ade20k/segvit-vit_large_patch16_384"]]
    assert row.split()[1:] == ["segvit", "vit_large_patch16_384", "54.6", "637.3", "1872"]
    (row,) = [line for line in lines if line.split()[:1] == ["camvid/eomt-vit_tiny"]]
    assert row.split()[3:] == ["63.6", "here", "2.3", "78"]


def test_a_part_as_json(vitseg, tmp_path):
    result = vitseg("recipes", "--data", "pascal_context_60", "--json", tmp_path / "recipes.json")
    assert result.code == 0
    found = json.loads((tmp_path / "recipes.json").read_text())
    assert all(recipe["data"] == "pascal_context_60" for recipe in found)
    (large,) = [
        recipe for recipe in found if recipe["name"].endswith("/segvit-vit_large_patch16_384")
    ]
    assert large["backbone"] == "vit_large_patch16_384.augreg_in21k_ft_in1k"
    assert large["verb"] == "train"
    assert large["published"]["miou"] is None
    assert large["published"]["miou_multi_scale"] == 59.3
    assert large["published"]["source"] == "SegViT (NeurIPS 2022), table 3"
    assert "59.3 ms" in result.out


def test_nothing_of_that_kind(vitseg):
    result = vitseg("recipes", "--data", "folder", "--method", "setr")
    assert result.code == 0
    assert result.out == "no recipe for folder of method setr\n"


def test_a_recipe_is_shown_as_it_is(vitseg):
    result = vitseg("recipes", "show", "folder/tiles-vit_tiny")
    assert result.code == 0
    assert result.out == (shipped_recipes() / "folder/tiles-vit_tiny.yaml").read_text()
    assert yaml.safe_load(result.out)["inference"]["mode"] == "slide"
    (facts,) = result.messages
    assert facts.startswith(
        "folder/tiles-vit_tiny: 6.94 M parameters, 1.82 GMACs of 256 x 256 with 20 classes"
    )


def test_an_unknown_recipe(refused):
    line = refused("recipes", "show", "folder/tiles")
    assert (
        "'folder/tiles' is not a known shipped recipe. Did you mean 'folder/tiles-vit_tiny'" in line
    )
