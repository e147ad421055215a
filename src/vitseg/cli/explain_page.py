"""The folder that `vitseg explain` writes: a picture of every image, and a page that shows them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from vitseg.claims import claim_folder
from vitseg.errors import ConfigError

if TYPE_CHECKING:
    from vitseg.explain.sheet import Sheet

INDEX = "index.html"


class SheetFolder:
    """Where sheets go. Nothing is written before the first sheet.

    Args:
        out: The folder.
        targets: The images, and the names that their sheets get.
        overwrite: Whether what is in the folder may be replaced; an image of `targets` never is.

    Raises:
        ConfigError: A file would be replaced that may not be, or none can be written there.
    """

    def __init__(self, out: Path, targets: Sequence[tuple[Path, str]], overwrite: bool):
        claim_folder(out, may_hold=None)
        images = {path.resolve() for path, _ in targets}
        for name in (INDEX, *(f"{name}.png" for _, name in targets)):
            if (out / name).resolve() in images:
                raise ConfigError(
                    f"--out {out} holds the image {name} itself, which its sheet would replace: give another folder."
                )
            if (out / name).exists() and not overwrite:
                raise ConfigError(
                    f"--out {out} has {name} already: give a new folder, or pass --overwrite. Nothing was changed."
                )
        self.out = out
        self.index = out / INDEX
        self._how_to_read = ""
        self._figures: list[str] = []

    def add(self, sheet: Sheet, name: str, caption: str) -> None:
        """Write the picture of a sheet.

        Args:
            sheet: The sheet.
            name: Name of its file, without the suffix.
            caption: What the page says below it.
        """
        from vitseg.render.palette import save_whole

        save_whole(self.out / f"{name}.png", sheet.picture)
        source = quote(os.fsencode(f"{name}.png"))
        self._how_to_read = sheet.how_to_read
        self._figures.append(
            f'<figure><a href="{source}"><img src="{source}" loading="lazy" alt="Masks of {escape(name)}"></a>'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )

    def write_index(self, title: str) -> None:
        """Write the page with all sheets, if there are any."""
        from vitseg.render.page_parts import write_page

        if self._figures:
            how_to_read = f"<p>{escape(self._how_to_read)}</p>"
            write_page(self.index, title, [how_to_read, *self._figures])
