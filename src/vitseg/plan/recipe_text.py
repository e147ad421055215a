"""The recipe of a planned run as a file: what was chosen, with the reasons beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_WIDTH = 118


def recipe_text(recipe: Mapping[str, Any], head: Sequence[str], remarks: Mapping[str, str]) -> str:
    """The text of the file.

    Args:
        recipe: What it says.
        head: Lines above it, as comments.
        remarks: Dotted names of fields, each with what is said beside it.
    """
    lines = [
        part
        for line in head
        for part in textwrap.wrap(
            line, _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_long_words=False
        )
    ]
    path: list[str] = []
    for line in yaml.safe_dump(
        dict(recipe), sort_keys=False, allow_unicode=True, width=10**6
    ).splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        key, colon, _ = line.strip().partition(":")
        if colon and not line.lstrip().startswith("- "):
            path = [*path[:depth], key]
            remark = remarks.get(".".join(path))
            line += f"  # {remark}" if remark else ""
        lines.append(line)
    return "\n".join(lines) + "\n"
