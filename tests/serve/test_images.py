"""Image files of all kinds: read as they are meant, or refused with a sentence."""

from __future__ import annotations

import io
import struct
import threading
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.serve.conftest import until
from tests.serve.octants import COLORS, cells_of, encoded, labels_of, large, pattern, picture, png
from tests.serve.odd_images import (
    bmp_of,
    jpeg_of_scans,
    png_chunk,
    png_of,
    png_with,
    tiff_of,
)
from tests.serve.raw import segment
from vitseg.images import decode_process

CELLS = pattern(11)
LABELS = large(CELLS)


def shown(server, content, **headers):
    """The labels of an answer, which is no error."""
    answer = segment(server.port, content, **headers)
    assert answer.status == 200, answer.body
    return labels_of(answer.body)


def refused(server, content, status):
    """What is said of an image that is not read."""
    answer = segment(server.port, content)
    assert answer.status == status, (answer.status, answer.body[:300])
    assert 0 < len(answer.error) < 1000
    assert "/" not in answer.error.replace("image/jpeg", ""), "a path, perhaps"
    assert "Traceback" not in answer.error
    return answer.error


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_formats_without_loss(server, kind):
    assert np.array_equal(shown(server, encoded(picture(LABELS), kind)), LABELS)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95}), ("WEBP", {"lossless": True})],
)
def test_formats_with_loss(server, kind, options):
    answer = segment(server.port, encoded(picture(LABELS), kind, **options))
    assert np.array_equal(cells_of(answer.body), CELLS)


def test_claims_of_a_huge_size(server):
    content = png_of(40_000, 40_000, bytes(3_000_000), [(b"teXt", bytes(1_000_000))])
    assert len(content) > 1_000_000
    error = refused(server, content, 413)
    assert "40000x40000 = 1,600,000,000 pixels, but at most 6,000,000" in error


@pytest.mark.parametrize(
    "size", [(0, 5), (5, 0), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1), (2**32 - 1, 2**32 - 1)]
)
def test_claims_of_no_size(server, size):
    answer = segment(server.port, png_of(*size, b"\0\0\0\0"))
    assert answer.status in (413, 422), answer.body


def test_fewer_pixels_than_claimed(server):
    assert "damaged" in refused(server, png_of(1000, 1000, bytes(3000)), 422)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_truncated(server, kind, share):
    content = encoded(picture(LABELS), kind)
    answer = segment(server.port, content[: max(13, int(share * len(content)))])
    assert answer.status in (415, 422), answer.body[:300]


def test_a_wrong_checksum(server):
    content = bytearray(png(CELLS))
    place = content.index(b"IDAT") + 20
    content[place] ^= 0xFF
    refused(server, bytes(content), 422)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_noise_in_a_file(server, kind):
    content = np.frombuffer(encoded(picture(LABELS), kind), np.uint8)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        broken = content.copy()
        places = rng.integers(8, len(content), 1 + seed)
        broken[places] = rng.integers(0, 256, len(places), dtype=np.uint8)
        answer = segment(server.port, broken.tobytes())
        assert answer.status in (200, 413, 415, 422), answer.body


def a_zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        # without the time: test names have the content, and all workers are to find the same names
        archive.writestr(zipfile.ZipInfo("evil.txt"), "x" * 1000)
    return file.getvalue()


@pytest.mark.parametrize(
    "tail",
    [
        a_zip(),
        b"<html><script>alert(1)</script></html>",
        b"<?php system($_GET['c']); ?>",
        b"*/alert(1)/*",
        bytes(100_000),
    ],
    ids=["zip", "html", "php", "js", "zeros"],
)
def test_something_behind_an_image(server, tail):
    for kind in ("PNG", "JPEG"):
        answer = segment(server.port, encoded(picture(LABELS), kind) + tail)
        assert answer.status == 200, answer.body
        assert np.array_equal(cells_of(answer.body), CELLS)
        assert answer.headers["content-type"] == "image/png"
        assert tail not in answer.body


def moving(kind):
    first, second = picture(LABELS), picture(large(pattern(12)))
    return encoded(first, kind, save_all=True, append_images=[second], duration=100)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_moving_images(server, kind):
    error = refused(server, moving(kind), 415)
    assert "GIF" in error or "moving" in error


