"""labelme: one json file per image, with polygons, rectangles, circles and masks by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitseg import parsing
from vitseg.annotations.labelme import IGNORED
from vitseg.data.class_file import read_class_file
from vitseg.data.class_file_places import find_class_file
from vitseg.data.class_labels import names_to_labels, read_labels_with_rest
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.data.format import DataFormat
from vitseg.data.formats.bitmaps import read_bitmap, runs_of_bitmap
from vitseg.data.formats.faults import FaultKind, Faults
from vitseg.data.formats.polygons import has_area, is_within_reach
from vitseg.data.formats.shapes import RunLengths, Shape, ShapeMasks
from vitseg.data.id_lists import IdIndex, split_lists, unread_lists
from vitseg.data.labels import MAX_ID, LabelTable
from vitseg.data.listing import both_ends, files_below, images_below, name_first, same_name
from vitseg.data.mask_pose import MaskPose, drawn_size
from vitseg.data.splits import choose_split, splits_of_images
from vitseg.errors import DataError
from vitseg.images.decode import MAX_PIXELS
from vitseg.types import Size

_SNIFFED = 4096  # bytes of a json file from either end; between them there may be a whole picture
_LOOKED_AT = 20  # json files by which it is seen whether any is labelme's
_KEYS = (b'"shapes"', b'"imagePath"')
_OWN_KEYS = (*_KEYS, b'"imageData"', b'"lineColor"', b'"fillColor"')
_IGNORED_RAW = MAX_ID
_CIRCLE = 72  # corners of the polygon that a circle is drawn as
_LEFT_OUT = "They are left out, so that their pixels count as background: mend or remove them."

FAULTS: dict[str, FaultKind] = {
    "label-file-unreadable": FaultKind(
        "error", "Files are no readable labelme files", "Write them anew with labelme."
    ),
    "id-without-image": FaultKind(
        "error",
        "Labelme files have no image of their name, nor one as imagePath says",
        "Add the images, or remove the files.",
    ),
    "several-files-of-an-image": FaultKind(
        "error",
        "Images have several labelme files, of which one is used",
        "Keep one for each image: open it in labelme, and copy the shapes of the others.",
    ),
    "label-unknown-class": FaultKind(
        "error",
        "Shapes have a label that the class file does not list",
        "Add the name to the class file, or mend the label: the shapes are left out.",
    ),
    "annotation-malformed": FaultKind("warning", "Shapes cannot be read", _LEFT_OUT, True),
    "polygon-without-area": FaultKind(
        "warning", "Shapes are points or lines, or have no area", _LEFT_OUT, grave_if_many=True
    ),
    "image-without-annotation": FaultKind(
        "info",
        "Images have a labelme file without a sound shape: every pixel is background",
        "If objects are to be seen in them, label them or leave the images out.",
    ),
    "image-not-listed": FaultKind(
        "info",
        "Images have no labelme file, and are not used",
        "Label them, or move them elsewhere.",
    ),
}


class _File(NamedTuple):
    """An image, its labelme file, and the content of that."""

    image: Path
    path: Path
    content: Mapping[str, Any]


class LabelMe(DataFormat):
    """Files of labelme: `a.json` beside `a.jpg`, or in a folder of their own.

    A split is a sub-folder of that name, or a text file of ids. Classes are those of the class file (`labels.txt`), or
    the labels of all files by name. Pixels without shape are the class "background" (in labelme: `_background_`); those
    of `__ignore__` count nowhere. As in labelme2voc, the later of two shapes that overlap is seen, shapes of one group
    (`group_id`) are of their class like all others, and images without file are not used. Format: labelme,
    `label_file.py`.
    """

    name = "labelme"
    summary = "your images and a json file of labelme for each"

    def open(self, root: Path, split: str) -> SegmentationDataset:
        """One split.

        Raises:
            DataError: There is no such data set or split, or the class file is malformed. What is wrong with a single
                file or shape becomes a finding.
        """
        faults, findings = Faults(FAULTS), []
        files = _files(root, faults, findings)
        lists = split_lists(root, [root]).values()
        splits = _splits(root, files)
        split = choose_split(split, tuple(splits), root)
        labels, raw_of, rest = _labels(root, files.values())
        own = {key: files[key] for key in splits[split]}
        pose = self.mask_pose(root)
        masks = ShapeMasks([file.path for file in own.values()], rest, in_order=True)
        for file in own.values():
            size = _size(file, pose)
            shapes = [] if size is None else _shapes(file, size, raw_of, faults)
            if not shapes:
                faults.add("image-without-annotation", str(file.image))
            masks.add_image(shapes, size)
        total = sum(len(file.content["shapes"]) for file in own.values())
        folders = sorted({str(file.path.parent) for file in own.values()})
        return SegmentationDataset(
            self.name,
            split,
            labels,
            tuple(own),
            tuple(file.image for file in own.values()),
            masks,
            f"labelme files in {', '.join(folders[:3])}",
            (
                *findings,
                *unread_lists(root, [root], list(lists)),
                *faults.findings(total, most=1.0),
            ),
        )

    def splits(self, root: Path) -> tuple[str, ...]:
        return tuple(_splits(root, _files(root, Faults(FAULTS), [])))

    def looks_like(self, root: Path) -> str | None:
        names = [name for name in files_below(root) if name.lower().endswith(".json")]
        step = max(1, len(names) // _LOOKED_AT)
        if not any(is_labelme(root / name) for name in names[::step]):
            return None
        return name_first("labelme file", [name for name in names if is_labelme(root / name)])


def is_labelme(path: Path) -> bool:
    """Whether a json file has the keys of labelme, to judge by its beginning and its end.

    Between them, there may be a whole picture and many points, and the keys come in any order: a file of which one end
    shows a key that only labelme has is read to its end.
    """
    ends = b"\n".join(both_ends(path, _SNIFFED))
    if all(key in ends for key in _KEYS):
        return True
    if not any(key in ends for key in _OWN_KEYS):
        return False
    try:
        content = path.read_bytes().replace(b"\0", b"")
    except (OSError, MemoryError):
        return False
    return all(key in content for key in _KEYS)


def _files(root: Path, faults: Faults, findings: list[Finding]) -> dict[str, _File]:
    """The labelled images by id, in order.

    Raises:
        DataError: The folder is missing, or there is no labelme file or none with an image.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. {_LAYOUT}")
    jsons = {
        same_name(name[: -len(".json")]): root / name
        for name in files_below(root)
        if name.lower().endswith(".json")
    }
    paths = {key: path for key, path in jsons.items() if is_labelme(path)}
    if not paths:
        raise DataError(f"{root} holds no labelme file. {_LAYOUT}")
    images = images_below(root, findings)
    ids = IdIndex(images, files=images)
    for key, path in jsons.items():
        if key not in paths and (key in images or _is_half_written(key, path, ids)):
            faults.add("label-file-unreadable", str(path))
    files: dict[str, _File] = {}
    lonely: list[str] = []
    for key, path in paths.items():
        content = _read(path)
        if content is None:
            faults.add("label-file-unreadable", str(path))
            continue
        image = key if key in images else _image_of(path, content, root, ids)
        if image is None:
            lonely.append(str(path))
            faults.add("id-without-image", str(path))
        elif image in files:
            used = files[image]
            if image == key:  # it has the image's own name
                files[image] = _File(images[image], path, content)
                path = used.path
            faults.add("several-files-of-an-image", f"{path} ({images[image].name})")
        else:
            files[image] = _File(images[image], path, content)
    if not files and lonely:
        raise DataError(
            f"none of the {len(lonely)} labelme files has an image: the files are {', '.join(lonely[:3])}; the images "
            f"are {', '.join(list(images)[:3]) or 'none'}. Put each image beside its file, under the same name; a "
            "picture inside of a file (imageData) is taken out by labelme_export_json."
        )
    for key in images:
        if key not in files:
            faults.add("image-not-listed", str(images[key]))
    return dict(sorted(files.items()))


