"""`vitseg data shard`."""

from __future__ import annotations

import builtins

import numpy as np
import pytest

from tests.data.shards.same import KINDS, assert_same
from tests.tiny import content
from vitseg.cli.data_shard import parse_bytes
from vitseg.data.catalog import open_dataset
from vitseg.data.shards import write
from vitseg.errors import ConfigError

pytest.importorskip("pyarrow")


@pytest.mark.parametrize("kind", KINDS)
def test_all_splits_are_written_and_can_be_opened(vitseg, data, tmp_path, kind):
    out = tmp_path / "out"
    options = ("--out", out, "--format", kind, "--shard-size", "40 kB", "--workers", 0)
    result = vitseg("data", "shard", f"folder:{data}", *options)
    assert result.code == 0, result.err
    train, val, last = result.out.splitlines()
    assert train.startswith("train: 4 samples in 2 shards, 0.")
    assert val.startswith("val: 2 samples in 1 shards, 0.")
    assert last == f"Open it with --data {kind}:{out}"
    for split in ("train", "val"):
        assert_same(open_dataset(f"{kind}:{out}", split), open_dataset(f"folder:{data}", split))
    shown = vitseg("data", "show", f"folder:{out}")
    assert f"shards.json of {kind} shards" in shown.out.replace("\n", " ")
    checked = vitseg("data", "check", f"{kind}:{out}", "--workers", 0)
    assert checked.code == 0, checked.out
    assert "6 images are listed, all 6 were read" in checked.out.replace("\n", " ")


def test_one_split_and_other_classes(vitseg, data, tmp_path):
    out = tmp_path / "out"
    options = ("--split", "val", "--merge", "ground=road,tree", "--out", out, "--workers", 0)
    assert vitseg("data", "shard", f"folder:{data}", *options).code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "shards.json", "val-00000.index", "val-00000.parquet",
    ]  # fmt: skip
    assert open_dataset(f"parquet:{out}", "val").classes.names == ("sky", "ground")


def test_an_interruption_says_how_it_goes_on(vitseg, data, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "map_in_order", interrupt)
    arguments = ("data", "shard", f"folder:{data}", "--out", tmp_path / "out", "--workers", 0)
    result = vitseg(*arguments)
    assert result.code == 130
    assert "Run the same command again to go on." in result.err
    monkeypatch.undo()
    assert vitseg(*arguments).code == 0


def test_what_is_left_out_is_said(vitseg, data, tmp_path):
    np.save(data / "masks/odd.npy", np.zeros(3))
    (data / "images/odd.psd").touch()
    result = vitseg("data", "shard", f"folder:{data}", "--out", tmp_path / "out", "--workers", 0)
    assert result.code == 0
    assert "warning: 1 file beside the images is named like pictures" in result.err


@pytest.mark.parametrize(
    ("text", "number"),
    [("256MB", 256_000_000), ("1.5 GB", 1_500_000_000), ("7kB", 7000), ("0.001kB", 1)],
)
def test_sizes(text, number):
    assert parse_bytes(text) == number


@pytest.mark.parametrize("text", ["256", "256MiB", "-1MB", "0MB", "MB", "1e3MB", ""])
def test_what_is_no_size(text):
    with pytest.raises(ConfigError, match="is not written as a number of kB, MB or GB"):
        parse_bytes(text)


def test_refusals_change_nothing(refused, data, tmp_path, monkeypatch):
    before = content(data)
    spec = f"folder:{data}"
    assert "is not empty" in refused("data", "shard", spec, "--out", data)
    new = tmp_path / "new"
    assert "'tset' is not a split" in refused(
        "data", "shard", spec, "--out", new, "--split", "tset"
    )
    (data / "masks/val_0.png").rename(tmp_path / "val_0.png")
    assert "have no mask file" in refused("data", "shard", spec, "--out", new)
    (tmp_path / "val_0.png").rename(data / "masks/val_0.png")
    imported = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return imported(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    said = refused("data", "shard", spec, "--out", new)
    assert "--format parquet needs pyarrow, which is an extra: pip install 'vitseg[shards]'" in said
    monkeypatch.undo()
    assert content(data) == before
    assert not new.exists()
