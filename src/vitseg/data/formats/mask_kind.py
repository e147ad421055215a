"""What kind of masks a folder of images and masks holds: a binary one per class, ids, or colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitseg.data.class_file import ClassFile, read_class_file
from vitseg.data.class_file_places import find_class_file
from vitseg.data.formats.binary_files import ids_beside_white
from vitseg.data.formats.binary_layout import ONE_PER_IMAGE, find_binary_layout
from vitseg.data.formats.label_studio_tasks import is_brush_label
from vitseg.data.listing import image_names_below, remember
from vitseg.data.splits import Folders, find_splits
from vitseg.errors import DataError
from vitseg.images.decode import Header, decode_color_mask, decode_mask, read_header

COLOR_MODES = ("RGB", "RGBA", "LA", "PA")
"""Pillow's modes of pictures that are read as colours rather than as ids."""

VOC_COLORS = frozenset((0x000000, 0xE0E0C0))
"""What Pascal VOC's colours have beside the classes: black for the background, and the border that counts nowhere."""

LOSSY_FORMATS = ("JPEG", "WEBP")

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
    return remember("kind of masks", root, lambda: _find(root))


def _find(root: Path) -> MaskKind | None:
    try:
        folders = list(find_splits(root).values())
    except DataError:
        return None
    mask_names = {each.masks: _mask_names(each) for each in folders}
    names = [name for of_folder in mask_names.values() for name in of_folder.values()]
    if all(is_brush_label(name) for name in names):
        return None  # none at all, or those of Label Studio
    binary = _binary(root, folders)
    if binary is not None:
        return binary
    sampled = _spread(
        sorted((at, name) for at, names in mask_names.items() for name in names.values())
    )
    return _one_per_image(root, [folder / name for folder, name in sampled])


def _mask_names(folders: Folders) -> dict[str, str]:
    names = image_names_below(folders.masks)
    if not folders.mask_ending:
        return names
    return {stem: name for stem, name in names.items() if stem.endswith(folders.mask_ending)}


def _binary(root: Path, folders: Sequence[Folders]) -> MaskKind | None:
    for each in folders:
        folder = each.masks / each.inside
        images = image_names_below(each.images / each.inside, arrays=True)
        masks = image_names_below(folder)
        if each.mask_ending:
            return None  # masks beside their images
        layout = find_binary_layout(masks, images)
        if layout is not None:
            if layout.pattern == ONE_PER_IMAGE:
                return None  # masks of the images' own names
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
    classes = _class_file(root)
    if headers and classes is not None and _are_two_valued(list(headers), classes):
        return MaskKind("binary", f"{evidence}, each of two values, and a class file of one class")
    palette = {
        red << 16 | green << 8 | blue
        for red, green, blue in ((classes.palette if classes else None) or {}).values()
    }
    numbers = [path for path in headers if path not in colors]
    if not colors:
        fault = _palettes_differ(root, numbers, headers, classes)
        if fault and palette and _colors_of(numbers) <= palette | VOC_COLORS:
            return MaskKind("color", f"{evidence}, in the colours of the class file")
        return MaskKind("index", evidence, fault)
    if not palette and all(headers[path].format in LOSSY_FORMATS for path in colors):
        return MaskKind("index", evidence)  # what is wrong with them is said where they are read
    if numbers:
        # Programs that shrink PNG files save a mask of few colours with a palette, and one of greys as grey.
        shown = set() if classes is not None else _colors_of(colors)
        known = palette or (shown if any(map(is_colorful, shown)) else set())
        if known and _colors_of(numbers) <= known | VOC_COLORS:
            return MaskKind("color", f"{evidence}, all in the same colours")
        fault = (
            f"the masks of {root} are of different kinds ({found}), for example {colors[0]} in colours and "
            f"{numbers[0]} of one channel, in other colours: save all in one way."
        )
    else:
        fault = _saved_as_grey(root, colors, palette)
    return MaskKind("index", evidence, fault) if fault else MaskKind("color", evidence)


def _class_file(root: Path) -> ClassFile | None:
    class_file = find_class_file(root)
    return None if class_file is None else read_class_file(class_file)


