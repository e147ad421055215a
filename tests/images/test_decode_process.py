"""Costly files are decoded in another process, within time and memory, to the same pixels; the rest is decoded here."""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import time
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import photo
from vitseg.errors import DataError
from vitseg.images import budget, decode_process, png_chunks
from vitseg.images.decode import decode_color_mask, decode_layers, decode_mask, read_header
from vitseg.images.reader import decode, open_windows
from vitseg.images.sources import start_of
from vitseg.images.tiff_tags import read_tags
from vitseg.images.value_range import Unstated, ValueRange
from vitseg.images.window import Window

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _closed():
    yield
    decode_process._common.close()


@pytest.fixture
def all_costly(monkeypatch):
    """Everything is decoded in the process."""
    for module in ("decode", "header", "reader"):
        name = f"vitseg.images.{module}.is_costly"
        monkeypatch.setattr(name, lambda *_, **__: not decode_process.inside)


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def costly(data: bytes) -> bool:
    file = io.BytesIO(data)
    file_format = start_of(file, "it")
    tags = read_tags(file) if file_format == "TIFF" else None
    return budget.is_costly(file, file_format, tags)


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def with_parts(count: int) -> bytes:
    """A JPEG with so many empty parts in its header, each of which costs Pillow time."""
    data = encoded(Image.fromarray(photo(16, 16)), "JPEG")
    return data[:2] + b"\xff\xe5\0\2" * count + data[2:]


def overlapping_directories(count: int, entries: int) -> bytes:
    """A TIFF of so many pages; all of them share the bytes of their entries."""
    plain = encoded(Image.fromarray(photo(16, 16)), "TIFF")
    body = bytearray(12 * (count + entries) + 16)
    start = len(plain) + len(plain) % 2
    for number in range(count + entries):
        struct.pack_into("<HHHI", body, 12 * number, entries, 65000, 3, 1)
    for number in range(count):
        following = start + 12 * (number + 1) if number < count - 1 else 0
        struct.pack_into("<I", body, 12 * number + 2 + 12 * entries, following)
    data = bytearray(plain.ljust(start, b"\0") + body)
    first = struct.unpack("<I", data[4:8])[0]
    number = struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, first + 2 + 12 * number, start)
    return bytes(data)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}),
        ("BMP", {}), ("GIF", {}), ("PPM", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
    ],
)  # fmt: skip
def test_ordinary_photos_are_decoded_here(file_format, options):
    image = Image.fromarray(photo(300, 400)).convert("P" if file_format == "GIF" else "RGB")
    data = encoded(image, file_format, **options)
    assert not costly(data)
    started = decode_process._common._process  # by an earlier test, if at all
    assert decode(data).size == read_header(data).size == (300, 400)
    assert decode_process._common._process is started


def test_what_is_costly(monkeypatch):
    image = Image.fromarray(photo(64, 64))
    for file_format in ("AVIF", "JPEG2000"):
        assert costly(encoded(image, file_format))
    jpeg, png, webp = (encoded(image, name) for name in ("JPEG", "PNG", "WEBP"))
    assert costly(with_parts(80_000))
    assert not costly(with_parts(3000))
    assert costly(jpeg + bytes(1_100_000))  # far more bytes than pixels
    assert costly(png[:-12] + bytes(1_100_000))
    assert costly(encoded(image.convert("P"), "GIF") + bytes(2_000_000))
    assert costly(b"P3\n64 64\n255\n" + b"1 " * 64 * 64 * 3 + b" " * 2_000_000)
    assert not costly(jpeg[:100])  # few bytes
    assert costly(jpeg[:100] + bytes(300_000))
    assert costly(png[:20])
    assert costly(webp[:20])
    assert costly(b"BM" + b"\0" * 9)
    assert costly(overlapping_directories(1000, 4000))
    assert not costly(overlapping_directories(5, 100))
    assert costly(b"II*\0" + bytes(20))
    monkeypatch.setattr(png_chunks, "_FEW_CHUNKS", 50)
    assert costly(png[:33] + chunk(b"tEXt", bytes(5000)) * 60 + png[33:])
    monkeypatch.setattr(budget, "ORDINARY_PIXELS", 64 * 64 - 1)
    for file_format in ("PNG", "WEBP", "BMP", "GIF", "TIFF"):
        assert costly(encoded(image.convert("P" if file_format == "GIF" else "RGB"), file_format))
    assert costly(encoded(image, "WEBP", lossless=True))
    assert costly(encoded(image, "WEBP", exif=Image.Exif()))
    decode_process.inside = True
    try:
        assert not costly(jpeg)
    finally:
        decode_process.inside = False


