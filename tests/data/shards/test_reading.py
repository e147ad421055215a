"""Open files of shards belong to one process and are few; shards in object stores; stamps without reading."""

from __future__ import annotations

import functools
import http.server
import multiprocessing
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.data.formats.content import write_index
from tests.data.shards.same import KINDS, assert_same, splits_of
from vitseg.checks.run import check_dataset
from vitseg.data.catalog import list_splits, open_dataset
from vitseg.data.picked import picked
from vitseg.data.shards.open_files import OpenFiles
from vitseg.data.shards.place import ShardPlace
from vitseg.data.shards.write import write_shards
from vitseg.errors import DataError
from vitseg.evaluation.provenance import content_hash
from vitseg.training.data_stamp import changes, stamp_of

pytest.importorskip("pyarrow")


class Opened:
    def __init__(self, name: str) -> None:
        self.name, self.process, self.closed = name, os.getpid(), False

    def close(self) -> None:
        self.closed = True


def test_few_files_stay_open():
    opened: list[Opened] = []

    def open_file(name: str) -> Opened:
        opened.append(Opened(name))
        return opened[-1]

    files = OpenFiles(open_file, most=2)
    for name in "abacab":
        with files.use(name) as file:
            assert file.name == name
            assert not file.closed
    assert [file.name for file in opened] == ["a", "b", "c", "b"]
    assert [file.name for file in opened if not file.closed] == ["a", "b"]


def test_a_forked_process_opens_its_own():
    files = OpenFiles(Opened)
    with files.use("a") as file:
        assert file.process == os.getpid()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def ask() -> None:
        with files.use("a") as own:
            answers.put(own.process)

    child = context.Process(target=ask)
    child.start()
    assert answers.get(timeout=30) == child.pid
    child.join()


def test_what_is_pickled_is_not_open():
    files = pickle.loads(pickle.dumps(_used()))
    with files.use("a") as file:
        assert file.name == "a"


def _used() -> OpenFiles:
    files = OpenFiles(Opened)
    with files.use("a"):
        pass
    return files


@pytest.fixture
def source(tmp_path):
    write_index(tmp_path / "source")
    return splits_of(f"index:{tmp_path / 'source'}")


@pytest.fixture(params=KINDS)
def written(request, source, tmp_path) -> tuple[str, Path]:
    """(kind, folder) of shards of a few samples each."""
    write_shards(source, tmp_path / "out", request.param, shard_bytes=20_000)
    return request.param, tmp_path / "out"


def test_in_memory_store(written, source):
    import fsspec

    kind, folder = written
    store = fsspec.filesystem("memory")
    store.put(str(folder), "/bucket/set", recursive=True)
    try:
        spec = f"{kind}:memory://bucket/set"
        assert list_splits(spec) == ("train", "val")
        for split, dataset in source.items():
            assert_same(open_dataset(spec, split), dataset)
        store.rm("/bucket/set/shards.json")
        if kind == "parquet":  # which tell of themselves
            assert_same(open_dataset(spec, "train"), source["train"])
    finally:
        store.rm("/bucket", recursive=True)


def test_a_file_url_is_a_folder(written, source):
    kind, folder = written
    assert_same(open_dataset(f"{kind}:file://{folder}", "train"), source["train"])


@pytest.fixture
def server(tmp_path):
    """A web server of the test's folder that gives parts of files; the paths that were asked for."""
    asked: list[tuple[str, str | None]] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            asked.append((self.path, wanted))
            path = Path(self.translate_path(self.path))
            if not path.is_file() or wanted is None:
                super().do_GET()
                return
            first, last = wanted.removeprefix("bytes=").split("-")
            content = path.read_bytes()
            part = content[int(first) : int(last or len(content) - 1) + 1]
            self.send_response(206)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.end_headers()
            self.wfile.write(part)

        def end_headers(self):
            self.send_header("Accept-Ranges", "bytes")
            super().end_headers()

        def log_message(self, *arguments):
            pass

    handler = functools.partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}", asked
        httpd.shutdown()


def test_a_web_server(written, source, server):
    pytest.importorskip("aiohttp")
    kind, _ = written
    url, asked = server
    spec = f"{kind}:{url}/out"
    assert_same(open_dataset(spec, "train"), source["train"])
    shards = [wanted for path, wanted in asked if path.endswith((".tar", ".parquet"))]
    assert shards
    assert all(shards), "no shard is fetched as a whole"
    with pytest.raises(DataError, match="is not a split"):
        open_dataset(spec, "test")


