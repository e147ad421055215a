"""The folder of suggestions: a list for programs, one for people, a page with pictures, and annotations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image

from vitseg.annotations.folder import AnnotationFolder
from vitseg.classes import ClassTable
from vitseg.files import write_json, write_whole
from vitseg.inference.segmentation import Segmentation
from vitseg.render.contact_sheet import WIDEST, contact_sheet
from vitseg.render.page_parts import fact_cards, figure, swatch, write_page
from vitseg.runs import SUGGESTED
from vitseg.suggest.suggest import Suggestion, Suggestions

LIST, INDEX = "suggested.txt", "index.html"

MOST_PICTURES = 200
"""Suggestions that the page has pictures of: some 100 kB each."""

HOW_TO_READ = (
    "First come the images to label first. In the last picture, the brighter a pixel, the less the model knows its "
    "class. Uncertainty is the mean over all pixels; the distance is that to the nearest image which comes before, or "
    "has labels. The order is by the product of the two."
)

_HEIGHT = 200


class SuggestionFolder:
    """Where suggestions go.

    Args:
        out: The folder.
        writers: What writes annotations, by name.
    """

    def __init__(self, out: Path, writers: Mapping[str, AnnotationFolder]):
        self.out = out
        self.writers = writers
        self._figures: list[str] = []
        self._classes: ClassTable | None = None
        self._seen: set[str] = set()

    @property
    def index(self) -> Path:
        return self.out / INDEX

    def add(
        self,
        rank: int,
        suggestion: Suggestion,
        file_name: str,
        segmentation: Segmentation,
        entropy: Float32[np.ndarray, "H W"],
    ) -> None:
        """Show an image on the page, and annotate it.

        Args:
            rank: Its place, from 1 on.
            suggestion: The image.
            file_name: What it is called among annotations, see `file_names`.
            segmentation: What the model makes of it.
            entropy: How unsure the model is of every pixel, in [0, 1].
        """
        for writer in self.writers.values():
            writer.add(suggestion.path, file_name, segmentation.known_labels)
        if rank <= MOST_PICTURES:
            height, width = segmentation.size
            small = segmentation.scaled(
                min(1.0, 3 * _HEIGHT / height, 3 * WIDEST * _HEIGHT / width)
            )
            grey = Image.fromarray((255 * entropy.clip(0, 1)).astype(np.uint8))
            pictures = [Image.fromarray(small.image), small.overlay(legend=False), grey]
            sheet = contact_sheet([pictures], ("image", "prediction", "uncertainty"), _HEIGHT)
            self._figures.append(figure(_caption(rank, suggestion), sheet))
            self._seen.update(segmentation.class_areas)
            self._classes = segmentation.classes

    def close(
        self, found: Suggestions, facts: Mapping[str, Any], unreadable: Mapping[str, str]
    ) -> None:
        """Write what is known of all.

        Args:
            found: The suggestions.
            facts: What else the list for programs says: model, options.
            unreadable: Images that were left out, and why.
        """
        for writer in self.writers.values():
            writer.close()
        content = {
            **facts,
            "images": found.num_seen,
            "copies_left_out": found.num_copies,
            "features": found.features,
            "temperature": round(found.temperature, 4),
            "suggested": [_entry(rank, each) for rank, each in enumerate(found.chosen, start=1)],
            "unreadable": [{"image": image, "error": error} for image, error in unreadable.items()],
            "annotations": {name: str(writer.folder) for name, writer in self.writers.items()},
        }
        write_json(self.out / SUGGESTED, content)
        write_whole(self.out / LIST, "".join(f"{each.path}\n" for each in found.chosen))
        cards = {
            "Suggested": f"{len(found.chosen):,} of {found.num_seen:,}",
            "Copies left out": f"{found.num_copies:,}",
            "Compared by": found.features,
            "Temperature": f"{found.temperature:.2f}",
        }
        more = len(found.chosen) - len(self._figures)
        last = [f'<p class="soft">{more:,} more are in {LIST}.</p>'] if more > 0 else []
        sections = [
            fact_cards(cards),
            f"<p>{HOW_TO_READ}</p>",
            self._legend(),
            *self._figures,
            *last,
        ]
        write_page(self.index, "Images to label next", sections)

    def _legend(self) -> str:
        """The colours of the classes that occur, once for all pictures."""
        if self._classes is None:
            return ""
        pairs = zip(self._classes.names, self._classes.palette, strict=True)
        entries = [swatch(color) + escape(name) for name, color in pairs if name in self._seen]
        return f"<p>{' &ensp; '.join(entries)}</p>"


def file_names(chosen: Sequence[Suggestion]) -> list[str]:
    """Names of the images in one folder, with no stem twice, whatever the system makes of upper case."""
    names: list[str] = []
    taken: set[str] = set()
    for each in chosen:
        stem = free = each.name.replace("\\", "/").strip("/").replace("/", "__")
        number = 2
        while free.casefold() in taken:
            free, number = f"{stem}__{number}", number + 1
        taken.add(free.casefold())
        names.append(free + each.path.suffix)
    return names


def _entry(rank: int, each: Suggestion) -> dict[str, Any]:
    return {
        "rank": rank,
        "image": os.fspath(each.path),
        "uncertainty": round(each.uncertainty, 6),
        "distance": None if each.distance is None else round(each.distance, 6),
        "score": round(each.score, 6),
    }


def _caption(rank: int, each: Suggestion) -> str:
    distance = "first" if each.distance is None else f"distance {each.distance:.3f}"
    return f"{rank}. {each.path} (uncertainty {each.uncertainty:.3f}, {distance})"