def test_a_word_that_only_looks_like_a_moving_image(server):
    content = png_with(png(CELLS), png_chunk(b"tEXt", b"Comment\0acTL"))
    assert np.array_equal(shown(server, content), LABELS)


@pytest.mark.parametrize(
    "content",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:etc/passwd'/></svg>",
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:etc/passwd'>]><svg>&b;</svg>",
        b"%PDF-1.7\n1 0 obj",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
        b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
        b"P6\n1 1\n255\nabc",
        b"\x93NUMPY\x01\0v\0{'descr': '|u1', 'fortran_order': False, 'shape': (4, 4), }",
        b"\x80\x04\x95cposix\nsystem\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%id) (w) file",
        b"push graphic-context\nviewbox 0 0 1 1\nfill 'url(https:example.com)'",
        b"8BPS\0\1" + bytes(50),
        a_zip(),
        b"\0",
        b"\xff\xd8",
        b"BM",
        b"hello",
        b"{}" * 100,
    ],
)
def test_what_is_no_image_that_is_read(server, content):
    answer = segment(server.port, content)
    assert answer.status in (415, 422)
    assert len(answer.error) < 500


def test_a_bomb_in_a_text(server):
    text = zlib.compress(bytes(100_000_000), 9)  # 200 kB
    for name, front in (
        (b"zTXt", b"Comment\0\0"),
        (b"iTXt", b"Comment\0\1\0\0\0"),
        (b"iCCP", b"a\0\0"),
    ):
        answer = segment(server.port, png_with(png(CELLS), png_chunk(name, front + text)))
        assert answer.status in (200, 422), answer.body
        if answer.status == 200:
            assert np.array_equal(cells_of(answer.body), CELLS)


def test_a_bomb_of_pixels(server):
    """2000 x 2000 claimed, 100 MB in the stream."""
    answer = segment(server.port, png_of(2000, 2000, bytes(100_000_000)))
    assert answer.status in (200, 422), answer.body


def test_a_hundred_thousand_chunks(server):
    content = png_with(png(CELLS), png_chunk(b"tEXt", b"a\0b") * 100_000)
    answer = segment(server.port, content)
    assert answer.status in (200, 422), answer.body


def test_thousands_of_scans(server):
    content = encoded(picture(large(pattern(1, 60, 60))), "JPEG", progressive=True)
    answer = segment(server.port, jpeg_of_scans(content, 5000)[:5_900_000])
    assert answer.status in (200, 422), answer.body


@pytest.mark.parametrize("size", [(1, 1), (1, 65_500), (65_500, 1), (1, 17), (31, 2)])
def test_narrow_images(server, size):
    labels = np.full(size, 6, np.uint8)
    for kind in ("PNG", "JPEG", "BMP", "TIFF"):
        assert np.array_equal(shown(server, encoded(picture(labels), kind)), labels), kind


def test_colours_of_printing(server):
    image = picture(LABELS).convert("CMYK")
    answer = segment(server.port, encoded(image, "JPEG", quality=95))
    assert np.array_equal(cells_of(answer.body), CELLS)


def test_sixteen_bits(server):
    grey = np.where(LABELS > 3, 65_535, 0).astype(np.uint16)
    assert np.array_equal(
        shown(server, encoded(Image.fromarray(grey), "PNG")), np.where(LABELS > 3, 7, 0)
    )


def test_a_palette(server):
    image = Image.fromarray(LABELS)
    image.putpalette(COLORS.tobytes())
    assert np.array_equal(shown(server, encoded(image)), LABELS)


def test_alpha(server):
    image = picture(LABELS).convert("RGBA")
    assert np.array_equal(shown(server, encoded(image)), LABELS)
    image.putalpha(0)
    assert shown(server, encoded(image)).shape == LABELS.shape


def test_grey_and_one_bit(server):
    assert np.array_equal(
        shown(server, encoded(Image.fromarray(np.where(LABELS > 3, 255, 0).astype(np.uint8)))) > 3,
        LABELS > 3,
    )
    assert np.array_equal(shown(server, encoded(Image.fromarray(LABELS > 3))) > 3, LABELS > 3)


