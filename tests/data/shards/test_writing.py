"""Shards are written whole or not at all, in bounded sizes, and a second call goes on with the same bytes."""

from __future__ import annotations

import json
import sys

import pytest
from PIL import Image

from tests.data.formats.content import write_index
from tests.data.shards.same import KINDS, assert_same, files_of, splits_of
from vitseg.data.catalog import open_dataset
from vitseg.data.shards import shard_writers
from vitseg.data.shards.write import write_shards
from vitseg.errors import ConfigError, DataError

pytest.importorskip("pyarrow")

SMALL = 20_000
"""Bytes of a shard, which two images of about 7,000 fill."""


@pytest.fixture
def source(tmp_path):
    write_index(tmp_path / "source")
    return splits_of(f"index:{tmp_path / 'source'}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_shard_holds_no_more_than_its_size(source, tmp_path, kind):
    manifest = write_shards(source, tmp_path / "out", kind, SMALL)
    shards = manifest.splits["train"].shards
    assert sum(shard.num_samples for shard in shards) == 4
    assert len(shards) > 1
    for shard in shards:
        assert (tmp_path / "out" / shard.name).stat().st_size == shard.num_bytes
        assert shard.num_samples == 1 or shard.num_bytes < 2 * SMALL
    assert_same(open_dataset(f"{kind}:{tmp_path / 'out'}", "train"), source["train"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_larger_than_a_shard_has_one_of_its_own(source, tmp_path, kind):
    manifest = write_shards(source, tmp_path / "out", kind, shard_bytes=1)
    assert [shard.num_samples for shard in manifest.splits["train"].shards] == [1] * 4
    assert_same(open_dataset(f"{kind}:{tmp_path / 'out'}", "train"), source["train"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", range(1, 6))
def test_an_interrupted_call_is_gone_on_with(source, tmp_path, kind, after):
    write_shards(source, tmp_path / "whole", kind, SMALL)
    out, seen = tmp_path / "out", []

    def interrupt(number: int) -> None:
        seen.append(number)
        if len(seen) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(source, out, kind, SMALL, on_samples=interrupt)
    assert not list(out.glob(".*"))
    for spec in (f"{kind}:{out}", f"folder:{out}"):
        with pytest.raises(DataError, match="is not written to its end") as caught:
            open_dataset(spec, "train")
        assert "run the same vitseg data shard again" in str(caught.value)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.index")}
    written: list[int] = []
    write_shards(source, out, kind, SMALL, on_samples=written.append)
    assert sum(written) == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what is there stays"
    assert files_of(out) == files_of(tmp_path / "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_leaves_no_half_shard(source, tmp_path, kind, monkeypatch):
    writer = shard_writers.WRITERS[kind]
    add = writer.add

    def full(self, sample):
        if sample.id == "3":
            raise OSError(28, "No space left on device")
        add(self, sample)

    monkeypatch.setattr(writer, "add", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_shards(source, tmp_path / "out", kind)
    assert "train-00000" in str(caught.value.filename)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["unfinished.json"]
    monkeypatch.undo()
    write_shards(source, tmp_path / "out", kind)
    assert_same(open_dataset(f"{kind}:{tmp_path / 'out'}", "train"), source["train"])


def test_a_mended_file_is_gone_on_with(source, tmp_path):
    broken = tmp_path / "source/masks/val/1.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:60])
    with pytest.raises(DataError, match=r"masks/val/1\.png"):
        write_shards(source, tmp_path / "out", "webdataset")
    assert (tmp_path / "out/train-00000.tar").is_file()
    broken.write_bytes(content)
    write_shards(source, tmp_path / "out", "webdataset")
    assert_same(open_dataset(f"webdataset:{tmp_path / 'out'}", "val"), source["val"])


def test_a_shard_that_was_cut_since_is_written_anew(source, tmp_path):
    out = tmp_path / "out"
    write_shards(source, tmp_path / "whole", "webdataset", SMALL)

    def interrupt(number: int) -> None:
        if len(list(out.glob("*.tar"))) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(source, out, "webdataset", SMALL, on_samples=interrupt)
    (out / "train-00001.tar").write_bytes(b"cut")
    write_shards(source, out, "webdataset", SMALL)
    assert files_of(out) == files_of(tmp_path / "whole")


def test_other_shards_are_not_gone_on_with(source, tmp_path):
    out = tmp_path / "out"

    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(source, out, "webdataset", on_samples=interrupt)
    before = files_of(out)
    for options in ({"kind": "parquet"}, {"kind": "webdataset", "shard_bytes": 5}):
        with pytest.raises(ConfigError, match=r"beginning of other shards \(they differ in"):
            write_shards(source, out, **options)
    with pytest.raises(ConfigError, match="they differ in splits"):
        write_shards({"train": source["train"]}, out, "webdataset")
    assert files_of(out) == before


def test_a_folder_with_anything_else_is_refused(source, tmp_path):
    out = tmp_path / "out"
    write_shards(source, out, "webdataset")
    with pytest.raises(ConfigError, match="holds shards already"):
        write_shards(source, out, "webdataset")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.txt").touch()
    with pytest.raises(ConfigError, match=r"is not empty \(a\.txt\)"):
        write_shards(source, tmp_path / "other", "webdataset")
    with pytest.raises(ConfigError, match="is a file"):
        write_shards(source, tmp_path / "other/a.txt", "webdataset")


def test_an_empty_split_is_refused(source, tmp_path):
    from vitseg.data.picked import picked

    with pytest.raises(DataError, match="the split val has no samples: leave it out"):
        write_shards({**source, "val": picked(source["val"], [])}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_processes_write_what_one_does(source, tmp_path):
    write_shards(source, tmp_path / "one", "webdataset", SMALL)
    write_shards(source, tmp_path / "two", "webdataset", SMALL, num_workers=2)
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


def test_cells_of_parquet_lie_where_the_index_says(source, tmp_path, monkeypatch):
    """So that vitseg reads one sample without the others of its row group, of which pyarrow reads all."""
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(shard_writers, "GROUP_BYTES", SMALL)
    write_shards(source, tmp_path / "out", "parquet")
    path = tmp_path / "out/train-00000.parquet"
    file = parquet.ParquetFile(path)
    assert file.num_row_groups > 1
    index, content = json.loads(path.with_suffix(".index").read_text()), path.read_bytes()
    for column in ("image", "mask"):
        cells = [row[column]["bytes"] for row in file.read([column]).to_pylist()]
        parts = index["parts"][column]
        assert [content[start : start + size] for start, size in parts] == cells
    assert_same(open_dataset(f"parquet:{tmp_path / 'out'}", "train"), source["train"])


def test_own_parquet_shards_are_read_without_the_library(source, tmp_path, monkeypatch):
    write_shards(source, tmp_path / "out", "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert_same(open_dataset(f"parquet:{tmp_path / 'out'}", "train"), source["train"])


def test_manifests_have_no_path_of_this_machine(source, tmp_path):
    write_shards(source, tmp_path / "out", "parquet")
    text = (tmp_path / "out/shards.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["version"] == 1


def test_pictures_of_16_bits_stay_so(tmp_path):
    """Ids above 255 of masks that are no files are drawn with 16 bits."""
    datasets = pytest.importorskip("datasets")
    import numpy as np

    ids = np.array([[0, 300], [300, 0]], np.uint16)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    rows = {"image": [Image.new("RGB", (2, 2))], "label": [Image.fromarray(ids)]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "source")
    (tmp_path / "source/classes.json").write_text(json.dumps({"classes": {0: "a", 300: "b"}}))
    source = {"all": open_dataset(f"huggingface:{tmp_path / 'source'}", "all")}
    write_shards(source, tmp_path / "out", "webdataset")
    assert_same(open_dataset(f"webdataset:{tmp_path / 'out'}", "all"), source["all"])
