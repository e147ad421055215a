"""How the masks of a data set lie where an image has an orientation tag: as the picture is shown, or as it is stored.

Images are turned upright by their tag when they are read. A tool that heeds the tag draws on the upright picture; one
that ignores it draws on the pixels as they are stored, and such masks have to be turned by the image's tag as well.
Which of the two it was stands beside the masks, as `masks` in a class file, so that whatever reads them agrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from vitseg.data.class_spellings import NOTHING
from vitseg.errors import DataError
from vitseg.images.decode import read_header
from vitseg.images.orientation import upright_size
from vitseg.images.sources import Source
from vitseg.types import Size

MaskPose = Literal["upright", "stored"]
"""`upright`: masks lie as the pictures are shown. `stored`: as their pixels are stored, so that the tag turns both."""

MASK_POSES: tuple[MaskPose, ...] = ("upright", "stored")

EXCHANGED = (
    "Height and width are exchanged: if the image has an orientation tag, the class file says on what the masks were "
    "drawn, the picture as it is shown (`masks: upright`, which holds unless it is said) or as its pixels are stored "
    "(`masks: stored`)."
)
"""The sentence behind an error about a mask that lies on its side."""

KEY = "masks"
"""Name of the field in class files."""


def parse_pose(value: Any) -> MaskPose:
    """The value of the field; left empty, upright.

    Raises:
        ValueError: It is neither; the message quotes it.
    """
    if value in NOTHING:
        return "upright"
    for pose in MASK_POSES:
        if value == pose:
            return pose
    raise ValueError(
        f"{KEY}: {str(value)[:40]!r} came, but it is upright (masks lie as their images are shown) or stored (as the "
        "pixels of images with an orientation tag are stored)"
    )


def pose_of(content: Mapping[str, Any], path: Path) -> MaskPose:
    """The pose by the content of a file that may have the field.

    Raises:
        DataError: The value is none of the two.
    """
    try:
        return parse_pose(content[KEY]) if KEY in content else "upright"
    except ValueError as error:
        raise DataError(f"{path} is malformed: {error}.") from error


def drawn_size(source: Source, pose: MaskPose) -> Size:
    """(height, width) of the picture that a mask in this pose was drawn on; errors as for `read_header`."""
    header = read_header(source)
    return header.size if pose == "upright" else upright_size(header.size, header.orientation)