def test_a_shard_that_is_gone_from_a_web_server(written, server):
    pytest.importorskip("aiohttp")
    kind, folder = written
    dataset = open_dataset(f"{kind}:{server[0]}/out", "train")
    shard = next(path for path in folder.glob("train-00000.*") if path.suffix != ".index")
    shard.unlink()
    with pytest.raises(DataError, match=rf"http://.*/out/{shard.name} does not exist"):
        dataset[0]


def test_keys_in_a_url_are_not_shown():
    place = ShardPlace("s3://key:secret@bucket/set?region=eu")
    assert place.named("a.tar") == "s3://bucket/set/a.tar"
    with pytest.raises(DataError, match=r"^unheard://b/set is read neither") as caught:
        open_dataset("parquet:unheard://key:secret@b/set", "train")
    assert "secret" not in str(caught.value)


def test_what_nobody_reads(tmp_path):
    with pytest.raises(DataError, match=r"is read neither by pyarrow .* nor by fsspec"):
        open_dataset("parquet:unheard://a/b", "train")
    with pytest.raises(DataError, match="cannot be read"):
        ShardPlace("http://127.0.0.1:9").read("shards.json")


def test_a_stamp_reads_no_sample(written, source, monkeypatch):
    kind, folder = written
    train, val = (open_dataset(f"{kind}:{folder}", split) for split in ("train", "val"))

    def fail(self, *arguments):
        raise AssertionError("something is read")

    monkeypatch.setattr(ShardPlace, "open", fail)
    monkeypatch.setattr(ShardPlace, "read_part", fail)
    stamp = stamp_of(train, val)
    assert not changes(stamp, train, val, stamp_of(train, val))
    few = picked(train, [2, 0])
    assert (stamp_of(few, None)["training"]["files"] == stamp["training"]["files"][[2, 0]]).all()


def test_a_stamp_tells_of_other_content(written, source, tmp_path):
    kind, folder = written
    old = open_dataset(f"{kind}:{folder}", "train")
    stamp = stamp_of(old, None)
    mask = tmp_path / "source/masks/train/1.png"
    mask.write_bytes((tmp_path / "source/masks/train/2.png").read_bytes())
    write_shards({"train": source["train"]}, tmp_path / "new", kind)
    new = open_dataset(f"{kind}:{tmp_path / 'new'}", "train")
    (change,) = changes(stamp, new, None, stamp_of(new, None))
    assert change.startswith("image or mask changed: 1 (")


def test_a_stamp_of_shards_of_others_tells_of_other_content(tmp_path):
    from tests.data.shards.test_webdataset import IDS, pair, png, write_tar

    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    path = write_tar(tmp_path / "a.tar", pair("x"))
    dataset = open_dataset(f"webdataset:{tmp_path}", "all")
    stamp = stamp_of(dataset, None)
    assert not changes(stamp, dataset, None, stamp_of(dataset, None))
    write_tar(path, {**pair("x"), "x.seg.png": png(IDS[::-1])})
    again = open_dataset(f"webdataset:{tmp_path}", "all")
    assert changes(stamp, again, None, stamp_of(again, None))
    path.write_bytes(path.read_bytes()[:100])
    stamp_of(again, None)  # training tells of it when it comes to it


def test_a_picked_split_loads_nothing(written, source, monkeypatch):
    kind, folder = written
    train = open_dataset(f"{kind}:{folder}", "train")
    monkeypatch.setattr(ShardPlace, "open", None)
    few = picked(train, [3, 1])
    assert few.in_memory
    assert few.image_name(0) == train.image_name(3)
    monkeypatch.undo()
    np.testing.assert_array_equal(few[0].image, source["train"][3].image)
    np.testing.assert_array_equal(few[1].label_map, source["train"][1].label_map)


def test_a_list_of_ids_is_a_split_of_shards(written, source, tmp_path):
    kind, folder = written
    (tmp_path / "mine.txt").write_text("# images of the split train\n2\n0\n")
    dataset = open_dataset(f"{kind}:{folder}", str(tmp_path / "mine.txt"))
    assert dataset.ids == ["2", "0"]
    np.testing.assert_array_equal(dataset[0].image, source["train"][2].image)


def test_the_linter_reads_shards(written):
    kind, folder = written
    report = check_dataset(f"{kind}:{folder}", num_workers=0)
    assert report.num_errors == 0
    assert {split.name: split.num_masks for split in report.splits} == {"train": 4, "val": 2}


def test_the_content_is_hashed_for_reports(written, source):
    kind, folder = written
    train, val = (open_dataset(f"{kind}:{folder}", split) for split in ("train", "val"))
    assert content_hash(train) != content_hash(val)
