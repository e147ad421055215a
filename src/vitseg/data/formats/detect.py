"""`folder:ROOT`: which of the formats a folder is in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitseg.data.class_files import find_class_file, read_class_file
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.formats.binary import binary_splits, list_binary_masks, open_binary
from vitseg.data.formats.coco import coco_splits, open_coco
from vitseg.data.formats.coco_layout import find_annotations, looks_like_coco
from vitseg.data.formats.files import file_splits, open_color, open_index
from vitseg.data.formats.huggingface import HubRoot, huggingface_splits, is_saved, open_huggingface
from vitseg.data.formats.listing import files_below, images_below
from vitseg.data.formats.yolo import open_yolo, yolo_splits
from vitseg.data.formats.yolo_layout import find_data_file
from vitseg.data.pairs import Folders, find_splits
from vitseg.errors import DataError
from vitseg.images.decode import Header, decode_color_mask, read_header

_SAMPLED = 20  # masks whose headers are read
_COLOR_MODES = ("RGB", "RGBA", "LA", "PA")

_LAYOUTS = (
    "Also known: binary masks in masks/CLASS/ or masks/STEM/, COCO json in annotations/, YOLO polygons with data.yaml, "
    "and what the library datasets saves to disk."
)


class Candidate(NamedTuple):
    """A format that a folder may be in.

    Attributes:
        name: Its name in `NAME:ROOT`.
        evidence: What speaks for it, in words.
    """

    name: str
    evidence: str


def open_folder(root: Path, split: str) -> SegmentationDataset:
    """The split of a folder in the one format that it is found to be in; `source` says which, and by what.

    Raises:
        DataError: It is in none, or in several, which are listed; its masks are of different kinds, or are index masks
            saved as colours; or as for the format found.
    """
    found = detect(root)
    dataset = _OPEN[found.name](root, split)
    dataset.source = f"{dataset.source} (detected by {found.evidence})"
    return dataset


def folder_splits(root: Path) -> tuple[str, ...]:
    """Names of the splits of a folder in whatever format it is found to be; errors as for `open_folder`."""
    return _SPLITS[detect(root).name](root)


_OPEN: dict[str, Callable[[Path, str], SegmentationDataset]] = {
    "binary": open_binary,
    "coco": open_coco,
    "color": open_color,
    "huggingface": lambda root, split: open_huggingface(HubRoot(str(root)), split),
    "index": open_index,
    "yolo": open_yolo,
}

_SPLITS: dict[str, Callable[[Path], tuple[str, ...]]] = {
    "binary": binary_splits,
    "coco": coco_splits,
    "color": file_splits,
    "huggingface": lambda root: huggingface_splits(HubRoot(str(root))),
    "index": file_splits,
    "yolo": yolo_splits,
}


def detect(root: Path) -> Candidate:
    """The one format that a folder is in, by its layout, its json and yaml files and the headers of some masks.

    Raises:
        DataError: As for `open_folder`.
    """
    looks = (_hugging_face, _coco, _yolo) if root.is_dir() else ()
    candidates = [found for look in looks if (found := look(root))]
    try:
        masks = _masks(root)
    except _MasksError as error:
        if not candidates:
            raise DataError(str(error)) from error
        masks = Candidate("index", str(error))
    except DataError as error:  # no folders of images and masks
        if not candidates:
            raise DataError(f"{error} {_LAYOUTS}") from error
        masks = None
    candidates += [masks] if masks else []
    if len(candidates) > 1:
        listed = "; ".join(f"{found.name}:{root} by {found.evidence}" for found in candidates)
        raise DataError(
            f"{root} can be read in {len(candidates)} ways: {listed}. Write the one that is meant instead of "
            f"folder:{root}."
        )
    # Images without anything beside them: opened as index masks, so that every missing mask is reported.
    return (
        candidates[0] if candidates else Candidate("index", "its folders alone, there is no mask")
    )


class _MasksError(DataError):
    """There are masks, but which kind they are is not clear."""


def _hugging_face(root: Path) -> Candidate | None:
    return Candidate("huggingface", "the files of save_to_disk") if is_saved(root) else None


def _coco(root: Path) -> Candidate | None:
    try:
        paths = list(find_annotations(root).values())
    except DataError:
        return None
    if not any(looks_like_coco(path) for path in paths):
        return None
    return Candidate("coco", _some("annotation file", [path.relative_to(root) for path in paths]))


def _yolo(root: Path) -> Candidate | None:
    data_file = find_data_file(root)
    if data_file is not None:
        return Candidate("yolo", f"the names in {data_file.name}")
    texts = [
        (folder / name).relative_to(root)
        for folder in (root / "labels", *sorted(root.glob("*/labels")))
        if folder.is_dir() and (folder.parent / "images").is_dir()
        for name in files_below(folder)
        if name.endswith(".txt") and not name.endswith("classes.txt")
    ]
    return Candidate("yolo", _some("label file", texts)) if texts else None


def _some(what: str, paths: Sequence[object]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"the {what} {paths[0]}{more}"


def _masks(root: Path) -> Candidate | None:
    """The format of the mask files; None if there are folders for them, but no files.

    Raises:
        _MasksError: They are of different kinds, or index masks saved as colours.
        DataError: There are no folders of images and masks.
    """
    folders = list(find_splits(root).values())
    masks = {
        path
        for folder in {each.masks for each in folders}
        for path in images_below(folder).values()
    }
    if not masks:
        return None
    return _binary(root, folders) or _one_per_image(root, sorted(masks))


def _binary(root: Path, folders: Sequence[Folders]) -> Candidate | None:
    for each in folders:
        folder = each.masks / each.inside
        images = images_below(each.images / each.inside)
        if any(key in images for key in images_below(folder)):
            return None  # masks of the images' own names
        listed = list_binary_masks(folder, images)
        if listed is not None:
            name = f"{folder.relative_to(root).as_posix()}/{listed[0]}"
            return Candidate("binary", f"{len(listed[1])} masks {name}")
    return None


def _one_per_image(root: Path, masks: Sequence[Path]) -> Candidate:
    headers = _sample(masks)
    colors = [path for path, header in headers.items() if header.mode in _COLOR_MODES]
    kinds = Counter(f"{header.format} of mode {header.mode}" for header in headers.values())
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    evidence = f"the headers of {len(headers)} masks: {found}" if headers else "its folders alone"
    if not colors:
        return Candidate("index", evidence)
    if len(colors) < len(headers):
        other = next(path for path in headers if path not in colors)
        raise _MasksError(
            f"the masks of {root} are of different kinds ({found}), for example {colors[0]} in colours and {other} of "
            "one channel: save all in one way."
        )
    _refuse_grey(root, colors)
    return Candidate("color", evidence)


def _sample(masks: Sequence[Path]) -> dict[Path, Header]:
    """The headers of up to `_SAMPLED` masks, evenly spread; damaged files are left to whoever reads them."""
    headers = {}
    count = min(_SAMPLED, len(masks))
    for path in [masks[number * len(masks) // count] for number in range(count)]:
        try:
            headers[path] = read_header(path)
        except DataError:
            continue
    return headers


def _refuse_grey(root: Path, masks: Sequence[Path]) -> None:
    """Refuse ids that were saved as R = G = B = id: of a grey the palette knows nothing."""
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
        return
    ids = sorted(color & 0xFF for color in seen)
    shown = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
    raise _MasksError(
        f"the masks of {root} have three equal channels (the values {shown}): these are index masks saved as RGB. "
        'Save one channel each, in Python: Image.open(path).getchannel(0).save(path) after "from PIL import Image".'
    )
