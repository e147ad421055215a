from __future__ import annotations

import pytest

from tests.tiny import tiny_recipe, write_recipe
from vitseg.config import apply_overrides, parse, read_yaml
from vitseg.errors import ConfigError
from vitseg.methods.segvit import SegVitConfig
from vitseg.training.recipe import Recipe, load_recipe, parse_recipe


def refusal(*overrides: str, raw: dict | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_recipe(apply_overrides(raw or tiny_recipe(), overrides))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def parsed(*overrides: str) -> Recipe:
    return parse_recipe(apply_overrides(tiny_recipe(), overrides))


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("a.b=1", 1),
        ("a.b=0.5", 0.5),
        ("a.b=3e-5", 3e-5),
        ("a.b=1.0e-4", 1e-4),
        ("a.b=true", True),
        ("a.b=null", None),
        ("a.b=", None),
        ("a.b=[1, 2]", [1, 2]),
        ("a.b=text", "text"),
        ("a.b='2024'", "2024"),
        ('a.b="1e3"', "1e3"),
        ("a.b=x=y", "x=y"),
        ("a.b=folder:data/streets", "folder:data/streets"),
    ],
)
def test_values_of_overrides_are_yaml(override, value):
    assert apply_overrides({}, [override]) == {"a": {"b": value}}


def test_overrides_change_one_field_and_the_last_one_counts():
    raw = {"a": {"b": 1, "c": 2}, "d": 3}
    apply_overrides(raw, ["a.b=4", "d=5", "a.b=6", "e.f.g=7"])
    assert raw == {"a": {"b": 6, "c": 2}, "d": 5, "e": {"f": {"g": 7}}}


@pytest.mark.parametrize("override", ["lr", "=3", ".lr=3", "optimizer.=3", "a..b=3", ""])
def test_what_is_no_override_is_refused(override):
    with pytest.raises(ConfigError, match=r"is no override: write section\.field=value"):
        apply_overrides({}, [override])


def test_an_override_into_a_value_is_refused():
    with pytest.raises(ConfigError, match=r"optimizer\.lr is a value, not a section"):
        apply_overrides({"optimizer": {"lr": 1}}, ["optimizer.lr.base=3"])


def test_an_override_that_is_no_yaml_is_refused():
    with pytest.raises(ConfigError, match=r"a\.b=\[1, 2: the value is not YAML"):
        apply_overrides({}, ["a.b=[1, 2"])


def test_overrides_reach_the_recipe():
    recipe = parsed("optimizer.lr=3e-5", "backbone.taps=[0, 2]", "training.iterations=1e3")
    assert recipe.optimizer.lr == 3e-5
    assert recipe.model.backbone.taps == (0, 2)
    assert recipe.training.iterations == 1000


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "decoder.num_layer=2",
            "decoder.num_layer is not a field of AtmConfig. Did you mean decoder.num_layers?",
        ),
        ("optimizer.learning_rate=1", "optimizer.learning_rate is not a field of OptimizerConfig."),
        (
            "data.augment.crop_sise=[64, 64]",
            "data.augment.crop_sise is not a field of AugmentConfig. "
            "Did you mean data.augment.crop_size?",
        ),
        ("inferense.flip=true", "'inferense' is not a known section. Did you mean 'inference'?"),
        ("method=segvitt", "'segvitt' is not a known method. Did you mean 'segvit'?"),
        ("training.iterations=0", "training.iterations is 0: input should be greater than"),
        ("training.iterations=many", "training.iterations is 'many'"),
        ("training.precision=fp8", "training.precision is 'fp8'"),
        ("data.augment.crop_size=[64]", "data.augment.crop_size.1 is missing"),
        ("data.augment.crop_size=64", "data.augment.crop_size is 64"),
        ("backbone.drop_path=1", "backbone.drop_path is 1"),
        ("decoder=null", "decoder is null"),
        ("optimizer.betas=[0.9, 1]", "optimizer.betas.1 is 1: input should be less than 1"),
        ("optimizer.betas=[-0.1, 0.9]", "optimizer.betas.0 is -0.1"),
        ("training.seed=4294967296", "training.seed is 4294967296: input should be less than"),
        ("training.batch_size=yes", "training.batch_size is true: a number is expected"),
        ("optimizer.lr=on", "optimizer.lr is true: a number is expected"),
        ("training.patience=true", "training.patience is true: a number is expected"),
        ("optimizer.betas=[0.5, false]", "optimizer.betas.1 is false: a number is expected"),
        ("optimizer.lr_ratios={decoder.: true}", "optimizer.lr_ratios.decoder. is true: a number"),
        ("backbone.drop_path=false", "backbone.drop_path is false: a number is expected"),
        ("training.lora={rank: true}", "training.lora.rank is true: a number is expected"),
        ("data.augment.crop_size=[100000, 2000]", "a crop of 100,000 x 2,000 pixels is larger"),
        (
            "data.augment={views: grid, crop_size: [100000, 2000]}",
            "a crop of 100,000 x 2,000 pixels is larger",
        ),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(override, message):
    assert message in refusal(override)


