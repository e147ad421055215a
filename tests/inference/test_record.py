from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from vitseg.inference.record import PredictionRecord, read_records
from vitseg.runs import PREDICTIONS

WHOLE = (
    '{"image": "a.jpg", "mask": "masks/a.png", "overlay": "overlays/a.jpg", "height": 4, "width": 6, '
    '"areas": {"sky": 0.333333, "road": 0.25}, "seconds": 0.125}\n'
)
IN_TILES = (
    '{"image": "b.tif", "mask": "masks/b.tif", "overlay": null, "polygons": null, "height": 4, "width": 6, '
    '"areas": {}, "run": "12ab", "seconds": 2.0}\n'
)
FAILED = '{"image": "\\u00fc.jpg", "error": "no image", "seconds": 0.0}\n'


def test_a_line_has_what_was_given_in_its_order():
    size = {"height": 4, "width": 6}
    whole = PredictionRecord(
        image="a.jpg", mask="masks/a.png", overlay="overlays/a.jpg", **size, areas={"sky": 1 / 3, "road": 0.25}
    )  # fmt: skip
    assert whole.timed(0.12504).to_line() == WHOLE
    tiles = PredictionRecord(
        image="b.tif", mask="masks/b.tif", overlay=None, polygons=None, **size, areas={}, run="12ab"
    )
    assert tiles.timed(2.0).to_line() == IN_TILES
    assert PredictionRecord(image="ü.jpg", error="no image").timed(0.0).to_line() == FAILED


def test_records_come_back_as_the_same_lines(tmp_path):
    (tmp_path / PREDICTIONS).write_text(WHOLE + IN_TILES + FAILED + WHOLE[:40])
    records = read_records(tmp_path)
    assert list(records) == ["a.jpg", "b.tif", "ü.jpg"]
    assert "".join(record.to_line() for record in records.values()) == WHOLE + IN_TILES + FAILED
    assert records["b.tif"].timed(3.5).to_line() == IN_TILES.replace("2.0", "3.5")


def test_damaged_lines_are_left_out(tmp_path):
    damaged = [
        b"\xff\xfe",
        b"[" * 5000,
        b'{"image": 5}',
        b'{"image": "a", "height": 1e999}',
        b"9" * 5000,
    ]
    (tmp_path / PREDICTIONS).write_bytes(b"\n".join([*damaged, WHOLE.encode()]))
    assert list(read_records(tmp_path)) == ["a.jpg"]


def test_names_that_are_no_utf8_come_back(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / PREDICTIONS).write_text(PredictionRecord(image=name).to_line(), encoding="utf-8")
    assert list(read_records(tmp_path)) == [name]


def test_a_new_folder_has_no_records(tmp_path):
    assert read_records(tmp_path / "new") == {}


def test_a_field_that_is_no_part_of_a_record_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        PredictionRecord(image="a.jpg", score=1)
