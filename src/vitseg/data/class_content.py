"""The fields of a class file before they are validated: what they allow, with errors that quote what came."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vitseg.data.class_spellings import NOTHING, as_color
from vitseg.data.labels import MAX_ID
from vitseg.data.mask_pose import KEY, parse_pose
from vitseg.errors import unknown_name


def checked_content(content: Any, fields: Collection[str]) -> dict[str, Any]:
    """The content with names as text and colours as numbers.

    Args:
        content: What the file holds.
        fields: Names of the fields of a class file.

    Raises:
        ValueError: A value is not what its field allows; the message quotes it.
    """
    if not isinstance(content, dict):
        raise ValueError(
            f'{str(content)[:80]!r} came, but a class file lists the classes: {{"classes": ["road", "sky"]}}'
        )
    unknown = [str(key) for key in content if key not in fields]
    if unknown:
        raise ValueError(unknown_name("field of a class file", unknown[0], fields).rstrip("."))
    checked = dict(content)
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
    for field in ("merge", "ignore"):
        if content.get(field) in NOTHING:
            checked.pop(field, None)
    if isinstance(checked.get("ignore"), str):
        checked["ignore"] = [checked["ignore"]]
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
