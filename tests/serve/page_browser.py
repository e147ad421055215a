"""The page in a browser: how the tests open it and read its pixels."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.serve.page_app import Mood, create_app, served
from tests.serve.page_models import MODELS

GREY_BLUE = (100, 150, 200)
FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
CLASSES = 0.55
"""Opacity at the start."""


@pytest.fixture
def mood() -> Mood:
    return Mood()


@pytest.fixture
def address(mood) -> Iterator[str]:
    with served(create_app(MODELS, mood)) as found:
        yield found


@pytest.fixture
def context(browser, request):
    made = browser.new_context(
        **{"viewport": {"width": 1280, "height": 800}, **getattr(request, "param", {})}
    )
    yield made
    made.close()


@pytest.fixture
def page(context, address) -> Iterator:
    """The page, which has to stay silent and to speak with its own server alone."""
    opened = context.new_page()
    heard: list[str] = []
    opened.refusals = 0  # of the server, of which Chromium tells
    opened.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: heard.append(str(error)))
    opened.on("dialog", lambda dialog: heard.append(f"dialog: {dialog.message}"))
    opened.on("request", lambda asked: heard.append(f"ask {asked.url}"))
    opened.set_default_timeout(10_000)
    opened.goto(address)
    yield opened
    opened.close()
    own = (f"ask {address}/", f"ask blob:{address}/")
    strange = [line for line in heard if not line.startswith(own)]
    refused = [line for line in strange if "Failed to load resource" in line]
    assert [line for line in strange if line not in refused] == []
    assert len(refused) == opened.refusals, refused


def png(width: int = 80, height: int = 60, color: tuple[int, int, int] = GREY_BLUE) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height), color).save(buffer, "PNG")
    return buffer.getvalue()


def choose(page, content: bytes | None = None, name: str = "street.png") -> None:
    """Pick a file."""
    file = {"name": name, "mimeType": "image/png", "buffer": content or png()}
    page.locator("#model:enabled").wait_for()
    page.locator("#file").set_input_files(file)


def choose_and_wait(page, content: bytes | None = None, name: str = "street.png") -> None:
    choose(page, content, name)
    page.locator("#panel").wait_for()


def place(page, x: int, y: int, width: int = 80, height: int = 60) -> tuple[float, float]:
    """Where the middle of a pixel of the image is in the window."""
    box = page.locator("#picture").bounding_box()
    return (
        box["x"] + (x + 0.5) / width * box["width"],
        box["y"] + (y + 0.5) / height * box["height"],
    )


def hover(page, x: int, y: int, width: int = 80, height: int = 60) -> None:
    page.mouse.move(*place(page, x, y, width, height))
    page.evaluate(FRAMES)  # pointers are told of once a frame


def read(page, x: int, y: int, width: int = 80, height: int = 60) -> list[int]:
    """The picture at a pixel of the image; read from a copy, since Chromium warns of canvases that are read."""
    script = """async (canvas, [x, y]) => {
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      copy.drawImage(canvas, -Math.floor(x * canvas.width), -Math.floor(y * canvas.height));
      return [...copy.getImageData(0, 0, 1, 1).data];
    }"""
    share = [(x + 0.5) / width, (y + 0.5) / height]
    return page.locator("#picture").evaluate(script, share)


def color_at(page, x: int, y: int, width: int = 80, height: int = 60) -> np.ndarray:
    *color, alpha = read(page, x, y, width, height)
    assert alpha == 255
    return np.array(color)


def mixed(color, opacity: float = CLASSES, below=GREY_BLUE) -> np.ndarray:
    return np.array(below) * (1 - opacity) + np.array(color) * opacity


def is_color(found: np.ndarray, wanted) -> bool:
    return bool(np.abs(found - np.array(wanted)).max() <= 3)


def row(page, name: str):
    """The row of a class in the list."""
    return page.locator(".classes tbody tr").filter(has=page.get_by_text(name, exact=True))


def tab(page, name: str) -> None:
    page.locator("#tabs label").filter(has_text=name).click()


def bytes_of(text: str) -> bytes:
    return base64.b64decode(text)
