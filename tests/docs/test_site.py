"""The site: it builds without a warning, loads nothing from elsewhere, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.pages import PAGES, ROOT, name_of

DOCS = ROOT / "docs"
SOURCES = sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
OF_ONE_METHOD = ("segvit", "shrunk", "edges", "dtop", "continual", "setr", "nrd", "semask")


class Page(HTMLParser):
    """Links, names and what is loaded."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.names.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if (
            tag in LOADED
            and values.get(LOADED[tag])
            and values.get("rel") not in ("prev", "next", "search", "index")
        ):
            self.loaded.append(values[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    for module in ("sphinx", "myst_parser", "pydata_sphinx_theme"):
        pytest.importorskip(module, reason=f"needs {module} (extra docs)")
    out = tmp_path_factory.mktemp("site")
    places = ["-d", str(out / "cache"), "-b", "html", str(DOCS), str(out / "html")]
    words = ["--quiet", "--fail-on-warning", "--keep-going", *places]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    }
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *words], capture_output=True, text=True, env=environment
    )
    assert built.returncode == 0, built.stderr[-5000:]
    return out / "html"


@pytest.fixture(scope="module")
def pages(site):
    found = (path for path in site.rglob("*.html") if "_static" not in path.parts)
    return {path: Page(path) for path in found}


@pytest.mark.slow
def test_every_document_is_a_page(site):
    for source in SOURCES:
        assert (site / f"{source}.html").is_file(), source
    assert (site / "searchindex.js").is_file()


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site, pages):
    for path, page in pages.items():
        for address in page.loaded:
            assert not re.match(r"(?:\w+:)?//", address), (path.name, address)
            assert (path.parent / unquote(address.partition("?")[0])).exists(), (path.name, address)
    for style in site.rglob("*.css"):
        for address in re.findall(r"url\(['\"]?([^)'\"]+)", style.read_text()):
            assert not re.match(r"(?:https?:)?//", address), (style.name, address)


@pytest.mark.slow
def test_links_lead_somewhere(site, pages):
    names = {path.resolve(): page.names for path, page in pages.items()}
    checked = 0
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            file, _, name = link.partition("#")
            target = (path.parent / unquote(file)).resolve() if file else path.resolve()
            assert target.is_file(), (path.name, link)
            if name and target.suffix == ".html":
                assert unquote(name) in names[target], (path.name, link)
            checked += 1
    assert checked > 1000


@pytest.mark.slow
def test_api_and_options_come_from_the_code(site):
    api = (site / "api.html").read_text()
    for name in (
        "load",
        "Predictor",
        "Segmentation",
        "train",
        "evaluate",
        "ClassTable",
        "DataError",
        "predict_large",
    ):
        assert f'id="vitseg.{name}"' in api, name
    assert "label_map" in api
    options = (site / "options.html").read_text()
    for field in (
        "optimizer.lr",
        "decoder.num_layers",
        "pruning.threshold",
        "data.augment.crop_size",
        "backbone.taps",
    ):
        assert f">{field}<" in options.replace('<span class="pre">', "").replace("</span>", ""), (
            field
        )


@pytest.mark.slow
def test_options_of_the_verbs_come_from_the_command_line(site):
    shown = re.sub(r"<[^>]*>", "", (site / "verbs.html").read_text())
    for option in ("--minutes", "--val-split", "--opacity", "--no-page", "--shard-size"):
        assert f"  {option} " in shown or f" / {option} " in shown, option


@pytest.mark.slow
def test_drawings_are_in_the_pages(site):
    assert (
        '<svg xmlns="http://www.w3.org/2000/svg"' in (site / "methods" / "segvit.html").read_text()
    )


def test_every_document_is_in_the_contents():
    """As page of a toctree of the index."""
    trees = re.findall(r"```\{toctree\}(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    listed = re.findall(r"^([a-z][\w/-]*)$", "\n".join(trees), re.MULTILINE)
    assert sorted([*listed, "index"]) == SOURCES
    for name in PAGES:
        assert f"../{name}" in (DOCS / f"{name.partition('.')[0].lower()}.md").read_text()


@pytest.mark.parametrize("name", OF_ONE_METHOD)
def test_a_page_of_a_method_has_all_its_parts(name):
    text = (DOCS / "methods" / f"{name}.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    for part in ("file", "Options", "Results"):
        assert any(part in heading for heading in headings), part
    assert any("differ" in heading or "leave" in heading for heading in headings)
    assert f"../images/{name}.svg" in text


def test_drawings_are_those_that_the_script_draws():
    spec = importlib.util.spec_from_file_location("draw", DOCS / "_site" / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    assert {path.stem for path in draw.FOLDER.glob("*.svg")} == set(draw.DRAWINGS)
    for name, drawn in draw.DRAWINGS.items():
        assert (draw.FOLDER / f"{name}.svg").read_text() == drawn().svg(), name


def test_pictures_are_small():
    for path in (DOCS / "images").iterdir():
        assert path.stat().st_size < 200_000, name_of(path)
