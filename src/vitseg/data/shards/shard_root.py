"""What stands behind `parquet:` and `webdataset:`: a folder or a URL, and what of the shards is meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from vitseg.data.mask_pose import MaskPose
from vitseg.data.root_options import parse_root_options

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
    form = "FOLDER?image=...&mask=...&classes=FILE"
    found = parse_root_options(text, options, form, urls_have_others=True)
    place = found.place + (f"?{urlencode(found.others)}" if found.others else "")
    image, mask, id_column = (found.values.get(name) for name in ("image", "mask", "id"))
    return ShardRoot(place, image, mask, id_column, found.classes, found.masks)