def test_directories_that_overlap_are_not_read_for_minutes():
    data = overlapping_directories(1100, 60_000)
    tags = read_tags(io.BytesIO(data))
    assert tags is not None
    assert tags.num_entries < 200_000
    assert tags.pages < 10
    assert decode(data).size == (16, 16)


def variants(tmp_path: Path) -> dict[str, Path]:
    """Pictures of all formats, bit depths and oddities."""
    image, rng = Image.fromarray(photo(40, 50)), np.random.default_rng(0)
    turned = Image.Exif()
    turned[274] = 6
    deep = Image.fromarray(rng.integers(0, 3000, (40, 50)).astype(np.uint16))
    saved = {
        "a.jpg": (image, {"exif": turned}), "b.png": (image.convert("RGBA"), {}), "c.webp": (image, {}),
        "d.gif": (image.convert("P"), {"save_all": True, "append_images": [image.convert("P")]}),
        "e.tif": (image, {"compression": "tiff_lzw", "save_all": True, "append_images": [image]}),
        "f.png": (deep, {}), "g.bmp": (image, {}), "h.ppm": (image, {}), "i.avif": (image, {}), "j.jp2": (image, {}),
        "k.tif": (deep, {"compression": "tiff_lzw"}),
    }  # fmt: skip
    for name, (picture, options) in saved.items():
        picture.save(tmp_path / name, **options)
    return {name: tmp_path / name for name in saved}


def test_the_process_gives_the_same(tmp_path, all_costly, monkeypatch):
    paths = variants(tmp_path)
    distant, headers = {}, {}
    for name, path in paths.items():
        headers[name] = read_header(path)
        for declared in (None, ValueRange(0, 2000), Unstated.OWN_VALUES):
            distant[name, declared] = decode(path, (10, 10), declared=declared)
        distant[name, "bytes"] = decode(path.read_bytes())
    monkeypatch.setattr(decode_process, "inside", True)
    for (name, declared), found in distant.items():
        path = paths[name]
        here = (
            decode(path.read_bytes())
            if declared == "bytes"
            else decode(path, (10, 10), declared=declared)
        )
        np.testing.assert_array_equal(found.pixels, here.pixels)
        assert found[1:3] == here[1:3]
        assert found.has_alpha == here.has_alpha
        assert (found.values is None) == (here.values is None)
        if found.values is not None and here.values is not None:
            assert found.values[:3] == here.values[:3]
            counted = [each.values.histogram for each in (found, here)]
            assert (counted[0] is None) == (counted[1] is None)
            if counted[0] is not None and counted[1] is not None:
                assert counted[0].extremes() == counted[1].extremes()
                assert counted[0].limits() == counted[1].limits()
        assert headers[name] == read_header(path)


