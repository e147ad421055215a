"""Binary masks: one per class and image, in masks/CLASS/STEM.png or masks/STEM/CLASS.png, or one per image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt16

from vitseg.data.class_file import read_class_file
from vitseg.data.class_file_places import find_class_file
from vitseg.data.class_labels import names_to_labels, read_labels, read_labels_with_rest
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.data.format import DataFormat
from vitseg.data.formats.binary_files import RULE, Seen, read_inside
from vitseg.data.formats.binary_layout import ONE_PER_IMAGE, find_binary_layout
from vitseg.data.formats.faults import FaultKind, Faults
from vitseg.data.formats.mask_kind import find_mask_kind
from vitseg.data.labels import LabelTable
from vitseg.data.listing import images_below, same_name, without_thumbnails
from vitseg.data.pairs import find_listed, missing_files, nothing_pairs
from vitseg.data.splits import Folders, choose_split, find_splits, unread_of
from vitseg.errors import DataError
from vitseg.images.decode import read_header
from vitseg.types import Size

FAULTS: dict[str, FaultKind] = {
    "mask-of-unknown-class": FaultKind(
        "error",
        "Binary masks are of a class that the class file does not list",
        "Add the class to the class file (to leave it out, name it under ignore as well), or remove the masks.",
    ),
    "mask-without-image": FaultKind(
        "warning",
        "Binary masks have no image of the same name",
        "Add the images, or remove the masks: they are not used.",
    ),
    "image-without-annotation": FaultKind(
        "info",
        "Images have no mask of any class: every pixel is background",
        "If objects are to be seen in them, add their masks or leave the images out.",
        warning_if_most=True,
    ),
}


class BinaryMasks:
    """Binary masks of the images of one split; what is inside is said in `binary_files`.

    Args:
        masks: The (raw id, file) pairs of every image, in the order of painting.
        rest: Raw id of pixels that no mask covers.
    """

    are_pictures = False

    def __init__(self, masks: Sequence[Sequence[tuple[int, Path]]], rest: int) -> None:
        self._masks = masks
        self._rest = rest

    def read(
        self, index: int, size: Callable[[], Size], seen: Seen = lambda path, values: None
    ) -> UInt16[np.ndarray, "H W"]:
        """The raw ids; where masks overlap, that of the later class.

        Args:
            index: Position in the split.
            size: Reads the (height, width) of the image, for one without masks.
            seen: Called with each mask's file and the values that decide what is inside.
        """
        masks = self._masks[index]
        raw_ids = None
        for raw, path in masks:
            inside = read_inside(path, seen)
            if raw_ids is None:
                raw_ids = np.full(inside.shape, self._rest, np.uint16)
            if inside.shape != raw_ids.shape:
                came, other = ("x".join(map(str, array.shape[::-1])) for array in (inside, raw_ids))
                raise DataError(
                    f"{path} is {came} pixels, but {masks[0][1]} is {other}: all masks of an image have its size."
                )
            raw_ids[inside] = raw
        return np.full(size(), self._rest, np.uint16) if raw_ids is None else raw_ids

    def files(self, index: int) -> tuple[Path, ...]:
        return tuple(path for _, path in self._masks[index])

    def own_turn(self, index: int) -> int:
        """That of the first; masks of one image have one."""
        return next((read_header(path).orientation for _, path in self._masks[index]), 1)


class _Listing(NamedTuple):
    """The files of one split: images by id, and masks by class and id; of one mask per image, the class is ""."""

    ids: tuple[str, ...]
    images: Mapping[str, Path]
    masks: Mapping[tuple[str, str], Path]
    layout: str
    folder: Path
    image_folder: Path
    findings: tuple[Finding, ...]


class Binary(DataFormat):
    """Binary masks: one per class and image (`masks/CLASS/STEM.png`, `masks/STEM/CLASS.png`), or one per image.

    Folders and splits are those of `splits.find_splits`. Class names are those of the folders (files) over all splits,
    by name, or those of the class file, in its order. Where masks overlap, the later class wins. Pixels that no mask
    covers are the class "background", which is class 0 unless a class has that name. With one mask per image
    (`masks/STEM.png`), the class file names its class, or the two classes of outside and inside, and an image without a
    mask is a fault.
    """

    name = "binary"
    summary = "your images and a binary mask per class, in masks/CLASS/ or masks/STEM/"

    def open(self, root: Path, split: str) -> SegmentationDataset:
        """One split.

        Raises:
            DataError: The folders, the class file or the split are missing or malformed, or the masks are in neither
                layout.
        """
        splits = find_splits(root)
        split = choose_split(split, tuple(splits), root)
        found = {split: _list(splits[split])}
        class_file = find_class_file(root)
        if found[split].layout == ONE_PER_IMAGE:
            raw_of, labels, rest = _of_one_class(root, class_file)
        elif class_file is None:
            found = {name: found.get(name) or _list(folders) for name, folders in splits.items()}
            names = sorted({name for listing in found.values() for name, _ in listing.masks})
            raw_of = {name: number for number, name in enumerate(names, start=1)}
            labels, rest = names_to_labels({number: name for name, number in raw_of.items()})
        else:
            classes = read_class_file(class_file).classes
            raw_of = {same_name(name): raw for raw, name in classes.items()}
            labels, rest = read_labels_with_rest(class_file)
        faults, listing = Faults(FAULTS), found[split]
        masks = _masks_by_image(listing, raw_of, faults)
        images = tuple(listing.images[key] for key in masks)
        return SegmentationDataset(
            self.name,
            split,
            labels,
            tuple(masks),
            images,
            BinaryMasks(tuple(masks.values()), rest),
            f"binary masks {listing.folder / listing.layout}, images in {listing.image_folder}; {RULE}",
            (*listing.findings, *unread_of(root, splits), *faults.findings(num_images=len(images))),
        )

    def splits(self, root: Path) -> tuple[str, ...]:
        return tuple(find_splits(root))

    def looks_like(self, root: Path) -> str | None:
        kind = find_mask_kind(root)
        return kind.evidence if kind is not None and kind.name == self.name else None


def _of_one_class(root: Path, class_file: Path | None) -> tuple[dict[str, int], LabelTable, int]:
    """Raw id of the class "" of masks of which there is one per image, the table, and the raw id of the rest."""
    if class_file is None:
        raise DataError(
            f"{root / 'classes.json'} does not exist. It names the class of the masks: "
            '{"classes": ["road"]}, or those of outside and inside: {"classes": ["background", "road"]}.'
        )
    classes = read_class_file(class_file).classes
    if len(classes) > 2:
        raise DataError(
            f"{class_file} lists {len(classes)} classes, but binary masks of which there is one per image show one: "
            "list it alone, or outside and inside."
        )
    if len(classes) == 2:
        outside, inside = classes
        return {"": inside}, read_labels(class_file), outside
    labels, rest = read_labels_with_rest(class_file)
    return {"": next(iter(classes))}, labels, rest


def _masks_by_image(
    listing: _Listing, raw_of: Mapping[str, int], faults: Faults
) -> dict[str, tuple[tuple[int, Path], ...]]:
    """Image id -> (raw id, mask) each in ascending order; what fits nothing is added to the faults."""
    own: dict[str, list[tuple[int, Path]]] = {}
    for key in listing.ids:
        own[key] = []
    for (name, key), path in listing.masks.items():
        if name not in raw_of:
            faults.add("mask-of-unknown-class", str(path))
        elif key in own:
            own[key].append((raw_of[name], path))
        elif key not in listing.images:
            faults.add("mask-without-image", str(path))
    for key, masks in own.items():
        if not masks:
            faults.add("image-without-annotation", str(listing.images[key]))
    return {key: tuple(sorted(masks)) for key, masks in own.items()}


def _list(folders: Folders) -> _Listing:
    findings: list[Finding] = []
    image_folder = folders.images / folders.inside
    images = images_below(image_folder, findings)
    folder = folders.masks / folders.inside
    masks = images_below(folder, findings)
    layout = find_binary_layout(masks, images)
    if layout is None:
        raise nothing_pairs(image_folder, sorted(images), folder, sorted(masks))
    images = without_thumbnails(images, {key for _, key in layout.masks}, findings)
    ids = sorted(images)
    if folders.listed is not None:
        ids = find_listed(folders, images, {key: key for key in images}, findings)
    by_class = {pair: masks[key] for pair, key in layout.masks.items()}
    if layout.pattern == ONE_PER_IMAGE:  # else an image without a mask shows none of the classes
        findings += missing_files(ids, ids, masks, folders.masks, "image-without-mask", "mask")
        ids = [key for key in ids if key in masks]
    return _Listing(
        tuple(ids), images, by_class, layout.pattern, folder, image_folder, tuple(findings)
    )
