from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from vitseg.errors import DataError
from vitseg.images.decode import (
    decode_color_mask,
    decode_image,
    decode_layers,
    decode_mask,
    image_size,
    read_header,
    read_image,
)

ORIENTATION = 0x0112


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width: int, height: int, depth: int, color_type: int, rows: bytes) -> bytes:
    """A PNG by hand, for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_the_pixels(pixels, file_format):
    image = decode_image(encoded(Image.fromarray(pixels), file_format))
    assert image.dtype == np.uint8
    assert np.array_equal(image, pixels)
    assert image.flags.writeable
    assert image.flags.c_contiguous


@pytest.mark.parametrize(("file_format", "options"), [("JPEG", {"quality": 95}), ("WEBP", {})])
def test_lossy_formats_decode_to_rgb(file_format, options):
    plain = np.full((16, 24, 3), (200, 60, 20), np.uint8)
    image = decode_image(encoded(Image.fromarray(plain), file_format, **options))
    assert image.shape == plain.shape
    assert np.abs(image.astype(int) - plain).max() <= 6


def test_content_counts_and_not_the_suffix(tmp_path, pixels):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(Image.fromarray(pixels), "PNG"))
    assert np.array_equal(decode_image(path), pixels)
    assert np.array_equal(decode_image(str(path)), pixels)


@pytest.mark.parametrize("read", [decode_mask, decode_color_mask, decode_layers])
@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("TIFF", {}, "has 2 pages"),
        ("TIFF", {"compression": "tiff_lzw"}, "has 2 pages"),
        ("GIF", {}, "is an animation"),
        ("PNG", {}, "is an animation"),
    ],
)
def test_a_mask_is_one_picture(read, kind, options, said):
    ids = np.zeros((8, 9), np.uint8)
    ids[2:4] = 1
    pages = [Image.fromarray(ids), Image.fromarray(2 * ids)]
    read(encoded(pages[0], kind, **options))
    with pytest.raises(DataError, match=f"{said}, but a mask is one picture"):
        read(encoded(pages[0], kind, save_all=True, append_images=pages[1:], **options))


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (4, 3), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode_image(data), np.full((3, 4, 3), (255, 0, 0)))


def test_transparency_is_composited_over_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 127, 255)
    grey = decode_image(encoded(Image.fromarray(rgba)))[0, :, 0]
    assert grey.tolist() == [255, 128, 0]
    grey = decode_image(encoded(Image.fromarray(rgba).convert("LA")))[0, :, 0]
    assert grey.tolist() == [255, 128, 0]


def test_palette_images_with_and_without_transparency():
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert decode_image(encoded(image)).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    opaque_second = decode_image(encoded(image, transparency=0))
    assert opaque_second.tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_a_transparent_colour_of_an_rgb_file_becomes_white():
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert decode_image(encoded(image, transparency=(1, 2, 3)))[0].tolist() == [
        [255, 255, 255],
        [4, 5, 6],
    ]


def test_grey_bilevel_cmyk_and_ycbcr():
    assert decode_image(encoded(Image.new("L", (2, 2), 77)))[0, 0].tolist() == [77, 77, 77]
    assert decode_image(encoded(Image.new("1", (2, 2), 1)))[0, 0].tolist() == [255, 255, 255]
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert decode_image(encoded(cmyk, "TIFF"))[0, 0].tolist() == [255, 0, 0]
    inverted = decode_image(encoded(cmyk, "JPEG", quality=95))[0, 0]
    assert np.abs(inverted.astype(int) - (255, 0, 0)).max() <= 6
    ycbcr = Image.new("RGB", (2, 2), (200, 30, 60)).convert("YCbCr")
    turned = decode_image(encoded(ycbcr, "TIFF"))[0, 0]
    assert np.abs(turned.astype(int) - (200, 30, 60)).max() <= 3


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_and_rounded(file_format):
    values = np.array([[0, 128, 129, 257, 25700, 65535]], np.uint16)
    grey = decode_image(encoded(Image.fromarray(values), file_format))
    assert grey[0, :, 0].tolist() == [0, 0, 1, 1, 100, 255]
    assert np.array_equal(grey[..., 0], grey[..., 2])


def test_32_bit_grey_within_16_bits_is_scaled_and_beyond_is_an_error():
    inside = np.array([[0, 257, 65535]], np.int32)
    assert decode_image(encoded(Image.fromarray(inside), "TIFF"))[0, :, 0].tolist() == [0, 1, 255]
    beyond = encoded(Image.fromarray(np.array([[-1, 70000]], np.int32)), "TIFF")
    with pytest.raises(DataError, match=r"from -1 to 70000, but 0-65535"):
        decode_image(beyond)


def test_16_bit_colour_keeps_its_high_byte():
    row = b"\0" + struct.pack(">3H", 0x0180, 0x7FFF, 0xFFFF)
    assert decode_image(png(1, 1, 16, 2, row))[0, 0].tolist() == [1, 127, 255]


def test_floating_point_pixels_are_refused():
    data = encoded(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF")
    with pytest.raises(DataError, match="the image data has float32 pixels"):
        decode_image(data)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(tmp_path, pixels, file_format, orientation):
    options = {"lossless": True} if file_format == "WEBP" else {}
    path = tmp_path / "turned"
    path.write_bytes(
        encoded(Image.fromarray(pixels), file_format, exif=exif(orientation), **options)
    )
    turned = Image.fromarray(pixels)
    turned.getexif()[ORIENTATION] = orientation
    expected = np.array(ImageOps.exif_transpose(turned))
    image = decode_image(path)
    assert np.array_equal(image, expected)
    assert image_size(path) == image.shape[:2]


def test_exif_orientation_of_a_jpeg(tmp_path):
    path = tmp_path / "phone.jpg"
    Image.new("RGB", (30, 20)).save(path, exif=exif(6))
    assert decode_image(path).shape == (30, 20, 3)
    assert image_size(path) == (30, 20)


@pytest.mark.parametrize(
    ("kind", "content", "turned"),
    [
        (b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0"), True),
        (
            b"iTXt",
            b'XML:com.adobe.xmp\0\0\0\0\0<rdf:Description tiff:Orientation="6"/>',
            True,
        ),
        (b"tEXt", b"Author\0me", False),
    ],
)
def test_png_orientation_after_the_pixels_is_seen(tmp_path, pixels, kind, content, turned):
    plain = encoded(Image.fromarray(pixels))
    end = png_chunk(b"IEND", b"")
    path = tmp_path / "late.png"
    path.write_bytes(plain.removesuffix(end) + png_chunk(kind, content) + end)
    assert decode_image(path).shape == ((7, 5, 3) if turned else (5, 7, 3))
    assert image_size(path) == ((7, 5) if turned else (5, 7))


def test_image_size_reads_the_header_only(tmp_path):
    whole = encoded(Image.new("RGB", (300, 200)))
    path = tmp_path / "cut.png"
    path.write_bytes(whole[:60])
    assert image_size(path) == (200, 300)


def test_missing_folder_and_empty_file(tmp_path):
    for read in (decode_image, decode_mask, image_size):
        with pytest.raises(DataError, match=r"gone\.png does not exist"):
            read(tmp_path / "gone.png")
        with pytest.raises(DataError, match="is a folder, but an image file is expected"):
            read(tmp_path)
        (tmp_path / "empty.png").touch()
        with pytest.raises(DataError, match=r"empty\.png is empty"):
            read(tmp_path / "empty.png")


def test_a_path_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be read"):
        decode_image(tmp_path / "file" / "photo.png")


def test_other_contents_list_the_known_formats(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("these are notes")
    with pytest.raises(DataError, match=r"notes\.png is not an image .* Known: JPEG, PNG, WEBP"):
        decode_image(path)
    path.write_bytes(encoded(Image.new("RGB", (4, 4)), "TGA"))
    with pytest.raises(DataError, match="not an image in a known format"):
        decode_image(path)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_truncated_files_are_errors(tmp_path, file_format):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), file_format)
    path = tmp_path / "half"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"half .*damaged") as caught:
        decode_image(path)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_on_its_header():
    bomb = png(100_000, 100_000, 8, 2, b"")
    with pytest.raises(
        DataError, match=r"100000x100000 = 10,000,000,000 pixels, but at most 150,0"
    ):
        decode_image(bomb)


def test_the_limit_replaces_that_of_pillow():
    pillows = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="damaged"):
            decode_image(png(10_000, 10_000, 8, 2, b""))
        with pytest.raises(DataError, match="damaged"):
            decode_image(png(20_000, 10_000, 1, 0, b""), max_pixels=10**9)
    assert pillows == Image.MAX_IMAGE_PIXELS


def test_the_limit_is_inclusive(pixels):
    data = encoded(Image.fromarray(pixels))
    assert decode_image(data, max_pixels=35).shape == (5, 7, 3)
    with pytest.raises(DataError, match="7x5 = 35 pixels, but at most 34"):
        decode_image(data, max_pixels=34)


def write_mask(tmp_path, image: Image.Image, name: str = "mask.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["L", "P"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".gif"])
def test_masks_keep_their_ids(tmp_path, mode, suffix):
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(ids)
    if mode == "P":
        image = Image.fromarray(ids, "P")
        image.putpalette(np.random.default_rng(0).permutation(768).astype(np.uint8).tobytes())
    mask = decode_mask(write_mask(tmp_path, image, f"mask{suffix}"))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, ids)


def test_bilevel_16_bit_and_32_bit_masks(tmp_path):
    bilevel = Image.fromarray(np.array([[0, 1], [1, 0]], bool))
    assert decode_mask(write_mask(tmp_path, bilevel)).tolist() == [[0, 1], [1, 0]]
    ids = np.array([[0, 300], [65535, 7]], np.uint16)
    for suffix in (".png", ".tif"):
        mask = decode_mask(write_mask(tmp_path, Image.fromarray(ids), f"mask{suffix}"))
        assert mask.dtype == np.uint16
        assert np.array_equal(mask, ids)
    ids = np.array([[-1, 70000]], np.int32)
    mask = decode_mask(write_mask(tmp_path, Image.fromarray(ids), "mask.tif"))
    assert mask.dtype == np.int32
    assert np.array_equal(mask, ids)


def test_masks_are_turned_like_images(tmp_path):
    ids = np.arange(6, dtype=np.uint8).reshape(2, 3)
    path = write_mask(tmp_path, Image.fromarray(ids), exif=exif(6))
    assert decode_mask(path).tolist() == [[3, 0], [4, 1], [5, 2]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_masks_are_refused(tmp_path, mode):
    path = write_mask(tmp_path, Image.new(mode, (2, 2)))
    with pytest.raises(DataError, match=r"mask\.png has \d channels .* colour mask"):
        decode_mask(path)


def test_formats_that_change_ids_are_refused_as_masks(tmp_path):
    path = write_mask(tmp_path, Image.new("L", (8, 8), 3), "mask.jpg")
    with pytest.raises(DataError, match=r"mask\.jpg is a JPEG file, .* Save masks as PNG"):
        decode_mask(path)


def test_floating_point_masks_are_refused(tmp_path):
    path = write_mask(tmp_path, Image.fromarray(np.zeros((2, 2), np.float32)), "mask.tif")
    with pytest.raises(DataError, match="a mask holds integer ids"):
        decode_mask(path)


def test_real_photos_decode(shared):
    photos = [path for path in (shared / "data" / "demo_photos").iterdir() if path.suffix == ".jpg"]
    assert photos
    for path in photos:
        assert decode_image(path).shape[:2] == image_size(path)


def test_a_jpeg_may_be_decoded_at_a_part_of_its_size(tmp_path):
    path = tmp_path / "big.jpg"
    smooth = np.linspace(0, 255, 640).astype(np.uint8)
    Image.fromarray(np.broadcast_to(smooth[None, :, None], (480, 640, 3)).copy()).save(
        path, quality=95
    )
    image, size = read_image(path, at_least=(100, 130))
    assert size == (480, 640)
    assert image.shape == (120, 160, 3)
    means = decode_image(path).reshape(120, 4, 160, 4, 3).mean((1, 3))
    assert np.abs(image - means).max() <= 3
    assert read_image(path, at_least=(121, 10))[0].shape == (240, 320, 3)
    assert read_image(path, at_least=(1, 1))[0].shape == (60, 80, 3)
    assert read_image(path, at_least=(479, 639))[0].shape == (480, 640, 3)


def test_a_part_of_a_picture_on_its_side(tmp_path):
    path = tmp_path / "turned.jpg"
    Image.fromarray(np.zeros((480, 640, 3), np.uint8)).save(path, exif=exif(6))
    image, size = read_image(path, at_least=(300, 100))
    assert size == (640, 480) == image_size(path)
    assert image.shape == (320, 240, 3)


def test_other_formats_come_whole(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(path)
    assert read_image(path, at_least=(4, 4))[0].shape == (48, 64, 3)


def test_a_header_that_ends_early_is_said_in_plain_words(tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n123")
    with pytest.raises(DataError, match=r"cut\.png has a damaged PNG header: it ends too early"):
        read_header(path)


def test_what_pillow_logs_of_a_file_is_not_printed(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "bands.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=5, width=7, count=8, dtype="uint16"
    ) as file:
        file.write(np.ones((8, 5, 7), np.uint16))
    program = "import sys; from vitseg.images.header import header_of; header_of(sys.argv[1])"
    command = [sys.executable, "-c", program, str(path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""


def test_header(tmp_path):
    for mode, name in (("P", "a.png"), ("L", "b.bmp"), ("RGB", "c.jpg"), ("I;16", "d.png")):
        Image.new(mode, (7, 5)).save(tmp_path / name)
        header = read_header(tmp_path / name)
        assert (header.mode, header.size) == (mode, (5, 7))
        assert header.format == {".png": "PNG", ".bmp": "BMP", ".jpg": "JPEG"}[name[1:]]


def test_colours_of_a_mask(tmp_path):
    colors = np.array([[[0, 0, 0], [255, 128, 1]]], np.uint8)
    for name, picture in (
        ("rgb.png", Image.fromarray(colors)),
        ("rgba.png", Image.fromarray(colors).convert("RGBA")),
        ("palette.png", Image.fromarray(colors).quantize(2)),
    ):
        picture.save(tmp_path / name)
        assert decode_color_mask(tmp_path / name).tolist() == [[0, 0xFF8001]]
    Image.fromarray(colors).save(tmp_path / "c.jpg")
    with pytest.raises(DataError, match="JPEG file, which does not keep ids exactly"):
        decode_color_mask(tmp_path / "c.jpg")