def test_masks_from_the_process(tmp_path, all_costly):
    ids = np.random.default_rng(0).integers(0, 5, (30, 40)).astype(np.uint8)
    palette = Image.fromarray(ids)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    palette.save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_mask(tmp_path / "a.png"), ids)
    shown = np.array([0, 0xFF0000, 0x00FF00, 0x0000FF, 0x090909])[ids]
    np.testing.assert_array_equal(decode_color_mask(tmp_path / "a.png"), shown)
    Image.fromarray(ids.astype(np.uint16) * 300).save(tmp_path / "b.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(decode_mask(tmp_path / "b.tif"), ids.astype(np.uint16) * 300)
    layers = decode_layers(tmp_path / "a.png")
    assert layers.opacity is None
    assert layers.indices is not None
    np.testing.assert_array_equal(layers.indices, ids)
    cut_out = Image.fromarray(photo(30, 40)).convert("RGBA")
    cut_out.putalpha(Image.fromarray(ids * 50))
    cut_out.save(tmp_path / "c.png")
    layers = decode_layers(tmp_path / "c.png")
    assert layers.indices is None
    assert layers.opacity is not None
    np.testing.assert_array_equal(layers.opacity, ids * 50)
    np.testing.assert_array_equal(layers.colors, photo(30, 40))
    with pytest.raises(DataError, match="which does not keep ids exactly"):
        decode_mask(encoded(Image.fromarray(ids), "JPEG"))


def test_windows_from_the_process(tmp_path, all_costly, monkeypatch):
    rasterio = pytest.importorskip("rasterio")
    from rasterio.control import GroundControlPoint
    from rasterio.rpc import RPC

    scales = dict.fromkeys(
        ("height_scale", "lat_scale", "line_scale", "long_scale", "samp_scale"), 0.5
    )
    offsets = dict.fromkeys(("height_off", "lat_off", "line_off", "long_off", "samp_off"), 9.0)
    terms = {
        f"{side}_{part}_coeff": [number + 1.5] * 20
        for number, (side, part) in enumerate(itertools.product(("line", "samp"), ("num", "den")))
    }
    rpcs = RPC(**scales, **offsets, **terms)
    points = [
        GroundControlPoint(row, column, 9 + column, 45 - row) for row in (0, 9) for column in (0, 9)
    ]
    places = ({"crs": "EPSG:32632", "transform": rasterio.transform.from_origin(5e5, 5e6, 2, 2)},
              {"crs": "EPSG:4326", "gcps": points}, {"rpcs": rpcs}, {})  # fmt: skip
    values = np.moveaxis(photo(60, 80), 2, 0).astype(np.uint16) * 100
    for number, place in enumerate(places):
        path = tmp_path / f"{number}.tif"
        profile = {
            "width": 80,
            "height": 60,
            "count": 3,
            "dtype": "uint16",
            "nodata": 0,
            "tiled": True,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(
                path, "w", "GTiff", blockxsize=16, blockysize=16, **profile, **place
            ) as file:
                file.write(values)
        window = Window(10, 20, 30, 40)
        with open_windows(path, 10**8) as distant:
            assert isinstance(distant, decode_process.DistantImage)
            pixels, valid = distant.read(window), distant.valid(window)
        assert distant._process._process is None
        with monkeypatch.context() as patch, open_windows(path, 10**8) as _:
            patch.setattr(decode_process, "inside", True)
            with open_windows(path, 10**8) as here:
                np.testing.assert_array_equal(pixels, here.read(window))
                np.testing.assert_array_equal(valid, here.valid(window))
                for field in ("size", "name", "has_gaps", "held_bytes", "notices"):
                    assert getattr(distant, field) == getattr(here, field)
                found, expected = distant.georeference, here.georeference
                assert (found is None) == (expected is None)
                if found is not None and expected is not None:
                    assert (found.crs, found.transform) == (expected.crs, expected.transform)
                    assert [p.asdict() for p in found.gcps] == [p.asdict() for p in expected.gcps]
                    assert (found.rpcs and found.rpcs.to_dict()) == (
                        expected.rpcs and expected.rpcs.to_dict()
                    )


def test_names_and_folders(tmp_path, monkeypatch):
    name = os.fsdecode(b"\xff\xe4 \n.avif")
    Image.fromarray(photo(20, 30)).save(tmp_path / "a.avif")
    (tmp_path / "a.avif").rename(tmp_path / name)
    (tmp_path / "b").mkdir()
    for folder, path in ((tmp_path, Path(name)), (tmp_path / "b", Path("..") / name)):
        monkeypatch.chdir(folder)
        assert decode(path).size == (20, 30)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:400])
    with pytest.raises(DataError) as error:
        decode(path)
    assert str(error.value).startswith(f"{path} ")


def test_time(monkeypatch):
    monkeypatch.setattr(decode_process, "MAX_SECONDS", 0.3)
    slow = with_parts(2_000_000)
    for call in (decode, read_header):
        with pytest.raises(
            DataError, match="the image data takes longer than 0 s to decode, and was left out"
        ):
            call(slow)
    monkeypatch.undo()
    assert decode(encoded(Image.fromarray(photo(20, 30)), "AVIF")).size == (20, 30)


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory is limited on Linux alone"
)
def test_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(decode_process, "MAX_MEMORY", 100_000_000)
    monkeypatch.setattr(budget, "ORDINARY_PIXELS", 10_000_000)
    solid = Image.new("RGB", (8000, 5000))
    for file_format in ("PNG", "JPEG", "WEBP", "TIFF"):
        solid.save(tmp_path / "a", file_format)
        with pytest.raises(
            DataError,
            match=r"a (takes more than 0.1 GB of memory|does not fit into memory|is dama|has a dama)",
        ):
            decode(tmp_path / "a")
    assert decode(encoded(Image.fromarray(photo(20, 30)), "AVIF")).size == (20, 30)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSEGV, r"is damaged: the process that decoded it crashed \(SIGSEGV\)"),
        (signal.SIGABRT, r"is damaged: the process that decoded it crashed \(SIGABRT\)"),
        (signal.SIGKILL, "was left out: the system ended the process that decoded it"),
    ],
)
def test_a_crash_is_a_line_about_the_file(tmp_path, number, words):
    path = tmp_path / "a.avif"
    Image.fromarray(photo(20, 30)).save(path)
    decode(path)
    process = decode_process._common._process
    assert process is not None
    os.kill(process.pid, number)
    with pytest.raises(DataError, match=rf"a\.avif {words}"):
        decode(path)
    assert decode(path).size == (20, 30)


