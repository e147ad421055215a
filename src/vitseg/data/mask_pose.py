"""How the masks of a data set lie where an image has an orientation tag: as the picture is shown, or as it is stored.

Images are turned upright by their tag when they are read. A tool that heeds the tag draws on the upright picture; one
that ignores it draws on the pixels as they are stored, and such masks have to be turned by the image's tag as well.
Which of the two it was stands beside the masks, as `masks` in a class file, so that whatever reads them agrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from vitseg import parsing
from vitseg.data.class_spellings import CLASS_FILES, NOTHING, read_json, read_yaml
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

_KEY_READERS = (read_json, read_yaml)


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


def pose_of_folder(root: Path) -> MaskPose:
    """The pose by the first class file of a folder that gives one; without such, upright.

    A JSON or YAML file that has this field alone gives it to a folder whose classes are named elsewhere.

    Raises:
        DataError: The value is none of the two.
    """
    for path in _with_key(root):
        content = _content(path)
        if KEY in content:
            return pose_of(content, path)
    return "upright"


def pose_of(content: Mapping[str, Any], path: Path) -> MaskPose:
    """The pose by the content of a file that may have the field.

    Raises:
        DataError: The value is none of the two.
    """
    try:
        return parse_pose(content[KEY]) if KEY in content else "upright"
    except ValueError as error:
        raise DataError(f"{path} is malformed: {error}.") from error


def is_pose_alone(path: Path) -> bool:
    """Whether a class file gives the pose and names no class."""
    return CLASS_FILES.get(path.name) in _KEY_READERS and _content(path).keys() == {KEY}


def pose_cure(pose: MaskPose, root: Path | None) -> str:
    """How to say that masks are in a pose, a sentence without its full stop.

    Args:
        pose: What is to be said.
        root: The folder of the data set; None: it is in none.
    """
    if root is None:
        return f"say so in the class file: {KEY}: {pose}"
    files = [name for name, read in CLASS_FILES.items() if read in _KEY_READERS]
    path = next((root / name for name in files if (root / name).is_file()), None)
    if path is None:
        return f"say so in a file {root / 'classes.yaml'} of this one line: {KEY}: {pose}"
    field = f'"{KEY}": "{pose}"' if path.suffix == ".json" else f"{KEY}: {pose}"
    return f"say so in {path}: {field}"


def drawn_size(source: Source, pose: MaskPose) -> Size:
    """(height, width) of the picture that a mask in this pose was drawn on; errors as for `read_header`."""
    header = read_header(source)
    return header.size if pose == "upright" else upright_size(header.size, header.orientation)


def _with_key(root: Path) -> list[Path]:
    """The class files that may have the field."""
    paths = (root / name for name, read in CLASS_FILES.items() if read in _KEY_READERS)
    return [path for path in paths if path.is_file()]


def _content(path: Path) -> Mapping[str, Any]:
    """The fields of a class file; none where it has no such field or is unreadable, which its reader tells of."""
    try:
        if KEY not in parsing.read_text(path):
            return {}
        content = CLASS_FILES[path.name](path)
    except (ValueError, DataError):
        return {}
    return content if isinstance(content, dict) else {}
