"""What a predictor may be given as an image."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import make_predictor, photo
from vitseg.errors import DataError
from vitseg.inference.image_source import read_source


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return photo(40, 56)


def test_arrays_of_any_strides_and_tensors_of_either_order(image):
    sources = (
        image[:, :, ::-1].copy()[:, :, ::-1],  # as OpenCV's pictures are turned into RGB
        np.asfortranarray(image),
        np.repeat(image, 2, axis=1)[:, ::2],
        torch.from_numpy(image),
        torch.from_numpy(image).permute(2, 0, 1),
        Image.fromarray(image),
    )
    for source in sources:
        pixels = read_source(source)
        assert pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, image)


def test_a_reversed_view_runs_in_a_model_that_resizes(image):
    predictor = make_predictor(resize=(64, 32))
    expected = predictor(image).label_map
    view = image[:, :, ::-1].copy()[:, :, ::-1]
    np.testing.assert_array_equal(predictor(view).label_map, expected)


def test_a_list_gives_a_list(image):
    predictor = make_predictor()
    first, second = predictor([image, torch.from_numpy(image)])
    np.testing.assert_array_equal(first.label_map, second.label_map)
    assert predictor([]) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "cv2.imread returns that"),
        (5, "is a int, but allowed are a file name"),
        (np.zeros((4, 4), np.uint8), r"is \(4, 4\) uint8; allowed is"),
        (torch.zeros(3, 4, 5), r"is \(3, 4, 5\) float32; .* \(image \* 255\)"),
        (torch.zeros(2, 3, 4, 5, dtype=torch.uint8), r"list\(images\)"),
        (torch.zeros(3, 4, 5, dtype=torch.uint8, device="meta"), "is on the device meta"),
        (torch.zeros(3, 4, 5, dtype=torch.uint8).to_sparse(), "is sparse"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"list\(images\)"),
        (np.zeros((3, 4, 5), np.uint8), r"image.transpose\(1, 2, 0\)"),
        (np.zeros((4, 5, 4), np.uint8), r"image\[..., :3\]"),
        (np.zeros((4, 5, 3)), r"\(image \* 255\).round\(\).astype"),
        (np.zeros((0, 5, 3), np.uint8), "It is empty"),
        (Image.new("RGB", (5, 0)), "5 x 0 pixels: it is empty"),
        (b"\x89PNG", r"is a bytes, .* PIL.Image.open\(io.BytesIO\(data\)\)"),
        (BytesIO(), r"PIL.Image.open\(file\)"),
        (iter(()), r"list\(images\)"),
        ("", "file name is empty"),
        ("https://example.com/photo.png", "is an address, and images are read from files"),
    ],
)
def test_what_is_no_image_is_named(source, words):
    with pytest.raises(DataError, match=words):
        read_source(source)


def test_pillow_images_whose_file_cannot_be_read(tmp_path, image):
    path = tmp_path / "cut.png"
    Image.fromarray(image).save(path)
    closed = Image.open(path)
    closed.close()
    path.write_bytes(path.read_bytes()[:1500])
    for source in (Image.open(path), closed):
        with pytest.raises(DataError, match="the picture is damaged or incomplete"):
            read_source(source)


def test_the_image_of_a_list_is_told(image):
    with pytest.raises(DataError, match="number 2 of 2 images: the image is None"):
        make_predictor()([image, None])


def test_what_was_decided_about_pixels_is_logged(tmp_path, image, caplog):
    path = tmp_path / "deep.png"
    Image.fromarray(image[..., 0].astype(np.uint16) * 12).save(path)
    with caplog.at_level("WARNING", logger="vitseg"):
        read_source(path)
    assert f"{path}: uint16 pixels without a stated range" in caplog.text
