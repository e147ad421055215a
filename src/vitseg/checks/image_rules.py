"""Findings about the images by themselves, from the facts of `image_facts`."""

from __future__ import annotations

from vitseg.checks.file_rules import Rule, fault_finding
from vitseg.checks.tally import Tally
from vitseg.data.finding import Finding

NARROW = "narrow-range"
"""Code of the fault that an image has few of the possible values, see `tally.NARROWEST`."""


def image_findings(tally: Tally) -> list[Finding]:
    """What is wrong with, or notable about, the images."""
    return _narrow(tally)


def _narrow(tally: Tally) -> list[Finding]:
    """Images that use a small part of [0, 255]: a warning where most do, since then it is how they were saved."""
    fault = tally.faults.get(NARROW)
    if fault is None:
        return []
    most = 2 * fault.count > tally.num_images_read
    rule = Rule(
        "warning" if most else "info",
        "1 image uses a small part of the values 0 to 255 that models get: {first} has {detail}.",
        "{n} images use a small part of the values 0 to 255 that models get; the first, {first}, has {detail}.",
        "Images of 12 or 16 bits hold little of their type's range: save them again with their values spread over 0 to "
        "255."
        if most
        else "Look at them: they are nearly black, white or of one colour.",
    )
    return [fault_finding(NARROW, fault, rule)]
