"""What the documents say and what the repository holds."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import DOCUMENTS, ROOT, anchors, commands, links, name_of

VERBS = {
    "demo", "data", "train", "evaluate", "compare", "continual", "reproduce", "tune", "extend", "classes", "predict",
    "video", "explain", "suggest", "profile", "convert", "export", "serve", "push", "doctor", "recipes",
}  # fmt: skip
DATA_VERBS = {"show", "check", "preview", "prepare", "shard"}
MAKE_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
LARGEST_FILE = 1_000_000
LOCK_FILES = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml"}


def repository_files() -> list[Path]:
    """Files that git tracks, or that it would: what .gitignore names stays out."""
    command = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_shell_blocks_use_commands_that_exist(document):
    for command in commands(document):
        words = command.split()
        if words[0] == "vitseg":
            assert words[1] in VERBS, command
            assert words[1] != "data" or words[2] in DATA_VERBS, command
        elif words[0] == "make":
            assert words[1] in MAKE_TARGETS, command
        else:
            assert words[0] in {
                "pip",
                ".venv/bin/pre-commit",
                "curl",
                "docker",
                "kubectl",
                "torchrun",
            }, command


def test_the_page_of_commands_shows_every_verb():
    """The README shows what most people need: it is to be read in a minute."""
    shown = {
        tuple(command.split()[1:3])
        for command in commands(ROOT / "docs" / "commands.md")
        if command.startswith("vitseg ")
    }
    assert {words[0] for words in shown} == VERBS
    assert {words[1] for words in shown if words[0] == "data"} == DATA_VERBS


def test_the_page_of_options_has_every_verb():
    text = (ROOT / "docs" / "verbs.md").read_text()
    named = re.findall(r"^## `(.*)`\n\n```\{verb\} (.*)$", text, re.MULTILINE)
    shown = {f"data {verb}" for verb in DATA_VERBS} | {"recipes show"} | VERBS - {"data"}
    assert all(heading == verb for heading, verb in named)
    assert {verb for _, verb in named} == shown


def test_the_readme_is_read_in_a_minute():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150
    assert ("docs/commands.md", "") in links(ROOT / "README.md")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_and_recipes_lead_somewhere(document):
    for path, anchor in links(document):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), path
        if anchor:
            assert target.suffix == ".md", (path, anchor)
            assert anchor in anchors(target), (path, anchor)
    for recipe in re.findall(r"recipes/[\w/.-]+\.yaml", document.read_text()):
        assert (ROOT / recipe).is_file(), recipe


@pytest.mark.parametrize("document", sorted((ROOT / "docs" / "methods").glob("*.md")), ids=name_of)
def test_method_pages_name_files_that_exist(document):
    for path in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", document.read_text()):
        assert (ROOT / "src" / "vitseg" / path).is_file(), path


def test_no_large_and_no_lock_files():
    files = repository_files()
    assert [name_of(path) for path in files if path.stat().st_size > LARGEST_FILE] == []
    assert [name_of(path) for path in files if path.name in LOCK_FILES] == []


def test_security_floor():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert "torch>=2.10" in project["dependencies"]
    assert "Pillow>=12.3" in project["dependencies"]
    assert "onnx>=1.21" in extras["export"]
    assert "python-multipart>=0.0.27" in extras["serve"]
