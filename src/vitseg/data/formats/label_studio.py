"""Label Studio: brush strokes, bitmasks and polygons, as its json and PNG exports hold them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from vitseg.data.class_file import read_class_file
from vitseg.data.class_file_places import find_class_file
from vitseg.data.class_labels import names_to_labels, read_labels_with_rest
from vitseg.data.dataset import Masks, SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.data.format import DataFormat
from vitseg.data.formats.binary import BinaryMasks
from vitseg.data.formats.faults import FaultKind, Faults
from vitseg.data.formats.label_studio_tasks import (
    Task,
    find_exports,
    image_path,
    is_region,
    mask_files,
    read_regions,
    read_tasks,
    task_image,
)
from vitseg.data.formats.shapes import ShapeMasks
from vitseg.data.id_lists import IdIndex, split_lists, unread_lists
from vitseg.data.labels import LabelTable
from vitseg.data.listing import images_below, name_first, shared_last_parts
from vitseg.data.splits import choose_split, splits_of_images
from vitseg.errors import DataError, first_names
from vitseg.types import Size

_LEFT_OUT = "They are left out, so that their pixels count as background: mend or remove them."

FAULTS: dict[str, FaultKind] = {
    "id-without-image": FaultKind(
        "error",
        "Tasks have no image file",
        "Put the images into the folder, under the names that they had when they were uploaded.",
    ),
    "label-unknown-class": FaultKind(
        "error",
        "Labels are not in the class file",
        "Add the names to the class file: what has these labels is left out.",
    ),
    "annotation-malformed": FaultKind("warning", "Regions cannot be read", _LEFT_OUT, True),
    "annotation-without-shape": FaultKind(
        "warning",
        "Regions are neither brush strokes, bitmasks nor polygons, but boxes, points or vectors",
        _LEFT_OUT,
        grave_if_many=True,
    ),
    "polygon-without-area": FaultKind("warning", "Polygons have no area", _LEFT_OUT, True),
    "region-without-label": FaultKind("warning", "Regions have no label", _LEFT_OUT, True),
    "region-of-another-image": FaultKind(
        "warning",
        "Regions are drawn on a further image of their task",
        "One image of each task is used, and the regions on it: export one image a task.",
        grave_if_many=True,
    ),
    "region-of-several-labels": FaultKind(
        "warning",
        "Regions have several labels",
        "The first is used, since a pixel has one class: give each region one label.",
    ),
    "further-annotations": FaultKind(
        "warning",
        "Tasks, or their images, are annotated more than once",
        "The first annotation that was not cancelled is used: remove it where another is better.",
    ),
    "predictions-alone": FaultKind(
        "warning",
        "No task is annotated, but these have predictions of a model, which are read instead",
        "Look at them in Label Studio, and export what is submitted.",
    ),
    "image-without-annotation": FaultKind(
        "info",
        "Images are annotated without a sound region: every pixel is background",
        "If objects are to be seen in them, annotate them or leave them out.",
    ),
}


class LabelStudio(DataFormat):
    """Exports of Label Studio, with the images in the same folder: JSON, JSON-MIN, or "Brush labels to PNG".

    Classes are those of the class file, or the labels of all tasks by name; other pixels are the class "background".
    Where regions overlap, the one of fewer pixels is seen; of PNG files, the later class. Tasks without annotation are
    not used; where none is annotated, their predictions are. The PNG files are named after tasks: the images are found
    by a json export beside them, or are named `task-7.jpg` or `7.jpg` themselves. Tasks that are annotated in that json
    are read from it, since it has all that was drawn. Format: labelstud.io, "Export annotations".
    """

    name = "label_studio"
    summary = "your images and an export of Label Studio: json, or brush labels to PNG"

    def open(self, root: Path, split: str) -> SegmentationDataset:
        """One split.

        Raises:
            DataError: There is no such export or split, no task has an image, or a file is malformed. What is wrong
                with a single region becomes a finding.
        """
        faults, findings = Faults(FAULTS), []
        images, tasks = _tasks(root, faults, findings)
        lists = split_lists(root, [root]).values()
        splits = splits_of_images(root, images, _folders(tasks))
        split = choose_split(split, tuple(splits), root)
        labels, raw_of, rest = _labels(root, tasks)
        keys = splits[split]
        own = {key: tasks[key] for key in keys}
        masks = _masks(own, raw_of, rest, images, faults)
        paths = tuple(images[key] for key in keys)
        total = sum(is_region(region) for task in own.values() for region in task.regions)
        return SegmentationDataset(
            self.name,
            split,
            labels,
            tuple(keys),
            paths,
            masks,
            _source(own.values()),
            (
                *findings,
                *unread_lists(root, [root], list(lists)),
                *faults.findings(total, most=1.0),
            ),
        )

    def splits(self, root: Path) -> tuple[str, ...]:
        images, tasks = _tasks(root, Faults(FAULTS), [])
        return tuple(splits_of_images(root, images, _folders(tasks)))

    def looks_like(self, root: Path) -> str | None:
        masks = [path for paths in mask_files(root).values() for path in paths.values()]
        if masks:
            return name_first("brush labels", [path.relative_to(root) for path in masks])
        exports = find_exports(root)
        return (
            name_first("Label Studio export", [path.name for path in exports]) if exports else None
        )


def _tasks(
    root: Path, faults: Faults, findings: list[Finding]
) -> tuple[dict[str, Path], dict[str, Task]]:
    """The images by id, and the annotated tasks by the id of their image.

    Raises:
        DataError: There is no export, it is malformed, or no task has an image.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. {_LAYOUT}")
    pngs = mask_files(root)
    own = {path for paths in pngs.values() for path in paths.values()}
    images = {key: path for key, path in images_below(root, findings).items() if path not in own}
    ids = IdIndex(images, files=images)
    tasks = read_tasks(find_exports(root), pngs)
    if not tasks:
        raise DataError(f"{root} holds no annotated task of Label Studio. {_LAYOUT}")
    shared = shared_last_parts(map(image_path, tasks))
    found: dict[str, Task] = {}
    missing: list[str] = []
    for task in tasks:
        key = task_image(task, ids, shared)
        if key is None:
            missing.append(task.image or f"task-{task.number}")
            faults.add("id-without-image", missing[-1])
            continue
        if task.further:
            faults.add("further-annotations", f"task {task.number}")
        if task.is_predicted:
            faults.add("predictions-alone", f"task {task.number}")
        if key in found:
            faults.add("further-annotations", f"task {task.number} ({images[key].name})")
        else:
            found[key] = task
    if not found:
        raise DataError(
            f"none of the {len(missing)} tasks has an image: the tasks are {first_names(missing)}; the images of "
            f"{root} are {first_names(list(images)) or 'none'}. {_ADVICE}"
        )
    return images, dict(sorted(found.items()))


