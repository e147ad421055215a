"""The data sets by name, and the `NAME:ROOT` spelling by which recipes and commands choose one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vitseg.data.camvid import camvid
from vitseg.data.folder import FolderDataset
from vitseg.data.sample import SegmentationDataset
from vitseg.errors import ConfigError, unknown_name

DATASETS: dict[str, Callable[[Path, str], SegmentationDataset]] = {
    "camvid": camvid,
    "folder": FolderDataset,
}


def open_dataset(spec: str, split: str) -> SegmentationDataset:
    """The split of the data set that `NAME:ROOT` names.

    Raises:
        ConfigError: As for `parse_data_spec`.
        DataError: The folder is not such a data set or has no such split.
    """
    name, root = parse_data_spec(spec)
    return DATASETS[name](root, split)


def parse_data_spec(spec: str) -> tuple[str, Path]:
    """Split `NAME:ROOT` at its first colon.

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
    return name, Path(root)