def test_fields_without_a_near_name_are_listed():
    assert "Its fields: kind, lr, head_lr_ratio, lr_ratios, layer_decay" in refusal(
        "optimizer.zzz=1"
    )


def test_further_problems_are_counted():
    assert refusal("optimizer.zzz=1", "training.iterations=0").endswith("(1 more)")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("method", "method is missing: one of carafe, deeplab, dtop"),
        (
            "backbone",
            "backbone is missing: the plain ViT and its taps, or the pyramid and its levels.",
        ),
        ("backbone.name", "backbone.name is missing: timm model name"),
        ("backbone.taps", "backbone.taps is missing"),
        ("data", "data is missing"),
        ("data.augment", "data.augment is missing: crop and augmentation."),
        ("training", "training is missing"),
        ("training.iterations", "training.iterations is missing: optimiser steps."),
    ],
)
def test_a_missing_field_is_named_with_its_meaning(path, message):
    raw = tiny_recipe()
    *sections, field = path.split(".")
    section = raw
    for name in sections:
        section = section[name]
    del section[field]
    assert message in refusal(raw=raw)


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (("backbone.weights=w.pth",), ("weights", "pretrained")),
        (("schedule.warmup_iterations=4",), ("warmup_iterations 4", "training.iterations 4")),
        (("schedule.min_lr=1",), ("min_lr 1 is", "optimizer.lr 0.")),
        (
            ("inference.mode=slide", "inference.crop_size=[64,64]", "inference.stride=[65,64]"),
            ("stride", "crop_size"),
        ),
        (("inference.mode=slide",), ("crop_size", "stride")),
        (("inference.resize=[360, 960]",), ("resize", "long", "short")),
        (("backbone.taps=[3, 1]",), ("taps",)),
        (("backbone.mean=[0.5, 0.5, 0.5]",), ("mean", "std")),
        (("data.augment.scale_range=[2, 1]",), ("scale_range",)),
        (("data.augment.base_size=[360, 480]",), ("base_size",)),
        (("training.devices=3",), ("batch_size 2", "devices 3")),
    ],
)
def test_contradictions_name_their_fields(overrides, names):
    message = refusal(*overrides)
    for name in names:
        assert name in message


def test_a_recipe_survives_its_mapping():
    recipe = parsed("inference.flip=true", "data.source=folder:x")
    assert parse_recipe(recipe.to_mapping()) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "holds list, but a recipe is a mapping of sections"),
        ("just text", "holds str"),
        ("", "holds NoneType"),
        ("a: [1, 2\nb: 3", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_yaml_that_is_no_mapping_is_refused(tmp_path, text, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="is not YAML"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="does not exist"):
        read_yaml(tmp_path)


def test_recipes_are_found_by_path_and_by_name(tmp_path):
    assert load_recipe(write_recipe(tmp_path / "mine.yaml")).training.iterations == 4
    by_name = load_recipe("camvid/segvit-vit_tiny")
    assert by_name == load_recipe("recipes/camvid/segvit-vit_tiny.yaml")
    with pytest.raises(ConfigError, match="Did you mean 'camvid/segvit-vit_tiny'"):
        load_recipe("camvid/segvit-vit_tinny")


def test_the_data_set_of_the_command_line_goes_first(tmp_path):
    path = write_recipe(tmp_path / "mine.yaml")
    recipe = load_recipe(path, ["data.source=folder:one"], "folder:two")
    assert recipe.data.source == "folder:two"


def test_a_data_section_that_is_no_section_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    for value in ("", "text", "[1]"):
        path.write_text(f"method: segvit\ndata: {value}\n")
        with pytest.raises(ConfigError):
            load_recipe(path, data="folder:x")


def test_keys_that_are_no_text_are_refused():
    refusal(raw=tiny_recipe() | {1: 2})
    raw = tiny_recipe()
    raw["optimizer"][1] = 2
    refusal(raw=raw)


def test_a_wrong_field_is_one_of_the_kind_that_was_meant():
    raw = {"backbone": {"name": "swin_tiny_patch4_window7_224", "levels": [1, 2], "drop_pth": 0.1}}
    with pytest.raises(
        ConfigError, match=r"field of PyramidConfig. Did you mean backbone.drop_path\?"
    ):
        parse(SegVitConfig, raw)
