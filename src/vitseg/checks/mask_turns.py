"""Whether masks lie as they should where an image or a mask has an orientation tag, told by what is in the pictures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Integer

from vitseg.checks.mask_fit import LONG_SIDE, fit_scores
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.formats.shapes import ShapeMasks
from vitseg.errors import DataError
from vitseg.images.decode import MAX_PIXELS
from vitseg.images.orientation import inverse
from vitseg.images.reader import decode
from vitseg.images.value_range import Unstated

CLEAR = 6.0
"""Score from which a mask is said to lie right in a turn."""

APART = 5.0
"""Distance in score from which one turn is said to be right and another wrong.

Of 374 square crops of photos of four data sets, in each of the seven wrong turns, 97 % are told with these two; of the
same in the right turn, none is said to lie wrongly.
"""

ON_ITS_SIDE = "mask-on-its-side"
"""Code of the fault that a mask has the size of its image as that is stored, not as it is shown, or the reverse."""

_MOST = 10.0  # score, or distance in score, of an image in the sums over all: none decides alone
_SUM_CLEAR, _SUM_APART, _MEAN_APART = 6.0, 8.0, 1.5

Verdict = Literal["as read", "other pose", "without its own tag", "another turn", "untold"]

FAULTY: dict[Verdict, str] = {
    "other pose": "mask-pose",
    "without its own tag": "mask-own-tag",
    "another turn": "mask-turned",
}
"""Code of the fault that a verdict is."""


class MaskTurn(NamedTuple):
    """The scores of one mask on its image, each for a turn of the mask as it is read.

    Attributes:
        scores: Turn -> score, see `fit_scores`; 1 is as it is read.
        other: The turn that the other pose of masks would mean; None: none, or one of another size.
        own: The turn that undoes the mask's own tag; None: it has none.
    """

    scores: dict[int, float]
    other: int | None = None
    own: int | None = None

    @property
    def best(self) -> int:
        """The turn of the highest score."""
        return max(self.scores, key=lambda turn: self.scores[turn])

    def verdict(self) -> Verdict:
        """In which turn the mask lies right."""
        rival = self.own if self.other is None else self.other
        if rival is None:
            return "another turn" if self._beats(self.best, 1) else "as read"
        if self._beats(rival, 1) and not self._beats(self.best, rival):
            return "without its own tag" if rival == self.own else "other pose"
        if self._beats(self.best, 1) and self._beats(self.best, rival):
            return "another turn"
        return "as read" if self._beats(1, rival) else "untold"

    def _beats(self, turn: int, other: int) -> bool:
        score = self.scores[turn]
        return score >= CLEAR and score - self.scores[other] >= max(APART, score / 2)


def measure_turn(
    dataset: SegmentationDataset,
    index: int,
    raw_ids: Integer[np.ndarray, "H W"],
    tag: int,
    own_tag: int = 1,
) -> MaskTurn | None:
    """The scores of a mask in every turn; None if neither picture has a tag, or nothing is seen to tell by.

    Args:
        dataset: The split.
        index: Position in it.
        raw_ids: The mask as it is read.
        tag: Orientation tag of the image.
        own_tag: Orientation tag of the mask itself.
    """
    if tag == own_tag == 1:
        return None
    try:
        smallest = (LONG_SIDE, LONG_SIDE)
        image = decode(dataset.image_source(index), smallest, MAX_PIXELS, Unstated.OWN_VALUES)
    except (DataError, OSError):  # which is told of elsewhere
        return None
    if image.size != raw_ids.shape:
        return None
    masks = dataset.masks
    in_fractions = isinstance(masks, ShapeMasks) and masks.in_fractions(index)
    scores = fit_scores(image.pixels, raw_ids, range(1, 9), stretched=in_fractions)
    if not scores:
        return None
    own = None if own_tag == 1 else inverse(own_tag)
    other = None
    if own is None:
        other = tag if dataset.mask_pose == "upright" else inverse(tag)
    return MaskTurn(scores, other if other in scores else None, own if own in scores else None)


@dataclass
class TurnTally:
    """The orientation tags of all images, and the masks on those that have one.

    Attributes:
        tags: Orientation tag -> number of images.
        verdicts: Verdict -> number of masks.
    """

    tags: Counter[int] = field(default_factory=Counter)
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    _other: float = 0.0
    _apart: float = 0.0
    _count: int = 0

    @property
    def tagged(self) -> int:
        """Images with a tag other than 1."""
        return self.tags.total() - self.tags[1]

    def add(self, turn: MaskTurn) -> Verdict:
        """Count one mask."""
        verdict = turn.verdict()
        self.verdicts[verdict] += 1
        if turn.other is not None:
            other, read = turn.scores[turn.other], turn.scores[1]
            self._other += max(-_MOST, min(other, _MOST))
            self._apart += max(-_MOST, min(other - read, _MOST))
            self._count += 1
        return verdict

    def other_pose(self) -> bool:
        """Whether all masks together lie right in the other pose, and not as they are read."""
        if not self._count:
            return False
        root = self._count**0.5
        return (
            self._other / root >= _SUM_CLEAR
            and self._apart / root >= _SUM_APART
            and self._apart / self._count >= _MEAN_APART
        )
