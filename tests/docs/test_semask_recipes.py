"""SeMask's recipes and their baselines against the published configurations."""

from __future__ import annotations

import pytest

from vitseg.training.recipe import load_recipe
from vitseg.training.recipe_files import shipped_recipes

BACKBONES = {
    "tiny": "swin_tiny_patch4_window7_224.ms_in1k",
    "small": "swin_small_patch4_window7_224.ms_in1k",
    "base": "swin_base_patch4_window12_384.ms_in22k",
    "large": "swin_large_patch4_window12_384.ms_in22k",
}
SIZES = tuple(BACKBONES)
SIX = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
NAMES = sorted(
    path.relative_to(shipped_recipes()).with_suffix("").as_posix()
    for kind in ("semask", "fpn")
    for path in shipped_recipes().rglob(f"{kind}-swin_*.yaml")
    if path.parent.name != "camvid"
)


def expected_of(method: str, dataset: str, size: str) -> dict[str, object]:
    """What varies; all else is the same everywhere."""
    if dataset == "cityscapes":
        crop, box, lr, decay, batch = 768, (2048, 1024), 1e-3, 0.05, 8
    else:
        crop = 640 if size == "large" else 512
        box, lr, decay, batch = ({512: 2048, 640: 2560}[crop], crop), 1e-4, 1e-4, 16
    is_discrete = method == "semask" and dataset != "cityscapes"
    whole_range = (
        method == "semask"
        and dataset != "cityscapes"
        and (size != "tiny" or dataset == "coco_stuff_10k")
    )
    has_hardest = method == "semask" and (
        dataset == "coco_stuff_10k" or (dataset == "ade20k" and size == "large")
    )
    return {
        "crop": (crop, crop),
        "box": box,
        "lr": lr,
        "decay": decay,
        "batch": batch,
        "scales": SIX if is_discrete else (0.5, 2.0),
        "max_class_share": 1.0 if whole_range else 0.75,
        "hardest": 100_000 if has_hardest else None,
        "warmup_ratio": 1e-5 if dataset == "cityscapes" and size != "base" else 1e-6,
    }


def test_every_published_configuration_has_a_recipe():
    expected = {
        f"{dataset}/semask-{name.partition('.')[0]}"
        for dataset in ("ade20k", "cityscapes", "coco_stuff_10k")
        for name in BACKBONES.values()
    }
    expected |= {f"ade20k/fpn-{name.partition('.')[0]}" for name in BACKBONES.values()}
    assert set(NAMES) == expected


@pytest.mark.parametrize("name", NAMES)
def test_published_settings(name):
    recipe = load_recipe(name)
    dataset, _, rest = name.partition("/")
    size = next(size for size in SIZES if size in rest)
    augment, optimizer, schedule = recipe.data.augment, recipe.optimizer, recipe.schedule
    found = {
        "crop": augment.crop_size,
        "box": augment.base_size,
        "lr": optimizer.lr,
        "decay": optimizer.weight_decay,
        "batch": recipe.training.batch_size,
        "scales": augment.scale_choices or augment.scale_range,
        "max_class_share": augment.max_class_share,
        "hardest": recipe.model.loss.hardest_pixels,
        "warmup_ratio": schedule.warmup_ratio,
    }
    assert found == expected_of(recipe.method, dataset, size)

    model = recipe.model
    assert model.backbone.name == BACKBONES[size]
    assert (model.backbone.levels, model.backbone.drop_path) == ((0, 1, 2, 3), 0.3)
    assert (model.decoder.embed_dim, model.decoder.dropout) == (256, 0.1)
    assert (model.loss.mean_over, model.loss.auxiliary_weight) == ("all", 0.4)
    assert (optimizer.kind, optimizer.betas, optimizer.head_lr_ratio) == ("adamw", (0.9, 0.999), 1)
    assert optimizer.clip_grad_norm is None
    assert optimizer.no_decay == ("relative_position_bias_table",)
    assert not optimizer.decay_backbone_norms
    assert (schedule.power, schedule.min_lr, schedule.warmup_iterations) == (1.0, 0, 1500)
    assert recipe.training.iterations == 80_000
    assert (recipe.inference.mode, recipe.inference.resize) == ("whole", augment.base_size)
