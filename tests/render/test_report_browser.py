"""The report page in a real browser: a headless Chromium clicks through it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.render.reports import report
from vitseg.classes import ClassTable
from vitseg.render.report import write_report
from vitseg.render.report_data import ClassScore

pytestmark = pytest.mark.slow

WRONG = [255, 20, 90]


@pytest.fixture
def page(browser, request) -> Iterator:
    """A page that has to stay silent: no error, no message, no request but for the file itself."""
    scheme = getattr(request, "param", "light")
    opened = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    heard: list[str] = []
    opened.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: heard.append(str(error)))
    opened.on("request", lambda asked: heard.append(asked.url))
    opened.set_default_timeout(10_000)
    yield opened
    opened.close()
    assert [line for line in heard if not line.startswith("file:")] == []
    assert len(heard) == 1, heard


def show(page, tmp_path: Path, **parts) -> None:
    path = write_report(tmp_path, report(**parts))
    page.goto(path.as_uri())


def class_order(page) -> list[str]:
    return page.locator("#class-table tbody th").all_inner_texts()


def click_cell(page, row: int, column: int) -> None:
    """Click the middle of a cell of the 3 x 3 matrix, which fills its canvas but for names on the top and left."""
    box = page.locator("#matrix canvas").bounding_box()
    cell = 84  # the largest cell
    x = box["width"] - 1 - (3 - column - 0.5) * cell
    y = box["height"] - 1 - (3 - row - 0.5) * cell
    page.locator("#matrix canvas").click(position={"x": x, "y": y})


def color_at(canvas, x: int, y: int) -> list[int]:
    """Red, green, blue and alpha, read from a copy: Chromium warns of canvases that are read back."""
    script = """(canvas, [x, y]) => {
      const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      copy.drawImage(canvas, -x, -y);
      return [...copy.getImageData(0, 0, 1, 1).data];
    }"""
    return canvas.evaluate(script, [x, y])


DARK_TOO = pytest.mark.parametrize("page", ["light", "dark"], indirect=True)


def test_the_class_table_is_sorted_by_clicks(page, tmp_path):
    show(page, tmp_path)
    assert class_order(page) == ["road", "sky", "tree"]
    page.get_by_role("button", name="IoU", exact=True).click()
    assert class_order(page) == ["road", "sky", "tree"]
    page.get_by_role("button", name="IoU", exact=True).click()
    assert class_order(page) == ["tree", "sky", "road"]
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("IoU")
    page.get_by_role("button", name="Class", exact=True).click()
    assert class_order(page) == ["road", "sky", "tree"]


@DARK_TOO
def test_a_cell_shows_the_images_with_most_of_its_pixels(page, tmp_path):
    show(page, tmp_path)
    click_cell(page, 1, 0)
    panel = page.locator("#cell")
    panel.locator("canvas").nth(2).wait_for()
    assert panel.locator("h3").inner_text() == "sky predicted as road"
    assert "70.00 % of sky, 350 pixels" in panel.inner_text()
    assert panel.locator(".cell-image p").all_inner_texts() == ["first: 300 pixels"]
    assert panel.locator(".names li").all_inner_texts() == ["without picture: 50 pixels"]
    marked = panel.get_by_role("img", name="sky → road")
    assert color_at(marked, 12, 5) == [*WRONG, 255], "labelled sky, predicted road"
    assert color_at(marked, 2, 5)[3] == 0, "labelled road"
    click_cell(page, 0, 0)
    panel.get_by_text("second: 400 pixels").wait_for()
    assert panel.locator("h3").inner_text() == "road predicted rightly"
    click_cell(page, 2, 2)
    panel.get_by_text("No image has such pixels.").wait_for()
    panel.get_by_role("button", name="Close").click()
    assert not panel.is_visible()


def test_the_matrix_follows_the_keyboard(page, tmp_path):
    show(page, tmp_path)
    page.locator("#matrix .plane").focus()
    for key in ("ArrowRight", "ArrowDown"):  # the first one enters at the first cell
        page.keyboard.press(key)
    assert page.locator("#matrix-status").inner_text() == "sky → road: 70.00 % of sky, 350 pixels"
    page.keyboard.press("Enter")
    page.locator("#cell").get_by_text("first: 300 pixels").wait_for()
    page.keyboard.press("Enter")  # the focus is on "Close" now
    assert not page.locator("#cell").is_visible()
    assert page.evaluate("document.activeElement.className") == "plane"


def test_the_largest_confusions_lead_to_their_images(page, tmp_path):
    show(page, tmp_path)
    listed = page.locator("#largest button")
    assert [text.split("\n")[0] for text in listed.all_inner_texts()] == [
        "sky → road",
        "road → sky",
    ]
    listed.nth(1).click()
    page.locator("#cell").get_by_text("second: 100 pixels").wait_for()


@DARK_TOO
def test_the_gallery_opens_an_image(page, tmp_path):
    show(page, tmp_path)
    item = page.locator(".gallery-item").first
    item.scroll_into_view_if_needed()
    item.locator("canvas").nth(3).wait_for()
    assert item.locator("figcaption").all_inner_texts() == [
        "Image",
        "Ground truth",
        "Prediction",
        "Errors",
        "Confidence",
    ]
    assert "mIoU 25.0 %" in item.inner_text()
    assert item.locator(".legend li").all_inner_texts() == ["road", "sky", "ignored"]
    errors = item.get_by_role("img", name="wrong pixels")
    red, green, blue, alpha = color_at(errors, 0, 0)
    assert red == green == blue, "an ignored pixel is grey"
    assert alpha == 255
    assert color_at(errors, 12, 5) == [*WRONG, 255]
    assert color_at(errors, 2, 5)[3] == 0
    assert color_at(item.get_by_role("img", name="ground truth"), 2, 5) == [255, 0, 0, 255]

    item.locator("button.sample").click()
    dialog = page.locator("dialog")
    dialog.locator("canvas").nth(3).wait_for()
    assert dialog.locator("h2").inner_text() == "first"
    dialog.locator(".frame").nth(1).hover(position={"x": 300, "y": 150})
    readout = dialog.locator(".readout").inner_text()
    assert readout == "labelled sky · predicted road · confidence 60–65 %"
    picture = page.screenshot(path=tmp_path / "gallery.png")
    assert len(picture) > 10_000
    page.keyboard.press("ArrowRight")
    dialog.get_by_role("heading", name="second").wait_for()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_dark_and_light_differ(page, tmp_path):
    show(page, tmp_path)
    cell = page.locator("#matrix canvas")
    seen = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(100)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        box = cell.bounding_box()
        empty = color_at(cell, round(box["width"]) - 30, round(box["height"]) - 30)
        seen.append((background, empty))
    assert seen[0] == ("rgb(251, 251, 249)", [255, 255, 255, 255])
    assert seen[1] == ("rgb(21, 23, 26)", [29, 32, 36, 255]), "the canvas is drawn anew"


def test_names_of_users_stay_text(page, tmp_path):
    evil = '<img src=x onerror="document.title=1"></script><script>document.title=2</script>'
    show(page, tmp_path, names=(evil, "sky", "tree"), ids=(evil, "__proto__"))
    click_cell(page, 1, 0)
    page.locator("#cell canvas").nth(2).wait_for()
    assert evil in page.locator("#cell").inner_text()
    page.locator("#gallery .gallery-item").first.scroll_into_view_if_needed()
    page.locator("#gallery canvas").nth(3).wait_for()
    assert page.title() == "A report"
    assert page.locator("img[src=x]").count() == 0


def test_150_classes_and_a_narrow_screen_fit(page, tmp_path):
    table = ClassTable.from_names([f"class number {index}" for index in range(150)])
    rng = np.random.default_rng(0)
    confusion = np.diag(rng.integers(10, 100, 150)) + (rng.random((150, 150)) < 0.05)
    classes = tuple(
        ClassScore(name, color, 100, 0.5, 0.5)
        for name, color in zip(table.names, table.palette, strict=True)
    )
    show(page, tmp_path, classes=classes, confusion=confusion, cell_images={}, samples={}, worst=())
    box = page.locator("#matrix canvas").bounding_box()
    assert box["width"] <= page.locator("#matrix").bounding_box()["width"]
    assert box["width"] >= 150 * 4
    page.locator("#matrix canvas").hover(position={"x": 300, "y": 300})
    assert "class number" in page.locator("#tip").inner_text()
    page.screenshot(path=tmp_path / "wide.png", full_page=True)
    page.set_viewport_size({"width": 420, "height": 800})
    page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
    with Image.open(tmp_path / "wide.png") as picture:
        assert picture.width == 1280
