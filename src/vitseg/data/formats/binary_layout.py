"""Which layout a folder of binary masks has: masks/CLASS/STEM.png, masks/STEM/CLASS.png or masks/STEM.png."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

ONE_PER_IMAGE = "STEM"
"""The layout of one mask per image, all of the same class."""


class BinaryLayout(NamedTuple):
    """A layout, and what each mask is by it.

    Attributes:
        pattern: The layout in words: "CLASS/STEM", "STEM/CLASS" or "STEM".
        masks: (class, image id) -> path of the mask below its folder, without suffix; with "STEM", the class is "".
    """

    pattern: str
    masks: Mapping[tuple[str, str], str]


def find_binary_layout(masks: Iterable[str], images: Container[str]) -> BinaryLayout | None:
    """The layout of binary masks; None if their paths fit neither.

    Args:
        masks: Paths of the masks below their folder, without suffix.
        images: The ids of the images.
    """
    masks = list(masks)
    if any(mask in images for mask in masks):
        return BinaryLayout(ONE_PER_IMAGE, {("", mask): mask for mask in masks})
    by_class: dict[tuple[str, str], str] = {}
    by_image: dict[tuple[str, str], str] = {}
    for mask in masks:
        first, _, below = mask.partition("/")
        above, _, last = mask.rpartition("/")
        if below:
            by_class[first, below] = mask
            by_image[last, above] = mask
    # Which of the two is meant shows in what names an image.
    of_class = sum(image in images for _, image in by_class)
    of_image = sum(image in images for _, image in by_image)
    if of_class == of_image:
        return None
    if of_class > of_image:
        return BinaryLayout("CLASS/STEM", by_class)
    return BinaryLayout("STEM/CLASS", by_image)
