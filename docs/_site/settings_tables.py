"""The directive `settings`: what a recipe may say, from the configurations themselves.

    ```{settings} segvit
    ```

makes a table of the sections of a method; with the name of a recipe's section (`optimizer`), of that one.
"""

from __future__ import annotations

import types
import typing
from typing import Any

from docutils import nodes
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.util.docutils import SphinxDirective

from vitseg.methods import METHODS
from vitseg.training.recipe import Recipe

SHARED = ("backbone",)
"""Sections that many methods have: each has a table of its own."""


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True}


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The configurations that an annotation allows: itself, or those of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [model for part in typing.get_args(annotation) for model in models_in(part)]
    return []


def rows_of(model: type[BaseModel], prefix: str) -> list[tuple[str, str, str]]:
    """Name, default and description of all fields, those of nested sections too."""
    rows = []
    for name, field in model.model_fields.items():
        nested = models_in(field.annotation)
        if nested and name in SHARED and not prefix:
            continue
        if field.default is PydanticUndefined and field.default_factory is None:
            default = "required"
        elif isinstance(field.default, BaseModel) or field.default_factory is not None:
            default = ""
        else:
            default = shown(field.default)
        rows.append((f"{prefix}{name}", default, field.description or ""))
        for part in nested:
            rows += rows_of(part, f"{prefix}{name}.")
    unique = {row[0]: row for row in reversed(rows)}
    return [row for row in dict.fromkeys(rows) if unique.get(row[0]) == row]


def shown(value: Any) -> str:
    """As YAML has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(shown(item) for item in value)}]"
    return str(value)


def models_of(name: str) -> list[tuple[type[BaseModel], str]]:
    """The configurations of a method, or of a section of recipes, each with what stands in front of its fields."""
    if name in METHODS:
        return [(METHODS[name], "")]
    if name == "backbone":
        return [
            (model, "backbone.")
            for model in models_in(METHODS["segvit"].model_fields[name].annotation)
        ]
    return [(model, f"{name}.") for model in models_in(Recipe.model_fields[name].annotation)]


class Settings(SphinxDirective):
    """A table of fields."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        rows: dict[str, tuple[str, str, str]] = {}
        for model, prefix in models_of(self.arguments[0]):
            for row in rows_of(model, prefix):
                rows.setdefault(row[0], row)
        table = nodes.table(classes=["settings"])
        group = nodes.tgroup(cols=3)
        table += group
        for width in (30, 15, 55):
            group += nodes.colspec(colwidth=width)
        head, body = nodes.thead(), nodes.tbody()
        group += [head, body]
        head += row_of([nodes.Text("field"), nodes.Text("default"), nodes.Text("meaning")])
        for name, default, meaning in rows.values():
            value = (
                nodes.literal(text=default)
                if default not in ("", "required")
                else nodes.Text(default)
            )
            body += row_of([nodes.literal(text=name), value, nodes.Text(meaning)])
        return [table]


def row_of(cells: list[nodes.Node]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        entry = nodes.entry()
        entry += nodes.paragraph("", "", cell)
        row += entry
    return row
