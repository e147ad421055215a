"""The shelf of shipped recipes, and its table against the recipes, the results and what a profile counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vitseg.errors import ConfigError
from vitseg.inference.profile import profile_model
from vitseg.training.published import read_published
from vitseg.training.recipe import load_recipe
from vitseg.training.recipe_files import find_recipe, nearest, shipped_names, shipped_recipes
from vitseg.training.recipe_shelf import find_shipped, read_figures, read_shelf

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
SHELF = {recipe.name: recipe for recipe in read_shelf()}


def header(name: str) -> str:
    text = (shipped_recipes() / f"{name}.yaml").read_text()
    return " ".join(text.partition("\nmethod:")[0].replace("#", " ").split())


def test_every_recipe_has_a_row_and_every_row_a_recipe():
    """benchmarks/recipe_figures.py --write NAME adds one."""
    assert list(read_figures()) == shipped_names()


def test_the_shelf_says_what_the_recipes_say():
    for name in ("camvid/segvit-vit_tiny", "ade20k/nrd-mit_b0", "folder/tiles-vit_tiny"):
        recipe, shown = load_recipe(name), SHELF[name]
        assert (shown.method, shown.backbone) == (recipe.method, recipe.model.backbone.name)
        assert (shown.figures.height, shown.figures.width) == recipe.data.augment.crop_size
        assert shown.verb == "train"
    assert SHELF["camvid/segvit-vit_tiny"].about.startswith(
        "SegViT with ViT-Ti on CamVid, the short"
    )
    assert SHELF["camvid/continual-segvit-vit_tiny-6_5"].verb == "continual"
    assert all(shown.about and "vitseg train" not in shown.about for shown in SHELF.values())


def test_published_scores_stand_in_the_header_of_the_recipe():
    published = 0
    for name, row in read_published().items():
        for score in (row.miou, row.miou_multi_scale):
            if score is not None:
                written = {f"{score:.1f}", f"{score:.2f}"}
                assert any(f"{text} " in header(name) for text in written), (name, score)
                published += 1
    assert published > 100


def test_measured_scores_are_those_of_the_result_files():
    for name, figures in read_figures().items():
        file = RESULTS / f"{name.replace('/', '-', 1)}-short.json"
        if file.is_file():
            assert figures.measured == round(100 * json.loads(file.read_text())["final"]["miou"], 1)
        else:
            assert figures.measured is None, name


@pytest.mark.parametrize(
    "name", ["scenes/segvit-test_vit", "camvid/linear-vit_tiny", "folder/tiles-vit_tiny"]
)
def test_costs_are_those_of_a_profile(name):
    figures = SHELF[name].figures
    assert figures.classes is not None
    assert figures.height is not None
    assert figures.width is not None
    size = figures.height, figures.width
    model = load_recipe(name).model.build(figures.classes, size, load_pretrained=False)
    found = profile_model(model, [torch.randn(1, 3, *size)], torch.device("cpu"), num_runs=1)
    assert figures.gmacs == pytest.approx(found.total_macs("backbone", "decoder") / 1e9, abs=0.006)
    assert figures.parameters_m == pytest.approx(found.parameters / 1e6, abs=0.006)
    memory = (4 * found.parameters + found.speeds[0].peak_memory) / 1e6
    assert figures.memory_mb == pytest.approx(memory, rel=0.1, abs=1)  # label maps apart


def test_only_what_looks_at_the_image_has_no_count():
    blank = {name for name, figures in read_figures().items() if figures.gmacs is None}
    assert blank
    assert all("shrunk-" in name and name.endswith("-edges") for name in blank)


def test_a_part_of_the_shelf():
    assert {shown.data for shown in read_shelf(data="folder")} == {"folder"}
    both = read_shelf("camvid", "setr")
    assert [shown.name.rpartition("-")[2] for shown in both] == ["mla", "naive", "pup"]
    assert read_shelf("folder", "setr") == []
    with pytest.raises(
        ConfigError, match=r"not a known method with recipes\. Did you mean 'segvit'"
    ):
        read_shelf(method="segvitt")


@pytest.mark.parametrize(
    "name", ["folder/tiles-vit_tiny", "recipes/folder/tiles-vit_tiny.yaml", "folder/tiles-vit_tiny.yaml"]
)  # fmt: skip
def test_a_recipe_is_found_by_its_name(name):
    shown, text = find_shipped(name)
    assert shown.name == "folder/tiles-vit_tiny"
    assert text == find_recipe(Path(name)).read_text()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("camvid/segvit-vit_tini", "'camvid/segvit-vit_tiny'"),
        ("tiles-vit_tiny", "'folder/tiles-vit_tiny'"),
        ("folder/segvit-vit_small_patch16_384", "'ade20k/segmenter-vit_small_patch16_384'"),
        ("../../pyproject", "List them with: vitseg recipes."),
        ("", "List them with"),
    ],
)
def test_near_names_are_told(name, meant):
    with pytest.raises(ConfigError) as refused:
        find_shipped(name)
    assert meant in str(refused.value)
    assert len(str(refused.value)) < 500
    if name:
        with pytest.raises(ConfigError, match="no such file, and"):
            find_recipe(Path(f"recipes/{name}.yaml"))


def test_nothing_near_is_not_guessed():
    assert nearest("qqqqqqq", shipped_names()) == "List them with: vitseg recipes."


def test_listing_needs_no_torch():
    code = (
        "import sys\nfrom vitseg.cli.main import run\nsys.argv = ['vitseg', 'recipes', '--data', 'folder']\n"
        "try:\n    run()\nfinally:\n    print({'torch', 'timm', 'numpy', 'PIL'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
    assert "folder/small-vit_tiny" in done.stdout
