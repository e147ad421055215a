"""What stands behind `parquet:` and `webdataset:`: a folder or a URL, and what of the shards is meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from vitseg.data.format import home_expanded
from vitseg.data.mask_pose import MaskPose, parse_pose
from vitseg.errors import ConfigError, unknown_name

OPTIONS = ("image", "mask", "id", "classes", "masks")


class ShardRoot(NamedTuple):
    """A folder of shards.

    Attributes:
        place: Path or URL.
        image: Column of the images, or suffix of these in tar files; None to find it.
        mask: The same of masks.
        id: Column of the ids; None: `id` where there is one, else numbers.
        classes: The class file; None for one in the folder.
        masks: How masks lie on images with an orientation tag; None: as the shards or the class file say.
    """

    place: str
    image: str | None = None
    mask: str | None = None
    id: str | None = None
    classes: Path | None = None
    masks: MaskPose | None = None


def parse_shard_root(text: str, options: Sequence[str] = OPTIONS) -> ShardRoot:
    """Read `PLACE?image=...&mask=...&classes=FILE`; all from the question mark on may be left out.

    Other options of a URL are those of its object store.

    Args:
        text: What stands behind the colon.
        options: Options that there are.

    Raises:
        ConfigError: Another option, one without value, or a pose that is not known.
    """
    place, mark, query = text.partition("?")
    place = str(home_expanded(place)) if place.startswith("~") else place
    whole = str(home_expanded(text)) if text.startswith("~") else text
    if not mark or Path(whole).exists():
        return ShardRoot(whole)
    values = dict(parse_qsl(query, keep_blank_values=True))
    own = {key: value for key, value in values.items() if key in options}
    others = {key: value for key, value in values.items() if key not in options}
    if others and "://" not in place:
        raise ConfigError(unknown_name("option", next(iter(others)), options))
    empty = [key for key, value in own.items() if not value]
    if empty:
        raise ConfigError(f"{text!r} gives {empty[0]} no value.")
    if not place or not values:
        raise ConfigError(f"{text!r} is not written FOLDER?image=...&mask=...&classes=FILE.")
    classes = home_expanded(own["classes"]) if "classes" in own else None
    try:
        pose = parse_pose(own["masks"]) if "masks" in own else None
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}.") from error
    place += f"?{urlencode(others)}" if others else ""
    return ShardRoot(place, own.get("image"), own.get("mask"), own.get("id"), classes, pose)
