"""What the documents say and what the repository holds."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
VERBS = {
    "demo", "data", "train", "evaluate", "compare", "continual", "reproduce", "tune", "extend", "classes", "predict",
    "video", "explain", "suggest", "profile", "convert", "export", "serve", "push", "doctor", "recipes",
}  # fmt: skip
DATA_VERBS = {"show", "check", "preview", "prepare", "shard"}
MAKE_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
LARGEST_FILE = 1_000_000
LOCK_FILES = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands(document: Path) -> list[str]:
    """Lines of the shell blocks of a document, without comments."""
    blocks = re.findall(
        r"^```(?:bash|sh|shell|console)\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL
    )
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


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


def test_the_readme_shows_every_verb():
    shown = {
        command.split()[1]
        for command in commands(ROOT / "README.md")
        if command.startswith("vitseg ")
    }
    assert shown == VERBS


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_and_recipes_lead_somewhere(document):
    text = document.read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith(("http:", "https:")):
            assert (document.parent / target).exists(), target
    for recipe in re.findall(r"recipes/[\w/.-]+\.yaml", text):
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
