"""The documents, the commands in them, and their links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = {"SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"}
"""Documents beside the README that are pages of the site, too."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands(document: Path) -> list[str]:
    """Lines of the shell blocks of a document, without comments."""
    blocks = re.findall(
        r"^ *```(?:bash|sh|shell|console)\n(.*?)^ *```",
        document.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def vitseg_words(command: str) -> list[str] | None:
    """What a shell would give `vitseg`: its arguments, without what goes to a file; None for other programs."""
    words = shlex.split(command)
    if words[0] == "torchrun" and "vitseg" in words:
        words = words[words.index("vitseg") :]
    elif words[0] != "vitseg":
        return None
    return words[1 : words.index(">")] if ">" in words else words[1:]


def links(document: Path) -> list[tuple[str, str]]:
    """File and anchor of every link and picture of a document that leads into the repository; either may be empty."""
    text = re.sub(r"^ *```.*?^ *```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"\]\(([^()\s]+(?:\([^()]*\)[^()\s]*)?)\)", re.sub(r"`[^`\n]*`", "``", text))
    inside = [link for link in found if not link.startswith(("http:", "https:"))]
    return [(link.partition("#")[0], link.partition("#")[2]) for link in inside]


def anchors(document: Path) -> set[str]:
    """Names by which the headings of a document are linked to, as GitHub and MyST make them."""
    text = re.sub(r"^ *```.*?^ *```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        anchor = base = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 1
        while anchor in found:
            anchor, number = f"{base}-{number}", number + 1
        found.add(anchor)
    return found
