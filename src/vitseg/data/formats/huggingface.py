"""Data sets of the library `datasets`: a folder of `save_to_disk`, or a name on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from jaxtyping import Integer

from vitseg.data.class_choices import described_by_class_files
from vitseg.data.class_file import read_class_file
from vitseg.data.class_file_places import find_class_file, pose_of_folder
from vitseg.data.class_labels import read_labels
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.format import DataFormat
from vitseg.data.mask_pose import MaskPose
from vitseg.data.root_options import parse_root_options
from vitseg.data.splits import choose_split
from vitseg.errors import DataError, unknown_name
from vitseg.images.decode import decode_color_mask, decode_mask, read_header
from vitseg.types import Size

IMAGE_COLUMNS = ("image", "pixel_values", "img", "photo")
"""Usual names of image columns."""

LABEL_COLUMNS = (
    "label", "annotation", "mask", "segmentation_mask", "labels", "semantic_segmentation", "segmentation",
)  # fmt: skip
"""Usual names of label columns."""

_HUB_NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
_SAVED = ("dataset_dict.json", "state.json")


class HubRoot(NamedTuple):
    """What stands behind `huggingface:`.

    Attributes:
        path: A folder that `save_to_disk` wrote, or the name of a data set on the hub.
        image: Name of the image column; None to find it.
        label: Name of the label column; None to find it.
        classes: The class file; None for one in the folder.
        masks: How masks lie on images with an orientation tag; None: as the class file says.
    """

    path: str
    image: str | None = None
    label: str | None = None
    classes: Path | None = None
    masks: MaskPose | None = None


_OPTIONS = ("image", "label", "classes", "masks")


def parse_hub_root(text: str) -> HubRoot:
    """Read `PATH?image=COLUMN&label=COLUMN&classes=FILE&masks=POSE`; all from the question mark on may be left out.

    Raises:
        ConfigError: Another key, one without value, or a pose that is not known.
    """
    found = parse_root_options(text, _OPTIONS, "PATH?image=COLUMN&label=COLUMN&classes=FILE")
    image, label = (found.values.get(name) for name in ("image", "label"))
    return HubRoot(found.place, image, label, found.classes, found.masks)


def is_saved(root: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return any((root / name).is_file() for name in _SAVED)


class _Column(Sequence[Any]):
    """One column of a data set, read from disk cell by cell; images as they are encoded."""

    def __init__(self, rows: Any, name: str) -> None:
        import datasets

        rows = rows.select_columns([name])
        if isinstance(rows.features[name], datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
        self._rows, self._name = rows, name

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        cell = self._rows[index][self._name]
        if isinstance(cell, dict):
            cell = cell["bytes"] or (cell["path"] and Path(cell["path"]))
        if not cell:
            raise DataError(f"row {index} has no {self._name}: remove it, or add what is missing.")
        return cell

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


class ColumnMasks:
    """Masks in a column: encoded images of ids or colours, or arrays of ids."""

    are_pictures = False

    def __init__(self, cells: Sequence[Any], name: str, colors: bool) -> None:
        self._cells = cells
        self._name = name
        self._colors = colors

    def read(self, index: int, size: Callable[[], Size]) -> Integer[np.ndarray, "H W"]:
        cell = self._cells[index]
        if isinstance(cell, bytes | Path):
            return _decode(cell, self._colors, f"{self._name} of row {index}")
        ids = np.array(cell)
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise DataError(
                f"{self._name} of row {index} has the shape {ids.shape} and type {ids.dtype}, but a mask is a "
                "(height, width) array of whole numbers."
            )
        return ids.astype(np.int32, copy=False)

    def files(self, index: int) -> tuple[Path, ...]:
        return ()

    def own_turn(self, index: int) -> int:
        cell = self._cells[index]
        return read_header(cell).orientation if isinstance(cell, bytes | Path) else 1


class HuggingFace(DataFormat):
    """A data set of the library `datasets` with a column of images and one of masks.

    Class names are those of the class file in the folder, or the one that is named. Masks in colours (RGB) are read
    by its palette.
    """

    name = "huggingface"
    summary = "a data set of the library datasets, saved to disk or on the hub"

    def open(self, root: HubRoot, split: str) -> SegmentationDataset:
        """One split.

        Raises:
            DataError: The library is not installed; there is no such data set or split, or it cannot be downloaded;
                its columns are not clear; or there is no class file.
        """
        split = choose_split(split, self.splits(root), root.path)
        rows = _load(root, split)
        image, label = choose_columns(rows.features, root)
        images, cells = _Column(rows, image), _Column(rows, label)
        colors = _in_colors(cells)
        source = (
            f"Hugging Face data set {root.path}, images in column {image}, masks in column {label}"
        )
        class_file = _class_file(root)
        labels = read_labels(class_file, colors)
        ids = tuple(f"row-{index:06d}" for index in range(len(rows)))
        masks = ColumnMasks(cells, label, colors)
        dataset = SegmentationDataset(self.name, split, labels, ids, images, masks, source)
        folder = Path(root.path)
        return described_by_class_files(dataset, class_file, folder if folder.is_dir() else None)

    def splits(self, root: HubRoot) -> tuple[str, ...]:
        """Names of the splits; `all` for a single table without splits."""
        datasets = _library()
        folder = Path(root.path)
        if not folder.exists():
            return tuple(_from_hub(root, datasets.get_dataset_split_names, root.path))
        saved = _saved(folder)
        return tuple(saved) if isinstance(saved, datasets.DatasetDict) else ("all",)

    def looks_like(self, root: Path) -> str | None:
        return "the files of save_to_disk" if is_saved(root) else None

    def parse_root(self, text: str) -> HubRoot:
        return parse_hub_root(text)

    def mask_pose(self, root: HubRoot) -> MaskPose:
        """As it is named, else by the class file that is named, else by those in the folder."""
        if root.masks is not None:
            return root.masks
        if root.classes is not None:
            return read_class_file(root.classes).masks
        return pose_of_folder(Path(root.path))


def choose_columns(features: Any, root: HubRoot) -> tuple[str, str]:
    """The names of the image and the label column.

    By name where they are given; else, of the columns that hold images (for labels, also arrays of two dimensions),
    the only one or the one with a usual name.

    Raises:
        DataError: A named column is not there, or none or several come into question.
    """
    import datasets

    pictures = [name for name in features if isinstance(features[name], datasets.Image)]
    grids = [name for name in features if isinstance(features[name], datasets.Array2D)]
    for key, name in (("image", root.image), ("label", root.label)):
        allowed = pictures if key == "image" else [*pictures, *grids]
        if name is not None and name not in allowed:
            raise DataError(f"{key}={name}: {unknown_name('column of pictures', name, allowed)}")
    label_like = [name for name in (*pictures, *grids) if name.lower() in LABEL_COLUMNS]
    image = root.image or _only(
        "image",
        [name for name in pictures if name.lower() in IMAGE_COLUMNS and name != root.label]
        or [name for name in pictures if name not in label_like and name != root.label],
        features,
        root,
    )
    label = root.label or _only(
        "label",
        [name for name in label_like if name != image]
        or [name for name in (*pictures, *grids) if name != image],
        features,
        root,
    )
    return image, label


def _only(kind: str, names: Sequence[str], features: Any, root: HubRoot) -> str:
    if len(names) == 1:
        return names[0]
    columns = ", ".join(f"{name} ({type(features[name]).__name__})" for name in features)
    found = f"several columns could be the {kind}: {', '.join(names)}"
    raise DataError(
        f"{root.path}: {found if names else f'no column looks like the {kind}'}. Its columns are {columns}. Name "
        f"both: huggingface:{root.path}?image=COLUMN&label=COLUMN."
    )


def _class_file(root: HubRoot) -> Path:
    folder = Path(root.path)
    found = root.classes or (find_class_file(folder) if folder.is_dir() else None)
    if found is None:
        raise DataError(
            f"{root.path} has no class file: put classes.json into the folder, or name one, as in "
            f"huggingface:{root.path}?classes=classes.json."
        )
    read_class_file(found)
    return found


def _in_colors(cells: Sequence[Any]) -> bool:
    """Whether the first mask is a picture in colours."""
    try:
        first = cells[0] if len(cells) else None
        return isinstance(first, bytes | Path) and read_header(first).mode in ("RGB", "RGBA")
    except DataError:  # reported when that row is read
        return False


def _decode(cell: bytes | Path, colors: bool, name: str) -> np.ndarray:
    try:
        return decode_color_mask(cell) if colors else decode_mask(cell)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _load(root: HubRoot, split: str) -> Any:
    datasets = _library()
    folder = Path(root.path)
    if not folder.exists():
        return _from_hub(root, datasets.load_dataset, root.path, split=split)
    saved = _saved(folder)
    return saved[split] if isinstance(saved, datasets.DatasetDict) else saved


def _saved(folder: Path) -> Any:
    if not is_saved(folder):
        raise DataError(
            f"{folder} was not written by save_to_disk: it has no dataset_dict.json and no state.json. For a folder "
            f"of files use folder:{folder}."
        )
    try:
        return _library().load_from_disk(str(folder))
    except Exception as error:  # of many kinds: pyarrow's, json's, its own
        reason = " ".join(str(error).split())
        raise DataError(f"{folder} cannot be loaded: {type(error).__name__}: {reason}.") from error


def _from_hub(root: HubRoot, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    if not _HUB_NAME.fullmatch(root.path):  # the library would try for half a minute
        raise DataError(
            f"{root.path} does not exist, and is no name on the hub (NAME or OWNER/NAME)."
        )
    try:
        return function(*arguments, **options)
    except (
        Exception
    ) as error:  # of many kinds: of the connection, the hub, the data set's own files
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(
            f"{root.path} is no folder, and the hub does not give it: {type(error).__name__}: {reason}. Check the name "
            "and the connection, or download it elsewhere, save it with save_to_disk and pass that folder."
        ) from error


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError(
            "huggingface: needs the library datasets, which is an extra: pip install 'vitseg[huggingface]'."
        ) from None
    return datasets
