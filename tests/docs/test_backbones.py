"""The ledger of licences in docs/licences.md against what timm states."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import timm
import yaml

from tests.backbones.test_families import FAMILIES
from vitseg.backbones.create_pyramid import OTHERS
from vitseg.backbones.licences import is_non_commercial, licence_line, stated_licence

ROOT = Path(__file__).resolve().parents[2]
LEDGER = (
    (ROOT / "docs" / "licences.md").read_text().partition("## Licences of pretrained weights")[2]
)
ROWS = [
    (re.findall(r"`([^`]+)`", names), licence, use)
    for _, names, licence, use in re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", LEDGER, re.M
    )
    if "`" in names
]
PERMISSIVE = {"apache-2.0", "mit"}


def full_name(name: str) -> str:
    """With the tag of the weights that timm takes."""
    if "." in name:
        return name
    return f"{name}.{timm.get_pretrained_cfg(name).tag}"


def test_there_are_rows():
    assert len(ROWS) > 20
    assert sum("**" in use for *_, use in ROWS) >= 5


@pytest.mark.parametrize(("patterns", "licence", "use"), ROWS, ids=lambda value: str(value)[:40])
def test_a_row_says_what_timm_states(patterns, licence, use):
    for pattern in patterns:
        names = timm.list_pretrained(pattern)
        assert names, pattern
        assert {stated_licence(name) for name in names} == {licence}, pattern
    expected = "**no**" if is_non_commercial(licence) else "**conditions of its own**"
    assert use == ("yes" if licence in PERMISSIVE else expected)


def test_every_family_and_every_recipe_has_a_row():
    recipes = [yaml.safe_load(path.read_text()) for path in (ROOT / "recipes").rglob("*.yaml")]
    used = {recipe["backbone"]["name"] for recipe in recipes} - set(OTHERS) - {"test_vit"}
    patterns = [pattern for patterns, *_ in ROWS for pattern in patterns]
    for name in {*used, *FAMILIES.values()}:
        assert any(fnmatch(full_name(name), pattern) for pattern in patterns), name


def test_what_timm_does_not_know_is_left_to_the_model_card():
    assert stated_licence("mit_b0") is None
    assert licence_line("mit_b0").endswith("timm states no licence, see their model card")
    assert licence_line("vit_base_patch16_224.mae").endswith("as timm states: no commercial use")