_LAYOUT = "A labelme data set holds a.json beside a.jpg, perhaps in train/ and val/."


def _is_half_written(key: str, path: Path, ids: IdIndex) -> bool:
    """Whether a json file that lies elsewhere than its image is that of one by its name, and is cut or empty."""
    if not ids.of_last(key.rpartition("/")[2], str):
        return False
    try:
        parsing.read_json(path, parsing.MOST_ANNOTATION_BYTES, finite=False)
    except parsing.UnreadableError:
        return True
    return False


def _read(path: Path) -> Mapping[str, Any] | None:
    """The content of a labelme file without the picture in it; None if it is none."""
    try:
        content = parsing.read_json(path, parsing.MOST_ANNOTATION_BYTES, finite=False)
    except parsing.UnreadableError:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        return None
    content.pop("imageData", None)
    return content


def _image_of(path: Path, content: Mapping[str, Any], root: Path, ids: IdIndex) -> str | None:
    """The image that `imagePath` names, from the file or by its last part; else one of the file's name elsewhere."""
    below = path.relative_to(root)
    named = str(content.get("imagePath") or "").replace("\\", "/")
    own = below.with_suffix("").parts
    names = ["/".join(own[start:]) for start in range(1, len(own))]  # labels/a.json, images/a.jpg
    for name in (
        (below.parent / named).as_posix(),
        *names[:-1],
        named.rpartition("/")[2],
        *names[-1:],
    ):
        if name and (found := ids.find(name)) is not None:
            return found
    return None


