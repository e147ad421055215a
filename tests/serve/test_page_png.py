"""The page's own reader of PNG, in a browser: numbers, not colours."""

from __future__ import annotations

import base64
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.serve.page_app import Mood, create_app, served
from tests.serve.page_models import MODELS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(browser):
    with served(create_app(MODELS, Mood())) as address:
        opened = browser.new_page()
        opened.goto(address)
        yield opened
        opened.close()


def decoded(page, content: bytes) -> tuple[np.ndarray, int]:
    script = """async (text) => {
      const { bytesOf, decodePng } = await import("/page/png.js");
      try {
        const { width, height, depth, values } = await decodePng(bytesOf(text));
        return { width, height, depth, values: [...values], kind: values.constructor.name };
      } catch (error) {
        return { error: error.message };
      }
    }"""
    found = page.evaluate(script, base64.b64encode(content).decode())
    if "error" in found:
        raise ValueError(found["error"])
    assert found["kind"] == ("Uint16Array" if found["depth"] == 16 else "Uint8Array")
    return np.array(found["values"]).reshape(found["height"], found["width"]), found["depth"]


def values_of(bits: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(bits).integers(0, 2**bits, (height, width))


def png(rows: bytes, width: int, height: int, bits: int, kind: int, interlace: int = 0) -> bytes:
    """A file of rows that have their filters."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlace)
    packed = zlib.compress(rows)
    half = len(packed) // 2  # data may come in several chunks
    parts = [chunk(b"IDAT", packed[:half]), chunk(b"IDAT", packed[half:])]
    colors = [chunk(b"PLTE", bytes(3 * 2 ** min(bits, 8)))] if kind == 3 else []
    whole = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *colors, *parts, chunk(b"IEND", b"")]
    return b"".join(whole)


def filtered(rows: np.ndarray, kinds: list[int], step: int) -> bytes:
    """Rows of bytes with a filter each, by the formulas of the specification."""
    out = bytearray()
    for y, row in enumerate(rows.astype(int)):
        above = rows[y - 1].astype(int) if y else np.zeros_like(row)
        left = np.concatenate([np.zeros(step, int), row])[: len(row)]
        corner = np.concatenate([np.zeros(step, int), above])[: len(row)]
        near = np.stack([left, above, corner])
        distance = np.abs(left + above - corner - near)
        paeth = near[distance.argmin(0), np.arange(len(row))]  # the first of equals, in this order
        guess = [0, left, above, (left + above) // 2, paeth][kinds[y]]
        out += bytes([kinds[y], *((row - guess) % 256)])
    return bytes(out)


@pytest.mark.parametrize("width", [1, 7, 16, 33])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_indices_of_every_depth(page, bits, width):
    values = values_of(bits, 9, width)
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette(bytes(3 * 2**bits))  # all of one colour
    buffer = BytesIO()
    image.save(buffer, "PNG", bits=bits)
    found, depth = decoded(page, buffer.getvalue())
    assert depth == bits
    assert np.array_equal(found, values)


def test_grey_of_eight_and_sixteen_bits(page):
    for kind in (np.uint8, np.uint16):
        bits = 8 * np.dtype(kind).itemsize
        values = values_of(bits, 21, 34).astype(kind)
        buffer = BytesIO()
        Image.fromarray(values).save(buffer, "PNG")
        found, depth = decoded(page, buffer.getvalue())
        assert depth == bits
        assert np.array_equal(found, values)


@pytest.mark.parametrize("kinds", [[number] * 6 for number in range(5)] + [[4, 3, 2, 1, 0, 4]])
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_every_filter(page, kinds, bits):
    smooth = np.add.outer(np.arange(6) * 37, np.arange(11) * 11) % 2**bits
    values = np.where(np.arange(11) % 4 == 0, values_of(bits, 6, 11), smooth)
    if bits == 4:
        padded = np.pad(values, ((0, 0), (0, 1)))
        rows = padded[:, ::2] * 16 + padded[:, 1::2]
    else:
        rows = values.astype(">u2" if bits == 16 else np.uint8).view(np.uint8).reshape(6, -1)
    kind = 0 if bits == 16 else 3
    content = png(filtered(rows, kinds, 2 if bits == 16 else 1), 11, 6, bits, kind)
    with Image.open(BytesIO(content)) as image:  # the oracle
        assert np.array_equal(np.asarray(image), values)
    assert np.array_equal(decoded(page, content)[0], values)


def test_what_it_does_not_read(page):
    rows = bytes(5 * 6)
    good = png(rows, 5, 5, 8, 3)
    assert decoded(page, good)[0].shape == (5, 5)
    for content, message in [
        (b"GIF89a" + good, "no PNG"),
        (good[:40], "cut off"),
        (png(rows, 5, 5, 8, 3, interlace=1), "interlaced"),
        (png(bytes(5 * 16), 5, 5, 8, 2), "neither grey nor indexed"),
        (png(bytes(4 * 6), 5, 5, 8, 3), "cut off"),
        (png(bytes(2**20), 5, 5, 8, 3), "more than its size"),
        (png(b"\x07" + rows[1:], 5, 5, 8, 3), "unknown filter"),
    ]:
        with pytest.raises(ValueError, match=message):
            decoded(page, content)
