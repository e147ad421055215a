"""Lists, addresses and Parquet files as inputs of `vitseg predict`, in one process."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from tests.tiny import photo
from vitseg.cli.inputs import left_out
from vitseg.cli.predict_inputs import find_targets
from vitseg.errors import DataError
from vitseg.inference import remote_images
from vitseg.inference.targets import ParquetTarget, RemoteTarget, pieces, read_all


@pytest.fixture
def photos(tmp_path, monkeypatch) -> list[Path]:
    """Two pictures in the folder `photos` of the current one."""
    monkeypatch.chdir(tmp_path)
    files = [Path("photos/a.1.png"), Path("photos/inner/b.png")]
    for number, file in enumerate(files):
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(photo(40, 50, seed=number)).save(file)
    return files


def write_rows(name: str, group: int = 2, **columns: list) -> str:
    pq.write_table(pa.table(columns), name, row_group_size=group)
    return name


def names(*inputs: object) -> list[str]:
    return [target.name for target in find_targets([str(each) for each in inputs])]


def lines(out: str) -> list[dict]:
    return [json.loads(line) for line in Path(out, "predictions.jsonl").read_text().splitlines()]


def test_a_list_stands_for_its_lines(photos):
    absolute = os.path.abspath("photos/inner")
    Path("list.txt").write_text(f"# two\n\nphotos/a.1.png\r\n{absolute}\n../elsewhere/../x.png\n")
    with pytest.raises(DataError, match=r"list\.txt: \.\./elsewhere/\.\./x\.png is no file"):
        names("list.txt")
    Path("list.txt").write_text(f"# two\n\nphotos/a.1.png\r\n{absolute}\n")
    assert names("list.txt") == ["photos/a.1", f"{absolute}/b"[1:]]
    assert names("photos/inner", "list.txt", photos[0]) == [f"{absolute}/b"[1:], "a.1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", "list.txt names no image: a list has"),
        ("other.txt\n", "list.txt names other.txt, a list itself"),
    ],
)
def test_lists_that_are_none(photos, text, message):
    Path("list.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        names("list.txt")


@pytest.mark.parametrize("kind", ["bytes", "datasets", "numbers"])
def test_rows_of_parquet_files_give_what_their_images_give(vitseg, model, photos, kind):
    contents = [file.read_bytes() for file in photos]
    if kind == "datasets":
        struct = [
            {"bytes": each, "path": str(file)} for each, file in zip(contents, photos, strict=True)
        ]
        write_rows("x.parquet", group=1, image=struct, label=[1, 2])
        named = ["photos/a.1", "photos/inner/b"]
    elif kind == "numbers":
        write_rows("x.parquet", group=1, id=[7, 9], image=contents)
        named = ["7", "9"]
    else:
        write_rows("x.parquet", image=contents, path=["s3://bucket/v.2/a", "../v.2/b.png"])
        named = ["bucket/v.2/a", "v.2/b"]
    assert names("x.parquet") == named
    assert vitseg("predict", model, "x.parquet", "--out", "rows").code == 0
    assert vitseg("predict", model, *photos, "--out", "files").code == 0
    for name, file, row in zip(named, lines("files"), lines("rows"), strict=True):
        assert row["image"].startswith("x.parquet#")
        assert row["areas"] == file["areas"]
        assert Path("rows", row["mask"]) == Path("rows/masks", f"{name}.png")
        for folder in ("mask", "overlay"):
            assert (
                Path("rows", row[folder]).read_bytes() == Path("files", file[folder]).read_bytes()
            )


def test_folders_that_a_pattern_matches_are_named(vitseg, refused, model, photos):
    """A pattern stands for files; its folders are told at the end, if there are images in them."""
    os.makedirs("photos/notes")
    Path("photos/notes/a.txt").write_text("no image")
    said = left_out(["photos/*"])
    assert said == [
        "1 folder of images is left out, since a pattern stands for the files that it matches (give a folder by "
        "itself): photos/inner"
    ]
    assert left_out(["photos/**", "photos", "photos/*.png"]) == []
    result = vitseg("predict", model, "photos/*", "--out", "photos/out")
    assert result.code == 0
    assert result.messages == said
    line = refused("predict", model, "photos/inn*", "--out", "out")
    assert "matches no file as a pattern, but folders: give photos/inner." in line


def test_parquet_files_without_rows_are_no_images(photos):
    empty = pa.table({"id": pa.array([], pa.string()), "image": pa.array([], pa.binary())})
    pq.write_table(empty, "none.parquet")
    with pytest.raises(DataError, match=r"none\.parquet: there is no image in any row"):
        names("none.parquet")
    assert names("none.parquet", photos[0]) == ["a.1"]


def test_a_row_that_holds_no_image_is_its_line(vitseg, model, photos):
    content = photos[0].read_bytes()
    write_rows("x.parquet", id=["a", "b", "c", "d"], image=[None, b"", content[:99], content])
    result = vitseg("predict", model, "x.parquet", "--out", "out")
    assert (result.code, result.out.strip()) == (2, "1 of 4 images -> out")
    errors = [line.get("error", "") for line in lines("out")]
    assert errors[:2] == [
        f"x.parquet#{each} has no image: the row's image is empty." for each in "ab"
    ]
    assert errors[2].startswith("x.parquet#c is damaged or incomplete")
    assert errors[3] == ""
    assert "image data" not in result.err

    write_rows("x.parquet", id=["a", "b", "c", "d"], image=[content] * 4)
    result = vitseg("predict", model, "x.parquet", "--out", "out")
    assert (result.code, result.out.strip()) == (0, "4 of 4 images -> out")


def test_a_second_call_goes_on_with_further_rows(vitseg, model, photos):
    contents = [file.read_bytes() for file in photos]
    write_rows("x.parquet", id=["a"], image=contents[:1])
    write_rows("y.parquet", id=["b"], image=contents[1:])
    assert vitseg("predict", model, "x.parquet", "--out", "out").code == 0
    result = vitseg("predict", model, "*.parquet", "--out", "out")
    assert "1 were finished before and kept" in result.err
    assert [line["image"] for line in lines("out")] == ["x.parquet#a", "y.parquet#b"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [b"x"]}, r"x.parquet has no column of ids \(id or path\). It has: image \(binary\)"),
        ({"id": ["a"], "mask": [b"x"]}, r"no column of encoded images \(image\). It has: id"),
        ({"id": ["a"], "image": ["x.png"]}, r"no column of encoded images \(image\)"),
        ({"id": [0.5], "image": [b"x"]}, "its column id has values of type double"),
        ({"id": ["a", None], "image": [b"x", b"y"]}, "row 1 of row group 0 has no id"),
        ({"id": ["a", "a"], "image": [b"x", b"y"]}, "x.parquet#a is there twice"),
        ({"id": ["a", "b/../a"], "image": [b"x", b"y"]}, "would both be written as a"),
        ({"id": [".."], "image": [b"x"]}, "'..' names no file"),
    ],
)  # fmt: skip
def test_parquet_files_that_cannot_be_taken(photos, columns, message):
    with pytest.raises(DataError, match=message):
        names(write_rows("x.parquet", **columns))


def test_a_truncated_parquet_file(photos):
    contents = [np.random.default_rng(n).bytes(200_000) for n in range(4)]
    write_rows("x.parquet", id=list("abcd"), image=contents)
    whole = Path("x.parquet").read_bytes()
    targets = find_targets(["x.parquet"])
    damaged = bytearray(whole)
    damaged[500:-2000] = bytes(len(whole) - 2500)  # the pages; the footer stays
    Path("x.parquet").write_bytes(damaged)
    found = list(read_all(targets))
    assert [target for target, _ in found] == targets
    assert isinstance(found[-1][1], DataError)
    Path("x.parquet").write_bytes(whole[:1000])
    found = list(read_all(targets))
    assert [target for target, _ in found] == targets
    for target, content in found:
        assert isinstance(content, DataError)
        assert str(content).startswith(
            f"{target.image} cannot be read: x.parquet cannot be read as"
        )
    with pytest.raises(DataError, match=r"x\.parquet cannot be read as Parquet"):
        names("x.parquet")


def test_a_row_group_stays_whole():
    rows = [ParquetTarget(f"x#{n}", str(n), "x", n // 3, n % 3, "") for n in range(6)]
    others = [RemoteTarget(f"s3://b/{n}", str(n), "", None) for n in range(5)]
    parts = list(pieces([*rows, *others], 2))
    assert [len(part) for part in parts] == [3, 3, 2, 2, 1]
    assert [each for part in parts for each in part] == [*rows, *others]


@pytest.mark.parametrize("pattern", ["**/*.png", ""])
def test_addresses_give_what_their_files_give(vitseg, model, photos, pattern):
    address = f"file://{os.path.abspath('photos')}/{pattern}"
    assert names(address) == ["a.1", "inner/b"]
    assert vitseg("predict", model, address, "--out", "there").code == 0
    assert vitseg("predict", model, "photos", "--out", "here").code == 0
    for theirs, ours in zip(lines("there"), lines("here"), strict=True):
        assert theirs["image"] == f"file://{os.path.abspath(ours['image'])}"
        assert (theirs["areas"], theirs["mask"]) == (ours["areas"], ours["mask"])
    photos[0].write_bytes(photos[1].read_bytes())
    result = vitseg("predict", model, address, "--out", "there")
    assert "1 were finished before and kept" in result.err


def test_an_object_that_is_gone_is_its_line(vitseg, model, photos, monkeypatch):
    address = f"file://{os.path.abspath('photos')}/**/*.png"
    read = remote_images.read_object

    def gone(target):
        Path("photos/a.1.png").unlink(missing_ok=True)
        return read(target)

    monkeypatch.setattr(remote_images, "read_object", gone)
    result = vitseg("predict", model, address, "--out", "out")
    assert (result.code, result.out.strip()) == (2, "1 of 2 images -> out")
    assert lines("out")[0]["error"].endswith("a.1.png does not exist.")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("file:///nowhere/x.png", "DataError: file:///nowhere/x.png does not exist"),
        ("file:///nowhere/*.png", "DataError: file:///nowhere/*.png matches no file"),
        (
            "nosuch://x/y.png",
            "ConfigError: nosuch://x/y.png cannot be read here: Protocol not known",
        ),
        ("zip://*.png::file:///x.zip", "is a chain of addresses"),
    ],
)
def test_addresses_that_lead_nowhere(refused, model, address, message, tmp_path):
    assert message in refused("predict", model, address, "--out", tmp_path / "out")


def test_a_large_object_is_not_taken_into_memory(vitseg, model, photos, monkeypatch):
    monkeypatch.setattr(remote_images, "MOST_BYTES", 100)
    address = f"file://{os.path.abspath('photos/a.1.png')}"
    result = vitseg("predict", model, address, "--out", "out")
    assert result.code == 2
    assert "but at most 100 are read from an address: download it" in lines("out")[0]["error"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2"], "ConfigError: --workers needs --engine ray"),
        (["--engine", "ray", "--device", "cuda:1"], "--device cuda:1 with --engine ray: give auto"),
        (["--tiles", "x.parquet"], "--tiles reads windows of files, and x.parquet#a is none"),
    ],
)
def test_options_that_do_not_go_together(refused, model, photos, options, message):
    write_rows("x.parquet", id=["a"], image=[b"x"])
    assert message in refused("predict", model, "photos", "--out", "out", *options)
    assert not Path("out").exists()


def test_an_address_is_no_place_for_predictions(refused, model, photos):
    line = refused("predict", model, "photos", "--out", "s3://bucket/out")
    assert "--out s3:/bucket/out is an address, but predictions are written to a folder" in line


def test_without_ray(refused, model, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    line = refused("predict", model, "photos", "--out", "out", "--engine", "ray")
    assert line.startswith("ConfigError: Ray Data is not installed")
    assert line.endswith("pip install 'vitseg[ray]'")


def test_without_pyarrow(refused, model, photos, monkeypatch):
    write_rows("x.parquet", id=["a"], image=[b"x"])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    line = refused("predict", model, "x.parquet", "--out", "out")
    assert (
        "x.parquet is read by pyarrow, which is not installed: pip install 'vitseg[shards]'" in line
    )


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "RAY_ADDRESS=ray://head:10001 is no address of a cluster's head"),
        ("head", "RAY_ADDRESS=head is no address of a cluster's head: give HOST:PORT, or auto"),
        ("127.0.0.1:1", "Ray cannot be reached at RAY_ADDRESS=127.0.0.1:1: "),
    ],
)
def test_clusters_that_are_not_there(refused, model, photos, monkeypatch, address, message):
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert message in refused("predict", model, "photos", "--out", "out", "--engine", "ray")


def test_whatever_a_store_says_while_it_is_read_is_an_error_of_its_images(photos):
    """A client's errors are its own: aiohttp's and botocore's are none of the system's."""
    content = photos[0].read_bytes()
    table = pa.table({"id": ["x", "y"], "image": [content, content]})
    fsspec.register_implementation("breaking", BreakingStore, clobber=True)
    with fsspec.open("breaking://rows.parquet", "wb") as file:
        pq.write_table(table, file)
    targets = find_targets(["breaking://rows.parquet"])
    assert [type(content) for _, content in read_all(targets)] == [bytes, bytes]
    BreakingStore.is_broken = True
    try:
        found = [content for _, content in read_all(targets)]
    finally:
        BreakingStore.is_broken = False
    assert [type(each) for each in found] == [DataError, DataError]
    assert "Response payload is not completed" in str(found[0])


class BreakingStore(MemoryFileSystem):
    """A store in memory that may fail while an open file is read."""

    protocol = "breaking"
    store: ClassVar[dict] = {}
    is_broken = False

    def _open(self, path, mode="rb", **options):
        file = super()._open(path, mode, **options)
        return BreakingFile(file.read()) if mode == "rb" else file


class BreakingFile(io.BytesIO):
    def read(self, *arguments):
        if BreakingStore.is_broken:
            raise RuntimeError("Response payload is not completed")
        return super().read(*arguments)