def _read_headers(masks: Sequence[Path]) -> dict[Path, Header]:
    """The headers of the masks; damaged files are left to whoever reads them."""
    headers = {}
    for path in masks:
        try:
            headers[path] = read_header(path)
        except DataError:
            continue
    return headers


def _colors_of(masks: Sequence[Path]) -> set[int]:
    """The colours, 0xRRGGBB, that occur in masks."""
    seen: set[int] = set()
    for path in masks:
        try:
            seen.update(np.unique(decode_color_mask(path)).tolist())
        except DataError:
            continue
    return seen


def is_colorful(color: int) -> bool:
    """Whether a colour is none of the greys."""
    return color != (color & 0xFF) * 0x010101


def _are_two_valued(masks: Sequence[Path], classes: ClassFile) -> bool:
    """Whether there is one class, and each mask shows it in its own way: as 1, as 255, as white, or as a cut-out.

    Two classes of the ids 0 and 1 are one outside and one inside, which masks of 0 and 1 show as ids. Where a mask has
    both ids and 255, the latter is what does not count.
    """
    ids = set(classes.classes)
    if classes.ignore_index is not None or classes.palette or not (len(ids) == 1 or ids == {0, 1}):
        return False
    some_white = False
    for path in masks:
        try:
            header = read_header(path)
            if header.format in LOSSY_FORMATS or header.mode in COLOR_MODES:
                some_white = True
                if len(ids) == 2 and not _is_black_and_white(path):
                    return False
                continue
            values = np.unique(decode_mask(path)).tolist()
        except DataError:
            continue
        if header.mode == "1":
            some_white = some_white or (len(ids) == 1 and 1 in values)
            continue
        if len(values) > 2 and values[-1] < 128:
            return False  # numbers, of which more than 0 and 1 occur
        if ids_beside_white(values):
            return False
        ones = len(ids) == 1 and values in ([0, 1], [1])
        some_white = some_white or ones or values[-1] >= 128
    return some_white


def _is_black_and_white(path: Path) -> bool:
    """Whether a picture in colours has black and white alone, or an opacity."""
    header = read_header(path)
    if header.format in LOSSY_FORMATS:
        return True
    return header.mode in ("RGBA", "LA", "PA") or _colors_of([path]) <= {0, 0xFFFFFF}


def _palettes_differ(
    root: Path,
    masks: Sequence[Path],
    headers: Mapping[Path, Header],
    classes: ClassFile | None,
) -> str:
    """What is wrong with masks whose palettes give the same number different colours; else "".

    Such a number means a class in one file and another in the next: a program that shrinks files has numbered the
    colours of each anew.
    """
    color_of: dict[int, tuple[int, Path]] = {}
    palette = (classes.palette if classes else None) or {}
    of_table = {raw: red << 16 | green << 8 | blue for raw, (red, green, blue) in palette.items()}
    in_table = set(of_table.values())
    for path in masks:
        if headers[path].mode != "P":
            continue
        try:
            numbers, colors = decode_mask(path), decode_color_mask(path)
        except DataError:
            continue
        used, first = np.unique(numbers, return_index=True)
        shown = colors.ravel()[first].tolist()
        for number, color in zip(used.tolist(), shown, strict=True):
            other = color_of.setdefault(number, (color, path))
            table = of_table.get(number, color) if color in in_table else color
            if other[0] != color or (table != color and set(shown) <= in_table | VOC_COLORS):
                return (
                    f"the palettes of the masks of {root} differ: {number} is #{color:06x} in {path}, but "
                    + (
                        f"#{other[0]:06x} in {other[1]}."
                        if other[0] != color
                        else f"#{table:06x} in the class file."
                    )
                    + " Give every class its colour in the class file (palette), or save all with one palette."
                )
    return ""


def _saved_as_grey(root: Path, masks: Sequence[Path], known: set[int]) -> str:
    """What is wrong with ids that were saved as R = G = B = id, greys of which the palette knows nothing; else ""."""
    seen = _colors_of(masks)
    if not seen or any(map(is_colorful, seen)) or seen <= known:
        return ""
    ids = sorted(color & 0xFF for color in seen)
    shown = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
    return (
        f"the masks of {root} have three equal channels (the values {shown}): these are index masks saved as RGB. "
        'Save one channel each, in Python: Image.open(path).getchannel(0).save(path) after "from PIL import Image".'
    )
