"""Tables of classes (csv): which column has the names, which the ids, which the colours, with a header or without."""

from __future__ import annotations

import operator
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from vitseg import parsing

NAME_KEYS = (
    "name",
    "title",
    "label",
    "class",
    "class_name",
    "classes",
    "class_names",
    "names",
    "labels",
)
COLOR_KEYS = ("color", "colour", "rgb", "palette", "hex")
ID_KEYS = ("id", "index", "value", "pixel value", "class_id", "label_id")
_ID_LIKE = re.compile(
    r"(?<![a-z])(id|idx|index|code|value|number|num|no|nr|key|class|label|category)(?![a-z])"
)
_MOST_ID = 65535

HEX = re.compile(r"#?([0-9a-fA-F]{6}|[0-9a-fA-F]{3})|0x([0-9a-fA-F]{6})")

_Rows = Sequence[Sequence[str]]


class _Columns(NamedTuple):
    """The numbers of the columns; of colours there are three, or one of `#804080`, or none."""

    names: int
    ids: int | None
    colors: list[int]


def read_table(text: str) -> dict[str, Any]:
    """The fields of a class file from a table: `name,r,g,b`; `name,#804080`; `Pixel Value, Class`; `name`; and so on.

    The first line may name the columns. Without such a line, columns are told by what they hold: the first that is
    neither numbers nor colours has the names.

    Raises:
        ValueError: It is no table, or not clear.
    """
    text = "\n".join(line for line in text.splitlines() if not line.startswith("# "))
    first = text.lstrip().partition("\n")[0]
    delimiter = next((each for each in (",", ";", "\t") if each in first), ",")
    rows = parsing.parse_csv(text, delimiter)
    columns, body = _by_header(rows) or _by_content(rows) or _by_content(rows[1:]) or (None, rows)
    if columns is None:
        raise ValueError(
            "it needs a header line, such as name or name,r,g,b, and then these in every line"
        )
    names, ids, colors = columns
    widest = max(names, -1 if ids is None else ids, *colors, -1)
    if not body or any(len(row) <= widest for row in body):
        raise ValueError("it needs a header line and then name,r,g,b in every line")
    content: dict[str, Any] = {"classes": [row[names] for row in body]}
    if colors:
        content["palette"] = [
            [row[column] for column in colors] if len(colors) == 3 else row[colors[0]]
            for row in body
        ]
    if ids is not None:
        content = by_id([row[ids] for row in body], content)
    return content


def _by_header(rows: _Rows) -> tuple[_Columns, _Rows] | None:
    """The columns by the words of the first line; None if it does not name that of the names."""
    if not rows:
        return None
    head = [cell.lower() for cell in rows[0]]
    if any(is_number(cell) for cell in head):
        return None
    width = min(map(len, rows))
    cells = {key: [row[place] for row in rows[1:]] for place, key in enumerate(head[:width])}
    key_of_names = name_key(cells)
    if key_of_names is None:
        return None
    rgb = [
        next((place for place, cell in enumerate(head) if cell in (long, long[0])), None)
        for long in ("red", "green", "blue")
    ]
    one = next((head.index(key) for key in COLOR_KEYS if key in head), None)
    colors = [place for place in rgb if place is not None]
    if len(colors) != 3:
        colors = [] if one is None else [one]
    key_of_ids = id_key(cells, {key_of_names, *(head[place] for place in colors)})
    ids = None if key_of_ids is None else head.index(key_of_ids)
    return _Columns(head.index(key_of_names), ids, colors), rows[1:]


def name_key(columns: Mapping[str, Sequence[Any]]) -> str | None:
    """The key of the names of classes: a usual one, if there are several one that has not numbers alone.

    Args:
        columns: What each class has under every key, in lower case.
    """
    usual = [key for key in NAME_KEYS if key in columns]
    texts = [key for key in usual if not all(map(is_number, columns[key]))]
    return next(iter([*texts, *usual]), None)


