"""The shelf of shipped recipes: what each is, what it costs and what it scored; read without torch."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vitseg import parsing
from vitseg.errors import ConfigError, unknown_name
from vitseg.training.published import PublishedRow, read_published
from vitseg.training.recipe_files import nearest, shipped_names, shipped_recipes, shipped_table

FIGURES = "figures.csv"
"""In the folder of the recipes; `benchmarks/recipe_figures.py` makes it."""


class Figures(NamedTuple):
    """What the table says of a recipe; None: unknown.

    Attributes:
        measured: mIoU in percent that was measured here, by the short protocol of docs/results.md.
        classes: Classes that the model is counted with.
        height: Of the crop that it is counted on, in pixels.
        width: Likewise.
        parameters_m: Parameters that a prediction uses, in 10^6.
        gmacs: Multiply-adds of one crop, in 10^9.
        memory_mb: Memory of predicting one crop in float32, weights included, in 10^6 bytes.
    """

    measured: float | None
    classes: int | None
    height: int | None
    width: int | None
    parameters_m: float | None
    gmacs: float | None
    memory_mb: float | None


class ShelfRecipe(NamedTuple):
    """A shipped recipe.

    Attributes:
        name: As `vitseg train` takes it: "camvid/segvit-vit_tiny".
        data: The data set that it is for; "folder" is one's own.
        method: A key of METHODS.
        backbone: Name of the backbone.
        about: What its header says, as one paragraph.
        figures: What it costs and what it scored here.
        published: What is published of it; None: nothing.
    """

    name: str
    data: str
    method: str
    backbone: str
    about: str
    figures: Figures
    published: PublishedRow | None

    @property
    def verb(self) -> str:
        """The command that runs it."""
        return "continual" if self.name.partition("/")[2].startswith("continual-") else "train"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        own = {**self._asdict(), "verb": self.verb}
        published = None if self.published is None else self.published._asdict()
        return {**own, "figures": self.figures._asdict(), "published": published}


def read_shelf(data: str | None = None, method: str | None = None) -> list[ShelfRecipe]:
    """The shipped recipes, by data set and name.

    Args:
        data: Of this data set alone.
        method: Of this method alone.

    Raises:
        ConfigError: No recipe is for that data set, or of that method.
    """
    figures = read_figures()
    shelf = [_read(name, figures) for name in shipped_names()]
    for kind, wanted, known in (
        ("data set with recipes", data, {recipe.data for recipe in shelf}),
        ("method with recipes", method, {recipe.method for recipe in shelf}),
    ):
        if wanted is not None and wanted not in known:
            raise ConfigError(unknown_name(kind, wanted, known))
    return [
        recipe
        for recipe in shelf
        if (data is None or recipe.data == data) and (method is None or recipe.method == method)
    ]


def find_shipped(name: str) -> tuple[ShelfRecipe, str]:
    """A shipped recipe by its name, with or without `recipes/` in front and `.yaml` behind, and its file's text.

    Raises:
        ConfigError: There is none of that name.
    """
    plain = name.removeprefix("recipes/").removesuffix(".yaml")
    if plain not in (names := shipped_names()):
        raise ConfigError(f"{name!r} is not a known shipped recipe. {nearest(plain, names)}")
    return _read(plain, read_figures()), _text(plain)


@functools.cache
def read_figures() -> Mapping[str, Figures]:
    """The table of figures, by the recipes' names; empty where there is none."""
    return {
        name: Figures(**{column: _number(text) for column, text in cells.items()})
        for name, cells in shipped_table(FIGURES).items()
    }


def _number(text: str) -> Any:
    if not text:
        return None
    return int(text) if text.isdecimal() else float(text)


def _text(name: str) -> str:
    return parsing.read_text(Path(shipped_recipes(), f"{name}.yaml"))


def _read(name: str, figures: Mapping[str, Figures]) -> ShelfRecipe:
    text = _text(name)
    stated = parsing.parse_yaml(_first_sections(text))
    unknown = Figures(**dict.fromkeys(Figures._fields))
    return ShelfRecipe(
        name=name,
        data=name.partition("/")[0],
        method=stated["method"],
        backbone=stated["backbone"]["name"],
        about=_about(text),
        figures=figures.get(name, unknown),
        published=read_published().get(name),
    )


def _first_sections(text: str) -> str:
    """A recipe up to the end of its backbone: parsing all of every file would take a second."""
    return re.split(r"(?m)^(?!#|method:|backbone:)(?=\S)", text, maxsplit=1)[0]


def _about(text: str) -> str:
    """The comment at the top, without the line that is a command."""
    lines = text.partition("\nmethod:")[0].splitlines()
    said = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return " ".join(line for line in said if line and not line.startswith("vitseg "))
