"""What a published row needs before its training begins: data, weights, device hours and memory, each in a line."""

from __future__ import annotations

from collections.abc import Iterator

from vitseg.studies.reproduce.costs import Costs, count_costs, kept_bytes
from vitseg.studies.reproduce.data_set import find_data_set
from vitseg.studies.reproduce.weights import weights_line
from vitseg.training.published import PublishedRow
from vitseg.training.recipe import Recipe
from vitseg.training.recipe_shelf import ShelfRecipe

PACE = 50e12
"""Operations per second that a training does on an A100, assumed, not measured: a sixth of its peak in bf16."""

PUBLISHED_PACE = 5e12
"""The same by the only published time: thesis, table 5.1, 12.0 hours on 8 A100 for 160,000 iterations of 16 crops of
512 x 512 through a ViT-B of 109.9 GMACs, trained in float32."""

_OPERATIONS = 2
"""In a multiply-add."""

_PASSES = 3
"""Multiply-adds of a step over those of its forward pass: gradients of inputs and of weights are as many each."""


def needs(shown: ShelfRecipe, recipe: Recipe) -> Iterator[str]:
    """What a row needs, a line for each matter.

    Args:
        shown: The recipe as the shelf has it.
        recipe: The run, with what the user has changed.
    """
    classes = shown.figures.classes
    assert classes is not None, f"{shown.name} has no row in the table of figures"
    costs = count_costs(recipe, classes, recipe.data.augment.crop_size)
    yield f"{shown.name}: {shown.about.partition(' Data: ')[0]}"
    yield from published_lines(shown.published, shown.figures.measured)
    yield f"data: {_data(shown.name, recipe)}"
    yield f"weights: {weights_line(recipe.model.backbone)}"
    yield f"time: {_time(recipe, costs)}"
    yield f"memory: {_memory(recipe, costs, kept_bytes(recipe, classes))}"


def published_lines(row: PublishedRow | None, measured: float | None) -> Iterator[str]:
    """What is published of a recipe, where, and what the source leaves open.

    Args:
        row: The published row; None: there is none.
        measured: What was measured here by the short protocol, in percent; None: nothing.
    """
    if row is None:
        recorded = (
            "" if measured is None else f" Recorded here by the short protocol: {measured} mIoU."
        )
        yield f"published: nothing.{recorded}"
        return
    stated = (
        ("{:g} mIoU at one scale", row.miou),
        ("{:g} at several scales with flips", row.miou_multi_scale),
        ("{:g} M parameters", row.parameters_m),
        ("{:g} GMACs", row.gmacs),
        ("{:g} M parameters counted on the authors' code", row.code_parameters_m),
        ("{:g} GMACs counted on the authors' code", row.code_gmacs),
    )
    facts = ", ".join(words.format(value) for words, value in stated if value is not None)
    yield f"published: {facts} ({row.source})"
    if row.unsaid:
        yield f"not said there: {row.unsaid}"
    if row.differs:
        yield f"another size here: {row.differs}"


def _data(name: str, recipe: Recipe) -> str:
    data = recipe.data
    found = find_data_set(name.partition("/")[0], (data.train_split, data.val_split))
    if found is None:
        return "your own, as --data NAME:ROOT"
    counts = " and ".join(
        f"{split} ({'unknown' if count is None else f'{count:,} images'})"
        for split, count in found.images.items()
    )
    return f"{found.name}, its splits {counts}; {found.licence}. To get it: {found.source}"


def _time(recipe: Recipe, costs: Costs) -> str:
    training, (height, width) = recipe.training, recipe.data.augment.crop_size
    crops = training.iterations * training.batch_size
    what = f"{training.iterations:,} iterations of {training.batch_size} crops of {height} x {width} pixels"
    if costs.gmacs is None:
        return f"{what}; how much is computed depends on the images"
    passes = 1 if training.freeze_backbone else _PASSES
    operations = costs.gmacs * 1e9 * _OPERATIONS * passes * crops
    fast, slow = (_hours(operations / pace / 3600) for pace in (PACE, PUBLISHED_PACE))
    return (
        f"{what}, {_power_of_ten(operations)} operations: an estimate is {fast} on an A100 at {PACE / 1e12:g} "
        f"TFLOP/s, a sixth of its peak in bf16; at {PUBLISHED_PACE / 1e12:g} TFLOP/s, the pace of the only published "
        f"time (thesis, table 5.1, float32), {slow}. Validations are not in it"
    )


def _memory(recipe: Recipe, costs: Costs, kept: int | None) -> str:
    batch = recipe.training.batch_size
    copies = 4 if recipe.optimizer.kind == "adamw" else 3
    own = f"{_size(4 * copies * costs.parameters)} for weights, gradients and the optimiser"
    if kept is None:
        return f"{own}; what a crop takes depends on the image"
    return (
        f"{own}, and for the network's features {_size(kept)} a crop in float32, {_size(batch * kept)} for "
        f"the whole batch, about half in bf16; the loss comes on top. Several GPUs share a batch "
        "(training.devices=N), backbone.gradient_checkpointing=true needs less"
    )


def _hours(hours: float) -> str:
    if hours >= 2:
        return f"{hours:,.0f} hours"
    return f"{60 * hours:.0f} minutes" if hours >= 1 / 30 else f"{3600 * hours:.0f} seconds"


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.0f} MB"


def _power_of_ten(number: float) -> str:
    mantissa, exponent = f"{number:.1e}".split("e")
    return f"{mantissa} x 10^{int(exponent)}"
