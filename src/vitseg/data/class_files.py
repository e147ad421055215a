"""The file that names the classes of somebody's own masks, in the spellings that labelling tools write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vitseg.classes import IGNORE_INDEX, ClassTable, Color, generated_palette
from vitseg.data.class_file_places import (
    class_files_of,
    files_with,
    find_class_file,
    names_no_class,
)
from vitseg.data.class_spellings import BY_SUFFIX, CLASS_FILES, NOTHING, as_color
from vitseg.data.labels import MAX_ID, LabelTable
from vitseg.data.listing import sub_folders
from vitseg.data.mask_pose import KEY, MaskPose, parse_pose
from vitseg.errors import ConfigError, DataError, unknown_name
from vitseg.images.bands import Bands
from vitseg.images.value_range import ValueRange

USUAL_IGNORE_ID = 255

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
        default={},
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
        description="raw mask id of pixels that are ignored; a class listed at this id is no class of the model",
    )
    merge: dict[str, tuple[str, ...]] = Field(
        default={}, description="name of a joint class -> names of the classes that it joins"
    )
    ignore: tuple[str, ...] = Field(
        default=(), description="names of classes whose pixels are ignored"
    )
    masks: MaskPose = Field(
        default="upright",
        description="how masks lie where an image has an orientation tag: upright, as it is shown, or stored, as its "
        "pixels are stored",
    )
    value_range: tuple[float, float] | None = Field(
        default=None,
        description="values that are black and white in images of more than 8 bits, as [0, 3060]; a recipe may state "
        "others",
    )

    bands: Bands | None = Field(
        default=None,
        description="the bands that a model sees: all, numbers as [4, 3, 2, 8], names, or tables with value_range",
    )
    extra_images: tuple[str, ...] = Field(
        default=(), description="folders beside that of the images, with further bands of each"
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

    @field_validator("value_range")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if value is None else ValueRange.valid(*value)

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
        inside = [found[0] for name in sub_folders(root) if (found := class_files_of(root / name))]
        hint = f" There is {inside[0]}: is folder:{inside[0].parent} meant?" if inside else ""
        alone = next(filter(names_no_class, class_files_of(root)), None)
        missing = (
            f"{root / 'classes.json'} does not exist"
            if alone is None
            else f"{alone} has no classes"
        )
        raise DataError(
            f"{missing}. It names the classes in the order of ids: "
            f'{{"classes": ["road", "sky"]}}. Also read: {", ".join(list(CLASS_FILES)[1:])}.{hint}'
        )
    return labels_of(read_class_file(path), path, colors)


def declared(root: Path, *fields: str) -> ClassFile | None:
    """The first of the class files of a folder that has one of these fields; None: there is none.

    It need not name any class: annotations may do that themselves.

    Args:
        root: The folder, or a class file itself.
        fields: Names of fields.

    Raises:
        DataError: That file is malformed.
    """
    path = next(files_with(root, fields), None)
    return None if path is None else read_class_file(path, needs_classes=False)


def declared_range(root: Path) -> ValueRange | None:
    """The value range that a class file of a folder declares, or None; errors as for `declared`."""
    file = declared(root, "value_range")
    return None if file is None or file.value_range is None else ValueRange(*file.value_range)


def ignored_by(file: ClassFile, names: Sequence[str]) -> tuple[str, ...]:
    """The classes that a file ignores, by their names or by `ignore_index`."""
    at_index = [name for raw, name in file.classes.items() if raw == file.ignore_index]
    return tuple({*file.ignore, *(name for name in at_index if name in names)})


def read_class_file(path: Path, needs_classes: bool = True) -> ClassFile:
    """The content of a class file of any known name.

    Args:
        path: The file.
        needs_classes: Whether it has to name classes.

    Raises:
        DataError: It is missing or malformed, or names no classes.
    """
    reader = CLASS_FILES.get(path.name.lower()) or BY_SUFFIX.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is no class file. Known: {', '.join(CLASS_FILES)}.")
    if not path.exists():
        raise DataError(f"{path} does not exist.")
    try:
        content = reader(path)
    except ValueError as error:
        kind = "JSON " if path.suffix == ".json" else ""
        raise DataError(f"{path} is not a readable {kind}file: {error}.") from error
    try:
        return ClassFile.model_validate(_checked(content, needs_classes))
    except ValidationError as error:
        raise DataError(f"{path} is malformed: {_in_words(error)}.") from error
    except ValueError as error:
        raise DataError(f"{path} is malformed: {error}.") from error


def _checked(content: Any, needs_classes: bool) -> dict[str, Any]:
    """The content with names as text and colours as numbers.

    Raises:
        ValueError: A value is not what its field allows; the message quotes it.
    """
    if not isinstance(content, dict):
        raise ValueError(
            f'{str(content)[:80]!r} came, but a class file lists the classes: {{"classes": ["road", "sky"]}}'
        )
    fields = ClassFile.model_fields
    unknown = [str(key) for key in content if key not in fields]
    if unknown:
        raise ValueError(unknown_name("field of a class file", unknown[0], fields).rstrip("."))
    checked = dict(content)
    if needs_classes or "classes" in content:
        checked["classes"] = _names(content.get("classes"))
    palette = content.get("palette")
    if isinstance(palette, list | tuple | dict):
        numbered = palette if isinstance(palette, dict) else dict(enumerate(palette))
        checked["palette"] = {
            _number(raw, "palette"): as_color(color, f"palette.{raw}")
            for raw, color in numbered.items()
        }
    elif palette in NOTHING:
        checked.pop("palette", None)
    else:
        raise ValueError(
            f"palette: {palette!r} came, but it is a list with one colour per class, [[128, 64, 128], ...]"
        )
    ignored = content.get("ignore_index")
    if ignored in NOTHING:
        checked.pop("ignore_index", None)
    else:
        checked["ignore_index"] = _ignore_index(ignored)
    if KEY in content:
        checked[KEY] = parse_pose(content[KEY])
    for field in ("merge", "ignore", "value_range", "bands", "extra_images"):
        if content.get(field) in NOTHING:
            checked.pop(field, None)
    for field in ("ignore", "extra_images"):
        if isinstance(checked.get(field), str):
            checked[field] = [checked[field]]
    return checked


def _names(classes: Any) -> dict[int, str]:
    if not classes or not isinstance(classes, list | tuple | dict):
        what = "nothing" if classes is None else repr(classes)
        raise ValueError(
            f'classes: {what} came, but it is the list of names in the order of ids, ["road", "sky"], or ids with '
            'names, {"1": "road"}'
        )
    numbered = classes if isinstance(classes, dict) else dict(enumerate(classes))
    names: dict[int, str] = {}
    for key, value in numbered.items():
        raw = _number(key, "classes")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(
                f"classes.{key}: {value!r} came, but a name is text: put it into quotation marks"
            )
        name = str(value).strip()
        if not name:
            raise ValueError(f"classes.{key}: the name is empty, but each class needs one")
        if raw in names:
            raise ValueError(f"classes: the id {raw} comes twice, but each class has its own")
        names[raw] = name
    return names


def _number(value: Any, place: str) -> int:
    try:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError
        return int(value)
    except ValueError:
        raise ValueError(
            f"{place}: {str(value)[:40]!r} came as an id, but ids are whole numbers"
        ) from None


def _ignore_index(value: Any) -> int:
    try:
        number = _number(value, "ignore_index")
    except ValueError:
        raise ValueError(
            f"ignore_index: {value!r} came, but it is the mask value of pixels that count nowhere, from 0 to {MAX_ID}; "
            "names of classes that count nowhere are listed as ignore"
        ) from None
    if not 0 <= number <= MAX_ID:
        raise ValueError(
            f"ignore_index: {number} came, but a mask value is from 0 to {MAX_ID}; without ignore_index, 255 is ignored"
        )
    return number


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
        raise DataError(f"{path} is malformed: {_in_words(error)}.") from error
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


def _in_words(error: ValidationError) -> str:
    """What a validator found, in words of our own: our validators' sentence, or what came where."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "value_error":
        text = fault["msg"].removeprefix("Value error, ")
        return f"{place}: {text}" if place else text
    field = ClassFile.model_fields.get(place.partition(".")[0])
    about = "" if field is None else f", but it is the {field.description}"
    return f"{place}: {str(fault['input'])[:80]!r} came{about}"


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
        return table.merged(file.merge, ignored_by(file, table.classes.names)), rest
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
    taken = {name.lower().strip("_"): raw for raw, name in names.items()}  # labelme: _background_
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
