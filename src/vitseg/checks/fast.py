"""The fast part of the check, which training runs first: headers of all files, pixels of a few masks."""

from __future__ import annotations

import numpy as np

from vitseg.checks.class_rules import name_findings
from vitseg.checks.facts import Examiner, Place
from vitseg.checks.file_rules import file_findings
from vitseg.checks.id_rules import id_findings
from vitseg.checks.report import worst_first
from vitseg.checks.sharing import file_key
from vitseg.checks.tally import Tally
from vitseg.checks.turn_rules import turn_findings
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.data.stored import StoredImages
from vitseg.errors import first_names

MAX_HEADERS = 20_000
"""Samples of a split whose headers are read; of a larger split, evenly spread ones."""

MAX_DECODED = 64
"""Samples of a split whose masks are decoded, evenly spread; of shards, whose headers cannot be read without all the
rest, also those whose headers are."""

MAX_TURNS = 16
"""Images of a split with an orientation tag that are decoded, small, for how their masks lie on them."""


def fast_findings(
    train: SegmentationDataset, val: SegmentationDataset | None = None
) -> list[Finding]:
    """What can be found in seconds: worst first, errors and warnings only.

    The headers of all files give unreadable files, wrong kinds of masks and different sizes; the pixels of some masks,
    ids outside the table and smeared borders; the pixels of a few images with an orientation tag, masks that do not
    lie on them. No other image is decoded and nothing is compared.

    Args:
        train: The training split.
        val: The validation split.
    """
    datasets = [train] if val is None else [train, val]
    examine = Examiner(datasets, quick=True)
    tally = Tally(datasets)
    for number, dataset in enumerate(datasets):
        decoded = set(_spread(len(dataset), MAX_DECODED))
        looked_at = 0
        most = MAX_DECODED if isinstance(dataset.images, StoredImages) else MAX_HEADERS
        for index in sorted(decoded.union(_spread(len(dataset), most))):
            place = Place(number, index)
            if index in decoded:
                facts = examine((place,), turns=looked_at < MAX_TURNS)[0]
                looked_at += facts.turn is not None
                tally.add(facts)
            else:
                tally.add(examine.headers(place))
    listed = dict.fromkeys(finding for dataset in datasets for finding in dataset.findings)
    if val is not None:
        listed |= dict.fromkeys(_same_images(train, val))
    found = [*listed, *file_findings(tally), *turn_findings(tally, None), *id_findings(tally)]
    found += name_findings(train.classes)
    return [finding for finding in worst_first(found) if finding.severity != "info"]


def _same_images(train: SegmentationDataset, val: SegmentationDataset) -> list[Finding]:
    """The warning that images are both trained on and validated on, by whatever path they are listed."""
    if not (len(train) and len(val)) or train.in_memory:
        return []  # the images of a table would all be loaded
    trained = {file_key(source) for source in train.images}
    both = [
        val.image_name(index)
        for index, source in enumerate(val.images)
        if file_key(source) in trained
    ]
    if not both:
        return []
    return [
        Finding.of(
            "validated-on-training",
            "warning",
            f"{len(both)} of the {len(val)} images of {val.split} are images of {train.split}, too: "
            f"{first_names(both)}.",
            "Keep each in one split only: scores on images that were trained on say nothing about new ones.",
            both,
        )
    ]


def _spread(count: int, at_most: int) -> list[int]:
    """Evenly spread indices below `count`."""
    if count <= at_most:
        return list(range(count))
    return np.linspace(0, count - 1, at_most).round().astype(int).tolist()
