"""The data sets by name, and the `NAME:ROOT` spelling by which recipes and commands choose one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.formats.binary import binary_splits, open_binary
from vitseg.data.formats.coco import coco_splits, open_coco
from vitseg.data.formats.detect import folder_splits, open_folder
from vitseg.data.formats.files import file_splits, open_color, open_index
from vitseg.data.formats.huggingface import huggingface_splits, open_huggingface, parse_hub_root
from vitseg.data.formats.yolo import open_yolo, yolo_splits
from vitseg.data.official.ade20k import ade20k_splits, open_ade20k
from vitseg.data.official.camvid import camvid_splits, open_camvid
from vitseg.data.official.cityscapes import cityscapes_splits, open_cityscapes
from vitseg.data.official.coco_stuff import (
    coco_stuff_10k_splits,
    coco_stuff_164k_splits,
    open_coco_stuff_10k,
    open_coco_stuff_164k,
)
from vitseg.data.official.pascal_context import (
    open_pascal_context_59,
    open_pascal_context_60,
    pascal_context_splits,
)
from vitseg.data.official.voc import open_voc2012, voc2012_splits
from vitseg.errors import ConfigError, DataError, unknown_name


class DatasetKind(NamedTuple):
    """How a kind of data set is opened. Neither raises for single files: those become the data set's findings.

    Attributes:
        summary: What it is, in a few words.
        open: From root and split to the data set.
        splits: Names of the splits below a root.
        root: From the text behind the colon to the root that the two take: a folder, unless said otherwise.
    """

    summary: str
    open: Callable[[Any, str], SegmentationDataset]
    splits: Callable[[Any], tuple[str, ...]]
    root: Callable[[str], Any] = Path


DATASETS: dict[str, DatasetKind] = {
    "ade20k": DatasetKind("ADE20K (SceneParse150), 150 classes", open_ade20k, ade20k_splits),
    "binary": DatasetKind("your images and a binary mask per class", open_binary, binary_splits),
    "camvid": DatasetKind("CamVid, 11 classes", open_camvid, camvid_splits),
    "cityscapes": DatasetKind("Cityscapes, 19 classes", open_cityscapes, cityscapes_splits),
    "coco": DatasetKind("your images and COCO json annotations", open_coco, coco_splits),
    "coco_stuff_10k": DatasetKind(
        "COCO-Stuff-10k, 171 classes", open_coco_stuff_10k, coco_stuff_10k_splits
    ),
    "coco_stuff_164k": DatasetKind(
        "COCO-Stuff on COCO 2017, 171 classes", open_coco_stuff_164k, coco_stuff_164k_splits
    ),
    "color": DatasetKind("your images and colour masks", open_color, file_splits),
    "folder": DatasetKind("your images and masks, format detected", open_folder, folder_splits),
    "huggingface": DatasetKind(
        "a Hugging Face data set with image and label columns",
        open_huggingface,
        huggingface_splits,
        parse_hub_root,
    ),
    "index": DatasetKind("your images and index masks", open_index, file_splits),
    "pascal_context_59": DatasetKind(
        "PASCAL-Context without background, 59 classes",
        open_pascal_context_59,
        pascal_context_splits,
    ),
    "pascal_context_60": DatasetKind(
        "PASCAL-Context with background, 60 classes", open_pascal_context_60, pascal_context_splits
    ),
    "voc2012": DatasetKind("Pascal VOC 2012, 21 classes", open_voc2012, voc2012_splits),
    "yolo": DatasetKind("your images and YOLO polygons", open_yolo, yolo_splits),
}


def open_dataset(
    spec: str,
    split: str,
    merge: Mapping[str, Sequence[str]] | None = None,
    ignore: Sequence[str] = (),
) -> SegmentationDataset:
    """The split of the data set that `NAME:ROOT` names, sound enough to train on.

    Args:
        spec: `NAME:ROOT`.
        split: Name of a split.
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
    dataset = DATASETS[name].open(root, split)
    dataset.name = name
    if merge or ignore:
        dataset = dataset.with_labels(dataset.labels.merged(merge, ignore))
    return dataset


def list_splits(spec: str) -> tuple[str, ...]:
    """Names of the splits of the data set that `NAME:ROOT` names; errors as for `open_dataset`."""
    name, root = parse_data_spec(spec)
    return DATASETS[name].splits(root)


def parse_data_spec(spec: str) -> tuple[str, Any]:
    """Split `NAME:ROOT` at its first colon.

    Returns:
        The name, and the root as that kind of data set takes it: a folder, unless `DatasetKind.root` says otherwise.

    Raises:
        ConfigError: There is no colon, no root, or the name is not in `DATASETS`.
    """
    name, colon, root = spec.partition(":")
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
    return name, DATASETS[name].root(root)
