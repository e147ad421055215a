"""What kind of masks a folder of images and masks holds: a binary one per class, ids, or colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitseg.data.class_files import find_class_file, read_class_file
from vitseg.data.formats.binary_layout import find_binary_layout
from vitseg.data.listing import image_names_below
from vitseg.data.splits import Folders, find_splits
from vitseg.errors import DataError
from vitseg.images.decode import Header, decode_color_mask, read_header

COLOR_MODES = ("RGB", "RGBA", "LA", "PA")
"""Pillow's modes of pictures that are read as colours rather than as ids."""

_SAMPLED = 20  # masks whose headers are read


class MaskKind(NamedTuple):
    """The kind of masks that was found.

    Attributes:
        name: Name of the format of such masks: "binary", "index" or "color".
        evidence: What speaks for it, in words.
        fault: Why they cannot be opened as they are, a whole sentence; empty if they can.
    """

    name: str
    evidence: str
    fault: str = ""


def find_mask_kind(root: Path) -> MaskKind | None:
    """The kind of the masks in a folder, by their names and the headers of some of them.

    None if there are no folders of images and masks, or no masks in them.
    """
    try:
        folders = list(find_splits(root).values())
    except DataError:
        return None
    mask_names = {folder: image_names_below(folder) for folder in {each.masks for each in folders}}
    if not any(mask_names.values()):
        return None
    binary = _binary(root, folders)
    if binary is not None:
        return binary
    sampled = _spread(
        sorted((at, name) for at, names in mask_names.items() for name in names.values())
    )
    return _one_per_image(root, [folder / name for folder, name in sampled])


def _binary(root: Path, folders: Sequence[Folders]) -> MaskKind | None:
    for each in folders:
        folder = each.masks / each.inside
        images = image_names_below(each.images / each.inside)
        masks = image_names_below(folder)
        if not images.keys().isdisjoint(masks):
            return None  # masks of the images' own names
        layout = find_binary_layout(masks, images)
        if layout is not None:
            name = f"{folder.relative_to(root).as_posix()}/{layout.pattern}"
            return MaskKind("binary", f"{len(layout.masks)} masks {name}")
    return None


def _spread(masks: Sequence[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Up to `_SAMPLED` of the masks, at equal distances."""
    count = min(_SAMPLED, len(masks))
    return [masks[number * len(masks) // count] for number in range(count)]


def _one_per_image(root: Path, masks: Sequence[Path]) -> MaskKind:
    headers = _read_headers(masks)
    colors = [path for path, header in headers.items() if header.mode in COLOR_MODES]
    kinds = Counter(f"{header.format} of mode {header.mode}" for header in headers.values())
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    evidence = f"the headers of {len(headers)} masks: {found}" if headers else "its folders alone"
    if not colors:
        return MaskKind("index", evidence)
    if len(colors) < len(headers):
        other = next(path for path in headers if path not in colors)
        fault = (
            f"the masks of {root} are of different kinds ({found}), for example {colors[0]} in colours and {other} of "
            "one channel: save all in one way."
        )
    else:
        fault = _saved_as_grey(root, colors)
    return MaskKind("index", evidence, fault) if fault else MaskKind("color", evidence)


def _read_headers(masks: Sequence[Path]) -> dict[Path, Header]:
    """The headers of the masks; damaged files are left to whoever reads them."""
    headers = {}
    for path in masks:
        try:
            headers[path] = read_header(path)
        except DataError:
            continue
    return headers


def _saved_as_grey(root: Path, masks: Sequence[Path]) -> str:
    """What is wrong with ids that were saved as R = G = B = id, greys of which the palette knows nothing; else ""."""
    class_file = find_class_file(root)
    palette = None if class_file is None else read_class_file(class_file).palette
    known = {red << 16 | green << 8 | blue for red, green, blue in (palette or {}).values()}
    seen: set[int] = set()
    for path in masks:
        try:
            seen.update(np.unique(decode_color_mask(path)).tolist())
        except DataError:
            continue
    if not seen or any(color != (color & 0xFF) * 0x010101 for color in seen) or seen <= known:
        return ""
    ids = sorted(color & 0xFF for color in seen)
    shown = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
    return (
        f"the masks of {root} have three equal channels (the values {shown}): these are index masks saved as RGB. "
        'Save one channel each, in Python: Image.open(path).getchannel(0).save(path) after "from PIL import Image".'
    )