@pytest.mark.parametrize("turn", range(1, 9))
def test_turned_by_a_tag_the_answer_is_upright(server, turn):
    stored = pattern(20, 3, 5)
    exif = Image.Exif()
    exif[0x0112] = turn
    answer = segment(server.port, encoded(picture(large(stored)), "JPEG", quality=95, exif=exif))
    upright = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.T, 6: stored[::-1].T,
        7: stored[::-1, ::-1].T, 8: stored[:, ::-1].T,
    }  # fmt: skip
    assert answer.status == 200
    assert np.array_equal(cells_of(answer.body), upright[turn])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
def test_pixels_that_are_no_numbers(server, value):
    pixels = np.full((32, 32), 0.5, np.float32)
    pixels[:4] = value
    answer = segment(server.port, tiff_of(pixels))
    assert answer.status in (200, 422), answer.body
    if answer.status == 200:
        assert labels_of(answer.body).shape == (32, 32)


def test_pixels_without_data_have_no_class(server):
    pixels = COLORS[LABELS].copy()
    pixels[:, :24] = 0
    answer = segment(server.port, tiff_of(pixels, [(42113, 2, 2, ord("0"))]))  # GDAL's nodata: 0
    found = labels_of(answer.body)
    black = (pixels == 0).all(2)
    assert (found[black] == 255).all()
    assert np.array_equal(found[~black], LABELS[~black])


def test_a_tiff_of_many_pages(server):
    pages = [picture(large(pattern(seed))) for seed in range(30)]
    content = encoded(picture(LABELS), "TIFF", save_all=True, append_images=pages)
    assert np.array_equal(shown(server, content), LABELS)


def test_a_tiff_whose_pages_go_round_in_circles(server):
    pixels = COLORS[LABELS]
    content = tiff_of(pixels, following=8 + pixels.nbytes)
    answer = segment(server.port, content)
    assert answer.status in (200, 422), answer.body


@pytest.mark.parametrize(
    "entry",
    [
        (270, 2, 2**31, 0),
        (700, 1, 2**32 - 1, 8),
        (34_675, 7, 2**31, 8),
        (34_665, 4, 1, 8),
        (324, 4, 2**30, 8),
        (330, 4, 2**24, 8),
        (65_000, 12, 2**29, 8),
    ],
)
def test_a_tiff_with_huge_tags(server, entry):
    answer = segment(server.port, tiff_of(COLORS[LABELS], [entry]))
    assert answer.status in (200, 422), answer.body


def test_a_tiff_of_many_tags(server):
    entries = [(40_000 + number, 4, 1, number) for number in range(20_000)]
    answer = segment(server.port, tiff_of(COLORS[LABELS], entries))
    assert answer.status in (200, 422), answer.body


def test_a_bitmap_from_top_to_bottom(server):
    pixels = COLORS[LABELS][..., ::-1]
    assert np.array_equal(shown(server, bmp_of(64, -64, pixels.tobytes())), LABELS)
    assert np.array_equal(shown(server, bmp_of(64, 64, pixels[::-1].tobytes())), LABELS)


@pytest.mark.parametrize(
    "size", [(-64, 64), (64, -(2**31)), (2**31 - 1, -(2**31)), (0, -5), (-1, -1)]
)
def test_a_bitmap_of_impossible_size(server, size):
    answer = segment(server.port, bmp_of(*size, bytes(64 * 64 * 3)))
    assert answer.status in (413, 422), answer.body


def test_a_damaged_turn(server):
    content = encoded(picture(LABELS), "JPEG")
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHII", 8, 60_000, 0x0112, 3, 2**31, 6)
    broken = content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    answer = segment(server.port, broken)
    assert answer.status in (200, 422), answer.body


def test_costly_images_do_not_stop_ordinary_ones(server, callers, monkeypatch):
    gate, began = threading.Event(), threading.Semaphore(0)

    def slow(call):
        def wait(*arguments, **options):
            began.release()
            assert gate.wait(60)
            return call(*arguments, **options)

        return wait

    for name in ("header", "decode"):
        monkeypatch.setattr(decode_process, name, slow(getattr(decode_process, name)))
    costly = png_with(png(CELLS), png_chunk(b"tEXt", b"a\0b") * 100_000)
    for _ in range(4):
        callers.call(lambda: segment(server.port, costly))
    try:
        assert began.acquire(timeout=60)
        until(lambda: server.service.admission.requests == 4)
        assert np.array_equal(shown(server, png(CELLS)), LABELS)
    finally:
        gate.set()
    assert {answer.status for answer in callers.all()} <= {200, 422}
