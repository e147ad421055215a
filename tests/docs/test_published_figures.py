"""Figures on the pages of the methods against `recipes/published.csv`, the options against the configurations."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel

from tests.docs.pages import ROOT
from vitseg.methods import METHODS
from vitseg.prepare.table import PREPARATIONS
from vitseg.training.published import read_published
from vitseg.training.recipe import Recipe

DOCS = ROOT / "docs"
METHOD_OF = {"edges": "shrunk"}
WITH_OPTIONS = ("segvit", "shrunk", "edges", "dtop", "setr", "nrd", "semask")


def cells(text: str) -> list[list[str]]:
    """Rows of all tables."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_the_table_of_methods_has_the_published_figures():
    published = read_published()
    rows = [row for row in cells((DOCS / "methods" / "index.md").read_text()) if len(row) == 6]
    named = [(row[2], row[5].strip("`")) for row in rows if row[5].startswith("`")]
    assert len(named) >= 10
    for figure, recipe in named:
        assert float(figure) == published[recipe].miou, recipe


def test_the_readme_has_the_figures_of_that_table():
    whole = (DOCS / "methods" / "index.md").read_text() + (
        DOCS / "methods" / "continual.md"
    ).read_text()
    whole += (DOCS / "methods" / "dtop.md").read_text()
    readme = (
        (ROOT / "README.md").read_text().partition("## Methods")[2].partition("\nPublished are")[0]
    )
    figures = set(re.findall(r"\b\d\d\.\d+\b", readme))
    assert len(figures) > 15
    for figure in figures:
        assert re.search(rf"\b{re.escape(figure)}\b", whole), figure


def field_of(section: type[BaseModel], names: list[str]) -> bool:
    """Whether a configuration, or one of those that it may hold, has such a field."""
    field = section.model_fields.get(names[0])
    if field is None:
        return False
    if len(names) == 1:
        return True
    return any(field_of(model, names[1:]) for model in models_in(field.annotation))


def models_in(annotation) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in models_in(part)]


@pytest.mark.parametrize("page", WITH_OPTIONS)
def test_options_are_fields(page):
    text = (
        (DOCS / "methods" / f"{page}.md")
        .read_text()
        .partition("## Options")[2]
        .partition("\n## ")[0]
    )
    named = [
        name for row in cells(text) for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)", row[0])
    ]
    assert len(named) >= 4
    for name in named:
        names = name.split(".")
        assert field_of(METHODS[METHOD_OF.get(page, page)], names) or field_of(Recipe, names), name


def test_the_page_of_options_has_every_method():
    text = (DOCS / "options.md").read_text()
    assert set(re.findall(r"```\{settings\} (\w+)", text)) >= set(METHODS)


def test_the_ledger_has_the_terms_of_every_data_set():
    ledger = (DOCS / "licences.md").read_text()
    for name, preparation in PREPARATIONS.items():
        rows = [row for row in cells(ledger) if f"`{name}`" in row[0]]
        assert [row[1] for row in rows] == [preparation.licence], name