def _splits(root: Path, files: Mapping[str, _File]) -> dict[str, list[str]]:
    """The splits, by lists and by the folders in which each image and its file lie."""
    images = {key: file.image for key, file in files.items()}
    folders = {
        key: (*key.split("/")[:-1], *file.path.relative_to(root).parts[:-1])
        for key, file in files.items()
    }
    return splits_of_images(root, images, folders)


def _labels(root: Path, files: Iterable[_File]) -> tuple[LabelTable, dict[str, int], int]:
    """The label table, the raw id of every label, and that of pixels without shape."""
    class_file = find_class_file(root)
    if class_file is not None:
        labels, rest = read_labels_with_rest(class_file)
        raw_of = {name: raw for raw, name in read_class_file(class_file).classes.items()}
    else:
        found = {str(shape["label"]) for file in files for shape in _named_shapes(file)}
        raw_of = {name: raw for raw, name in enumerate(sorted(found - {IGNORED}), start=1)}
        labels, rest = names_to_labels({raw: name for name, raw in raw_of.items()})
    if IGNORED not in raw_of:
        raw_of[IGNORED] = _IGNORED_RAW
        labels = labels.with_ignored(_IGNORED_RAW, IGNORED)
    return labels, raw_of, rest


def _named_shapes(file: _File) -> list[Mapping[str, Any]]:
    return [
        shape
        for shape in file.content["shapes"]
        if isinstance(shape, dict) and _is_label(shape.get("label"))
    ]


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _size(file: _File, pose: MaskPose) -> Size | None:
    """(height, width) by the labelme file, else by the image; None if neither gives it."""
    height, width = file.content.get("imageHeight"), file.content.get("imageWidth")
    if type(height) is int and type(width) is int and height > 0 and width > 0:
        return (height, width) if height * width <= MAX_PIXELS else None
    try:
        return drawn_size(file.image, pose)
    except DataError:
        return None  # reported when the image is read


def _shapes(
    file: _File, size: Size, raw_of: Mapping[str, int], faults: Faults
) -> list[tuple[int, Shape]]:
    """The sound shapes of a file."""
    shapes: list[tuple[int, Shape]] = []
    for number, entry in enumerate(file.content["shapes"]):
        place = f"{file.path}: shape {number}"
        if not isinstance(entry, dict) or not _is_label(entry.get("label")):
            faults.add("annotation-malformed", place)
            continue
        if entry["label"] not in raw_of:
            faults.add("label-unknown-class", f"{place} ({entry['label']!r})")
            continue
        try:
            shape = _shape(entry, size)
        except (ArithmeticError, LookupError, ValueError, TypeError, OSError, SyntaxError):
            faults.add("annotation-malformed", place)
            continue
        if shape is None:
            faults.add("polygon-without-area", place)
        else:
            shapes.append((raw_of[entry["label"]], shape))
    return shapes


def _shape(entry: Mapping[str, Any], size: Size) -> Shape | None:
    """One shape; None if it has no area. Raises what the values of a malformed one cause."""
    points = np.array(entry["points"], np.float64).reshape(-1, 2)
    if not is_within_reach(points, size):
        raise ValueError("points far from the image")
    kind = entry.get("shape_type") or "polygon"
    if kind in ("point", "points", "line", "linestrip"):
        return None
    if kind == "mask":
        return _mask(entry["mask"], points, size)
    if kind == "circle":
        center, radius = points[0], math.dist(points[0], points[1])
        angles = np.linspace(0, 2 * math.pi, _CIRCLE, endpoint=False)
        points = center + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    if not has_area(points):
        return None
    return [points.ravel()]


def _mask(text: str, points: np.ndarray, size: Size) -> RunLengths | None:
    """A picture in base64, and the corner at which it lies."""
    inside = read_bitmap(text, size[0] * size[1])
    whole = np.zeros(size, bool)
    left, top = (round(value) for value in points.min(axis=0))
    rows = slice(max(0, top), min(size[0], top + inside.shape[0]))
    columns = slice(max(0, left), min(size[1], left + inside.shape[1]))
    whole[rows, columns] = inside[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    return runs_of_bitmap(whole)
