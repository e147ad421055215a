"""What a foreign checkpoint says beside its weights: names and colours of its classes, and its licence.

mmsegmentation keeps the names in `meta` as CLASSES and PALETTE (version 0) or in its `dataset_meta` (version 1), other
trainings in their hyperparameters; the transformers library has `id2label` in the config.json beside the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from vitseg import parsing
from vitseg.checkpoint.written_config import WrittenConfig, read_written_config
from vitseg.classes import ClassTable, generated_palette

PLACES = ("meta", "dataset_meta", "metadata", "hyper_parameters", "hparams")
"""Entries that are searched, within each other."""

NAMES = ("classes", "class_names", "id2label", "label2id", "names")
PALETTES = ("palette", "colors", "colours")
LICENSES = ("license", "licence")

_PLACEHOLDER = re.compile(r"LABEL_\d+")
"""What the transformers library writes where nobody has named a class."""

_HEX = re.compile(r"#[0-9a-fA-F]{6}")
_DEPTH = 3
_LONGEST_NAME = 200
_LONGEST = 10_000


Classes = tuple[tuple[str, ...], tuple[tuple[int, int, int], ...] | None]
"""Names and colours."""


class FileFacts(NamedTuple):
    """What a file says of its model.

    Attributes:
        names: Of its classes, in index order; None: it names none.
        palette: Colours of its classes; None: it has none, or none that can be read.
        others: Names and colours that other entries have.
        license: Of its weights; None: it states none.
        config: What it says of its crops and windows.
    """

    names: tuple[str, ...] | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None
    others: tuple[Classes, ...] = ()
    license: str | None = None
    config: WrittenConfig = WrittenConfig()

    def table(self, num_classes: int) -> ClassTable | None:
        """The class table of a model of so many classes; None where the names are not of it, or occur twice."""
        first = () if self.names is None else ((self.names, self.palette),)
        for names, palette in (*first, *self.others):
            if len(names) != num_classes:
                continue
            if palette is None or len(palette) != num_classes:
                palette = generated_palette(num_classes)
            try:
                return ClassTable(names=names, palette=palette)
            except ValidationError:
                continue
        return None


def read_facts(content: Mapping[str, Any], path: Path) -> FileFacts:
    """What a checkpoint and a config.json beside it say; whatever is not understood is passed over.

    Args:
        content: What the file holds.
        path: The file.
    """
    beside = _config_beside(path)
    facts = FileFacts(config=read_written_config(chain(_places(content), _places(beside))))
    for place in (*_places(content), *_places(beside)):
        entries = {key.lower(): value for key, value in place.items() if isinstance(key, str)}
        names = next((n for key in NAMES if (n := _names(entries.get(key)))), None)
        if names:
            colors = next((c for key in PALETTES if (c := _colors(entries.get(key)))), None)
            if facts.names is None:
                facts = facts._replace(names=names, palette=colors)
            else:
                facts = facts._replace(others=(*facts.others, (names, colors)))
        terms = next((t for key in LICENSES if isinstance(t := entries.get(key), str) and t), None)
        if facts.license is None and terms:
            facts = facts._replace(license=_printable(terms)[:300])
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
    return {key: config.get(key) for key in ("id2label", "image_size")}


def _names(value: object) -> tuple[str, ...] | None:
    """Class names in index order.

    Args:
        value: A list, of names or of entries with a name; a mapping of 0, 1, ... to names or the reverse; or a text:
            one of these as JSON, or names between commas or on lines.
    """
    if isinstance(value, str):
        try:
            value = parsing.parse_json(value)
        except parsing.UnreadableError:
            lines = value.splitlines() if "\n" in value.strip() else value.split(",")
            value = [line for line in lines if line.strip()]
            if len(value) == 1:  # a word may be the name of a data set as well
                return None
    if isinstance(value, Mapping):
        value = _in_order(value)
    if not isinstance(value, list | tuple) or not 0 < len(value) <= _LONGEST:
        return None
    names = [each.get("name") if isinstance(each, Mapping) else each for each in value]
    texts = [_printable(name) for name in names if isinstance(name, str)]
    if len(texts) < len(names) or not all(0 < len(name) <= _LONGEST_NAME for name in texts):
        return None
    if all(_PLACEHOLDER.fullmatch(name) for name in texts):
        return None
    return tuple(texts)


def _in_order(table: Mapping[Any, Any]) -> list[Any] | None:
    """The values of a table of 0, 1, ... by their keys, or its keys by such values."""
    if all(type(value) is int for value in table.values()):
        table = {value: key for key, value in table.items()}
    try:
        numbered = {int(key): value for key, value in table.items()}
    except (TypeError, ValueError):
        return None
    if sorted(numbered) != list(range(len(table))):
        return None
    return [numbered[index] for index in range(len(numbered))]


def _printable(text: str) -> str:
    """A text on one line, without what would steer a terminal."""
    return " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())


def _colors(value: object) -> tuple[tuple[int, int, int], ...] | None:
    """RGB in [0, 255] of every class."""
    if isinstance(value, str):
        try:
            value = parsing.parse_json(value)
        except parsing.UnreadableError:
            return None
    if isinstance(value, Mapping):
        value = _in_order(value)
    if not isinstance(value, list | tuple):
        return None
    colors = []
    for color in value:
        if isinstance(color, str) and _HEX.fullmatch(color):
            color = tuple(bytes.fromhex(color[1:]))
        if not isinstance(color, list | tuple) or len(color) != 3:
            return None
        if not all(type(part) is int and 0 <= part <= 255 for part in color):
            return None
        colors.append((int(color[0]), int(color[1]), int(color[2])))
    return tuple(colors) or None
