"""How other tools spell a list of classes: their files, and the shapes of JSON and YAML that they write.

Whatever the spelling, the result is the content of a `ClassFile`: `classes`, and `palette` where there are colours.
What cannot be read raises a ValueError that quotes the value and says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitseg import parsing
from vitseg.annotations.labelme import IGNORED
from vitseg.data.class_tables import (
    COLOR_KEYS,
    HEX,
    ID_KEYS,
    NAME_KEYS,
    by_id,
    id_key,
    is_number,
    name_key,
    read_table,
)
from vitseg.data.listing import read_text

_ALIASES = {
    "classes": ("names", "class_names", "labels", "categories", "id2label", "label2id"),
    "palette": ("colors", "colours"),
}
_NUMBERS = re.compile(
    r"\s*(?:rgb\s*)?[(\[]?\s*(\d+)\s*[,;\s]\s*(\d+)\s*[,;\s]\s*(\d+)\s*[)\]]?\s*", re.IGNORECASE
)

OTHER_FIELDS = (
    "palette", "ignore_index", "merge", "ignore", "masks", "value_range", "bands", "extra_images",
)  # fmt: skip
"""The fields of a `ClassFile` beside `classes`."""

NOTHING = (None, "", "~", "null", "Null", "NULL", "None", "none")
"""Values of a field that is left empty."""


def read_json(path: Path) -> Any:
    """`classes.json` and its like."""
    return as_content(parsing.parse_json(read_text(path)))


def read_yaml(path: Path) -> Any:
    """The same as YAML; keys of image folders, which some tools write beside the classes, are left to others."""
    content = parsing.parse_yaml(read_text(path), as_text=True)
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in _FOLDER_KEYS}
    return as_content(content)


_FOLDER_KEYS = ("path", "train", "val", "test", "nc", "download", "roboflow")


def read_names(path: Path) -> Any:
    """One name a line, in the order of ids; lines that begin with # are comments.

    labelme's first line `__ignore__` is the id -1, so that the next line is the class 0. Where every line begins with a
    number of its own (`0 road`, `3: sky`), these are the ids.
    """
    lines = _lines(path)
    if lines[:1] == [IGNORED]:
        return {"classes": lines[1:]}
    numbered = [re.fullmatch(r"(\d{1,5})\s*[:=,;\t .)-]\s*(\S.*)", line) for line in lines]
    ids = [found.group(1) for found in numbered if found]
    if len(lines) > 1 and len(ids) == len(lines) == len(set(map(int, ids))):
        return {"classes": {int(found.group(1)): found.group(2) for found in numbered if found}}
    return {"classes": lines}


def read_labels_txt(path: Path) -> Any:
    """`labels.txt`: one name a line, or with colours as in `label_colors.txt`."""
    lines = _lines(path)
    if lines and all(_color_and_name(line) for line in lines):
        return read_label_colors(path)
    return read_names(path)


def read_label_map(path: Path) -> Any:
    """`name:r,g,b:parts:actions`, as CVAT writes it for masks, or `r g b name`, as it does for CamVid.

    A label without colour has the one that Pascal VOC gives to its number, as in CVAT.
    """
    lines = _lines(path)
    if lines and all(_color_and_name(line) for line in lines):
        return read_label_colors(path)
    entries = [line.split(":") for line in lines]
    if any(len(entry) < 2 for entry in entries):
        raise ValueError("every line must be name:r,g,b:parts:actions")
    return {
        "classes": [entry[0].strip() for entry in entries],
        "palette": [entry[1].strip() or voc_color(at) for at, entry in enumerate(entries)],
    }


def read_label_colors(path: Path) -> Any:
    """`label_colors.txt`: `r g b name` a line, as CamVid has it; the name may also go first."""
    entries = [_color_and_name(line) for line in _lines(path)]
    if not entries or not all(entries):
        raise ValueError("every line must be the colour and the name: 128 64 128 road")
    pairs = [entry for entry in entries if entry is not None]
    return {"classes": [name for _, name in pairs], "palette": [color for color, _ in pairs]}


def _color_and_name(line: str) -> tuple[list[str], str] | None:
    found = re.fullmatch(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,:]+(\S.*)", line)
    if found is not None:
        return list(found.groups()[:3]), found.group(4).strip()
    found = re.fullmatch(r"(\S.*?)[\s,:]+(\d+)[\s,]+(\d+)[\s,]+(\d+)", line)
    return None if found is None else (list(found.groups()[1:]), found.group(1).strip())


def _lines(path: Path) -> list[str]:
    """The lines that are neither blank nor comments."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    return [line for line in lines if line and not re.match(r"#(?![0-9a-fA-F]{6}\b)", line)]


def voc_color(number: int) -> list[int]:
    """The colour that Pascal VOC's table has for a number: its bits, spread over the high bits of the channels."""
    channels = [0, 0, 0]
    for shift in range(7, -1, -1):
        for channel in range(3):
            channels[channel] |= (number >> channel & 1) << shift
        number >>= 3
    return channels


