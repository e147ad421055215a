"""From the names in a class file to the labels of masks and annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from vitseg.classes import IGNORE_INDEX, ClassTable, Color
from vitseg.data.class_file import ClassFile, in_words, read_class_file
from vitseg.data.class_file_places import (
    class_files_of,
    files_with,
    find_class_file,
    names_no_class,
)
from vitseg.data.class_spellings import CLASS_FILES
from vitseg.data.labels import MAX_ID, LabelTable
from vitseg.data.listing import sub_folders
from vitseg.errors import ConfigError, DataError
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
        raise DataError(f"{path} is malformed: {in_words(error)}.") from error
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
