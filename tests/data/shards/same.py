"""Comparing a data set with what was read back from its shards, and the splits of one by name."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from vitseg.data.catalog import list_splits, open_dataset
from vitseg.data.dataset import SegmentationDataset

KINDS = ("parquet", "webdataset")


def splits_of(spec: str) -> dict[str, SegmentationDataset]:
    return {name: open_dataset(spec, name) for name in list_splits(spec)}


def assert_same(found: SegmentationDataset, source: SegmentationDataset) -> None:
    """Everything that a model, a score or a page is made of."""
    assert found.split == source.split
    assert list(found.ids) == list(source.ids)
    assert found.labels.classes == source.labels.classes
    assert found.labels.rest == source.labels.rest
    assert found.labels.rows() == source.labels.rows()
    assert found.value_range == source.value_range
    assert found.bands == source.bands
    found = pickle.loads(pickle.dumps(found))  # as loader processes get it
    for index in range(len(source)):
        one, other = found[index], source[index]
        assert one.id == other.id
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label_map, other.label_map)
        assert one.label_map.dtype == other.label_map.dtype
        image = source.image_source(index)
        content = image if isinstance(image, bytes) else image.read_bytes()
        assert found.image_source(index) == content, "image files are copied as they are"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
