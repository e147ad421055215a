from __future__ import annotations

from dataclasses import replace

import pytest

from tests.plan.facts import CPU, GPU, TINY, make_data
from vitseg.errors import ConfigError
from vitseg.plan.choose import (
    PLANNED,
    Times,
    choose_batch,
    choose_method,
    default_minutes,
    fit,
    last,
    most_to_validate,
    recipe_mapping,
    warmup,
)
from vitseg.plan.data_facts import ClassFacts
from vitseg.plan.device_facts import num_workers
from vitseg.plan.heads import HEADS, head_of
from vitseg.plan.scale import possible_scales
from vitseg.training.recipe import parse_recipe

SOURCE = {"source": "folder:x"}


def mapping(data=None, device=CPU, method="eomt", vit=TINY):
    data = data or make_data()
    found = recipe_mapping(
        data, device, vit, method, possible_scales(data, device)[0], SOURCE, seed=3
    )
    found["training"] |= {"iterations": 100}
    found["schedule"] = {"warmup_iterations": 10}
    return found


@pytest.mark.parametrize(
    ("size", "narrowest", "device", "kinds"),
    [
        ((360, 480), 3.0, CPU, ["own"]),  # street scenes, poles
        ((448, 300), 40.0, CPU, ["own"]),
        ((512, 512), 40.0, GPU, ["own"]),
        ((1024, 1024), 12.0, CPU, ["own", "resized"]),  # aerial tiles
        ((1024, 1024), 4.0, CPU, ["own"]),  # membranes
        ((1200, 1600), 90.0, CPU, ["resized", "own"]),
        ((1200, 1600), 15.0, CPU, ["own", "resized"]),
        ((3000, 4000), 500.0, CPU, ["resized"]),  # photos of large things
        ((3000, 4000), 10.0, CPU, ["own"]),
        ((100, 100), 20.0, CPU, ["own", "resized"]),
        ((100, 100), 3.0, CPU, ["resized", "own"]),
        ((1024, 1024), None, GPU, ["own", "resized"]),
    ],
)
def test_scales_by_sizes_and_narrow_things(size, narrowest, device, kinds):
    found = possible_scales(make_data(size, narrowest), device)
    assert [each.kind for each in found] == kinds
    assert all(each.why for each in found)


def test_images_of_many_sizes_are_brought_to_one():
    sizes = tuple((200 + 20 * number, 300 + 20 * number) for number in range(50))
    found = possible_scales(make_data(sizes=sizes), CPU)
    assert [each.kind for each in found] == ["resized", "own"]


def test_crops_and_windows():
    (own,) = possible_scales(make_data((360, 480)), CPU)
    assert own.crop == (256, 256)
    assert own.inference == {"mode": "whole"}
    (small,) = possible_scales(make_data((150, 480)), CPU)
    assert small.crop == (160, 256)
    large = possible_scales(make_data((1024, 1024), 4.0), CPU)[0]
    assert large.inference == {"mode": "slide", "crop_size": [256, 256], "stride": [170, 170]}
    resized = possible_scales(make_data((3000, 4000), 500.0), CPU)[0]
    assert resized.base_size == (1536, 384)
    assert resized.inference == {"mode": "whole", "resize": [1536, 384]}
    assert "windows" in large.words()
    assert "384 pixels" in resized.words()


def test_a_recipe_of_a_cpu():
    recipe = parse_recipe(mapping())
    assert (recipe.training.batch_size, recipe.training.seed) == (4, 3)
    assert recipe.data.num_workers == 0
    assert recipe.optimizer.lr == 1e-4
    assert recipe.data.balance.rare_class_crops == 0
    assert recipe.to_mapping()["decoder"]["num_blocks"] == 3


@pytest.mark.parametrize("method", HEADS)
@pytest.mark.parametrize(("depth", "width"), [(12, 192), (12, 768), (24, 1024), (6, 64)])
def test_every_head_gives_a_recipe(method, depth, width):
    recipe = parse_recipe(mapping(method=method, vit=replace(TINY, depth=depth, width=width)))
    assert max(recipe.to_mapping()["backbone"]["taps"]) == depth - 1
    assert recipe.optimizer.lr <= 1e-4
    if head_of(method).leaves_out:
        assert recipe.to_mapping()["loss"]["ignored"] == "left_out"


def test_sparse_labels_ask_for_a_loss_that_leaves_out():
    method, why = choose_method(make_data(ignored=0.9))
    assert head_of(method).leaves_out
    assert "90 % of the pixels have no label" in why
    assert "no label" not in choose_method(make_data())[1]


def test_rare_classes_get_crops_where_they_are_very_rare():
    classes = (
        ClassFacts("road", 0.999, 9_990_000, 100, 100.0),
        ClassFacts("crack", 0.001, 10_000, 80, 20.0),
    )
    balance = mapping(make_data(classes=classes))["data"]["balance"]
    assert balance["rare_class_crops"] == 0.25
    few = (*classes, ClassFacts("speck", 3e-7, 3, 1, 1.0))
    assert make_data(classes=few).imbalance == make_data(classes=classes).imbalance


def test_other_methods_need_a_recipe():
    with pytest.raises(ConfigError, match=r"--method: 'setr'.*trained by a recipe"):
        head_of("setr")


def test_batches_and_workers():
    assert choose_batch(CPU, TINY) == 4
    assert choose_batch(GPU, TINY) == 8
    assert choose_batch(replace(GPU, memory=80 * 2**30), TINY) == 16
    assert [num_workers(replace(CPU, cores=cores)) for cores in (1, 2, 4, 8, 64)] == [0, 0, 1, 2, 2]
    assert num_workers(GPU) == 8


def test_iterations_fill_the_time():
    times = Times(step=0.5, image=0.1, page=0.2, start=5)
    schedule = fit(600, times, 20)
    taken = schedule.iterations * 0.5 + 5 + 4 * 2 + 4
    assert PLANNED * 600 - times.step < taken <= PLANNED * 600
    assert -(-schedule.iterations // schedule.val_interval) == 4
    assert last(schedule.iterations, times, 20).seconds == pytest.approx(600, rel=0.02)
    assert [fit(seconds, times, 20).iterations for seconds in (5, 0, -60)] == [0, 0, 0]


def test_validation_takes_a_small_part():
    slow = Times(step=0.5, image=2.0, page=3.0)
    assert most_to_validate(600, slow) == 20
    assert most_to_validate(6000, slow) == 100
    schedule = fit(600, slow, 20)
    assert schedule.val_interval == schedule.iterations  # once, at the end


def test_the_time_follows_from_images_and_speed():
    quick, slow = Times(0.02, 0.01, 0.01), Times(1.0, 0.1, 0.1)
    assert default_minutes(make_data(), CPU, quick, 4, 10) == 5
    assert default_minutes(make_data(), CPU, slow, 4, 10) == 20
    many = make_data(num_train=50_000)
    assert default_minutes(many, CPU, slow, 4, 10) == 60
    assert default_minutes(many, GPU, replace(quick, step=0.2), 8, 10) == 75


def test_warmup_is_a_share():
    assert [warmup("eomt", iterations) for iterations in (1, 4, 1000)] == [0, 1, 100]
