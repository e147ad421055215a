"""A row of a table as it was reproduced, beside what is published of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from vitseg.changes import changed_fields
from vitseg.studies.reproduce.costs import count_costs
from vitseg.training.published import PublishedRow
from vitseg.training.recipe import Recipe
from vitseg.training.recipe_shelf import ShelfRecipe
from vitseg.types import Size

Reference = Literal["published", "recorded here"]
"""What a row is put beside: a paper's, or the score of the short protocol in docs/results."""


class Entry(NamedTuple):
    """One number of a row.

    Attributes:
        name: What it is, as JSON has it.
        label: The same for people.
        reference: As published or recorded; None: it is not.
        ours: As found; None: it could not be.
        digits: Digits behind the point that are shown.
    """

    name: str
    label: str
    reference: float | None
    ours: float | None
    digits: int = 2

    @property
    def difference(self) -> float | None:
        """Ours less the reference."""
        if self.reference is None or self.ours is None:
            return None
        return self.ours - self.reference

    def to_json(self) -> dict[str, float | None]:
        """Plain values."""
        return {"reference": self.reference, "ours": self.ours, "difference": self.difference}


class Scores(NamedTuple):
    """MIoU of the trained model in percent; None: not evaluated."""

    one_scale: float | None
    several_scales: float | None


def reference_of(shown: ShelfRecipe) -> Reference | None:
    """What a recipe's row is put beside; None: nothing is published or recorded."""
    if shown.published is not None:
        return "published"
    return None if shown.figures.measured is None else "recorded here"


def entries(shown: ShelfRecipe, recipe: Recipe, num_classes: int, scores: Scores) -> list[Entry]:
    """The numbers of a row.

    Parameters are those of the network that is trained, as papers count them, and multiply-adds those of the image that
    the published ones are of. Where nothing is published, what was counted on the authors' code stands in its place.

    Args:
        shown: The recipe as the shelf has it.
        recipe: The run.
        num_classes: Classes of its model.
        scores: What the trained model scores.
    """
    row, size = shown.published, size_of(shown.published, recipe.data.augment.crop_size)
    costs = count_costs(recipe, num_classes, size)
    miou = shown.figures.measured if row is None else row.miou
    several = None if row is None else row.miou_multi_scale
    found = [Entry("miou", "mIoU, one scale", miou, scores.one_scale)]
    if several is not None:
        found.append(
            Entry("miou_multi_scale", "mIoU, several scales", several, scores.several_scales)
        )
    return [
        *found,
        Entry("parameters_m", "parameters, 10^6", parameters_of(row), costs.parameters / 1e6),
        Entry("gmacs", f"GMACs of {size[0]} x {size[1]}", gmacs_of(row), costs.gmacs),
    ]


def size_of(row: PublishedRow | None, crop_size: Size) -> Size:
    """(height, width) of the image that published multiply-adds are of."""
    if row is None or row.height is None or row.width is None:
        return crop_size
    return row.height, row.width


def parameters_of(row: PublishedRow | None) -> float | None:
    """Parameters in 10^6 as published, else as counted on the authors' code."""
    if row is None:
        return None
    return row.parameters_m if row.parameters_m is not None else row.code_parameters_m


def gmacs_of(row: PublishedRow | None) -> float | None:
    """Multiply-adds in 10^9 as published, else as counted on the authors' code."""
    if row is None:
        return None
    return row.gmacs if row.gmacs is not None else row.code_gmacs


def changes(shipped: Recipe, recipe: Recipe) -> dict[str, Any]:
    """Fields in which a run is another than the shipped recipe, with its values; paths by their last name."""
    before, now = shipped.to_mapping(), recipe.to_mapping()
    public = recipe.without_paths().to_mapping()
    names = sorted(changed_fields(before, now) - {"data.source"})
    return {name: _value(public, name) for name in names}


def _value(mapping: Mapping[str, Any], dotted: str) -> Any:
    found: Any = mapping
    for part in dotted.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
