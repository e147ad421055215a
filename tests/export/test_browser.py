"""The example that runs an exported file in the browser: a headless Chromium, with onnxruntime-web from npm."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import vitseg
from tests import tiny
from tests.export.test_files import export

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "browser"
SIZE = (96, 140)
"""Of the photos: the size that the model runs them at, so that no resize differs."""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.write_model(
        tmp_path_factory.mktemp("model") / "model", inference={"resize": (200, min(SIZE))}
    )


@pytest.fixture(scope="module")
def site(model, tmp_path_factory) -> Iterator[Path]:
    """The example's folder, set up as its README says."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm on the PATH (a system package), for onnxruntime-web")
    folder = tmp_path_factory.mktemp("site")
    for name in ("index.html", "segment.mjs", "package.json"):
        shutil.copy(EXAMPLE / name, folder)
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    subprocess.run(command, cwd=folder, check=True)
    export(model, "--out", folder / "mine.onnx", "--form", "labels")
    Image.fromarray(tiny.photo(*SIZE)).save(folder / "photo.png")
    yield folder
    shutil.rmtree(folder / "node_modules")  # 150 MB, which pytest would keep


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(browser, address) -> Iterator:
    """A page that asks for nothing but what the example's own server has."""
    opened = browser.new_page()
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.set_default_timeout(60_000)
    yield opened
    opened.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def status(page, text: str = "labelled at") -> str:
    """What the page says, once it has a certain text."""
    shown = page.locator("#status")
    shown.filter(has_text=text).wait_for()
    return shown.inner_text()


def failure(page) -> str:
    shown = page.locator("#status.error")
    shown.wait_for()
    assert page.locator("#picture").is_hidden()
    return shown.inner_text()


def pixels(page, canvas: str) -> np.ndarray:
    url = page.locator(canvas).evaluate("canvas => canvas.toDataURL('image/png')")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        return np.array(picture.convert("RGB"))


def painted(label_map: np.ndarray, palette) -> np.ndarray:
    return np.array(palette, np.uint8)[label_map]


def test_the_page_labels_a_photo_as_the_model_does(page, address, site, model):
    page.goto(f"{address}?model=mine.onnx&photo=photo.png")
    assert "labelled at 140 x 96 pixels" in status(page)
    assert (pixels(page, "#photo") == tiny.photo(*SIZE)).all()

    predictor = vitseg.load(model, "cpu")
    expected = predictor(site / "photo.png").label_map
    assert len(np.unique(expected)) == len(tiny.NAMES)
    found = pixels(page, "#labels")
    differs = (found != painted(expected, predictor.classes.palette)).any(-1)
    print(f"{differs.sum()} of {differs.size} labels differ")
    assert differs.mean() <= 0.001

    rows = page.locator("#legend tr")
    shares = np.bincount(expected.ravel(), minlength=len(tiny.NAMES)) / expected.size
    order = np.argsort(-shares)
    assert [row.split("\t")[1] for row in rows.all_inner_texts()] == [tiny.NAMES[i] for i in order]
    for row, index in zip(rows.all(), order, strict=True):
        color = row.locator("td").first.evaluate("cell => getComputedStyle(cell).backgroundColor")
        assert color == "rgb({}, {}, {})".format(*predictor.classes.palette[index])
        share = float(row.inner_text().split("\t")[2].removesuffix("%"))
        assert share == pytest.approx(100 * shares[index], abs=0.2)


def test_chosen_photos_follow_one_another(page, address, tmp_path, model):
    """A turned one with a gamma, which is ignored, a large one, which is made smaller, and one that is no picture."""
    turned, large, text = (tmp_path / name for name in ("turned.png", "large.jpg", "text.png"))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    chunks = PngInfo()
    chunks.add(b"gAMA", struct.pack(">I", 100_000))  # 1.0: values are proportional to light
    upright = tiny.photo(*SIZE, seed=1)
    Image.fromarray(np.rot90(upright)).save(turned, exif=exif, pnginfo=chunks)
    Image.fromarray(tiny.photo(300, 2048)).save(large)
    text.write_text("no picture")

    page.goto(address)
    status(page, "Choose a photo")
    page.locator("#file").set_input_files(turned)
    assert "turned.png, labelled at 140 x 96 pixels" in status(page)
    assert (pixels(page, "#photo") == upright).all()
    predictor = vitseg.load(model, "cpu")
    expected = painted(predictor(turned).label_map, predictor.classes.palette)
    assert (pixels(page, "#labels") != expected).any(-1).mean() <= 0.001

    page.locator("#file").set_input_files(large)
    assert "large.jpg, labelled at 1024 x 150 pixels" in status(page, "large.jpg, labelled")
    page.locator("#file").set_input_files(text)
    assert failure(page) == "text.png is no picture that this browser reads."
    page.locator("#file").set_input_files(turned)
    assert "turned.png, labelled" in status(page)


def test_other_forms_are_refused(page, address, site, model):
    export(model, "--out", site / "masks.onnx", "--form", "masks")
    page.goto(f"{address}?model=masks.onnx&photo=photo.png")
    expected = "masks.onnx is of form masks, but this page reads labels: export it again with --form labels."
    assert failure(page) == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"format": "openvino"}, "is for openvino: export it again with --format onnx."),
        ({"normalises": False}, "takes normalised images: export it again without --outside."),
        ({"batch": 2}, "takes 2 images at a time: export it again without --batch."),
        ({"size": [64, 80]}, "takes photos of 80 x 64 pixels alone, but this one is run at 140 x 96: "),
    ],
)  # fmt: skip
def test_what_the_record_says_is_heeded(page, address, site, fields, words):
    record = json.loads((site / "mine.onnx.json").read_text())
    assert fields.keys() <= record.keys()
    (site / "other.onnx.json").write_text(json.dumps(record | fields))
    shutil.copy(site / "mine.onnx", site / "other.onnx")
    page.goto(f"{address}?model=other.onnx&photo=photo.png")
    assert failure(page).startswith(f"other.onnx {words}")


def test_what_is_missing_is_named(page, address, site):
    page.goto(f"{address}?model=absent.onnx")
    assert failure(page).startswith("absent.onnx.json: 404 File not found. Copy the exported file")
    shutil.copy(site / "mine.onnx.json", site / "alone.onnx.json")
    page.goto(f"{address}?model=alone.onnx")
    assert failure(page).startswith("alone.onnx: 404 File not found.")
    page.goto(f"{address}?photo=absent.png")
    assert failure(page).startswith("absent.png: 404 File not found.")
    assert page.locator("#file").is_enabled()


def test_a_browser_that_does_not_run_it_says_so(page, address, site):
    shutil.copy(site / "mine.onnx.json", site / "cut.onnx.json")
    (site / "cut.onnx").write_bytes((site / "mine.onnx").read_bytes()[:1000])
    page.goto(f"{address}?model=cut.onnx")
    assert failure(page).startswith("WebAssembly does not run cut.onnx: ")
    page.route("**/*.wasm", lambda route: route.abort())
    page.goto(address)
    assert failure(page).startswith("WebAssembly does not run mine.onnx: ")
    page.route("**/node_modules/**", lambda route: route.abort())
    page.goto(address)
    assert "Run npm install in the folder of this page." in failure(page)
