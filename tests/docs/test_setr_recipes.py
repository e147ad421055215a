"""SETR's recipes against the published configurations."""

from __future__ import annotations

import pytest

from tests.shapes_alone import shapes_alone
from vitseg.training.recipe import load_recipe
from vitseg.training.recipe_files import shipped_recipes

PUBLISHED = {  # crop, stride, base size, iterations, batch; rates of naive, pup, mla
    "cityscapes": ((768, 512, (2049, 1025), 80_000, 8), (0.01, 0.01, 0.002)),
    "ade20k": ((512, 341, (2048, 512), 160_000, 16), (0.01, 0.001, 0.001)),
    "pascal_context_60": ((480, 320, (520, 520), 80_000, 16), (0.01, 0.001, 0.001)),
}
RATES = dict(zip(("naive", "pup", "mla"), range(3), strict=True))
AUXILIARY = {
    ("naive", 24): (9, 14, 19),
    ("pup", 24): (9, 14, 19, 23),
    ("mla", 24): (5, 11, 17, 23),
    ("naive", 12): (2, 5, 8),
    ("pup", 12): (4, 7, 9, 11),
    ("mla", 12): (2, 5, 8, 11),
}
RECIPES = sorted(
    path.relative_to(shipped_recipes()).with_suffix("").as_posix()
    for path in shipped_recipes().rglob("setr-*.yaml")
    if path.parent.name in PUBLISHED
)


def test_every_published_configuration_has_a_recipe():
    deit = ["deit_base_distilled_patch16_384-pup", "deit_base_distilled_patch16_384-mla"]
    large = [f"vit_large_patch16_384-{kind}" for kind in RATES]
    expected = {f"{dataset}/setr-{name}" for dataset in PUBLISHED for name in large + deit}
    expected |= {
        "cityscapes/setr-deit_base_distilled_patch16_384-naive",
        "cityscapes/setr-vit_base_patch16_384-jx-naive",
        "cityscapes/setr-vit_base_r50_s16_384-naive",  # ours
    }
    assert set(RECIPES) == expected


@pytest.mark.parametrize("name", RECIPES)
def test_published_settings(name):
    dataset, recipe = name.partition("/")[0], load_recipe(name)
    kind = recipe.model.decoder.kind
    common, rates = PUBLISHED[dataset]
    found = (
        recipe.data.augment.crop_size[0],
        recipe.inference.stride[0],
        recipe.data.augment.base_size,
        recipe.training.iterations,
        recipe.training.batch_size,
    )
    assert found == common
    assert recipe.inference.resize == common[2]
    optimizer, schedule = recipe.optimizer, recipe.schedule
    assert (optimizer.kind, optimizer.momentum, optimizer.weight_decay) == ("sgd", 0.9, 0)
    assert (optimizer.lr, optimizer.head_lr_ratio) == (rates[RATES[kind]], 10)
    assert optimizer.clip_grad_norm is None
    assert (schedule.power, schedule.min_lr, schedule.warmup_iterations) == (0.9, 1e-4, 0)

    backbone = recipe.model.backbone
    depth = 24 if "large" in name else 12
    auxiliary = AUXILIARY[kind, depth]
    assert recipe.model.decoder.auxiliary == auxiliary
    assert backbone.taps == tuple(sorted({*auxiliary, depth - 1}))
    assert backbone.pos_embed_interpolation == "bilinear"
    assert backbone.drop_path == 0
    class_token = "class" if "deit" in name else "keep"
    assert backbone.prefix_tokens == ("drop" if kind == "mla" else class_token)
    assert (recipe.model.loss.mean_over, recipe.model.loss.auxiliary_weight) == ("all", 0.4)
    if "r50" not in name and "deit" not in name:
        assert backbone.mean == (0.485, 0.456, 0.406)


def test_the_hybrid_has_a_cnn_of_stride_16_in_front():
    recipe = load_recipe("cityscapes/setr-vit_base_r50_s16_384-naive")
    with shapes_alone():
        model = recipe.model.build(19, (768, 768), load_pretrained=False)
    assert model.backbone.patch_size == (16, 16)
    assert model.backbone.patch_embed.backbone is not None
    assert len(model.backbone.blocks) == 12