_LAYOUT = "It holds the json export, or the files task-1-annotation-1-by-1-tag-CLASS-0.png, and the images."
_ADVICE = (
    "Put the images into the folder under the names that they were uploaded with, and for PNG files the json export, "
    "which says which task is which image, beside them."
)


def _folders(tasks: Mapping[str, Task]) -> dict[str, tuple[str, ...]]:
    """The folders of every image, and the name of the export that it is in."""
    return {key: (*key.split("/")[:-1], task.source.stem) for key, task in tasks.items()}


def _labels(root: Path, tasks: Mapping[str, Task]) -> tuple[LabelTable, dict[str, int], int]:
    """The label table, the raw id of every label, and that of pixels without region."""
    class_file = find_class_file(root)
    if class_file is not None:
        raw_of = {name: raw for raw, name in read_class_file(class_file).classes.items()}
        return (labels := read_labels_with_rest(class_file))[0], raw_of, labels[1]
    names = sorted({name for task in tasks.values() for name in task.labels})
    if not names:
        raise DataError(f"{root}: no region has a label, so that there are no classes.")
    raw_of = {name: raw for raw, name in enumerate(names, start=1)}
    labels, rest = names_to_labels({raw: name for name, raw in raw_of.items()})
    return labels, raw_of, rest


def _source(tasks: Collection[Task]) -> str:
    """Where the annotations of tasks were found, in words."""
    pngs = sorted({task.source for task in tasks if task.masks})
    exports = sorted({task.source for task in tasks if not task.masks})
    found = [f"brush labels in PNG files in {pngs[0]}"] if pngs else []
    found += [f"export {name_first('file', exports)}"] if exports else []
    return f"Label Studio {', and '.join(found)}"


def _masks(
    tasks: Mapping[str, Task],
    raw_of: Mapping[str, int],
    rest: int,
    images: Mapping[str, Path],
    faults: Faults,
) -> Masks:
    drawn = _json_masks(tasks, raw_of, rest, images, faults)
    if not any(task.masks for task in tasks.values()):
        return drawn
    pngs = _png_masks(tasks, raw_of, rest, faults)
    return pngs if all(task.masks for task in tasks.values()) else _DrawnOrPng(drawn, pngs)


class _DrawnOrPng:
    """The masks of tasks of which some have PNG files.

    Args:
        drawn: Those of the others; of all tasks, in their order.
        pngs: Those of PNG files, likewise.
    """

    are_pictures = False

    def __init__(self, drawn: ShapeMasks, pngs: BinaryMasks) -> None:
        self._drawn = drawn
        self._pngs = pngs

    def read(self, index: int, size: Callable[[], Size]) -> UInt16[np.ndarray, "H W"]:
        return self._of(index).read(index, size)

    def files(self, index: int) -> tuple[Path, ...]:
        return self._of(index).files(index)

    def own_turn(self, index: int) -> int:
        return self._of(index).own_turn(index)

    def _of(self, index: int) -> ShapeMasks | BinaryMasks:
        return self._pngs if self._pngs.files(index) else self._drawn


def _png_masks(
    tasks: Mapping[str, Task], raw_of: Mapping[str, int], rest: int, faults: Faults
) -> BinaryMasks:
    masks: list[list[tuple[int, Path]]] = []
    for task in tasks.values():
        masks.append([])
        for (label, _), path in task.masks.items():
            if label in raw_of:
                masks[-1].append((raw_of[label], path))
            else:
                faults.add("label-unknown-class", f"{path} ({label!r})")
        masks[-1].sort()
    return BinaryMasks(masks, rest)


def _json_masks(
    tasks: Mapping[str, Task],
    raw_of: Mapping[str, int],
    rest: int,
    images: Mapping[str, Path],
    faults: Faults,
) -> ShapeMasks:
    masks = ShapeMasks([task.source for task in tasks.values()], rest)
    for key, task in tasks.items():
        shapes, size = read_regions(task, raw_of, faults)
        if not shapes and not task.masks:
            faults.add("image-without-annotation", str(images[key]))
        masks.add_image(shapes, size)
    return masks
