"""A data set in plain folders: `images/`, `masks/` and `classes.json`, with or without splits."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitseg.classes import IGNORE_INDEX, ClassTable, Color
from vitseg.data.labels import IdTable
from vitseg.data.sample import Sample
from vitseg.errors import DataError
from vitseg.images.decode import IMAGE_SUFFIXES, decode_image, decode_mask

_USUAL_IGNORE_ID = 255
_MAX_NAMED = 3


class ClassFile(BaseModel):
    """Content of `classes.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...] = Field(min_length=1, description="class names, in the order of ids")
    palette: tuple[Color, ...] | None = Field(
        default=None, description="RGB in [0, 255], one per class; generated if absent"
    )
    ignore_index: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="mask id of pixels that count nowhere; "
        "a class listed at this index is no class of the model",
    )


class FolderDataset:
    """Images and index masks of the same stem.

    Layout: `ROOT/classes.json` (see `ClassFile`), `ROOT/images/...` and `ROOT/masks/...`. A split
    is a file `ROOT/SPLIT.txt` with one id a line (path below the folder, without suffix), or a pair
    of folders `images/SPLIT` and `masks/SPLIT`, or both: then the ids of the file are looked up in
    the pair first. Without either there is one split, "all". The mask id 255 is ignored, too, unless
    there is a class 255.

    Args:
        root: The folder.
        split: Name of a split.
        name: Name of the data set in errors and reports.

    Raises:
        DataError: A folder, `classes.json`, the split, an image or a mask is missing, `classes.json`
            is malformed, or two files have the same stem.
    """

    def __init__(self, root: str | Path, split: str = "train", name: str = "folder") -> None:
        self.name = name
        self.split = split
        root = Path(root)
        _check_folders(root)
        self.label_mapping: Mapping[int, int]
        self.classes, self.label_mapping = read_classes(root / "classes.json")
        self._id_table = IdTable(
            self.label_mapping,
            dataset=name,
            hint="Do the masks belong to another class list? An id that should not count is named as "
            "ignore_index in classes.json.",
        )
        self.ids: Sequence[str] = _split_ids(root, split)
        self._images = _matched(self.ids, _files_by_id(root / "images", split), root / "images")
        self._masks = _matched(self.ids, _files_by_id(root / "masks", split), root / "masks")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image = decode_image(self._images[index])
        ids = decode_mask(self._masks[index])
        if image.shape[:2] != ids.shape:
            raise DataError(
                f"{self._masks[index]} is {ids.shape[1]}x{ids.shape[0]} pixels, but its image "
                f"{self._images[index]} is {image.shape[1]}x{image.shape[0]}: "
                "a mask must have the size of its image."
            )
        label_map = self._id_table.label_map(ids, self._masks[index])
        return Sample(id=self.ids[index], image=image, label_map=label_map)

    def image_path(self, index: int) -> Path:
        return self._images[index]

    def mask_path(self, index: int) -> Path:
        return self._masks[index]


def _check_folders(root: Path) -> None:
    for folder in (root, root / "images", root / "masks"):
        if not folder.is_dir():
            raise DataError(
                f"{folder} is not a folder. A data set folder holds images/, masks/ and classes.json."
            )


def read_classes(path: Path) -> tuple[ClassTable, dict[int, int]]:
    """The classes of the model, and raw id -> class index or IGNORE_INDEX."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist. It names the classes in the order of ids: "
            '{"classes": ["road", "sky"]}.'
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable JSON file: {error}.") from error
    try:
        file = ClassFile.model_validate(content)
        full_table = (
            ClassTable.from_names(file.classes)
            if file.palette is None
            else ClassTable(names=file.classes, palette=file.palette)
        )
    except ValidationError as error:
        raise DataError(f"{path} is malformed: {_one_line(error)}.") from error
    kept = [raw for raw in range(len(file.classes)) if raw != file.ignore_index]
    if not kept:
        raise DataError(f"{path} lists no class beside the one at ignore_index: add the others.")
    mapping = {raw: index for index, raw in enumerate(kept)}
    if file.ignore_index is not None:
        mapping[file.ignore_index] = IGNORE_INDEX
    mapping.setdefault(_USUAL_IGNORE_ID, IGNORE_INDEX)
    classes = ClassTable(
        names=tuple(full_table.names[raw] for raw in kept),
        palette=tuple(full_table.palette[raw] for raw in kept),
    )
    return classes, mapping


def _one_line(error: ValidationError) -> str:
    faults = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        faults.append(f"{place}: {fault['msg']}" if place else fault["msg"])
    return "; ".join(faults[:_MAX_NAMED])


def _split_ids(root: Path, split: str) -> tuple[str, ...]:
    files = {path.stem: path for path in root.glob("*.txt")}
    folders = {path.name for path in (root / "images").iterdir() if path.is_dir()}
    folders &= {path.name for path in (root / "masks").iterdir() if path.is_dir()}
    valid = sorted({*files, *folders}) or ["all"]
    if split not in valid:
        raise DataError(
            f"{split!r} is not a split of {root}. Valid: {', '.join(valid)}. "
            f"A split is a file {split}.txt or a pair of folders images/{split} and masks/{split}."
        )
    if split in files:
        return _listed_ids(files[split])
    folder = root / "images" / split if split in folders else root / "images"
    ids = tuple(sorted(_files_below(folder)))
    if not ids:
        raise DataError(f"{folder} holds no images. Known suffixes: {', '.join(IMAGE_SUFFIXES)}.")
    return ids


def _listed_ids(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable text file: {error}.") from error
    ids = tuple(line.strip() for line in lines if line.strip())
    if not ids:
        raise DataError(f"{path} lists no ids: write one a line, without suffix.")
    return ids


def _files_by_id(folder: Path, split: str) -> dict[str, Path]:
    """Files of `folder` by id; those of the sub-folder of the split go first."""
    files = _files_below(folder)
    prefix = f"{split}/"
    inside = {
        key.removeprefix(prefix): path for key, path in files.items() if key.startswith(prefix)
    }
    return files | inside


def _files_below(folder: Path) -> dict[str, Path]:
    """Image files by their path below `folder`, without suffix; hidden files are no images."""
    files: dict[str, Path] = {}
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() not in IMAGE_SUFFIXES or name.startswith("."):
                continue
            key = path.relative_to(folder).with_suffix("").as_posix()
            if key in files:
                raise DataError(f"{files[key]} and {path} have the same stem: remove one.")
            files[key] = path
    return files


def _matched(ids: Sequence[str], files: dict[str, Path], folder: Path) -> tuple[Path, ...]:
    missing = [key for key in ids if key not in files]
    if missing:
        named = ", ".join(missing[:_MAX_NAMED]) + (", ..." if len(missing) > _MAX_NAMED else "")
        raise DataError(
            f"{len(missing)} of {len(ids)} ids have no file in {folder}: {named}. "
            "Image and mask are matched by the path without suffix; remove the ids or add the files."
        )
    return tuple(files[key] for key in ids)
