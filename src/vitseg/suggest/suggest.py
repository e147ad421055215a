"""From images to the ones that are suggested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from vitseg.suggest.choose import choose
from vitseg.suggest.look import Look, Looker


@dataclass(frozen=True)
class Suggestion:
    """An image that is to be labelled.

    Attributes:
        path: The image.
        name: Its name among the images that were given.
        uncertainty: Mean entropy of its pixels, in [0, 1].
        distance: Of its features to those of the nearest image that was there before, in [0, 2]; None of the first.
        score: What it was chosen by: their product.
    """

    path: Path
    name: str
    uncertainty: float
    distance: float | None
    score: float


@dataclass(frozen=True)
class Suggestions:
    """What was found.

    Attributes:
        chosen: The images, the first to be labelled first.
        num_seen: Images that could be read.
        num_copies: Images that are copies or near duplicates of one of the others, or of one that has labels.
        features: What images were compared by, in words.
        temperature: Of the probabilities.
    """

    chosen: tuple[Suggestion, ...]
    num_seen: int
    num_copies: int
    features: str
    temperature: float


def suggest(
    looker: Looker,
    images: Sequence[tuple[Path, str]],
    count: int,
    labelled: Sequence[Path] = (),
    around: Callable[[Path], AbstractContextManager[object]] = lambda path: nullcontext(),
) -> Suggestions:
    """Choose which images to label next. The same call gives the same ones.

    Args:
        looker: The model.
        images: Files with their names.
        count: How many are wanted; there may be fewer, see `choose`.
        labelled: Images that have labels: what is like them comes later, and none of them is chosen.
        around: Context around the look at each image, which may swallow what is wrong with it; then it is left out.

    Raises:
        DataError: An image cannot be read, and `around` does not swallow it.
        VitsegError: The model's scores are NaN or infinite, likewise.
    """
    seen: list[tuple[Path, str]] = []
    looks, others = list[Look](), list[Look]()
    for path in labelled:
        with around(path):
            others.append(looker(path))
    for path, name in images:
        with around(path):
            looks.append(looker(path))
            seen.append((path, name))
    if not looks:
        return Suggestions((), 0, 0, looker.features, looker.temperature)
    found = choose(looks, count, others)
    chosen = tuple(
        Suggestion(*seen[each.index], looks[each.index].uncertainty, each.distance, each.score)
        for each in found.choices
    )
    return Suggestions(chosen, len(looks), found.num_copies, looker.features, looker.temperature)
