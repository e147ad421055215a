"""Folders of images and masks without a class file: the ids in their masks, and a class file to start from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vitseg.checks.facts import COLOR_MODES
from vitseg.checks.tally import Tally
from vitseg.classes import ClassTable
from vitseg.data.class_file_places import find_class_file, pose_of_folder
from vitseg.data.class_labels import USUAL_IGNORE_ID
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.data.formats.mask_files import ColorMasks, IndexMasks
from vitseg.data.labels import LabelTable
from vitseg.data.pairs import list_pairs
from vitseg.data.splits import choose_split, find_splits
from vitseg.errors import DataError
from vitseg.images.decode import decode_color_mask, read_header

KINDS = ("folder", "index", "color")
"""Names of data sets that may lack a class file."""

_MAX_CLASSES = 256


def open_unnamed(name: str, root: Path, splits: Sequence[str]) -> list[SegmentationDataset] | None:
    """The splits of a folder that has images and masks but no class file; None if it is no such folder.

    Their label table is empty: every id is outside it.
    """
    if name not in KINDS or not root.is_dir() or find_class_file(root) is not None:
        return None
    try:
        known = find_splits(root)
        chosen = [choose_split(split, tuple(known), root) for split in splits or known]
        pairs = {split: list_pairs(known[split]) for split in chosen}
    except DataError:
        return None
    masks = [path for of_split in pairs.values() for path in of_split.masks]
    if not masks:
        return None
    colors = name == "color" or (name == "folder" and _holds_colors(masks[0]))
    pose = pose_of_folder(root)
    labels = LabelTable(ClassTable.from_names(("unnamed",)), {}, {}, colors)
    return [
        SegmentationDataset(
            name,
            split,
            labels,
            found.ids,
            found.images,
            (ColorMasks if colors else IndexMasks)(found.masks),
            f"{'color' if colors else 'index'} masks in {known[split].masks}, images in {known[split].images}",
            found.findings,
        ).with_mask_pose(pose)
        for split, found in pairs.items()
    ]


def no_class_file(tally: Tally, root: Path) -> Finding:
    """The finding that the class file is missing, with one to start from."""
    labels = tally.labels
    pixels = tally.id_pixels
    ids = (
        sorted(pixels, key=lambda raw: -pixels[raw])[:_MAX_CLASSES]
        if labels.colors
        else sorted(pixels)
    )
    path = root / "classes.json"
    what = "colours" if labels.colors else "ids"
    message = (
        f"{path} does not exist: what the {len(pixels)} {what} in the masks mean is not known."
    )
    if not ids:
        fix = 'Write it, with the class names in the order of ids: {"classes": ["road", "sky"]}.'
    else:
        fix = f"Save this as {path} and put the real names in: {json.dumps(_content(ids, labels.colors))}"
    return Finding("no-class-file", "error", message, fix, (str(path),), 1)


def _content(ids: list[int], colors: bool) -> dict[str, object]:
    """The content of a class file for these ids."""
    if colors:
        palette = [[raw >> 16, raw >> 8 & 255, raw & 255] for raw in ids]
        return {"classes": [f"class {number}" for number in range(len(ids))], "palette": palette}
    rest = [raw for raw in ids if raw != USUAL_IGNORE_ID]
    if len(rest) < 2:  # a binary mask: 255 is its class
        return {"classes": {str(raw): f"class {raw}" for raw in ids}}
    content: dict[str, object] = {"classes": {str(raw): f"class {raw}" for raw in rest}}
    if USUAL_IGNORE_ID in ids:
        content["ignore_index"] = USUAL_IGNORE_ID
    return content


def _holds_colors(path: Path) -> bool:
    """Whether a mask has three channels that differ."""
    try:
        if read_header(path).mode not in COLOR_MODES:
            return False
        colors = decode_color_mask(path)
    except DataError:
        return False
    return bool((colors != (colors & 255) * 0x010101).any())
