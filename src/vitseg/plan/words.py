"""What a plan says: five lines on what was chosen and why, and notes on what the user should know."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from vitseg.data.grid_views import GridViewsConfig
from vitseg.errors import first_names
from vitseg.plan.choose import VERY_IMBALANCED, Schedule, Times
from vitseg.plan.data_facts import DataFacts
from vitseg.plan.device_facts import DeviceFacts
from vitseg.plan.heads import head_of
from vitseg.plan.scale import Scale
from vitseg.plan.split import Split
from vitseg.plan.vits import Vit
from vitseg.training.recipe import Recipe

MOST_NAMED = 5


def data_line(data: DataFacts, split: Split) -> str:
    """What the data are."""
    sizes = _size(data.median)
    if data.distinct > 1:
        sizes = f"{data.distinct} sizes from {_size(data.sizes[0])} to {_size(data.largest)}, median {sizes}"
    parts = [f"{len(data.classes)} classes"]
    thin = data.thinnest
    if thin is not None and thin.width is not None:
        parts.append(f"the narrowest {thin.name}, some {thin.width:.0f} pixels wide")
    common, rare = _ends(data)
    parts.append(f"{common} {_percent(data, common)}, {rare} {_percent(data, rare)} of the pixels")
    return (
        f"data: {data.num_train:,} images to train on and {data.num_val:,} to validate on, {split.words}; {sizes} "
        f"pixels; {'; '.join(parts)}."
    )


def model_line(
    recipe: Recipe, vit: Vit, device: DeviceFacts, why_method: str, precision: str
) -> str:
    """What is trained, and on what."""
    weights = "random weights, as asked for"
    if vit.pretrained:
        weights = f"the weights of {vit.weights.name}" if vit.weights else "timm's weights"
    return (
        f"model: {head_of(recipe.method).name} ({why_method}) on {vit.name} ({vit.why}), from {weights}; on "
        f"{device.words()}, {precision}."
    )


def scale_line(recipe: Recipe, scale: Scale, why: str) -> str:
    """How the images are brought to the model."""
    augment, inference = recipe.data.augment, recipe.inference
    base = None if isinstance(augment, GridViewsConfig) else augment.base_size
    stated = replace(
        scale, base_size=base, crop=augment.crop_size, inference={"mode": inference.mode}
    )
    return f"scale: {stated.words()}: {why}."


def learning_line(recipe: Recipe, data: DataFacts) -> str:
    """How it learns."""
    config, rate = recipe.training, recipe.optimizer
    passes = config.iterations * config.batch_size / data.num_train
    focus = ""
    if recipe.data.balance.rare_class_crops:
        focus = f"; {100 * recipe.data.balance.rare_class_crops:.0f} % of the crops on rare classes"
        if data.imbalance > VERY_IMBALANCED:
            focus += (
                f", since the commonest has {data.imbalance:,.0f} times the pixels of the rarest"
            )
    return (
        f"learning: {config.iterations:,} iterations of {config.batch_size} crops ({passes:.1f} passes over the "
        f"images), learning rate {rate.lr:g} (the head's {rate.head_lr_ratio:g} times that), "
        f"{recipe.schedule.warmup_iterations} of them warm-up{focus}."
    )


def time_line(seconds: float, why: str, planned: float, times: Times, schedule: Schedule) -> str:
    """How long it takes, from now on.

    Args:
        seconds: For everything.
        why: Who says so.
        planned: Seconds that planning took.
        times: What things take.
        schedule: What is to come.
    """
    ends = datetime.now() + timedelta(seconds=schedule.seconds)
    validations = -(-schedule.iterations // schedule.val_interval)
    count = "once" if validations == 1 else f"{validations} times"
    minutes = float(f"{seconds / 60:.3g}")
    return (
        f"time: {minutes:g} minutes ({why}), of which planning took {planned / 60:.1f}; {times.step:.2f} seconds "
        f"per iteration, measured; validated {count}; ends at about {ends:%H:%M}."
    )


def notes(data: DataFacts, split: Split, recipe: Recipe) -> list[str]:
    """What the user should know before he trusts the model."""
    found = list(split.warnings)
    if split.num_unpaired:
        whole = split.num_unpaired + data.num_train + data.num_val
        found.append(
            f"{split.num_unpaired:,} of {whole:,} images have no mask and are left out; the model can label them "
            "afterwards (vitseg predict)."
        )
    all_counted = data.num_counted == data.num_train
    where = "" if all_counted else f" in the {data.num_counted} masks that were looked at"
    absent = [each.name for each in data.classes if not each.pixels]
    if absent:
        found.append(
            f"no pixel of {first_names(absent, MOST_NAMED)}{where}: the model will not know it."
        )
    hopeless = [f"{each.name} ({each.pixels})" for each in data.shown if each.is_hopeless]
    if hopeless:
        one = data.shown[[each.is_hopeless for each in data.shown].index(True)].name
        found.append(
            f"too few pixels{where} to learn {first_names(hopeless, MOST_NAMED)} from: label more, or leave such a "
            f"class out with 'data.ignore=[{one}]'; its IoU of about 0 counts in the mean."
        )
    if 0 < data.num_deep < len(data.sizes):
        found.append(
            f"{data.num_deep} of {len(data.sizes)} images have more than 8 bits, the others 8: see the range of "
            "values above, if one was measured."
        )
    if data.ignored > 0.5:
        found.append(
            f"{100 * data.ignored:.0f} % of the pixels of the masks have no label; no score counts them."
        )
    if recipe.training.iterations * recipe.training.batch_size < data.num_train:
        share = recipe.training.iterations * recipe.training.batch_size / data.num_train
        found.append(
            f"the time is too short for one pass over the images: {100 * share:.0f} % of them are seen once. Give more "
            "--minutes for a better model."
        )
    return [f"note: {each}" for each in found]


def _ends(data: DataFacts) -> tuple[str, str]:
    by_share = sorted(data.shown, key=lambda each: each.share)
    return by_share[-1].name, by_share[0].name


def _percent(data: DataFacts, name: str) -> str:
    share = next(each.share for each in data.classes if each.name == name)
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]:,} x {size[0]:,}"


def remarks(recipe: Recipe) -> dict[str, str]:
    """What is said beside single fields of the recipe."""
    return {
        "data.source": "another place of the same data may be given with --data",
        "data.train_split": "a split of the data set, or a list of its images",
        "data.augment.crop_size": "(height, width) in pixels",
        "data.augment.base_size": "(long, short) side to scale to; null: images at their own size",
        "inference.resize": "the same in prediction",
        "optimizer.lr": f"the backbone's; of the head {recipe.optimizer.head_lr_ratio:g} times as much",
        "optimizer.lr_ratios": "the blocks that the queries go through, over the backbone's",
        "training.iterations": "what the time allows on the machine where it was chosen",
    }
