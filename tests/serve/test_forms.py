"""Forms: well made, too large, and meant to do harm."""

from __future__ import annotations

import numpy as np
import pytest

from tests.serve.octants import cells_of, pattern, png
from tests.serve.raw import form, segment

IMAGE = 'name="image"; filename="a.png"'


@pytest.fixture
def send(server):
    def call(*fields, **changes):
        body, headers = form(fields)
        return segment(server.port, body, **(headers | changes))

    return call


def test_an_image_and_wishes(send):
    cells = pattern(1)
    answer = send((IMAGE, png(cells)), ('name="model"', b"mirror"))
    assert answer.status == 200
    assert np.array_equal(cells_of(answer.body), 7 - cells)


def test_no_image(send):
    answer = send(('name="format"', b"png"))
    assert answer.status == 422
    assert answer.error == "the form has no file named image."


def test_text_in_the_image_field(send):
    answer = send(('name="image"', b"a.png"))
    assert answer.status == 422
    assert answer.error == "the form has no file named image."


def test_the_image_twice(send):
    answer = send((IMAGE, png(pattern(1))), (IMAGE, png(pattern(2))))
    assert answer.status == 400
    assert "Too many files" in answer.error


def test_a_file_of_another_name(send):
    answer = send(('name="picture"; filename="a.png"', png(pattern(1))))
    assert answer.status == 422
    assert "named 'picture': name it image" in answer.error


def test_a_field_twice(send):
    answer = send((IMAGE, png(pattern(1))), ('name="format"', b"png"), ('name="format"', b"rle"))
    assert answer.status == 422
    assert "'format' twice" in answer.error


def test_a_field_in_the_query_too(server):
    body, headers = form([(IMAGE, png(pattern(1))), ('name="format"', b"png")])
    answer = segment(server.port, body, "?format=png", **headers)
    assert answer.status == 422
    assert "format is in the query and in the form" in answer.error


def test_an_unknown_field(send):
    answer = send((IMAGE, png(pattern(1))), ('name="fromat"', b"png"))
    assert answer.status == 422
    assert "'fromat' is not known here. Known: model, format" in answer.error


def test_a_hundred_thousand_parts(server):
    part = b"--b\r\nContent-Disposition:form-data;name=a\r\n\r\n\r\n"
    answer = segment(server.port, part * 100_000, Content_Type="multipart/form-data; boundary=b")
    assert answer.status == 400
    assert "Too many fields" in answer.error


def test_a_hundred_thousand_files(server):
    part = b"--b\r\nContent-Disposition:form-data;name=a;filename=b\r\n\r\n\r\n"
    answer = segment(server.port, part * 100_000, Content_Type="multipart/form-data; boundary=b")
    assert answer.status == 400
    assert "Too many files" in answer.error


def test_a_long_value(send):
    answer = send((IMAGE, png(pattern(1))), ('name="classes"', b"x" * 1_000_000))
    assert answer.status == 400
    assert "maximum size of 64KB" in answer.error


@pytest.mark.parametrize(
    "raw",
    [
        b"--b\r\nContent-Disposition: form-data; name="
        + b"a" * 1_500_000
        + b"\r\n\r\n\r\n--b--\r\n",
        b"--b\r\n" + b"X-Long: " + b"a" * 1_500_000,
        b"--b\r\n" + b"X" * 1_500_000,
        b"--b\r\n" + b"A: b\r\n" * 250_000,
        b"--b\r\nContent-Disposition: form-data; "
        + b"".join(b"name*%d=a;" % n for n in range(100_000))
        + b"\r\n\r\n",
        b"\r\n" * 900_000,
        b"-" * 1_900_000,
        b"--b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n"
        + b"\r\n--" * 450_000,
        b"\0" * 1000,
        b"--b",
        b"--b--",
        b"",
    ],
    ids=[
        "name",
        "header",
        "header-name",
        "headers",
        "pieces",
        "lines",
        "dashes",
        "near",
        "nul",
        "cut",
        "end",
        "none",
    ],
)
def test_damaged_forms(server, raw):
    answer = segment(server.port, raw, Content_Type="multipart/form-data; boundary=b")
    assert answer.status in (400, 415, 422), answer.body[:300]
    assert len(answer.error) < 400


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 10_000,
        "multipart/form-data; boundary*0=a; boundary*1=b",
        'multipart/form-data; boundary="',
        "multipart/form-data; boundary=\xff\xfe",
    ],
)
def test_no_boundary(server, kind):
    body, _ = form([(IMAGE, png(pattern(1)))])
    answer = segment(server.port, body, Content_Type=kind)
    assert answer.status == 400, answer.body
    assert answer.error.startswith("the form cannot be read")


@pytest.mark.parametrize(
    "charset",
    [
        "punycode",
        "idna",
        "undefined",
        "unicode_escape",
        "zlib_codec",
        "rot13",
        "utf-7",
        "a/../b",
        "\xff",
    ],
)
def test_texts_in_another_code(server, charset):
    body, headers = form([(IMAGE, png(pattern(1))), ('name="classes"', b"a-" * 30_000)])
    headers["Content-Type"] += f"; charset={charset}"
    answer = segment(server.port, body, **headers)
    assert answer.status == 400, answer.body
    assert "UTF-8" in answer.error


def test_texts_in_utf_8(server):
    body, headers = form([(IMAGE, png(pattern(1)))])
    headers["Content-Type"] += "; charset=UTF-8"
    assert segment(server.port, body, **headers).status == 200


def test_a_form_in_a_form(send):
    inner, headers = form([(IMAGE, png(pattern(1)))], "inner")
    answer = send((f"{IMAGE}\r\nContent-Type: {headers['Content-Type']}", inner))
    assert answer.status == 415


@pytest.mark.parametrize(
    "name",
    [
        "../../../../etc/passwd",
        "..\\..\\evil.png",
        "a\0b.png",
        "/dev/null",
        "x" * 1000,
        "\u202egnp.exe",
        "'; drop table images; --",
        "<script>alert(1)</script>",
        "",
    ],
)
def test_names_of_files_mean_nothing(send, name):
    cells = pattern(5)
    answer = send((f'name="image"; filename="{name}"', png(cells)))
    assert answer.status == 200, answer.body
    assert np.array_equal(cells_of(answer.body), cells)


@pytest.mark.parametrize(
    "value", [b"a\0b", b"\xff\xfe", b"../../etc/passwd", b"\xed\xa0\x80", b"%00", b"\r\nX: y"]
)
def test_odd_values(send, value):
    for field, status in (("model", 404), ("classes", 422), ("format", 422)):
        answer = send((IMAGE, png(pattern(1))), (f'name="{field}"', value))
        assert answer.status == status, answer.body
        assert len(answer.error) < 500


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json", "text/html", "x" * 3000, "image"]
)
def test_bodies_of_another_kind(server, kind):
    answer = segment(server.port, png(pattern(1)), Content_Type=kind)
    assert answer.status == 415
    assert len(answer.error) < 400


@pytest.mark.parametrize(
    "kind", ["image/png", "IMAGE/JPEG", "image/x-anything; a=b", "application/octet-stream"]
)
def test_the_kind_of_an_image_is_not_believed(server, kind):
    assert segment(server.port, png(pattern(1)), Content_Type=kind).status == 200
