"""The file that names the classes of somebody's own masks, in the spellings that labelling tools write."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vitseg.classes import IGNORE_INDEX, ClassTable, Color, generated_palette
from vitseg.data.labels import MAX_ID, LabelTable
from vitseg.errors import ConfigError, DataError

USUAL_IGNORE_ID = 255
_MAX_NAMED = 3

_HINT = (
    "Do the masks belong to another class list? An id that should not count is named as ignore_index in "
    "classes.json."
)
_COLOR_HINT = (
    "Are the masks blurred (JPEG, resizing), or is a class missing from the class file? A colour that "
    "should not count gets a class that `ignore` names."
)


class ClassFile(BaseModel):
    """Content of `classes.json` or `classes.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: dict[int, str] = Field(
        min_length=1,
        description="raw mask id -> class name; a list of names stands for the ids 0, 1, ...",
    )
    palette: dict[int, Color] | None = Field(
        default=None,
        description="RGB in [0, 255] of every class, as a list in the order of `classes` or by raw id; "
        "generated if absent. It says what the colours of colour masks mean",
    )
    ignore_index: int | None = Field(
        default=None,
        ge=0,
        le=MAX_ID,
        description="raw mask id of pixels that count nowhere; a class listed at this id is no class of the model",
    )
    merge: dict[str, tuple[str, ...]] = Field(
        default={}, description="name of a joint class -> names of the classes that it joins"
    )
    ignore: tuple[str, ...] = Field(
        default=(), description="names of classes whose pixels count nowhere"
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _numbered(cls, value: Any) -> Any:
        return dict(enumerate(value)) if isinstance(value, list | tuple) else value

    @field_validator("classes")
    @classmethod
    def _ids_in_range(cls, value: dict[int, str]) -> dict[int, str]:
        wrong = [raw for raw in value if not 0 <= raw <= MAX_ID]
        if wrong:
            raise ValueError(f"ids must be from 0 to {MAX_ID}, but {wrong[0]} came")
        return dict(sorted(value.items()))

    @field_validator("palette", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return dict(enumerate(value)) if isinstance(value, list | tuple) else value

    def colors(self) -> dict[int, Color]:
        """Colour of every raw id.

        Raises:
            ValueError: There is not one colour for each class.
        """
        if self.palette is None:
            return dict(zip(self.classes, generated_palette(len(self.classes)), strict=True))
        if len(self.palette) != len(self.classes):
            raise ValueError(
                f"classes has {len(self.classes)} entries but palette has {len(self.palette)}: "
                "give one colour per class"
            )
        if set(self.palette) == set(self.classes):
            return dict(self.palette)
        if set(self.palette) == set(range(len(self.classes))):  # a list beside ids with gaps
            return {raw: self.palette[place] for place, raw in enumerate(self.classes)}
        raise ValueError("palette must be a list, or have the ids of classes")


def find_class_file(root: Path) -> Path | None:
    """The class file of a folder, if it has one: the first of `CLASS_FILES` that is there."""
    return next((root / name for name in CLASS_FILES if (root / name).is_file()), None)


def read_labels(root: Path, colors: bool = False) -> LabelTable:
    """The label table of the class file in a folder.

    Args:
        root: The folder, or the file itself.
        colors: Whether the masks hold colours rather than ids.

    Raises:
        DataError: There is no class file, it is malformed, or its colours are needed and missing or not distinct.
    """
    path = find_class_file(root) if root.is_dir() else root
    if path is None:
        raise DataError(
            f"{root / 'classes.json'} does not exist. It names the classes in the order of ids: "
            f'{{"classes": ["road", "sky"]}}. Also read: {", ".join(list(CLASS_FILES)[1:])}.'
        )
    return labels_of(read_class_file(path), path, colors)


def read_class_file(path: Path) -> ClassFile:
    """The content of a class file of any known name.

    Raises:
        DataError: It is missing or malformed.
    """
    reader = CLASS_FILES.get(path.name) or _BY_SUFFIX.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is no class file. Known: {', '.join(CLASS_FILES)}.")
    try:
        return ClassFile.model_validate(reader(path))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except ValidationError as error:
        raise DataError(f"{path} is malformed: {_one_line(error)}.") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        kind = "JSON " if path.suffix == ".json" else ""
        raise DataError(f"{path} is not a readable {kind}file: {text}.") from error


def labels_of(file: ClassFile, path: Path, colors: bool = False) -> LabelTable:
    """The label table of a class file's content; arguments and errors as for `read_labels`."""
    try:
        palette = file.colors()
        kept = [raw for raw in file.classes if raw != file.ignore_index]
        if not kept:
            raise ValueError("it lists no class beside the one at ignore_index: add the others")
        classes = ClassTable(
            names=tuple(file.classes[raw] for raw in kept),
            palette=tuple(palette[raw] for raw in kept),
        )
    except ValidationError as error:
        raise DataError(f"{path} is malformed: {_one_line(error)}.") from error
    except ValueError as error:
        raise DataError(f"{path} is malformed: {error}.") from error
    index_of = {raw: index for index, raw in enumerate(kept)}
    raw_names = dict(file.classes)
    if file.ignore_index is not None:
        index_of[file.ignore_index] = IGNORE_INDEX
        raw_names.setdefault(file.ignore_index, "ignore_index")
    if colors:
        labels = _by_color(file, path, palette, classes, index_of)
    else:
        if USUAL_IGNORE_ID not in index_of:
            index_of[USUAL_IGNORE_ID] = IGNORE_INDEX
            raw_names[USUAL_IGNORE_ID] = "usual ignore value"
        labels = LabelTable(classes, index_of, raw_names, hint=_HINT)
    try:
        return labels.merged(file.merge, file.ignore)
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error


def _by_color(
    file: ClassFile,
    path: Path,
    palette: Mapping[int, Color],
    classes: ClassTable,
    index_of: Mapping[int, int],
) -> LabelTable:
    """The table whose raw ids are colours."""
    if file.palette is None:
        raise DataError(
            f"{path} gives no colours, but the masks are colour masks: add a palette with one [R, G, B] per class."
        )
    packed = {raw: color[0] << 16 | color[1] << 8 | color[2] for raw, color in palette.items()}
    seen: dict[int, int] = {}
    for raw, color in packed.items():
        if color in seen:
            raise DataError(
                f"{path} gives {file.classes[seen[color]]!r} and {file.classes[raw]!r} the same colour "
                f"#{color:06x}: colour masks need distinct ones."
            )
        seen[color] = raw
    mapping = {color: index_of[raw] for raw, color in packed.items()}
    names = {color: file.classes[raw] for raw, color in packed.items()}
    return LabelTable(classes, mapping, names, colors=True, hint=_COLOR_HINT)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8-sig"))


def _read_yaml(path: Path) -> Any:
    """A mapping with the fields of `ClassFile`.

    Keys of image folders, which some tools write beside the classes, are left to the folders themselves.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in _FOLDER_KEYS}
    return content


def _read_names(path: Path) -> Any:
    """One name a line, in the order of ids."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return {"classes": [line.strip() for line in lines if line.strip()]}


def _read_color_csv(path: Path) -> Any:
    """`name,r,g,b` with a header line, as the CamVid copies and many others have it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if any(row)]
    if len(rows) < 2 or any(len(row) < 4 for row in rows):
        raise ValueError("it needs a header line and then name,r,g,b in every line")
    return {
        "classes": [row[0].strip() for row in rows[1:]],
        "palette": [[int(value) for value in row[1:4]] for row in rows[1:]],
    }


def _read_label_map(path: Path) -> Any:
    """`name:r,g,b:parts:actions`, as CVAT writes it; lines with # are comments."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    entries = [line.split(":") for line in lines if line.strip() and not line.startswith("#")]
    if any(len(entry) < 2 for entry in entries):
        raise ValueError("every line must be name:r,g,b:parts:actions")
    return {
        "classes": [entry[0] for entry in entries],
        "palette": [[int(value) for value in entry[1].split(",")] for entry in entries],
    }


_FOLDER_KEYS = ("path", "train", "val", "test")

CLASS_FILES: dict[str, Callable[[Path], Any]] = {
    "classes.json": _read_json,
    "classes.yaml": _read_yaml,
    "classes.txt": _read_names,
    "class_dict.csv": _read_color_csv,
    "labelmap.txt": _read_label_map,
}
"""Names under which a class file is looked for, in this order."""

_BY_SUFFIX = {".json": _read_json, ".yaml": _read_yaml, ".yml": _read_yaml, ".txt": _read_names}


def _one_line(error: ValidationError) -> str:
    faults = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        faults.append(f"{place}: {fault['msg']}" if place else fault["msg"])
    return "; ".join(faults[:_MAX_NAMED])


def read_labels_with_rest(path: Path) -> tuple[LabelTable, int]:
    """The label table of a class file whose annotations leave pixels out, and the raw id of such pixels.

    Such pixels are the class "background", see `names_to_labels`. Beside a palette, it is black unless the class file
    lists it with a colour.

    Raises:
        DataError: The file is missing or malformed.
    """
    file = read_class_file(path)
    try:
        colors = file.colors() if file.palette else {}
        table, rest = names_to_labels(file.classes)
        palette = [colors.get(raw, (0, 0, 0)) for raw in table.mapping]
        if colors:
            classes = ClassTable(names=table.classes.names, palette=tuple(palette))
            table = replace(table, classes=classes)
        ignored = {file.classes[file.ignore_index]} if file.ignore_index in file.classes else set()
        return table.merged(file.merge, tuple({*file.ignore, *ignored})), rest
    except (ValueError, DataError, ConfigError) as error:
        raise DataError(f"{path}: {error}") from error


def names_to_labels(
    names: Mapping[int, str], unlabelled: str = "background"
) -> tuple[LabelTable, int]:
    """The table of annotations that leave pixels out, and the raw id of such pixels.

    Pixels without annotation are the class `unlabelled`, which is class 0, unless the names have it already: the
    table's `rest`.

    Args:
        names: Raw id -> name of the annotated classes.
        unlabelled: Name of the class of pixels without annotation.

    Raises:
        DataError: Two classes have the same name, or a raw id is out of range.
    """
    twice = sorted(name for name, count in Counter(names.values()).items() if count > 1)
    if twice:
        raise DataError(f"class names must be unique, but these occur twice: {', '.join(twice)}.")
    taken = {name.lower(): raw for raw, name in names.items()}
    full = dict(sorted(names.items()))
    if unlabelled in taken:
        rest = taken[unlabelled]
    else:
        rest = 0 if 0 not in names else max(names) + 1
        full = {rest: unlabelled, **full}
    wrong = [raw for raw in full if not 0 <= raw <= MAX_ID]
    if wrong:
        raise DataError(
            f"class ids must be from 0 to {MAX_ID}, but {wrong[0]} came: number the classes anew."
        )
    mapping = {raw: index for index, raw in enumerate(full)}
    classes = ClassTable.from_names(tuple(full.values()))
    hint = "Is the annotation file complete?"
    return LabelTable(classes, mapping, full, hint=hint, rest=full[rest]), rest
