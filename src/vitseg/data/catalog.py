"""The data sets by name, and the `NAME:ROOT` spelling by which recipes and commands choose one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitseg.data.band_choice import (
    bands_of_spec,
    declared_bands,
    with_chosen_bands,
    without_bands,
)
from vitseg.data.class_labels import declared_range
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.data.format import DataFormat
from vitseg.data.formats.binary import Binary
from vitseg.data.formats.coco import Coco
from vitseg.data.formats.color import Color
from vitseg.data.formats.folder import AnyFolder
from vitseg.data.formats.huggingface import HuggingFace
from vitseg.data.formats.index import Index
from vitseg.data.formats.label_studio import LabelStudio
from vitseg.data.formats.labelme import LabelMe
from vitseg.data.formats.parquet import Parquet
from vitseg.data.formats.webdataset import WebDataset
from vitseg.data.formats.yolo import Yolo
from vitseg.data.left_out import other_pictures
from vitseg.data.listed_split import is_list, open_list
from vitseg.data.listing import listed_once
from vitseg.data.official.ade20k import Ade20k
from vitseg.data.official.camvid import CamVid
from vitseg.data.official.cityscapes import Cityscapes
from vitseg.data.official.coco_stuff import CocoStuff10k, CocoStuff164k
from vitseg.data.official.pascal_context import PascalContext59, PascalContext60
from vitseg.data.official.voc import Voc2012
from vitseg.errors import ConfigError, DataError, first_names, unknown_name

FORMATS: tuple[DataFormat, ...] = (
    Binary(),
    Coco(),
    Yolo(),
    LabelMe(),
    LabelStudio(),
    HuggingFace(),
    Parquet(),
    WebDataset(),
    Index(),
    Color(),
)
"""The formats of your own data, in the order in which messages list them."""

PUBLISHED: tuple[DataFormat, ...] = (
    Ade20k(),
    CamVid(),
    Cityscapes(),
    CocoStuff10k(),
    CocoStuff164k(),
    PascalContext59(),
    PascalContext60(),
    Voc2012(),
)
"""The published data sets."""

FOLDER = AnyFolder(FORMATS)
"""Your own data in whichever of these formats it is found to be."""

DATASETS: dict[str, DataFormat] = {each.name: each for each in (*FORMATS, FOLDER, *PUBLISHED)}
"""What stands before the colon of `NAME:ROOT`."""


def open_dataset(
    spec: str,
    split: str,
    merge: Mapping[str, Sequence[str]] | None = None,
    ignore: Sequence[str] = (),
) -> SegmentationDataset:
    """The split of the data set that `NAME:ROOT` names, sound enough to train on.

    Args:
        spec: `NAME:ROOT`.
        split: Name of a split, or a text file (.txt) of ids, see `listed_split`.
        merge: Joint class -> classes that it joins, see `LabelTable.merged`.
        ignore: Classes whose pixels count nowhere.

    Raises:
        ConfigError: As for `parse_data_spec`; or `merge` or `ignore` does not fit the classes.
        DataError: The folder is not such a data set or has no such split, or files lack their partner.
    """
    dataset = open_unchecked(spec, split, merge, ignore)
    for finding in dataset.findings:
        if finding.severity == "error":
            raise DataError(f"{finding.message} {finding.fix}")
    return dataset


def open_unchecked(
    spec: str,
    split: str,
    merge: Mapping[str, Sequence[str]] | None = None,
    ignore: Sequence[str] = (),
) -> SegmentationDataset:
    """As `open_dataset`, but what is wrong with single files is left in the data set's `findings`."""
    name, root = parse_data_spec(spec)
    if is_list(split):
        with listed_once():
            splits = DATASETS[name].splits(root)
            return open_list(
                Path(split), splits, lambda own: open_unchecked(spec, own, merge, ignore)
            )
    with listed_once():
        dataset = DATASETS[name].open_placed(root, split)
        dataset = dataset.with_findings(other_pictures(dataset))
        if isinstance(root, Path) and root.is_dir():
            dataset = dataset.with_value_range(declared_range(root) or dataset.value_range)
        bands = bands_of_spec(spec) or (declared_bands(root) if isinstance(root, Path) else None)
        if bands is not None:
            dataset = with_chosen_bands(dataset, bands)
    if merge or ignore:
        dataset = dataset.with_labels(dataset.labels.merged(merge, ignore))
    if dataset.classes.num_classes == 1:
        dataset = dataset.with_findings([_one_class(dataset)])
    return dataset


def _one_class(dataset: SegmentationDataset) -> Finding:
    """The warning that there is nothing to tell apart."""
    name = dataset.classes.names[0]
    return Finding(
        "one-class",
        "warning",
        f"{name!r} is the only class, and all other pixels count nowhere: every model reaches 100 % on them.",
        "If the other pixels are something else, let them be a class, such as background.",
        (name,),
        1,
    )


def require_one_table(datasets: Sequence[SegmentationDataset]) -> None:
    """Raise DataError unless all splits have the same classes in the same order: a class is known by its place."""
    first = datasets[0]
    for other in datasets[1:]:
        ours, theirs = first.classes.names, other.classes.names
        if ours != theirs:
            apart = sorted(set(ours) ^ set(theirs)) or ["their order"]
            raise DataError(
                f"the splits {first.split} and {other.split} have other classes: {len(ours)} and {len(theirs)}, which "
                f"differ by {first_names(apart)}. Give all splits one list of classes."
            )


def list_splits(spec: str) -> tuple[str, ...]:
    """Names of the splits of the data set that `NAME:ROOT` names; errors as for `open_dataset`."""
    name, root = parse_data_spec(spec)
    return DATASETS[name].splits(root)


def parse_data_spec(spec: str) -> tuple[str, Any]:
    """Split `NAME:ROOT` at its first colon; the choice of bands behind `?` is left out, see `bands_of_spec`.

    Returns:
        The name, and the root as that format takes it, see `DataFormat.parse_root`.

    Raises:
        ConfigError: There is no colon, no root, or the name is not in `DATASETS`.
    """
    name, colon, root = without_bands(spec).partition(":")
    if not colon or not root:
        raise ConfigError(
            f"{spec!r} does not name a data set. Write NAME:FOLDER, for example folder:data/streets. "
            f"Known names: {', '.join(sorted(DATASETS))}."
        )
    if name not in DATASETS:
        raise ConfigError(
            f"{unknown_name('data set', name, DATASETS)} "
            f"A data set is written NAME:FOLDER; {spec!r} came."
        )
    return name, DATASETS[name].parse_root(root)
