"""Whether a trained model, from which a training starts, is what the recipe trains, beyond names and shapes of weights.

Weights fit a model that reads other pixels, other blocks or with another epsilon as well: they would be computed with
otherwise than they were learnt.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from vitseg.errors import ConfigError, first_names
from vitseg.images.bands import Band, Bands
from vitseg.images.preprocess import Preprocessing
from vitseg.methods.method import MethodConfig
from vitseg.methods.model import SegmentationModel

SAME = 1e-3
"""Means and standard deviations that differ by less are the same ones, rounded."""

OF_TRAINING = {
    "backbone": {
        "pretrained", "weights", "weights_grid", "gradient_checkpointing", "drop_path", "frozen_stages",
    },
    "anywhere": {"init", "dropout", "auxiliary_dim", "masked_attention"},
}  # fmt: skip
"""Fields that say where weights come from, or act in training alone."""

OF_PIXELS = ("channels", "mean", "std")
"""Fields of a backbone that the normalisation has, too."""

OWN = ("loss", "pixel_loss", "edge_loss", "semantic_weight", "pruning")
"""Sections that a training has anew, whatever it starts from."""

MEANT = (
    "backbone.name", "backbone.output_stride", "shrink", "edges", "semantic", "tasks.presence_bias",
)  # fmt: skip
"""Fields and sections that are often meant to be others: what differs is told, and trained."""


def require_same_pixels(place: str, theirs: Preprocessing, ours: Preprocessing) -> None:
    """Refuse a trained model that saw pixels otherwise than it will be shown them.

    A range of values that only the recipe has is no difference: the model has seen images of 8 bits alone.

    Args:
        place: What the trained model is called.
        theirs: Normalisation of the trained model.
        ours: That of the recipe.

    Raises:
        ConfigError: Other bands, another range of values, another mean or standard deviation.
    """
    _require_same_bands(place, theirs.bands, ours.bands)
    if theirs.value_range is not None and theirs.value_range != ours.value_range:
        limits = list(theirs.value_range)
        own = None if ours.value_range is None else list(ours.value_range)
        raise ConfigError(
            f"{place} takes the values {limits} for black and white, but this recipe {own or 'states none'}: set "
            f"data.value_range={_written(limits)}."
        )
    for field in ("mean", "std"):
        model, recipe = getattr(theirs, field), getattr(ours, field)
        if not all(math.isclose(a, b, abs_tol=SAME) for a, b in zip(model, recipe, strict=True)):
            fix = (
                f"set backbone.mean={_written(theirs.mean)} backbone.std={_written(theirs.std)}"
                if ours.bands is None
                else f"give the bands in data.bands as tables, with mean {_written(theirs.mean)} and std "
                f"{_written(theirs.std)}"
            )
            raise ConfigError(
                f"{place} normalises images by {field} {_written(model)}, but this recipe by {_written(recipe)}: {fix}."
            )


def _require_same_bands(place: str, theirs: Bands | None, ours: Bands | None) -> None:
    if theirs is None or ours is None:
        colors = [_colors(bands) for bands in (theirs, ours)]
        if colors[0] == colors[1]:
            return
    elif theirs.num_channels == ours.num_channels and all(
        map(_is_same_band, theirs.chosen, ours.chosen)
    ):
        for model, recipe in zip(theirs.chosen, ours.chosen, strict=True):
            _require_same_range(place, model, recipe)
        return
    model, recipe = (
        "red, green and blue" if bands is None else f"the bands {bands.words}"
        for bands in (theirs, ours)
    )
    fix = (
        "leave data.bands out, or say in its tables which of them has which color"
        if theirs is None
        else "choose the model's in data.bands"
    )
    raise ConfigError(f"{place} sees {model}, but this recipe {recipe}: {fix}.")


def _require_same_range(place: str, theirs: Band, ours: Band) -> None:
    if theirs.value_range not in (None, ours.value_range):
        own = "none" if ours.value_range is None else _written(ours.value_range)
        raise ConfigError(
            f"{place} takes the values {_written(theirs.value_range)} of band {theirs.words} for black and white, but "
            f"this recipe {own}: give it as a table in data.bands, with the model's value_range."
        )


def _colors(bands: Bands | None) -> list[str | None]:
    return ["red", "green", "blue"] if bands is None else [band.color for band in bands.chosen]


def _is_same_band(theirs: Band, ours: Band) -> bool:
    """By name where both have one: another data set may have it elsewhere."""
    by_name = theirs.name is not None and ours.name is not None
    return theirs.name == ours.name if by_name else theirs.number == ours.number


def compare_architectures(
    place: str,
    theirs: tuple[MethodConfig, SegmentationModel],
    ours: tuple[MethodConfig, SegmentationModel],
) -> str | None:
    """Refuse a trained model whose weights would be computed with otherwise, where no parameter tells.

    Where one of two says a value and the other leaves it to what it follows from, or where a difference is often meant
    (`MEANT`, and what the method declares), it is told.

    Args:
        place: What the trained model is called.
        theirs: Configuration of the trained model, and the model.
        ours: Those of the recipe.

    Returns:
        A warning that names what differs and is trained on; None: nothing does.

    Raises:
        ConfigError: A field that shapes predictions has another value.
    """
    method = type(ours[0])
    model, recipe = (dict(_shaping(one[0])) for one in (theirs, ours))
    differing = [
        name for name in sorted(model.keys() | recipe.keys()) if model.get(name) != recipe.get(name)
    ]
    epsilons = [_epsilons(one[1]) for one in (theirs, ours)]
    if epsilons[0] == epsilons[1]:  # null is the model's own
        differing = [name for name in differing if name != "backbone.norm_eps"]
    meant = (*MEANT, *method.movable_fields)
    refused = [
        name
        for name in differing
        if not _is_within(name, meant)
        and (name == "backbone.norm_eps" or None not in (model.get(name), recipe.get(name)))
    ]
    if refused:
        has = " and ".join(f"{name} {_written(model.get(name))}" for name in refused)
        own = " and ".join(_written(recipe.get(name)) for name in refused)
        fix = " ".join(f"{name}={_written(model.get(name))}" for name in refused)
        raise ConfigError(f"{place} has {has}, but this recipe {own}: set {fix}.")
    if not differing:
        return None
    told = [
        f"{name} ({_written(model.get(name))} in the model, {_written(recipe.get(name))} here)"
        for name in differing
    ]
    return f"{place} differs in {first_names(told)}: it is trained on as this recipe says."


def _shaping(config: MethodConfig) -> Iterator[tuple[str, Any]]:
    """The fields by which predictions are made, by their dotted names."""
    for section, value in config.model_dump(mode="json").items():
        if section not in OWN:
            yield from _leaves(section, value, section == "backbone")


def _leaves(name: str, value: Any, of_backbone: bool) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, Mapping):
        yield (
            name,
            str(value).partition(".")[0] if name == "backbone.name" else value,
        )  # less its tag
        return
    for field, inner in value.items():
        silent = OF_TRAINING["anywhere"]
        if of_backbone:
            silent = OF_TRAINING["backbone"].union(OF_PIXELS)
        if field not in silent:
            yield from _leaves(f"{name}.{field}", inner, of_backbone)


def _is_within(name: str, places: tuple[str, ...]) -> bool:
    """Whether a field is one of some, or in a section of them; numbers in its name are those of a list."""
    plain = ".".join(part for part in name.split(".") if not part.isdigit())
    return any(plain == place or plain.startswith(f"{place}.") for place in places)


def _epsilons(model: SegmentationModel) -> set[float]:
    return {part.eps for part in model.backbone.modules() if isinstance(part, nn.LayerNorm)}


def _written(value: Any) -> str:
    """As an override has it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
