"""What a foreign checkpoint says beside its weights: names and colours of its classes, and its licence.

mmsegmentation keeps the names in `meta` as CLASSES and PALETTE (version 0) or in its `dataset_meta` (version 1), other
trainings in their hyperparameters; the transformers library has `id2label` in the config.json beside the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from vitseg import parsing
from vitseg.classes import ClassTable, generated_palette

PLACES = ("meta", "dataset_meta", "metadata", "hyper_parameters", "hparams")
"""Entries that are searched, within each other."""

NAMES = ("classes", "class_names", "id2label", "names")
PALETTES = ("palette", "colors", "colours")
LICENSES = ("license", "licence")

_PLACEHOLDER = re.compile(r"LABEL_\d+")
"""What the transformers library writes where nobody has named a class."""

_DEPTH = 3
_LONGEST = 10_000


class FileFacts(NamedTuple):
    """What a file says of its model.

    Attributes:
        names: Of its classes, in index order; None: it names none.
        palette: Colours of its classes; None: it has none, or none that can be read.
        license: Of its weights; None: it states none.
    """

    names: tuple[str, ...] | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None
    license: str | None = None

    def table(self, num_classes: int) -> ClassTable | None:
        """The class table of a model of so many classes; None where the names are not of it, or occur twice."""
        if self.names is None or len(self.names) != num_classes:
            return None
        palette = self.palette
        if palette is None or len(palette) != num_classes:
            palette = generated_palette(num_classes)
        try:
            return ClassTable(names=self.names, palette=palette)
        except ValidationError:
            return None


def read_facts(content: Mapping[str, Any], path: Path) -> FileFacts:
    """What a checkpoint and a config.json beside it say; whatever is not understood is passed over.

    Args:
        content: What the file holds.
        path: The file.
    """
    facts = FileFacts()
    for place in (*_places(content), *_places(_config_beside(path))):
        entries = {key.lower(): value for key, value in place.items() if isinstance(key, str)}
        names = next((n for key in NAMES if (n := _names(entries.get(key)))), None)
        if facts.names is None and names:
            colors = next((c for key in PALETTES if (c := _colors(entries.get(key)))), None)
            facts = facts._replace(names=names, palette=colors)
        terms = next((t for key in LICENSES if isinstance(t := entries.get(key), str) and t), None)
        if facts.license is None and terms:
            facts = facts._replace(license=" ".join(terms.split())[:300])
    return facts


def _places(content: Mapping[Any, Any], depth: int = 0) -> Iterator[Mapping[Any, Any]]:
    """The content, and the entries in it that may hold facts."""
    yield content
    if depth == _DEPTH:
        return
    for key, value in content.items():
        if isinstance(key, str) and key.lower() in PLACES and isinstance(value, Mapping):
            yield from _places(value, depth + 1)


def _config_beside(path: Path) -> Mapping[str, Any]:
    """The config.json of the transformers library in the folder of a file; empty: there is none."""
    try:
        config = parsing.read_json(path.parent / "config.json")
    except parsing.UnreadableError:
        return {}
    if not isinstance(config, dict) or "model_type" not in config:
        return {}
    return {"id2label": config.get("id2label")}


def _names(value: object) -> tuple[str, ...] | None:
    """Class names in index order: of a list, of a mapping from 0, 1, ... on, or of a text as JSON."""
    if isinstance(value, str):
        try:
            value = parsing.parse_json(value)
        except parsing.UnreadableError:
            return None
    if isinstance(value, Mapping):
        try:
            numbered = {int(key): name for key, name in value.items()}
        except (TypeError, ValueError):
            return None
        if sorted(numbered) != list(range(len(numbered))):
            return None
        value = [numbered[index] for index in range(len(numbered))]
    if not isinstance(value, list | tuple) or not 0 < len(value) <= _LONGEST:
        return None
    if not all(isinstance(name, str) and name.strip() for name in value):
        return None
    if all(_PLACEHOLDER.fullmatch(name) for name in value):
        return None
    return tuple(name.strip() for name in value)


def _colors(value: object) -> tuple[tuple[int, int, int], ...] | None:
    """RGB in [0, 255] of every class."""
    if isinstance(value, str):
        try:
            value = parsing.parse_json(value)
        except parsing.UnreadableError:
            return None
    if not isinstance(value, list | tuple):
        return None
    colors = []
    for color in value:
        if not isinstance(color, list | tuple) or len(color) != 3:
            return None
        if not all(isinstance(part, int) and 0 <= part <= 255 for part in color):
            return None
        colors.append((int(color[0]), int(color[1]), int(color[2])))
    return tuple(colors) or None
