"""The label config of a Label Studio project: which image a region is drawn on, and which labels there are.

It comes over the network and is XML, so it is read without a document type: that is where entities are declared, which
expand to gigabytes or stand for files.
"""

from __future__ import annotations

from typing import NamedTuple
from xml.parsers import expat

from vitseg.errors import ConfigError

LARGEST = 1_000_000
"""Characters of a label config at most; thousands of classes take a tenth."""

MOST_TAGS = 20_000
DEEPEST = 50


class BrushControl(NamedTuple):
    """What regions belong to.

    Attributes:
        from_name: Name of the brush labels.
        to_name: Name of the image.
        key: Field of a task's data that says where its image is.
        labels: The labels, in the order in which they are listed.
    """

    from_name: str
    to_name: str
    key: str
    labels: tuple[str, ...]


def read_brush_control(text: str) -> BrushControl:
    """The first brush labels of a label config that are drawn on an image.

    Args:
        text: The XML.

    Raises:
        ConfigError: It is too large, is no XML, has a document type, or has no such labels.
    """
    if len(text) > LARGEST:
        raise ConfigError(
            f"the label config has {len(text):,} characters, but at most {LARGEST:,} are read: list fewer labels."
        )
    found = _Tags()
    parser = expat.ParserCreate()
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise ConfigError(
            f"the label config is no readable XML ({error}): copy it from the project's settings."
        ) from error
    for name, to_name, labels in found.brushes:
        if to_name in found.images and name and labels:
            return BrushControl(name, to_name, found.images[to_name], tuple(dict.fromkeys(labels)))
    raise ConfigError(
        'the label config has no <BrushLabels> with labels on an <Image value="$...">: add them, since masks are '
        "answered as brush strokes."
    )


def _refuse_doctype(*_: object) -> None:
    raise ConfigError(
        "the label config has a document type, which is not read: leave <!DOCTYPE> out."
    )


class _Tags:
    """What the tags say.

    Attributes:
        images: Name -> field of a task's data.
        brushes: (name, name of the image, labels) each.
    """

    def __init__(self) -> None:
        self.images: dict[str, str] = {}
        self.brushes: list[tuple[str, str, list[str]]] = []
        self._open: list[str] = []
        self._count = 0

    def start(self, tag: str, values: dict[str, str]) -> None:
        self._count += 1
        self._open.append(tag)
        if self._count > MOST_TAGS or len(self._open) > DEEPEST:
            raise ConfigError(
                f"the label config has more than {MOST_TAGS:,} tags, or tags more than {DEEPEST} deep: simplify it."
            )
        value = values.get("value", "")
        if tag == "Image" and value.startswith("$"):
            self.images[values.get("name", "")] = value[1:]
        elif tag == "BrushLabels":
            self.brushes.append((values.get("name", ""), values.get("toName", ""), []))
        elif tag == "Label" and value and "BrushLabels" in self._open:
            self.brushes[-1][2].append(value)

    def end(self, tag: str) -> None:
        self._open.pop()
