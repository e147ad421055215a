"""Findings about images that come twice: within a split they count double, across splits they leak."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from vitseg.checks.facts import Place
from vitseg.checks.tally import MAX_EXAMPLES, Tally
from vitseg.data.finding import MAX_FILES, Finding, Severity

_LEAK_FIX = (
    "Keep each in one split only: scores on images that were trained on say nothing about new ones."
)

Found = list[tuple[Finding, tuple[Place, ...]]]


def duplicate_findings(tally: Tally) -> Found:
    """Copies and near duplicates, each with the samples that show them."""
    within, across = _copies(tally)
    own, elsewhere = tally.fingerprints.near_pairs(tally.sharing.apart)
    leaks = _pairs_once(elsewhere)
    # an image with a twin in another split is named there only
    alike = [pair for pair in _pairs_once(own) if elsewhere[pair[0]] < 0]
    return [
        *_finding(
            tally,
            "duplicate-across-splits",
            "error",
            across,
            "{n} images are in several splits: {first}.{masks}",
            _LEAK_FIX,
        ),
        *_finding(
            tally,
            "near-duplicate-across-splits",
            "warning",
            leaks,
            "{n} images look the same as an image of another split: {first}.",
            _LEAK_FIX,
        ),
        *_finding(
            tally,
            "duplicate",
            "warning",
            within,
            "{n} images come more than once in their split: {first}.{masks}",
            "Keep one of each: copies count double in training and in scores.",
        ),
        *_finding(
            tally,
            "near-duplicate",
            "warning",
            alike,
            "{n} images look the same as another of their split: {first}.",
            "Frames of one video may stay; of copies that were saved again or resized, keep one.",
        ),
    ]


_Group = Sequence[int]


def _copies(tally: Tally) -> tuple[list[_Group], list[_Group]]:
    """Groups of equal files: those within a split, and those across splits that may share none, one of each split."""
    fingerprints, apart = tally.fingerprints, tally.sharing.apart
    shared = set(fingerprints.shared(apart))
    within: dict[tuple[int, ...], None] = {}
    across: list[_Group] = []
    for group in fingerprints.copies():
        numbers = group.tolist()
        of_split: dict[int, list[int]] = {}
        for number in numbers:
            for split in sorted(fingerprints.splits_of(number)):
                of_split.setdefault(split, []).append(number)
        present = sorted(of_split)
        if apart[np.ix_(present, present)].any():
            across.append(list(dict.fromkeys(of_split[split][0] for split in present)))
            shared.difference_update(numbers)
        within |= {tuple(members): None for members in of_split.values() if len(members) > 1}
    across += [[number] for number in sorted(shared)]
    return [list(group) for group in within], sorted(across, key=lambda group: group[0])


def _pairs_once(partner: Int64[np.ndarray, " n"]) -> list[_Group]:
    """Pairs of an image and its partner; two images that are each other's partner make one pair."""
    numbers = np.flatnonzero(partner >= 0)
    other = partner[numbers]
    repeated = (partner[other] == numbers) & (other < numbers)
    return [
        list(pair)
        for pair in zip(numbers[~repeated].tolist(), other[~repeated].tolist(), strict=True)
    ]


def _finding(
    tally: Tally,
    code: str,
    severity: Severity,
    groups: Sequence[_Group],
    message: str,
    fix: str,
) -> Found:
    if not groups:
        return []
    contradictions = sum(tally.fingerprints.masks_differ(np.array(group)) for group in groups)
    masks = f" In {contradictions} of these groups the masks differ." if contradictions else ""
    files = tuple(_named(tally, group) for group in groups[:MAX_FILES])
    count = sum(max(1, len(group) - 1) for group in groups)  # one file may be in two splits
    text = message.format(n=count, first=files[0], masks=masks)
    if count == 1:
        text = text.replace("1 images are", "1 image is").replace("1 images come", "1 image comes")
        text = text.replace("1 images look", "1 image looks")
    fingerprints = tally.fingerprints
    shown = [number for group in groups for number in group[:2]][: MAX_EXAMPLES + 1]
    places = tuple(Place(fingerprints.splits[i], fingerprints.indices[i]) for i in shown)
    return [(Finding(code, severity, text, fix, files, count), places)]


def _named(tally: Tally, group: _Group) -> str:
    names = " = ".join(dict.fromkeys(tally.name(number) for number in group[:3]))
    if " = " not in names:  # one file, which several splits list
        splits = sorted(
            {split for number in group for split in tally.fingerprints.splits_of(number)}
        )
        listing = ", ".join(tally.splits[split].dataset.split for split in splits)
        return f"{names} (in {listing})"
    return names + (f" = {len(group) - 3} more" if len(group) > 3 else "")
