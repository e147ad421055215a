"""Whatever vitseg reads comes back from shards as it was: images, labels, ids, classes, ranges and bands."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.data.band_sets import array, geotiff, siblings, write_band_set
from tests.data.deep_sets import png16, write_deep_set
from tests.data.formats.content import FORMATS, IN_TABLES, NAMES, write_coco_polygons, write_index
from tests.data.shards.same import KINDS, assert_same, splits_of
from tests.data.test_mask_pose import written as written_stored
from tests.tiny import photo
from vitseg.data.catalog import FOLDER, list_splits, open_dataset
from vitseg.data.shards.write import write_shards
from vitseg.errors import DataError

pytest.importorskip("pyarrow")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("written", FORMATS)
def test_every_format(tmp_path, written, kind):
    name, write = FORMATS[written]
    if name in IN_TABLES:
        pytest.importorskip(IN_TABLES[name])
    write(tmp_path / "source")
    source = splits_of(f"{name}:{tmp_path / 'source'}")
    out = tmp_path / "out"
    write_shards(source, out, kind)
    assert list_splits(f"{kind}:{out}") == tuple(source)
    assert FOLDER.detect(out) == (kind, f"shards.json of {kind} shards")
    for split, dataset in source.items():
        found = open_dataset(f"{kind}:{out}", split)
        assert found.findings == ()
        assert found.source == f"1 {kind} shards in {out}"
        assert_same(found, dataset)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("write", [write_index, write_coco_polygons])
def test_masks_of_turned_photos(tmp_path, write, kind):
    """Copied masks are turned when they are read, drawn ones lie on the upright picture."""
    written_stored(tmp_path / "source", write)
    (tmp_path / "source/classes.yaml").write_text("masks: stored\n")
    if write is write_index:
        (tmp_path / "source/classes.json").write_text(
            json.dumps({"classes": NAMES, "masks": "stored"})
        )
    source = splits_of(f"folder:{tmp_path / 'source'}")
    write_shards(source, tmp_path / "out", kind)
    for split, dataset in source.items():
        assert_same(open_dataset(f"{kind}:{tmp_path / 'out'}", split), dataset)
        assert_same(open_dataset(f"folder:{tmp_path / 'out'}", split), dataset)


@pytest.mark.parametrize("kind", KINDS)
def test_merged_and_ignored_classes(tmp_path, kind):
    write_index(tmp_path / "source")
    spec = f"index:{tmp_path / 'source'}"
    source = open_dataset(spec, "train", {"things": ("car", "tree")}, ())
    ignoring = open_dataset(spec, "val", {}, ("car",))
    write_shards({"train": source, "val": ignoring}, tmp_path / "out", kind)
    assert_same(open_dataset(f"{kind}:{tmp_path / 'out'}", "train"), source)
    assert_same(open_dataset(f"{kind}:{tmp_path / 'out'}", "val"), ignoring)


@pytest.mark.parametrize("kind", KINDS)
def test_a_declared_value_range(tmp_path, kind):
    root = write_deep_set(tmp_path / "source", png16(3000))
    content = json.loads((root / "classes.json").read_text())
    (root / "classes.json").write_text(json.dumps({**content, "value_range": [0, 2800]}))
    source = splits_of(f"folder:{root}")
    assert source["train"].value_range is not None
    write_shards(source, tmp_path / "out", kind)
    assert_same(open_dataset(f"{kind}:{tmp_path / 'out'}", "train"), source["train"])


BANDS = {
    "geotiff": (geotiff, "bands=4,1"),
    "array": (array, "bands=all"),
    "siblings": (siblings, "bands=all&extra=nir"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("write", BANDS)
def test_bands_and_pictures_of_several_files(tmp_path, write, kind):
    if write == "geotiff":
        pytest.importorskip("rasterio")
    writer, query = BANDS[write]
    root = write_band_set(tmp_path / "source", writer)
    source = splits_of(f"folder:{root}?{query}")
    write_shards(source, tmp_path / "out", kind)
    for split, dataset in source.items():
        assert dataset.bands is not None
        found = open_dataset(f"{kind}:{tmp_path / 'out'}", split)
        assert_same(found, dataset)
        assert found[0].image.shape[2] == dataset.bands.num_channels
    first = open_dataset(f"{kind}:{tmp_path / 'out'}?bands=2", "train")
    np.testing.assert_array_equal(
        first[0].image, open_dataset(f"folder:{root}?bands=2", "train")[0].image
    )


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_every_sort(tmp_path, kind):
    names = ["a.b", "a/b", "a_b", "50%", "straße 7", "x" * 120, ".hidden/..."[1:]]
    write_index(tmp_path / "source")
    dataset = open_dataset(f"index:{tmp_path / 'source'}", "train")
    dataset = replace(
        dataset,
        ids=names,
        images=[dataset.images[0]] * len(names),
        masks=_Same(dataset.masks),
    )
    write_shards({"train": dataset}, tmp_path / "out", kind)
    assert_same(open_dataset(f"{kind}:{tmp_path / 'out'}", "train"), dataset)


class _Same:
    """The first mask, for every image."""

    are_pictures = True

    def __init__(self, masks):
        self.masks = masks

    def read(self, index, size):
        return self.masks.read(0, size)

    def files(self, index):
        return self.masks.files(0)

    def own_turn(self, index):
        return 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_is_no_utf8(tmp_path, kind):
    write_index(tmp_path / "source")
    dataset = open_dataset(f"index:{tmp_path / 'source'}", "train")
    dataset = replace(dataset, ids=["\udce4", *dataset.ids[1:]])
    write_shards({"train": dataset}, tmp_path / "out", kind)
    assert open_dataset(f"{kind}:{tmp_path / 'out'}", "train").ids == tuple(dataset.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_of_shards(tmp_path, kind):
    write_index(tmp_path / "source")
    source = splits_of(f"index:{tmp_path / 'source'}")
    write_shards(source, tmp_path / "first", "webdataset")
    again = splits_of(f"webdataset:{tmp_path / 'first'}")
    write_shards(again, tmp_path / "second", kind, num_workers=2)
    assert_same(open_dataset(f"{kind}:{tmp_path / 'second'}", "val"), source["val"])


def test_the_rows_of_parquet_are_those_of_hugging_face(tmp_path):
    """Any tool that reads a table with images reads these."""
    parquet = pytest.importorskip("pyarrow.parquet")
    write_index(tmp_path / "source")
    source = splits_of(f"index:{tmp_path / 'source'}")
    write_shards(source, tmp_path / "out", "parquet")
    table = parquet.read_table(tmp_path / "out/train-00000.parquet")
    assert table.column_names == ["id", "height", "width", "image", "mask"]
    row = table.to_pylist()[0]
    assert (row["id"], row["height"], row["width"]) == ("0", 48, 64)
    assert row["image"] == {"bytes": source["train"].images[0].read_bytes(), "path": "0.png"}
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == features["mask"] == {"_type": "Image"}


@pytest.mark.slow
def test_the_library_datasets_opens_them(tmp_path):
    datasets = pytest.importorskip("datasets")
    write_index(tmp_path / "source")
    write_shards(splits_of(f"index:{tmp_path / 'source'}"), tmp_path / "out", "parquet")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 4, "validation": 2}
    assert loaded["train"][0]["image"].size == (64, 48)


def test_the_names_in_a_tar_file_are_those_of_webdataset(tmp_path):
    import tarfile

    write_index(tmp_path / "source")
    write_shards(splits_of(f"index:{tmp_path / 'source'}"), tmp_path / "out", "webdataset")
    with tarfile.open(tmp_path / "out/val-00000.tar") as tar:
        assert tar.getnames() == ["0.png", "0.mask.png", "1.png", "1.mask.png"]


def test_a_mask_of_another_size_is_named(tmp_path):
    write_index(tmp_path / "source")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "source/masks/train/2.png")
    source = {"train": open_dataset(f"index:{tmp_path / 'source'}", "train")}
    with pytest.raises(DataError, match=r"masks/train/2\.png is 5x5 pixels, but its image"):
        write_shards(source, tmp_path / "out", "webdataset")


def test_an_id_without_class_is_named(tmp_path):
    write_index(tmp_path / "source")
    Image.fromarray(np.full((48, 64), 9, np.uint8)).save(tmp_path / "source/masks/train/2.png")
    source = {"train": open_dataset(f"index:{tmp_path / 'source'}", "train")}
    with pytest.raises(DataError, match=r"2\.png has ids outside the class table: 9"):
        write_shards(source, tmp_path / "out", "webdataset")


def test_photos_are_not_compressed_again(tmp_path):
    write_index(tmp_path / "source")
    for path in (tmp_path / "source/images/train").iterdir():
        Image.fromarray(photo(48, 64)).save(path.with_suffix(".jpg"), quality=71)
        path.unlink()
    source = {"train": open_dataset(f"index:{tmp_path / 'source'}", "train")}
    write_shards(source, tmp_path / "out", "webdataset")
    assert_same(open_dataset(f"webdataset:{tmp_path / 'out'}", "train"), source["train"])
