"""YOLO segmentation data sets: text files of normalised polygons."""

from __future__ import annotations

import os
from pathlib import Path

from vitseg.data.class_file import read_class_file
from vitseg.data.class_file_places import is_class_file
from vitseg.data.class_labels import names_to_labels, read_labels_with_rest
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.data.format import DataFormat
from vitseg.data.formats import yolo_labels
from vitseg.data.formats.faults import FaultKind, Faults
from vitseg.data.formats.shapes import ShapeMasks
from vitseg.data.formats.yolo_labels import read_label_file
from vitseg.data.formats.yolo_layout import (
    YoloLayout,
    find_data_file,
    find_yolo,
    label_file,
    list_images,
)
from vitseg.data.id_lists import unread_lists
from vitseg.data.labels import LabelTable
from vitseg.data.listing import files_below, files_of, name_first, without_thumbnails
from vitseg.data.mask_pose import MaskPose
from vitseg.data.splits import choose_split
from vitseg.errors import DataError

_MAX_NAMED = 3

FAULTS: dict[str, FaultKind] = {
    "id-without-image": FaultKind(
        "error",
        "Listed images do not exist",
        "Add the files, or remove them from the list.",
    ),
    "split-missing": FaultKind(
        "warning",
        "Splits are named whose images are not there",
        "Add the images, or remove the entry: the split is left out.",
    ),
    **yolo_labels.FAULTS,
}


class Yolo(DataFormat):
    """A YOLO segmentation data set; layouts as for `yolo_layout.find_yolo`.

    Classes are the names in the order of their numbers, which are the raw ids. Pixels outside all polygons are the
    class "background", which is class 0 unless a class has that name. Where polygons overlap, the one of fewer pixels
    is seen, as for COCO. Format: docs.ultralytics.com, "Instance Segmentation Datasets Overview".
    """

    name = "yolo"
    summary = "your images and YOLO polygons, with data.yaml or classes.txt"

    def open(self, root: Path, split: str) -> SegmentationDataset:
        """One split.

        Raises:
            DataError: There is no such data set or split, or the file that describes it is malformed. What is wrong
                with a single line becomes a finding.
        """
        layout = find_yolo(root)
        known_splits = (*layout.splits, *layout.missing)
        split = choose_split(split, known_splits, root)
        if split in layout.missing:
            raise DataError(layout.missing[split])
        sources = layout.splits[split]
        known, labels, rest = _labels(layout)
        faults = Faults(FAULTS)
        for name in layout.missing:
            faults.add("split-missing", f"{name} of {layout.described.name}")
        findings: list[Finding] = []
        images = list_images(sources, findings)
        for key in [key for key, path in images.items() if not path.is_file()]:
            faults.add("id-without-image", str(images.pop(key)))
        if not images and not faults.findings():
            raise DataError(f"{', '.join(map(str, sources))} holds no images.")
        small = {
            key
            for key, path in images.items()
            if "thumb" in key.lower() and label_file(path).is_file()
        }
        images = without_thumbnails(images, small, findings)
        files = [label_file(path) for path in images.values()]
        if files and not any(path.is_file() for path in files):
            there = [path.name for path in files_of(files[0].parent, (".txt",))][:_MAX_NAMED]
            raise DataError(
                f"none of the {len(files)} images of {split} has a label file: {files[0]} and so on do not exist. "
                f"The images are {', '.join(list(images)[:_MAX_NAMED])}; that folder holds the text files "
                f"{', '.join(there) or 'none'}. "
                "Labels lie in labels/ where the images lie in images/, or beside them."
            )
        masks = ShapeMasks(files, rest)
        sound = 0
        for image, file in zip(images.values(), files, strict=True):
            shapes = read_label_file(file, known, faults)
            sound += len(shapes)
            if not shapes:
                faults.add("image-without-annotation", str(image))
            masks.add_image(shapes, None)
        _find_lonely_labels(files, faults)
        lists = [path for each in layout.splits.values() for path in each]
        unread = unread_lists(
            root, [*dict.fromkeys(path.parent for path in images.values())], lists
        )
        source = f"YOLO polygons in {files[0].parent if files else root}, images in {', '.join(map(str, sources))}"
        return SegmentationDataset(
            self.name,
            split,
            labels,
            tuple(images),
            tuple(images.values()),
            masks,
            source,
            (*findings, *unread, *faults.findings(sound + faults.left_out, num_images=len(images))),
        )

    def splits(self, root: Path) -> tuple[str, ...]:
        return tuple(find_yolo(root).splits)

    def mask_pose(self, root: Path) -> MaskPose:
        """By the field `masks` of `data.yaml`, else by a class file."""
        return find_yolo(root).pose or super().mask_pose(root)

    def class_file(self, root: Path) -> Path | None:
        layout = find_yolo(root)
        return layout.described if layout.names is None else None

    def looks_like(self, root: Path) -> str | None:
        data_file = find_data_file(root)
        if data_file is not None:
            return f"the names in {data_file.name}"
        texts = [
            (folder / name).relative_to(root)
            for folder in (root / "labels", *sorted(root.glob("*/labels")))
            if folder.is_dir() and (folder.parent / "images").is_dir()
            for name in files_below(folder)
            if name.lower().endswith(".txt") and not is_class_file(folder / name)
        ]
        return name_first("label file", texts) if texts else None


def _labels(layout: YoloLayout) -> tuple[set[int], LabelTable, int]:
    """The class numbers that have a name, the label table, and the raw id of pixels outside all polygons."""
    if layout.names is None:
        numbers = set(read_class_file(layout.described).classes)
        return numbers, *read_labels_with_rest(layout.described)
    try:
        return set(layout.names), *names_to_labels(layout.names)
    except DataError as error:
        raise DataError(f"{layout.described}: {error}") from error


def _find_lonely_labels(files: list[Path], faults: Faults) -> None:
    """Label files beside those of the split that belong to none of its images."""
    known = {os.path.normpath(file) for file in files}
    for folder in sorted({file.parent for file in files}):
        for path in files_of(folder, (".txt",)):
            if os.path.normpath(path) not in known and not is_class_file(path):
                faults.add("mask-without-image", str(path))
