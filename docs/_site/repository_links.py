"""Links of the pages to files that are no pages.

The pages are read in the repository, too, where a link may lead to any file or folder of it. On the site those to the
documents beside the README become links to their pages; a link to a folder, or to a text that is none of the pages,
becomes plain words.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"SECURITY.md": "security", "CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)*)([^)#\s]+)(#[^)]*)?\)")


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", adapt)
    return {"parallel_read_safe": True}


def adapt(app: Any, name: str, source: list[str]) -> None:
    """Rewrite the links of a page, before it is parsed."""
    page = Path(app.srcdir) / f"{name}.md"
    up = "../" * name.count("/")

    def replaced(match: re.Match[str]) -> str:
        text, dots, path, anchor = match.groups()
        if ":" in path:
            return match[0]
        target = (page.parent / dots / path).resolve()
        if target.is_dir():
            return text if text.startswith("`") else f"`{text}`"
        if target.parent == ROOT and target.name in PAGES:
            return f"[{text}]({up}{PAGES[target.name]}.md{anchor or ''})"
        if target.suffix == ".md" and not target.is_relative_to(app.srcdir):
            return text  # a page of the repository alone
        return match[0]

    source[0] = LINK.sub(replaced, source[0])
