"""CVAT's "Segmentation mask 1.1": colour masks, and the list of their colours."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from PIL import Image

from vitseg.annotations.folder import AnnotationFolder
from vitseg.classes import IGNORE_INDEX, ClassTable, Color
from vitseg.colors import farthest_colors
from vitseg.errors import ConfigError
from vitseg.files import whole_file, write_whole
from vitseg.render.palette import encode

ARCHIVE = "annotations.zip"
"""What CVAT's "Upload annotations" takes: the folder without its images."""

_BLACK, _BORDER = (0, 0, 0), (224, 224, 192)
_SUBSET = "default"
_MASKS = "SegmentationClass"
_THEN = (1980, 1, 1, 0, 0, 0)  # so that the same annotations are the same archive


class CvatFolder(AnnotationFolder):
    """The layout of CVAT's own export, and an archive of the annotations alone.

    In CVAT's colour maps black is the background and VOC's border colour counts nowhere, as pixels without a class do:
    a class that has one of these, or the colour of another class, gets a colour of its own there.

    Raises:
        ConfigError: A class has a name that the list of colours cannot hold.
    """

    images = "JPEGImages"

    def __init__(self, folder: Path, classes: ClassTable):
        super().__init__(folder, classes)
        self._colors = map_colors(classes)
        self._masks: dict[str, bytes] = {}

    def annotate(self, name: str, label_map: Integer[np.ndarray, "H W"]) -> None:
        stem = Path(name).stem
        colors = np.array([*self._colors, _BORDER], np.uint8)
        inside = np.where(label_map == IGNORE_INDEX, len(self._colors), label_map)
        mask = encode(Image.fromarray(colors[inside]), "PNG")
        self._masks[stem] = mask
        with whole_file(self.folder / _MASKS / f"{stem}.png") as partial:
            partial.write_bytes(mask)

    def close(self) -> None:
        lines = ["# label:color_rgb:parts:actions"]
        for name, (red, green, blue) in zip(self.classes.names, self._colors, strict=True):
            lines.append(f"{name}:{red},{green},{blue}::")
        texts = {
            "labelmap.txt": "\n".join(lines) + "\n",
            f"ImageSets/Segmentation/{_SUBSET}.txt": "\n".join(self._masks) + "\n",
        }
        for name, text in texts.items():
            write_whole(self.folder / name, text)
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in texts.items():
                archive.writestr(zipfile.ZipInfo(name, _THEN), text.encode())
            for stem, mask in self._masks.items():
                archive.writestr(zipfile.ZipInfo(f"{_MASKS}/{stem}.png", _THEN), mask)
        with whole_file(self.folder / ARCHIVE) as partial:
            partial.write_bytes(buffer.getvalue())


def map_colors(classes: ClassTable) -> list[Color]:
    """A colour for each class, as CVAT's colour maps need them: distinct, black for the background alone.

    Raises:
        ConfigError: A class has a name that the list of colours cannot hold.
    """
    others = _further(classes)
    taken: set[Color] = {_BLACK, _BORDER}
    colors: list[Color] = []
    for name, color in zip(classes.names, classes.palette, strict=True):
        if ":" in name or name.startswith("#") or name != " ".join(name.split()):
            raise ConfigError(
                f"the class name {name!r} cannot be written to CVAT's labelmap.txt, where a line is name:r,g,b:: and # "
                "begins a comment: rename the class (vitseg classes), or write other annotations."
            )
        if name.lower().strip("_") == "background" and _BLACK not in colors:
            colors.append(_BLACK)
            continue
        while color in taken:
            color = next(others)
        taken.add(color)
        colors.append(color)
    return colors


def _further(classes: ClassTable) -> Iterator[Color]:
    """Colours for classes that cannot keep theirs, none of which another class has."""
    for color in farthest_colors(2 * classes.num_classes + 2):  # takes a while, and few need it
        if color not in classes.palette:
            yield color