def read_csv(path: Path) -> Any:
    """A table of names and perhaps ids and colours, see `class_tables`; or lines as in `label_colors.txt`."""
    lines = _lines(path)
    blanks = lines and not any(sign in line for line in lines for sign in ",;\t")
    if blanks and all(_color_and_name(line) for line in lines):
        return read_label_colors(path)
    return read_table(read_text(path))


CLASS_FILES: dict[str, Callable[[Path], Any]] = {
    "classes.json": read_json,
    "classes.yaml": read_yaml,
    "classes.txt": read_names,
    "class_dict.csv": read_csv,
    "labelmap.txt": read_label_map,
    "classes.yml": read_yaml,
    "classes.csv": read_csv,
    "_classes.csv": read_csv,
    "label_colors.txt": read_label_colors,
    "class_names.txt": read_names,
    "labels.txt": read_labels_txt,
    "id2label.json": read_json,
}
"""Names under which a class file is looked for, in this order."""

BY_SUFFIX = {
    ".json": read_json,
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".txt": read_labels_txt,
    ".csv": read_csv,
    ".names": read_names,
}
"""Suffixes of class files of any other name."""


def as_content(value: Any) -> Any:
    """The fields of a `ClassFile` from the shapes in which JSON and YAML files list classes.

    A list of names; a list of objects with a name and perhaps an id and a colour (CVAT, Supervisely, COCO's
    categories); id -> name (`id2label`); name -> id (`label2id`); name -> colour; or an object with one of these as
    `classes`, `names`, `labels` or `categories`.
    """
    if isinstance(value, list):
        return _as_classes({"classes": value})
    if not isinstance(value, Mapping):
        return value
    content = dict(value)
    lower = {str(key).lower(): key for key in content}
    for field, aliases in _ALIASES.items():
        given = [lower[name] for name in (field, *aliases) if name in lower]
        if "id2label" in given and "label2id" in given:  # the same twice, as transformers writes it
            given.remove("label2id")
            del content["label2id"]
        if len(given) == 1 and given[0] != field:
            content[field] = content.pop(given[0])
    if content and "classes" not in content and not content.keys() <= set(OTHER_FIELDS):
        whole = all(is_number(key) for key in content) or all(map(_is_color, content.values()))
        if whole or all(is_number(each) for each in content.values()):
            content = {"classes": content}
    return _as_classes(content)


def _as_classes(content: dict[str, Any]) -> dict[str, Any]:
    """The content with `classes` as a list of names, or as id -> name."""
    classes = content.get("classes")
    if isinstance(classes, list) and classes and all(isinstance(each, Mapping) for each in classes):
        return content | _of_entries(classes)
    if isinstance(classes, Mapping) and classes and not any(map(is_number, classes)):
        values = list(classes.values())
        if all(is_number(each) for each in values):  # name -> id
            return content | {"classes": {int(raw): name for name, raw in classes.items()}}
        if all(map(_is_color, values)) and "palette" not in content:  # name -> colour
            return content | {"classes": list(classes), "palette": values}
    return content


def _of_entries(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Names, ids and colours of classes that are objects."""
    lower = [{str(key).lower(): value for key, value in entry.items()} for entry in entries]

    def given(keys: Sequence[str]) -> list[Any] | None:
        found = [next((entry[key] for key in keys if key in entry), None) for entry in lower]
        return None if any(value is None for value in found) else found

    columns = {
        key: [entry[key] for entry in lower] for key in lower[0] if all(key in e for e in lower)
    }
    key_of_names = name_key(columns)
    names = given(NAME_KEYS) if key_of_names is None else columns[key_of_names]
    if names is None or any(name is None for name in names):
        raise ValueError(
            f"classes: {str(entries[0])[:80]} came, but each class that is an object needs a name"
        )
    content: dict[str, Any] = {"classes": names}
    colors = given(COLOR_KEYS)
    if colors is not None:
        content["palette"] = colors
    key_of_ids = id_key(columns, {key_of_names or "", *COLOR_KEYS})
    ids = given(ID_KEYS) if key_of_ids is None else columns[key_of_ids]
    return content if ids is None or not all(map(is_number, ids)) else by_id(ids, content)


def _is_color(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) == 3 and all(map(is_number, value))
    return isinstance(value, str) and bool(_NUMBERS.fullmatch(value) or HEX.fullmatch(value))


def as_color(value: Any, place: str) -> Any:
    """A colour as three numbers: from a list, from `#804080`, or from `128,64,128`.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(value, str):
        numbers, digits = _NUMBERS.fullmatch(value), HEX.fullmatch(value.strip())
        if numbers is not None:
            value = list(numbers.groups())
        elif digits is not None:
            text = digits.group(1) or digits.group(2)
            text = "".join(2 * each for each in text) if len(text) == 3 else text
            value = [int(text[at : at + 2], 16) for at in (0, 2, 4)]
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ValueError(
            f"{place}: {value!r} came, but a colour is three whole numbers from 0 to 255, [128, 64, 128], or #804080"
        )
    for at, channel in enumerate(value):
        if not is_number(channel) or not 0 <= int(channel) <= 255:
            raise ValueError(
                f"{place}.{at}: {channel!r} came, but a colour is three whole numbers from 0 to 255"
            )
    return tuple(int(channel) for channel in value)
