"""COCO annotation files: polygons and run lengths of objects, crowds included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vitseg import parsing
from vitseg.data.class_labels import names_to_labels
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.data.format import DataFormat
from vitseg.data.formats.coco_categories import categories_of, id_of, number_categories
from vitseg.data.formats.coco_layout import (
    ImageFolder,
    find_annotations,
    find_images,
    looks_like_coco,
    whole_name,
)
from vitseg.data.formats.coco_shapes import read_shape
from vitseg.data.formats.faults import FaultKind, Faults
from vitseg.data.formats.shapes import Shape, ShapeMasks
from vitseg.data.id_lists import unread_lists
from vitseg.data.listing import name_first, same_name, same_stem, shared_last_parts
from vitseg.data.mask_pose import MaskPose, drawn_size
from vitseg.data.splits import choose_split
from vitseg.errors import DataError, first_names
from vitseg.images.decode import IMAGE_SUFFIXES, MAX_PIXELS
from vitseg.types import Size

_KEYS = ("images", "annotations", "categories")
_LEFT_OUT = "It is left out, so that its pixels count as background: mend it, or remove it."

FAULTS: dict[str, FaultKind] = {
    "image-entry-malformed": FaultKind(
        "error",
        "Image entries lack an id or a file_name, or their width and height are no possible size",
        "They are left out: write the annotation file anew with the tool that made it.",
    ),
    "duplicate-image-id": FaultKind(
        "error",
        "Images have the id of another image",
        "Which image the annotations belong to is not clear: give every image its own id.",
    ),
    "id-without-image": FaultKind(
        "error",
        "Images of the annotation file do not exist",
        "Add the files below the image folder, or remove the entries.",
    ),
    "annotation-unknown-image": FaultKind(
        "warning",
        "Annotations name an image_id that is not listed",
        "List the images, or remove the annotations: they are not used.",
        grave_if_many=True,
    ),
    "annotation-unknown-category": FaultKind(
        "error",
        "Annotations name a category_id that is not listed",
        _LEFT_OUT,
    ),
    "annotation-without-shape": FaultKind(
        "warning",
        "Annotations have no segmentation, perhaps only a box",
        _LEFT_OUT,
        grave_if_many=True,
    ),
    "polygon-too-few-points": FaultKind(
        "warning",
        "Annotations have a polygon of fewer than three points",
        _LEFT_OUT,
        grave_if_many=True,
    ),
    "annotation-malformed": FaultKind(
        "warning",
        "Annotations have a segmentation that is neither polygons [[x, y, ...]] within reach of the image nor run "
        "lengths that fill it",
        _LEFT_OUT,
        grave_if_many=True,
    ),
    "polygon-without-area": FaultKind(
        "warning",
        "Annotations have a polygon whose points are on one line",
        "It covers no pixel and is left out.",
        grave_if_many=True,
    ),
    "polygon-outside-image": FaultKind(
        "warning",
        "Annotations have a polygon that leaves its image",
        "It is cut off at the border. Many of them: the images were scaled and the annotations not.",
    ),
    "category-renumbered": FaultKind(
        "info",
        "Category ids are no whole numbers from 0 to 65535, or stand for other names in other splits, so that all are "
        "numbered anew, from 1 on",
        "Nothing is to be done: classes go by their names.",
    ),
    "listed-twice": FaultKind(
        "warning",
        "Image files are listed under several ids",
        "The annotations of all are drawn on the one image: list each image once.",
    ),
    "group-category": FaultKind(
        "info",
        "Categories are the headings that Roboflow puts above the others, and no classes",
        "Nothing is to be done.",
    ),
    "image-without-annotation": FaultKind(
        "info",
        "Images have no sound annotation: every pixel is background",
        "If objects are to be seen in them, annotate them or leave the images out.",
        warning_if_most=True,
    ),
    "image-not-listed": FaultKind(
        "warning",
        "Image files are not in the annotation file, and not used",
        "Annotate them, or move them elsewhere.",
    ),
}


class _Image(NamedTuple):
    key: str
    path: Path
    size: Size


class Coco(DataFormat):
    """A COCO annotation file and its images; layouts as for `coco_layout.find_annotations`.

    Classes are the categories of all splits by ascending id, the id being the raw id. Pixels without annotation are
    the class "background", which is class 0 unless a category has that name. Where annotations overlap, the one of
    fewer pixels is seen; a crowd (`iscrowd`) counts as its class. Format: cocodataset.org, "Data format".
    """

    name = "coco"
    summary = "your images and COCO json in annotations/"

    def open(self, root: Path, split: str) -> SegmentationDataset:
        """One split.

        Raises:
            DataError: There is no annotation file or no such split; or the file is no JSON, lacks a key, or its
                categories are malformed. What is wrong with a single image or annotation becomes a finding.
        """
        splits = find_annotations(root)
        split = choose_split(split, tuple(splits), root)
        path = splits[split]
        content = _read(path)
        faults = Faults(FAULTS)
        others = [categories_of(each) for each in splits.values() if each != path]
        names, raw_of = number_categories(content["categories"], others, path, faults)
        try:
            labels, rest = names_to_labels(names)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        entries = [entry for entry in content["images"] if isinstance(entry, dict)]
        folder = find_images(root, path, split, [str(entry.get("file_name")) for entry in entries])
        findings: list[Finding] = []
        images, same = _images(content["images"], folder, self.mask_pose(root), faults, findings)
        listed = {id_of(entry.get("id")) for entry in entries} - {None}
        if entries and faults.count("id-without-image") == len(content["images"]):
            raise nothing_found(folder, entries)
        shapes = _shapes(content["annotations"], images, same, listed, raw_of, faults)
        masks = ShapeMasks((path,), rest)
        for image_id, image in images.items():
            own = shapes.pop(image_id, [])
            if not own:
                faults.add("image-without-annotation", str(image.path))
            masks.add_image(own, image.size)
        source = f"COCO annotations {path}, images in {folder.path}"
        ids = tuple(image.key for image in images.values())
        paths = tuple(image.path for image in images.values())
        findings += unread_lists(root, [folder.path], ())
        found = (*findings, *faults.findings(len(content["annotations"]), num_images=len(images)))
        return SegmentationDataset(self.name, split, labels, ids, paths, masks, source, found)

    def splits(self, root: Path) -> tuple[str, ...]:
        return tuple(find_annotations(root))

    def class_file(self, root: Path) -> Path | None:
        return None

    def looks_like(self, root: Path) -> str | None:
        try:
            paths = list(find_annotations(root).values())
        except DataError:
            return None
        if not any(looks_like_coco(path) for path in paths):
            return None
        return name_first("annotation file", [path.relative_to(root) for path in paths])


def _read(path: Path) -> dict[str, list]:
    try:
        content = parsing.read_json(path, parsing.MOST_ANNOTATION_BYTES, finite=False)
    except parsing.UnreadableError as error:
        raise DataError(f"{path} is not a readable JSON file: {error}.") from error
    for key in _KEYS:
        value = content.get(key) if isinstance(content, dict) else None
        if not isinstance(value, list):
            raise DataError(
                f"{path} has no list {key!r}. A COCO annotation file is an object with the lists {', '.join(_KEYS)}."
            )
    return content


def _images(
    entries: list, folder: ImageFolder, pose: MaskPose, faults: Faults, findings: list[Finding]
) -> tuple[dict[Any, _Image], dict[Any, Any]]:
    """The usable images by id, in the order of the file; and further ids of the same images -> the first."""
    images: dict[Any, _Image] = {}
    same: dict[Any, Any] = {}
    id_by_path: dict[Path, Any] = {}
    seen: set = set()
    names = (entry.get("file_name") for entry in entries if isinstance(entry, dict))
    shared = shared_last_parts(whole_name(name) for name in names if isinstance(name, str))
    used: dict[str, Path] = {}
    twice: list[tuple[Path, Path]] = []
    for number, entry in enumerate(entries):
        image_id = id_of(entry.get("id")) if isinstance(entry, dict) else None
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if image_id is None or not isinstance(name, str) or not name:
            faults.add("image-entry-malformed", f"images[{number}]")
            continue
        if image_id in seen:
            faults.add("duplicate-image-id", f"image {image_id} ({name})")
            continue
        seen.add(image_id)
        path = folder.find(name, shared)
        if path is None:
            faults.add("id-without-image", str(folder.path / name))
            continue
        key = same_name(path.relative_to(folder.path).with_suffix("").as_posix())
        if path in id_by_path:
            faults.add("listed-twice", f"{name} (image {id_by_path[path]} and {image_id})")
            same[image_id] = id_by_path[path]
            continue
        if key in used:
            twice.append((used[key], path))
        used.setdefault(key, path)
        size = _size(entry, path, pose)
        if size is None:
            faults.add("image-entry-malformed", f"image {image_id} ({name})")
            continue
        images[image_id] = _Image(key, path, size)
        id_by_path[path] = image_id
    if twice:
        findings.append(same_stem(twice))
    if folder.own:
        known = set(used.values())
        for file in sorted(folder.files):
            path = folder.path / file
            if path.suffix.lower() in IMAGE_SUFFIXES and path not in known:
                faults.add("image-not-listed", str(path))
    return images, same


def nothing_found(folder: ImageFolder, entries: list[dict]) -> DataError:
    """The error that no image of an annotation file exists, which shows the names of both sides."""
    named = [str(entry.get("file_name")) for entry in entries]
    there = sorted(name for name in folder.files if name.lower().endswith(IMAGE_SUFFIXES))
    return DataError(
        f"none of the {len(named)} images of the annotation file can be used from {folder.path}: it names "
        f"{first_names(named)}; there are the images {first_names(there) or '(none)'}. Put the images there, under "
        "the names that the annotation file has."
    )


def _size(entry: Mapping[str, Any], path: Path, pose: MaskPose) -> Size | None:
    """(height, width) by the entry, else by the file; None if it cannot be."""
    height, width = id_of(entry.get("height")), id_of(entry.get("width"))
    if entry.get("height") is None and entry.get("width") is None:
        try:
            height, width = drawn_size(path, pose)
        except DataError:
            return None
    if not isinstance(height, int) or not isinstance(width, int) or height < 1 or width < 1:
        return None
    return (height, width) if height * width <= MAX_PIXELS else None


def _shapes(
    annotations: list,
    images: Mapping[Any, _Image],
    same: Mapping[Any, Any],
    listed: set,
    raw_of: Mapping[int | str, int],
    faults: Faults,
) -> dict[Any, list[tuple[int, Shape]]]:
    """The sound shapes by image id."""
    shapes: dict[Any, list[tuple[int, Shape]]] = {}
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            faults.add("annotation-malformed", f"annotations[{number}]")
            continue
        place = f"annotation {annotation['id']}" if "id" in annotation else f"annotations[{number}]"
        image_id, category = id_of(annotation.get("image_id")), id_of(annotation.get("category_id"))
        image_id = same.get(image_id, image_id)
        if image_id not in images:
            if image_id not in listed:
                faults.add("annotation-unknown-image", f"{place} (image_id {image_id})")
            continue
        if category is None or category not in raw_of:
            faults.add("annotation-unknown-category", f"{place} (category_id {category})")
            continue
        # popped, so that the parsed file, many times as large, goes as its arrays come
        shape = read_shape(
            annotation.pop("segmentation", None), images[image_id].size, place, faults
        )
        if shape is not None:
            shapes.setdefault(image_id, []).append((raw_of[category], shape))
    return shapes
