"""The fast part of the check, which training runs first: headers of all files, pixels of a few masks."""

from __future__ import annotations

import numpy as np

from vitseg.checks.facts import Examiner, Place
from vitseg.checks.file_rules import file_findings
from vitseg.checks.id_rules import id_findings
from vitseg.checks.report import worst_first
from vitseg.checks.tally import Tally
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding

MAX_HEADERS = 20_000
"""Samples of a split whose headers are read; of a larger split, evenly spread ones."""

MAX_DECODED = 64
"""Samples of a split whose masks are decoded, evenly spread."""


def fast_findings(
    train: SegmentationDataset, val: SegmentationDataset | None = None
) -> list[Finding]:
    """What can be found in seconds: worst first, errors and warnings only.

    The headers of all files give unreadable files, wrong kinds of masks and different sizes; the pixels of some masks,
    ids outside the table and smeared borders. No image is decoded and nothing is compared.

    Args:
        train: The training split.
        val: The validation split.
    """
    datasets = [train] if val is None else [train, val]
    examine = Examiner(datasets, quick=True)
    tally = Tally(datasets)
    for number, dataset in enumerate(datasets):
        decoded = set(_spread(len(dataset), MAX_DECODED))
        for index in sorted(decoded.union(_spread(len(dataset), MAX_HEADERS))):
            place = Place(number, index)
            tally.add(examine(place) if index in decoded else examine.headers(place))
    listed = dict.fromkeys(finding for dataset in datasets for finding in dataset.findings)
    found = [*listed, *file_findings(tally), *id_findings(tally)]
    return [finding for finding in worst_first(found) if finding.severity != "info"]


def _spread(count: int, at_most: int) -> list[int]:
    """Evenly spread indices below `count`."""
    if count <= at_most:
        return list(range(count))
    return np.linspace(0, count - 1, at_most).round().astype(int).tolist()