def test_ctrl_c_ends_the_process_that_is_at_work(monkeypatch):
    image = encoded(Image.fromarray(photo(20, 30)), "AVIF")
    decode(image)
    process = decode_process._common._process
    assert process is not None

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(decode_process._common, "_exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decode(image)
    assert process.poll() is not None
    monkeypatch.undo()
    assert decode(image).size == (20, 30)


SCRIPT = """
import sys, time
from vitseg.images import decode_process
from vitseg.images.reader import decode
decode(sys.argv[1])
print(decode_process._common._process.pid, flush=True)
if len(sys.argv) > 2:
    time.sleep(60)
"""


def is_running(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        status = Path(f"/proc/{pid}/stat")
        if status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("killed", [False, True])
def test_no_process_is_left_behind(tmp_path, killed):
    path = tmp_path / "a.avif"
    Image.fromarray(photo(20, 30)).save(path)
    arguments = [sys.executable, "-c", SCRIPT, str(path), *(["wait"] if killed else [])]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        if killed:
            process.kill()
    assert not is_running(pid)


def _in_a_worker(path: Path, queue) -> None:
    size = decode(path).size
    process = decode_process._common._process
    queue.put((size, None if process is None else process.pid))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_have_their_own_process(tmp_path, method):
    """Those of a data loader are daemons, which may have no children by multiprocessing."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    path = tmp_path / "a.avif"
    Image.fromarray(photo(20, 30)).save(path)
    decode(path)
    own = decode_process._common._process
    assert own is not None
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    worker = context.Process(target=_in_a_worker, args=(path, queue), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        worker.start()
    size, pid = queue.get(timeout=60)
    worker.join(60)
    assert size == (20, 30)
    assert pid not in (None, own.pid)
    assert not is_running(pid)
    assert decode(path).size == (20, 30)
    assert decode_process._common._process is own


def test_no_library_prints(tmp_path, capfd):
    """libtiff and GDAL write what they find wrong to the screen by themselves."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for compression in ("tiff_adobe_deflate", "tiff_lzw", "jpeg", "packbits", "raw"):
        image.save(tmp_path / "a.tif", compression=compression)
        good = (tmp_path / "a.tif").read_bytes()
        directory = struct.unpack("<I", good[4:8])[0]
        number = struct.unpack_from("<H", good, directory)[0]
        for spoilt in ("count", "type", "bytes", "cut", "length"):
            data = bytearray(good)
            if spoilt == "count":
                struct.pack_into("<H", data, directory, number + 3000)
            elif spoilt == "type":
                struct.pack_into("<HHI", data, directory + 2 + 12 * (number - 1), 65000, 99, 7)
            elif spoilt == "bytes":
                for place in range(9, len(data) - 300, 37):
                    if not directory - 4 < place < directory + 12 * number + 6:
                        data[place] ^= 0x55
            elif spoilt == "cut":
                del data[-100:]
            else:
                for entry in range(number):
                    if struct.unpack_from("<H", data, directory + 2 + 12 * entry)[0] == 279:
                        struct.pack_into("<I", data, directory + 2 + 12 * entry + 8, 40)
            (tmp_path / "a.tif").write_bytes(data)
            for call in (decode, decode_mask, decode_color_mask, decode_layers, read_header):
                with suppress(DataError):
                    call(tmp_path / "a.tif")
    data = bytearray(encoded(Image.new("RGB", (64, 64)), "JPEG2000", no_jp2=True))
    place = data.index(b"\xff\x51")
    struct.pack_into(">II", data, place + 6, 640, 640)
    struct.pack_into(">II", data, place + 22, 48, 48)
    with pytest.raises(DataError, match="damaged or incomplete"):
        decode(bytes(data))
    assert capfd.readouterr() == ("", "")
