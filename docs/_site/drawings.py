"""Puts the drawings (SVG) into the pages themselves, where their colours follow the site's switch of light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes


def setup(app: Any) -> dict[str, bool]:
    app.connect("doctree-resolved", put_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def put_in(app: Any, tree: nodes.document, name: str) -> None:
    """Replace images of drawings by what their files hold."""
    for image in list(tree.findall(nodes.image)):
        path = Path(app.srcdir) / image["uri"]
        if path.suffix == ".svg":
            drawing = path.read_text()
            image.replace_self(
                nodes.raw("", f'<div class="drawing-box">{drawing}</div>', format="html")
            )