def id_key(columns: Mapping[str, Sequence[Any]], others: Collection[str]) -> str | None:
    """The key of the ids of classes: a usual one, else one that sounds so and has distinct whole numbers.

    Args:
        columns: What each class has under every key, in lower case.
        others: Keys that have something else: names, colours.

    Raises:
        ValueError: There are numbers that may be ids, under a key that does not tell.
    """
    left = {key: values for key, values in columns.items() if key not in others}
    usual = next((key for key in ID_KEYS if key in left), None)
    if usual is not None:
        return usual
    counted = {key: values for key, values in left.items() if _may_be_ids(values)}
    words = {key: key.replace("_", " ") for key in counted if "train" not in key}
    known = next((key for key in words if _ID_LIKE.search(words[key])), None)
    if known is not None or not counted:
        return known
    key, values = next(iter(counted.items()))
    if list(map(int, values)) == list(range(len(values))):
        return None  # the places, which are the ids anyway
    raise ValueError(
        f"{key!r} has the numbers {', '.join(map(str, values[:3]))}, ...: if these are the ids of the classes, call it "
        "id; else leave it out"
    )


def _may_be_ids(values: Sequence[Any]) -> bool:
    """Whether values are ascending whole numbers that masks can hold."""
    if not values or not all(map(is_number, values)):
        return False
    numbers = list(map(int, values))
    return numbers[-1] <= _MOST_ID and all(map(operator.lt, numbers, numbers[1:]))


def _by_content(rows: _Rows) -> tuple[_Columns, _Rows] | None:
    """The columns by what they hold; None if that is not clear."""
    if not rows or not (width := min(map(len, rows))):
        return None
    cells = [[row[place] for row in rows] for place in range(width)]
    hexes = [place for place, each in enumerate(cells) if _are_colors(each)]
    numbers = [
        place
        for place, each in enumerate(cells)
        if place not in hexes and all(map(is_number, each))
    ]
    texts = [place for place in range(width) if place not in numbers and place not in hexes]
    if not texts:
        return (_Columns(1, 0, []), rows) if numbers == [0, 1] else None
    names = texts[0]
    ascending = [str(number) for number in range(len(rows))]
    counted = [place for place in numbers if cells[place] == ascending]
    # of four numbers, the one that counts the rows is the id
    rgb = _three([place for place in numbers if place not in counted[:1]], names)
    rgb = rgb or _three(numbers, names)
    if rgb is None and width >= 4 and names == 0 and is_number(rows[0][1]):
        rgb = [1, 2, 3]  # one of the numbers is none: it will be refused by its value
    colors = hexes[:1] if rgb is None else rgb
    left = [place for place in numbers if place not in colors]
    ids = left[0] if left and (len(left) == 1 or left[0] == 0) else None
    if ids is not None and len({int(cell) for cell in cells[ids]}) < len(rows):
        ids = None  # numbers of another kind
    if ids is None and not colors:
        return None  # names alone: whether the first line is one of them, nobody can tell
    return _Columns(names, ids, colors), rows


def _three(numbers: Sequence[int], names: int) -> list[int] | None:
    """The three columns of numbers that are the colour: right behind the name, or the last three before it."""
    behind = [place for place in numbers if place > names]
    if len(behind) >= 3 and behind[2] - behind[0] == 2:
        return behind[:3]
    before = [place for place in numbers if place < names]
    if len(before) >= 3 and before[-1] - before[-3] == 2:
        return before[-3:]
    return None


def _are_colors(cells: Sequence[str]) -> bool:
    """Whether a column has hex colours: with a #, or six digits of which some are no number's."""
    if not all(HEX.fullmatch(cell) for cell in cells):
        return False
    if all(cell.startswith(("#", "0x")) for cell in cells):
        return True
    return all(len(cell) == 6 for cell in cells) and any(
        cell.startswith("0") or not cell.isdigit() for cell in cells
    )


def by_id(ids: Sequence[Any], content: dict[str, Any]) -> dict[str, Any]:
    """The content with ids instead of places."""
    for raw in ids:
        if not is_number(raw):
            raise ValueError(f"classes: the id {raw!r} came, but an id is a whole number")
        if list(map(str, ids)).count(str(raw)) > 1:
            raise ValueError(f"classes: the id {raw} comes twice, but each class has its own")
    return {
        field: {int(raw): value for raw, value in zip(ids, values, strict=True)}
        for field, values in content.items()
    }


def is_number(value: Any) -> bool:
    """Whether a value is a whole number, or the text of one."""
    return type(value) is int or (
        isinstance(value, str) and re.fullmatch(r"\d{1,9}", value.strip()) is not None
    )
