"""What the files of the page may hold: they work offline, under a strict policy, and take names for text."""

from __future__ import annotations

import re

import pytest

from tests.serve.page_app import PAGE

FILES = sorted(path for path in PAGE.iterdir() if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
INDEX = (PAGE / "index.html").read_text()


def name_of(path) -> str:
    return path.name


def test_the_page_holds_no_code_and_no_style_of_its_own():
    assert re.findall(r"<script(?![^>]*\bsrc=)", INDEX) == []
    assert "<style" not in INDEX
    assert re.findall(r"\s(?:style|on\w+)\s*=", INDEX) == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_loaded_from_elsewhere(path):
    text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert re.findall(r"https?:|//[a-z]+\.[a-z]|\bwss?:", text) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_text_never_becomes_html(path):
    text = path.read_text()
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc"
    assert re.findall(forbidden, text) == []
    assert re.findall(r'setAttribute\("(?:style|on)', text) == []


def test_everything_that_is_named_is_there():
    names = {path.name for path in FILES}
    named = set(re.findall(r'(?:href|src)="page/([^"]+)"', INDEX))
    named |= set(re.findall(r'url\("([^"]+)"\)', (PAGE / "style.css").read_text()))
    for path in SCRIPTS:
        named |= set(re.findall(r'from "\./([^"]+)"', path.read_text()))
    assert named == names - {"index.html", "docs.css"}  # which the page of the interface names


def test_every_id_that_a_script_asks_for_is_in_the_page():
    there = set(re.findall(r'\bid="([^"]+)"', INDEX))
    asked = {
        name for path in SCRIPTS for name in re.findall(r'byId\("([^"]+)"\)', path.read_text())
    }
    assert asked <= there


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 200
    assert max(map(len, path.read_text().splitlines())) <= 160
