"""The report page as text: self-contained, escaped, whole; and what its pictures are made of."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.render.reports import NAN, report, sample, thumbnail
from tests.render.test_page import Page
from vitseg.render.report import report_page, write_report
from vitseg.render.thumbnail import SMALLEST_SIDE, make_thumbnail

EVIL = '</script><script>alert("1")</script>\'&<!--'


def parse(text: str) -> Page:
    page = Page(text)
    assert page.open == []
    return page


def payload(text: str) -> dict:
    (content,) = re.findall(
        r'<script type="application/json" id="report-data">(.*?)</script>', text
    )
    return json.loads(content)


def unpacked(text: str, dtype="u1") -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=dtype)


def test_the_page_holds_every_part():
    text = report_page(report())
    page = parse(text)
    words = " ".join(page.words)
    for expected in (
        "A report",
        "scenes",
        "40.00 %",
        "60.00 %",
        "90.00 %",
        "66.67 %",
        "1,234",
        "ECE 10.00 %",
    ):
        assert expected in words
    charts = [svg["aria-label"] for svg in page.all("svg") if svg.get("role") == "img"]
    assert charts == [
        "Trimap mIoU: 20.00 % within 1 px to 25.00 % within 2 px",
        "Reliability: 80 % sure, 70 % right",
    ]
    links = [link["href"] for link in page.all("a")]
    assert links == ["#summary", "#classes", "#confusion", "#measures", "#worst"]
    assert set(links) == {f"#{section['id']}" for section in page.all("section")}


def test_undefined_scores_are_dashes_and_sort_last():
    text = report_page(report())
    cells = re.findall(r'<td data-value="([^"]+)"><div class="score "><span>([^<]+)</span>', text)
    assert [cell for cell in cells if cell[1] == "–"] == [
        ("-1.000000", "–")
    ] * 4  # iou, accuracy, dice; a size
    assert (
        "nan"
        not in re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.DOTALL).lower()
    )


def test_parts_that_were_not_measured_are_left_out():
    bare = report(worst=(), samples={}, cell_images={}, trimap=(), reliability=(), sizes=())
    page = parse(report_page(bare))
    assert [section["id"] for section in page.all("section")] == ["summary", "classes", "confusion"]


@pytest.mark.parametrize("trimap", [((3, 0.5),), ((1, NAN), (2, NAN)), ((1, 0.0), (2, 1.0))])
def test_short_and_broken_curves_are_drawn(trimap):
    page = parse(report_page(report(trimap=trimap, reliability=(), miou=NAN)))
    assert len(page.all("circle")) == sum(score == score for _, score in trimap)


def test_nothing_can_be_loaded_and_only_the_pages_own_script_may_run():
    text = report_page(report())
    page = parse(text)
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["img-src"] == "data:"
    assert not re.search(r"https?://|//cdn|@import|url\(", text)
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("src", "data:").startswith("data:")


def test_text_of_users_is_escaped():
    names = (EVIL, '" onmouseover="x', "tree")
    evil = report(
        names=names,
        ids=(EVIL, "__proto__"),
        title=EVIL,
        protocol={EVIL: EVIL},
        headline={EVIL: 0.5},
    )
    text = report_page(evil)
    page = parse(text)
    assert len(page.all("script")) == 2
    assert "<!--" not in text
    data = payload(text)
    assert [entry["name"] for entry in data["classes"]] == list(names)
    assert data["ids"][:2] == [EVIL, "__proto__"]


def test_the_script_gets_counts_ids_and_maps():
    data = payload(report_page(report()))
    assert data["confusion"] == [[900, 100, 0], [350, 150, 0], [0, 0, 0]]
    ids = data["ids"]
    assert [ids[number] for number in data["worst"]] == ["first", "second"]
    cells = {(row, column): images for row, column, images in data["cells"]}
    assert [[ids[number], pixels] for number, pixels in cells[1, 0]] == [
        ["first", 300],
        ["without picture", 50],
    ]
    first = data["samples"][0]
    assert ids[first["id"]] == "first"
    labels = unpacked(first["labels"]).reshape(first["height"], first["width"])
    assert (labels[0] == 3).all(), "ignored pixels"
    assert (labels[1:, :8] == 0).all()
    assert (labels[1:, 8:] == 1).all()
    assert (unpacked(first["confidence"]) == 12).all(), "60 to 65 percent"


def test_confidence_and_image_miou_may_be_missing():
    data = payload(
        report_page(report(samples={"first": sample("first", miou=NAN, confident=False)}, worst=()))
    )
    assert data["samples"][0]["confidence"] is None
    assert data["samples"][0]["miou"] is None


def test_a_report_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = tmp_path / "new" / "report"
    path = write_report(folder, report())
    assert [file.name for file in folder.iterdir()] == ["report.html"]
    before = path.read_text(encoding="utf-8")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_report(folder, report(title="Another"))
    assert [file.name for file in folder.iterdir()] == ["report.html"]
    assert path.read_text(encoding="utf-8") == before


def test_a_thumbnail_keeps_proportions_and_takes_the_middle_of_every_cell():
    labels = np.arange(40 * 60).reshape(40, 60) % 5
    small = make_thumbnail(
        np.zeros((40, 60, 3), dtype=np.uint8),
        labels,
        labels,
        None,
        num_classes=5,
        long_side=20,
        max_bytes=10**6,
    )
    assert small.size == (13, 20)
    assert Image.open(io.BytesIO(small.image)).size == (20, 13)
    rows = ((np.arange(13) + 0.5) * 40 / 13).astype(int)
    kept = np.frombuffer(zlib.decompress(small.labels), dtype="u1").reshape(13, 20)
    np.testing.assert_array_equal(kept, labels[rows][:, 1::3])
    assert small.confidence is None


def test_small_images_are_not_enlarged():
    assert thumbnail().size == (12, 16)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_images_have_thumbnails(shape):
    zeros = np.zeros(shape, dtype=np.uint8)
    small = make_thumbnail(
        np.zeros((*shape, 3), dtype=np.uint8), zeros, zeros, zeros.astype(np.float32),
        num_classes=2, long_side=640, max_bytes=10**6,
    )  # fmt: skip
    assert small.size == tuple(min(side, 640) for side in shape)


def test_noise_is_shrunk_until_it_fits():
    rng = np.random.default_rng(0)
    labels, prediction = rng.integers(0, 200, (2, 400, 400))
    image = rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)
    confidence = rng.random((400, 400), dtype=np.float32)
    small = make_thumbnail(
        image, labels, prediction, confidence, num_classes=200, long_side=400, max_bytes=60_000
    )
    assert small.num_bytes <= 60_000
    least = make_thumbnail(
        image, labels, prediction, confidence, num_classes=200, long_side=400, max_bytes=10
    )
    assert least.size == (SMALLEST_SIDE, SMALLEST_SIDE)


@pytest.mark.parametrize(("num_classes", "dtype"), [(255, "u1"), (256, "<u2"), (847, "<u2")])
def test_many_classes_take_two_bytes(num_classes, dtype):
    labels = np.array([[-1, num_classes - 1]])
    small = make_thumbnail(
        np.zeros((1, 2, 3), dtype=np.uint8), labels, labels.clip(0), None,
        num_classes=num_classes, long_side=8, max_bytes=1000,
    )  # fmt: skip
    kept = np.frombuffer(zlib.decompress(small.labels), dtype=dtype)
    assert kept.tolist() == [num_classes, num_classes - 1]
