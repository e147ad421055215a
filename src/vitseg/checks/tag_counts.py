"""How many images of a split have which orientation tag, by the headers of some of them."""

from __future__ import annotations

from collections import Counter

from vitseg.data.dataset import SegmentationDataset
from vitseg.errors import DataError
from vitseg.images.decode import read_header

MOST = 1000
"""Images whose headers are read; of more, evenly spread ones."""


def count_tags(dataset: SegmentationDataset) -> Counter[int]:
    """Orientation tag -> images that have it; 1 is none. Images that cannot be read are left out."""
    tags: Counter[int] = Counter()
    number = min(MOST, len(dataset))
    for place in range(number):
        try:
            tags[read_header(dataset.image_source(place * len(dataset) // number)).orientation] += 1
        except DataError:
            continue
    return tags
