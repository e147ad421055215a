"""The page of the server in a real browser: a headless Chromium uses it."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.serve.page_browser import (
    GREY_BLUE,
    address,
    bytes_of,
    choose,
    choose_and_wait,
    color_at,
    context,
    hover,
    is_color,
    mixed,
    mood,
    page,
    place,
    png,
    read,
    row,
    tab,
)
from tests.serve.page_models import HOSTILE, NOTICE, SCENE, STREET, rising

pytestmark = pytest.mark.slow

__all__ = ["address", "context", "mood", "page"]  # fixtures

SKY, ROAD, TREE, STRANGE, KERB = SCENE.palette
DROPPED = """async (bytes) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
  return data;
}"""


def fact(page) -> str:
    return " ".join(page.locator("#tip").inner_text().split())


# ways to an image


def test_an_image_is_picked_and_segmented(page, mood):
    choose_and_wait(page)
    assert mood.asked.count("POST /v1/segment") == 1
    assert page.locator("#readout").inner_text().split("\n") == [
        "street.png",
        "80 × 60",
        "in 0.25 s",
    ]
    for (x, y), color in {(10, 10): SKY, (60, 10): ROAD, (10, 50): TREE, (60, 50): STRANGE}.items():
        assert is_color(color_at(page, x, y), mixed(color))


def test_an_image_is_dropped(page):
    page.locator("#model:enabled").wait_for()
    data = page.evaluate_handle(DROPPED, list(png()))
    page.dispatch_event("body", "dragenter", {"dataTransfer": data})
    assert "dragging" in page.locator("body").get_attribute("class")
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    page.locator("#panel").wait_for()
    assert "dropped.png" in page.locator("#readout").inner_text()
    assert "dragging" not in page.locator("body").get_attribute("class")


def test_what_is_no_file_is_not_taken(page):
    page.locator("#model:enabled").wait_for()
    script = "() => { const d = new DataTransfer(); d.setData('text/uri-list', 'x:y'); return d; }"
    page.dispatch_event("body", "drop", {"dataTransfer": page.evaluate_handle(script)})
    page.get_by_role("alert").get_by_text("That was no file").wait_for()


def test_an_image_is_pasted(page):
    page.locator("#model:enabled").wait_for()
    page.evaluate(
        """async (bytes) => {
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File([new Uint8Array(bytes)], "image.png", { type: "image/png" }));
          document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }""",
        list(png()),
    )
    page.locator("#panel").wait_for()
    assert "image.png" in page.locator("#readout").inner_text()


def test_a_photo_lies_upright(page):
    picture = Image.new("RGB", (60, 80), GREY_BLUE)  # to be turned by a quarter
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    choose_and_wait(page, buffer.getvalue())
    assert "80 × 60" in page.locator("#readout").inner_text()
    hover(page, 70, 5)
    assert fact(page).startswith("road")


def test_an_image_that_the_browser_cannot_show_is_segmented(page):
    buffer = BytesIO()
    Image.new("RGB", (80, 60)).save(buffer, "TIFF")
    choose_and_wait(page, buffer.getvalue(), "scan.tiff")
    assert is_color(color_at(page, 10, 10), mixed(SKY, below=(140, 144, 150)))
    hover(page, 10, 50)
    assert fact(page).startswith("tree")


def test_what_is_no_image_leaves_nothing_of_the_last_one(page):
    choose_and_wait(page)
    choose(page, b"hello", "notes.txt")
    alert = page.get_by_role("alert")
    alert.get_by_text("The server cannot read this kind of file").wait_for()
    assert page.locator("#readout").inner_text() == "notes.txt"
    assert not page.locator("#panel").is_visible()
    assert read(page, 10, 10)[3] == 0
    page.refusals = 1


def test_a_new_image_starts_anew(page):
    choose_and_wait(page)
    page.get_by_role("button", name="New image").click()
    assert page.get_by_role("heading", name="Drop an image here").is_visible()
    assert not page.locator("#panel").is_visible()
    choose_and_wait(page, png(40, 40))
    assert "40 × 40" in page.locator("#readout").inner_text()


def test_the_camera_gives_an_image(browser, address, mood):
    """Chromium has a camera that films a test picture."""
    flags = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream"]
    flags += ["--use-fake-ui-for-media-stream"]
    path = {"executable_path": chromium()}
    started = browser.browser_type.launch(args=flags, **path)
    try:
        opened = started.new_page()
        opened.goto(address)
        opened.locator("#model:enabled").wait_for()
        opened.get_by_role("button", name="Use the camera").click()
        opened.locator("#take:enabled").click()
        opened.locator("#panel").wait_for()
        assert "camera.jpg" in opened.locator("#readout").inner_text()
        (answer,) = mood.answers
        assert answer["width"] >= 320
        assert opened.evaluate("document.getElementById('film').srcObject === null")
    finally:
        started.close()


def chromium() -> str:
    import shutil

    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)))


def test_without_leave_the_camera_says_so(page, context):
    page.locator("#model:enabled").wait_for()
    page.get_by_role("button", name="Use the camera").click()
    told = page.locator("#camera-text")
    told.get_by_text("camera", exact=False).wait_for()
    page.wait_for_timeout(300)
    assert told.inner_text() in {
        "There is no camera.",
        "The browser may not use the camera. Allow it in the settings of this page, then open this again.",
    }
    page.get_by_role("button", name="Close").click()
    assert not page.locator("#camera-dialog").is_visible()


# one pixel


def test_hovering_tells_class_and_confidence(page):
    choose_and_wait(page)
    sure = rising(np.zeros((60, 80, 3)))
    for x, y, name in [
        (0, 0, "sky"),
        (39, 29, "sky"),
        (40, 29, "road"),
        (39, 30, "tree"),
        (40, 30, HOSTILE),
        (79, 59, "kerb"),
        (78, 59, HOSTILE),
    ]:
        hover(page, x, y)
        assert fact(page) == f"{name} {100 * int(sure[y, x]) / 255:.0f} %"
        assert page.locator("#readout").inner_text().split("\n")[0] == f"{x}, {y}"
    page.mouse.move(2, 2)
    assert not page.locator("#tip").is_visible()


def test_hovering_is_exact_on_a_large_image(page):
    size = (3001, 2000)
    choose_and_wait(page, png(*size))
    assert page.locator("#picture").evaluate("(canvas) => canvas.width") < 1500
    page.locator("#plane").focus()
    page.keyboard.press("ArrowLeft")  # the crosshair comes in the middle
    assert page.locator("#readout").inner_text().startswith("1500, 1000")
    assert fact(page).startswith(HOSTILE)
    page.keyboard.press("ArrowLeft")
    assert fact(page).startswith("tree")
    page.keyboard.press("ArrowUp")
    assert fact(page).startswith("sky")
    hover(page, 2990, 5, *size)
    x, y = page.locator("#readout").inner_text().split("\n")[0].split(", ")
    assert abs(int(x) - 2990) <= 2
    assert abs(int(y) - 5) <= 2


TOUCH = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("context", [TOUCH], indirect=True)
def test_a_finger_tells_it_too(page, context):
    choose_and_wait(page)
    page.touchscreen.tap(*place(page, 10, 10))
    assert fact(page).startswith("sky")
    assert page.locator("#cross").is_visible()
    devtools = context.new_cdp_session(page)

    def touch(kind: str, *points) -> None:
        told = [{"x": x, "y": y} for x, y in points]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": told})

    touch("touchStart", place(page, 20, 10))
    touch("touchMove", place(page, 50, 20))
    touch("touchMove", place(page, 70, 50))
    touch("touchEnd")
    assert fact(page).startswith(HOSTILE)
    assert page.locator("#readout").inner_text().startswith("70, 50")
    assert page.evaluate("scrollY") == 0


# classes


def test_classes_are_hidden_shown_alone_and_shown_again(page):
    choose_and_wait(page)
    row(page, "sky").get_by_role("checkbox").click()
    assert is_color(color_at(page, 10, 10), GREY_BLUE)
    assert is_color(color_at(page, 60, 10), mixed(ROAD))
    row(page, "tree").hover()
    only = row(page, "tree").get_by_role("button")
    only.click()
    assert only.get_attribute("aria-pressed") == "true"
    assert is_color(color_at(page, 10, 50), mixed(TREE))
    assert is_color(color_at(page, 60, 10), GREY_BLUE)
    only.click()  # what was hidden before is hidden still
    assert is_color(color_at(page, 10, 10), GREY_BLUE)
    assert is_color(color_at(page, 60, 10), mixed(ROAD))
    page.get_by_role("button", name="Show all").click()
    assert is_color(color_at(page, 10, 10), mixed(SKY))
    assert not page.get_by_role("button", name="Show all").is_visible()


def test_another_class_joins_the_only_one(page):
    choose_and_wait(page)
    row(page, "tree").hover()
    row(page, "tree").get_by_role("button").click()
    row(page, "sky").get_by_role("checkbox").click()
    assert is_color(color_at(page, 10, 10), mixed(SKY))
    assert is_color(color_at(page, 10, 50), mixed(TREE))
    assert is_color(color_at(page, 60, 10), GREY_BLUE)


def test_a_class_gets_another_colour(page):
    choose_and_wait(page)
    row(page, "road").locator("input[type=color]").fill("#ff0080")
    assert is_color(color_at(page, 60, 10), mixed((255, 0, 128)))
    assert is_color(color_at(page, 79, 59), mixed(KERB)), "of the same colour, but another class"
    page.get_by_role("button", name="Reset colours").click()
    assert is_color(color_at(page, 60, 10), mixed(ROAD))


def test_areas_and_confidence_are_listed_largest_first(page):
    choose_and_wait(page)
    listed = [text.split("\t") for text in page.locator(".classes tbody tr").all_inner_texts()]
    names = [[part.strip() for part in line if part.strip()] for line in listed]
    assert [line[0] for line in names][-1] == "kerb"
    assert {line[0]: line[1] for line in names} == {
        "sky": "25.0 %",
        "road": "25.0 %",
        "tree": "25.0 %",
        HOSTILE: "25.0 %",
        "kerb": "< 0.1 %",
    }
    assert {line[0]: line[2] for line in names}["kerb"] == "100 %"
    assert page.get_by_role("heading", name="5 classes").is_visible()


def test_opacity_is_adjusted(page):
    choose_and_wait(page)
    for share in (0, 100, 30):
        page.locator("#opacity").fill(str(share))
        assert is_color(color_at(page, 60, 50), mixed(STRANGE, share / 100))
        assert page.locator("#opacity-value").inner_text() == f"{share} %"


def test_labels_of_sixteen_bits(page):
    page.locator("#model:enabled").wait_for()
    page.locator("#model").select_option("many")
    choose_and_wait(page)
    hover(page, 10, 10)
    assert fact(page).startswith("class 295")
    hover(page, 79, 59)
    assert fact(page).startswith("class 299")


# two models


def compare(page) -> None:
    choose_and_wait(page)
    page.locator("#other").select_option("street small")
    page.locator("#divider").wait_for()


def test_two_models_are_compared(page, mood):
    compare(page)
    assert mood.asked.count("POST /v1/segment") == 2
    assert page.locator("#name-left").inner_text() == "scene"
    assert page.locator("#name-right").inner_text() == "street small"
    assert is_color(color_at(page, 10, 10), mixed(SKY))
    assert is_color(color_at(page, 60, 10), mixed(SKY)), "sky of the other model, in one colour"
    assert is_color(color_at(page, 60, 50), mixed(ROAD))
    hover(page, 60, 10)
    assert fact(page) == "scene road 76 % street small sky 76 %"
    page.mouse.move(2, 2)
    assert "both agree on 25.0 %" in page.locator("#readout").inner_text()
    assert len(page.locator(".classes tbody tr").all()) == 5
    row(page, "sky").get_by_role("checkbox").click()
    assert is_color(color_at(page, 60, 10), GREY_BLUE), "hidden on both sides"


def test_the_divider_is_dragged(page):
    compare(page)
    x, y = place(page, 40, 30)
    page.mouse.move(x - 1, y)
    page.mouse.down()
    page.mouse.move(*place(page, 70, 20), steps=4)
    page.mouse.up()
    assert is_color(color_at(page, 60, 10), mixed(ROAD))
    assert is_color(color_at(page, 75, 10), mixed(SKY))
    assert page.locator("#divider").get_attribute("aria-valuenow") == "88"


def test_the_divider_follows_the_keys(page):
    compare(page)
    page.locator("#divider").focus()
    divider = page.get_by_role("slider", name="Divider")
    for key, value in [
        ("ArrowRight", "51"),
        ("PageUp", "61"),
        ("ArrowLeft", "60"),
        ("End", "100"),
        ("Home", "0"),
    ]:
        page.keyboard.press(key)
        assert divider.get_attribute("aria-valuenow") == value
    assert divider.get_attribute("aria-valuetext") == "0 % scene, 100 % street small"
    assert is_color(color_at(page, 10, 50), mixed(ROAD))


def test_a_comparison_ends(page):
    compare(page)
    page.locator("#other").select_option(index=0)
    assert not page.locator("#divider").is_visible()
    assert is_color(color_at(page, 60, 10), mixed(ROAD))


def test_models_that_are_compared_change_places(page, mood):
    compare(page)
    page.locator("#model").select_option("street small")
    assert page.locator("#name-left").inner_text() == "street small"
    assert page.locator("#name-right").inner_text() == "scene"
    assert is_color(color_at(page, 10, 50), mixed(STREET.palette[0]))
    assert mood.asked.count("POST /v1/segment") == 2, "nothing is asked twice"


# how the model came to it


def test_stages_of_a_class(page, mood):
    choose_and_wait(page)
    tab(page, "Stages")
    page.get_by_text("In this image with 87.5 % probability").wait_for()
    radios = page.get_by_role("radio", name="stage 1")
    assert page.get_by_role("radio", name="sum = the mask").is_checked()
    bright, dark = color_at(page, 10, 10), color_at(page, 60, 10)
    assert bright.sum() > dark.sum() + 200, "the sky is chosen, which comes first"
    hover(page, 10, 10)
    assert fact(page) == "sum = the mask 100 % sky 13 %"
    page.mouse.move(2, 2)
    radios.check(force=True)
    assert is_color(color_at(page, 10, 10), color_at(page, 60, 10)), "stage 1 is flat"
    select = page.locator("#stage-class")
    assert select.locator("option").all_inner_texts() == list(SCENE.names)
    page.get_by_role("radio", name="sum = the mask").check(force=True)
    select.select_option("road")
    page.locator(".thumbnails").wait_for()
    page.wait_for_timeout(200)
    assert color_at(page, 60, 10).sum() > color_at(page, 10, 10).sum() + 200
    assert mood.asked.count("POST /v1/explain") == 2


def test_exits(page):
    page.locator("#model:enabled").wait_for()
    page.locator("#model").select_option("pruned")
    choose_and_wait(page)
    tab(page, "Exits")
    listed = page.locator(".legend li")
    listed.first.wait_for()
    assert [" ".join(text.split()) for text in listed.all_inner_texts()] == [
        "exit behind block 3 25.0 %",
        "exit behind block 7 25.0 %",
        "stayed to the end 50.0 %",
    ]
    hover(page, 60, 10)
    assert fact(page).startswith("exit behind block 7 road")
    hover(page, 10, 50)
    assert fact(page).startswith("stayed to the end tree")
    page.mouse.move(2, 2)
    early, late, stayed = (color_at(page, *at).sum() for at in [(10, 10), (60, 10), (10, 50)])
    assert early > late > stayed


def test_tasks(page):
    page.locator("#model:enabled").wait_for()
    page.locator("#model").select_option("grown")
    choose_and_wait(page)
    assert page.locator("#tabs label").all_inner_texts() == ["Classes", "Confidence", "Tasks"]
    tab(page, "Tasks")
    page.locator(".legend li").first.wait_for()
    hover(page, 10, 10)
    assert fact(page).startswith("task 0: sky, road sky")
    hover(page, 10, 50)
    assert fact(page).startswith("task 1: tree and 2 more tree")
    assert not is_color(color_at(page, 10, 10), color_at(page, 10, 50))


def test_a_model_without_views_has_two_tabs(page):
    page.locator("#model:enabled").wait_for()
    page.locator("#model").select_option("street small")
    choose_and_wait(page)
    assert page.locator("#tabs label").all_inner_texts() == ["Classes", "Confidence"]
    assert page.locator("#notices li").all_inner_texts() == [NOTICE]


def test_another_model_has_other_tabs(page):
    choose_and_wait(page)
    tab(page, "Stages")
    page.locator(".thumbnails").wait_for()
    page.locator("#model").select_option("pruned")
    page.locator("#tabs label").filter(has_text="Exits").wait_for()
    assert page.get_by_role("radio", name="Classes").is_checked()
    assert is_color(color_at(page, 10, 10), mixed(SKY))


def test_confidence_is_a_picture(page):
    choose_and_wait(page)
    tab(page, "Confidence")
    left, right = color_at(page, 2, 10), color_at(page, 77, 10)
    assert right.sum() > left.sum() + 250
    assert "49.8 % on average" in page.locator("#tab-content").inner_text()


# files


def saved(page, name: str):
    with page.expect_download() as told:
        page.get_by_role("button", name=name).click()
    return told.value.suggested_filename, told.value.path().read_bytes()


def test_files_are_saved(page, mood):
    choose_and_wait(page, name="my street.jpg")
    name, mask = saved(page, "Save Mask")
    assert name == "my_street.mask.png"
    assert mask == bytes_of(mood.answers[0]["mask"]["png"])
    labels = np.asarray(Image.open(BytesIO(mask)))
    assert (labels[10, 10], labels[59, 79]) == (0, 4)
    name, text = saved(page, "Save JSON")
    assert name == "my_street.json"
    assert json.loads(text) == json.loads(json.dumps(mood.answers[0]))


def test_an_overlay_is_saved_as_it_is_shown(page):
    choose_and_wait(page, png(801, 601))
    row(page, "sky").get_by_role("checkbox").click()
    row(page, "road").locator("input[type=color]").fill("#00ff00")
    page.locator("#opacity").fill("80")
    name, content = saved(page, "Save Overlay")
    assert name == "street.overlay.png"
    picture = np.asarray(Image.open(BytesIO(content)).convert("RGB"))
    assert picture.shape == (601, 801, 3)
    assert is_color(picture[5, 5], GREY_BLUE)
    assert is_color(picture[299, 400], mixed((0, 255, 0), 0.8))
    assert is_color(picture[300, 399], mixed(TREE, 0.8))
    assert is_color(picture[600, 800], mixed(KERB, 0.8))


def test_files_of_two_models_have_their_names(page):
    compare(page)
    name, _ = saved(page, "Save Mask of street small")
    assert name == "street.street_small.mask.png"


# refusals


def test_a_key_is_asked_for(page, mood):
    page.locator("#model:enabled").wait_for()
    mood.key = "open sesame"
    page.reload()
    dialog = page.get_by_role("dialog", name="This server asks for a key")
    dialog.wait_for()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    dialog.get_by_text("does not take the key").wait_for()
    page.get_by_label("API key").fill("open sesame")
    dialog.get_by_role("button", name="Continue").click()
    choose_and_wait(page)
    assert page.evaluate("localStorage.length") == 0
    page.reload()
    page.locator("#model:enabled").wait_for()
    page.refusals = 2


def test_a_key_that_is_asked_for_later_goes_on(page, mood):
    page.locator("#model:enabled").wait_for()
    mood.key = "k"
    choose(page)
    page.get_by_label("API key").fill("k")
    page.keyboard.press("Enter")
    page.locator("#panel").wait_for()
    page.refusals = 1


REFUSALS = [
    (429, "16 images wait", "7", "The server is busy", "16 images wait. Try again in 7 seconds."),
    (
        503,
        "it is loading.",
        "1",
        "The server is not ready",
        "It is loading. Try again in 1 second.",
    ),
    (504, "not done", None, "This took longer than the server allows", "Not done."),
    (413, "99 MB", None, "This image is too large for the server", "99 MB."),
    (415, "<b>no</b>", None, "The server cannot read this kind of file", "<b>no</b>."),
    (422, "a band", None, "The server cannot use this image", "A band."),
    (418, "a teapot", None, "The server refused this (418)", "A teapot."),
]


@pytest.mark.parametrize(("status", "error", "wait", "title", "text"), REFUSALS)
def test_refusals_are_told_in_words(page, mood, status, error, wait, title, text):
    mood.refusals = [(status, error, {} if wait is None else {"Retry-After": wait})]
    choose(page)
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert alert.get_by_role("heading").inner_text() == title
    assert alert.locator("p").inner_text() == text
    assert not page.locator("#panel").is_visible()
    page.refusals = 1
    again = alert.get_by_role("button", name="Try again")
    if status not in (429, 503, 504):  # it would be refused again
        assert again.count() == 0
        return
    again.click()
    page.locator("#panel").wait_for()
    assert page.get_by_role("alert").count() == 0


def test_a_server_that_is_gone(page, context):
    page.locator("#model:enabled").wait_for()
    context.set_offline(True)
    choose(page)
    page.get_by_role("alert").get_by_text("The server cannot be reached").wait_for()
    context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    page.locator("#panel").wait_for()
    page.refusals = 1


def test_a_request_is_cancelled(page, mood):
    mood.is_slow = True
    choose(page)
    page.get_by_text("Segmenting").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("alert").get_by_text("Cancelled").wait_for()
    assert not page.locator("#busy").is_visible()
    page.wait_for_timeout(300)
    assert mood.left == 1
    mood.is_slow = False
    page.get_by_role("button", name="Try again").click()
    page.locator("#panel").wait_for()


def test_a_new_image_gives_up_the_old_one(page, mood):
    mood.is_slow = True
    choose(page)
    page.get_by_text("Segmenting").wait_for()
    choose(page, png(40, 40), "second.png")
    page.wait_for_timeout(300)
    assert mood.left == 1
    mood.is_slow = False
    page.locator("#panel").wait_for()
    assert "40 × 40" in page.locator("#readout").inner_text()
    assert [answer["width"] for answer in mood.answers] == [40]


# everybody


def test_the_keyboard_alone_is_enough(page):
    page.locator("#model:enabled").wait_for()

    def tab_to(locator) -> None:
        for _ in range(40):
            if locator.evaluate("(node) => node === document.activeElement"):
                return
            page.keyboard.press("Tab")
        raise AssertionError("the focus does not get there")

    file = {"name": "a.png", "mimeType": "image/png", "buffer": png()}
    page.on("filechooser", lambda chooser: chooser.set_files(file))
    tab_to(page.get_by_role("button", name="Choose a file"))
    page.keyboard.press("Enter")
    page.locator("#panel").wait_for()
    assert page.locator("#status").text_content().startswith("Done. The picture shows sky")
    plane = page.locator("#plane")
    tab_to(plane)
    outline = plane.evaluate("(node) => getComputedStyle(node).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowLeft")
    assert page.locator("#readout").inner_text().startswith("30, 30")
    page.locator("#status").get_by_text("tree, 38 % sure. Column 30, row 30.").wait_for(
        state="attached"
    )
    page.keyboard.press("Enter")
    assert is_color(color_at(page, 10, 10), GREY_BLUE)
    assert is_color(color_at(page, 10, 50), mixed(TREE))
    page.keyboard.press("Enter")
    assert is_color(color_at(page, 10, 10), mixed(SKY))
    for key, place_of in [("Home", "0, 30"), ("End", "79, 30"), ("PageUp", "79, 24")]:
        page.keyboard.press(key)
        assert page.locator("#readout").inner_text().startswith(place_of)
    page.keyboard.press("Escape")
    assert not page.locator("#cross").is_visible()
    tab_to(page.locator("#opacity"))
    page.keyboard.press("Home")
    assert is_color(color_at(page, 60, 50), GREY_BLUE)
    page.keyboard.press("End")
    tab_to(page.get_by_role("radio", name="Classes"))
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("heading", name="Confidence").is_visible()
    page.keyboard.press("ArrowRight")
    page.locator(".thumbnails").wait_for()
    tab_to(page.get_by_role("radio", name="sum = the mask"))
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("radio", name="stage 1").is_checked()
    tab_to(page.get_by_role("button", name="Save Mask"))
    with page.expect_download():
        page.keyboard.press("Enter")


def test_a_hostile_name_stays_text(page):
    """The fixture hears of any dialog that it would open."""
    choose_and_wait(page)
    hover(page, 60, 50)
    tab(page, "Stages")
    page.locator(".thumbnails").wait_for()
    assert page.locator("main img").count() == 0
    assert page.get_by_role("option", name=HOSTILE).count() == 1


@pytest.mark.parametrize("context", [{"viewport": {"width": 360, "height": 640}}], indirect=True)
def test_a_narrow_window_needs_no_sideways_scrolling(page):
    def fits() -> bool:
        return page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    page.locator("#model:enabled").wait_for()
    assert fits()
    compare(page)
    assert fits()
    for name in ("Confidence", "Stages"):
        tab(page, name)
        page.wait_for_timeout(300)
        assert fits(), name
    boxes = [page.locator(one).bounding_box() for one in ("#picture", "#panel", "header")]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)


@pytest.mark.parametrize("context", [{"reduced_motion": "reduce"}], indirect=True)
def test_nothing_moves_where_that_is_not_wanted(page, mood):
    mood.is_slow = True
    choose(page)
    page.locator("#busy").wait_for()
    moving = page.evaluate("document.getAnimations().length")
    assert moving == 0
    page.get_by_role("button", name="Cancel").click()


@pytest.mark.parametrize(
    "context", [{"color_scheme": one} for one in ("light", "dark")], indirect=True
)
def test_texts_stand_out_in_light_and_dark(page):
    choose_and_wait(page)
    script = """(node) => {
      const read = (text) => text.match(/[\\d.]+/g).map(Number);
      const light = (color) => color.slice(0, 3).map((value) => value / 255)
        .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
      let below = node;
      let paper = [0, 0, 0, 0];
      while (below && (paper[3] ?? 1) === 0) {
        paper = read(getComputedStyle(below).backgroundColor);
        below = below.parentElement;
      }
      const [a, b] = [light(read(getComputedStyle(node).color)), light(paper)].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    }"""
    for one in ("#readout .soft", "#opacity-field > span:first-child", ".classes thead th.number", ".classes .number",
                ".choice > span", "#tabs label:last-child span", "#save-rows .plain"):  # fmt: skip
        assert page.locator(one).first.evaluate(script) >= 4.5, one
