"""Options behind the question mark of a data set's root: `PLACE?key=value&...`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

from vitseg.data.format import home_expanded
from vitseg.data.mask_pose import MaskPose, parse_pose
from vitseg.errors import ConfigError, unknown_name


class RootOptions(NamedTuple):
    """A root, read.

    Attributes:
        place: What stands in front of the question mark; all of it where there is such a file.
        values: Values of the options that were given.
        others: Those of options that are not ours.
        classes: The class file of the option `classes`.
        masks: The pose of the option `masks`.
    """

    place: str
    values: dict[str, str]
    others: dict[str, str]
    classes: Path | None
    masks: MaskPose | None


def parse_root_options(
    text: str, options: Collection[str], form: str, urls_have_others: bool = False
) -> RootOptions:
    """Read a root; all from the question mark on may be left out.

    Args:
        text: What stands behind the colon of `NAME:ROOT`.
        options: Options that there are.
        form: How it is written, for the error.
        urls_have_others: Whether a URL may have other options, which are not ours.

    Raises:
        ConfigError: Another option, one without value, or a pose that is not known.
    """
    place, mark, query = text.partition("?")
    place = str(home_expanded(place)) if place.startswith("~") else place
    whole = str(home_expanded(text)) if text.startswith("~") else text
    if not mark or Path(whole).exists():
        return RootOptions(whole, {}, {}, None, None)
    given = dict(parse_qsl(query, keep_blank_values=True))
    values: dict[str, str] = {}
    others: dict[str, str] = {}
    for key, value in given.items():
        if key not in options:
            if not (urls_have_others and "://" in place):
                raise ConfigError(unknown_name("option", key, options))
            others[key] = value
            continue
        if not value:
            raise ConfigError(f"{text!r} gives {key} no value.")
        values[key] = value
    if not place or not given:
        raise ConfigError(f"{text!r} is not written {form}.")
    classes = home_expanded(values["classes"]) if "classes" in values else None
    try:
        pose = parse_pose(values["masks"]) if "masks" in values else None
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}.") from error
    return RootOptions(place, values, others, classes, pose)
