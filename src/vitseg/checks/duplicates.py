"""Which images of a data set are the same, or nearly: in time and memory linear in their number."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped, UInt8

from vitseg.checks.fingerprint import THUMBNAIL, Fingerprint

MAX_BITS = 6
"""Bits of 64 in which the hashes of near duplicates may differ."""

MAX_DISTANCE = 0.05
"""Largest 1 - correlation of the thumbnails of two near duplicates.

Photos halved in size, saved as JPEG of quality 60, or made 15 % brighter stay below 0.025, most photos cropped by 2 %
per side below 0.05. Of 1,057 photos, the six pairs below 0.1 all show the same photo twice.
"""

_BANDS = MAX_BITS + 1  # of hashes that differ in at most 6 bits, one of 7 parts is the same
_WINDOW = 64
_BLOCK = 1024  # pairs whose thumbnails are compared at once


class Fingerprints:
    """The fingerprints of all images: about 300 bytes each."""

    def __init__(self) -> None:
        self.splits = array("H")
        self.indices = array("L")
        self.memberships: list[frozenset[int]] = []
        self._codes: dict[frozenset[int], int] = {}
        self._members = array("L")
        self._content = array("Q")
        self._mask = array("Q")
        self._perceptual = array("Q")
        self._thumbnails = bytearray()

    def add(
        self, split: int, index: int, fingerprint: Fingerprint, others: Collection[int] = ()
    ) -> None:
        """Remember image `index` of split number `split`, and of the other splits that have the same file."""
        splits = frozenset((split, *others))
        if splits not in self._codes:
            self._codes[splits] = len(self.memberships)
            self.memberships.append(splits)
        self._members.append(self._codes[splits])
        self.splits.append(split)
        self.indices.append(index)
        self._content.append(fingerprint.content)
        self._mask.append(fingerprint.mask)
        self._perceptual.append(fingerprint.perceptual)
        flat = not fingerprint.thumbnail
        self._thumbnails += bytes(1 + THUMBNAIL**2) if flat else b"\1" + fingerprint.thumbnail

    def __len__(self) -> int:
        return len(self.splits)

    def copies(self) -> list[Int64[np.ndarray, " n"]]:
        """Groups of images whose files have the same content, in the order of their first."""
        content = np.array(self._content)
        order = np.argsort(content, kind="stable")
        starts = np.flatnonzero(np.diff(content[order])) + 1
        groups = [group for group in np.split(order, starts) if len(group) > 1]
        return sorted(groups, key=lambda group: int(group[0]))

    def masks_differ(self, group: Int64[np.ndarray, " n"]) -> bool:
        """Whether the masks of these images are not all the same."""
        return len({self._mask[number] for number in group.tolist()}) > 1

    def splits_by_content(self) -> list[set[int]]:
        """For each different content of a file, the splits that have it."""
        found: dict[int, set[int]] = {}
        for content, code in zip(self._content, self._members, strict=True):
            found.setdefault(content, set()).update(self.memberships[code])
        return list(found.values())

    def splits_of(self, number: int) -> frozenset[int]:
        """The splits that have an image."""
        return self.memberships[self._members[number]]

    def shared(self, apart: Bool[np.ndarray, "s s"]) -> list[int]:
        """The images whose file is in two splits that may not share one."""
        wrong = {
            code
            for code, splits in enumerate(self.memberships)
            if apart[np.ix_(sorted(splits), sorted(splits))].any()
        }
        return [number for number, code in enumerate(self._members) if code in wrong]

    def near_pairs(
        self, apart: Bool[np.ndarray, "s s"] | None = None
    ) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """The number of the most similar near duplicate of each image, in its own split and in the others; -1: none.

        Copies are no near duplicates, and only the first copy in each split is looked at. Of images that look so
        much alike that 64 others share a part of their hash, not every pair is compared.

        Args:
            apart: Which pairs of splits may share nothing; None: all pairs.
        """
        members = np.array(self._members, np.int64)
        are_apart = self._memberships_apart(apart)
        content, hashes = np.array(self._content), np.array(self._perceptual)
        thumbnails = np.frombuffer(self._thumbnails, np.uint8).reshape(-1, 1 + THUMBNAIL**2)
        _, first = np.unique(
            np.stack([content, members.astype(np.uint64)]), axis=1, return_index=True
        )
        chosen = np.sort(first[thumbnails[first, 0] == 1])
        best = np.full((2, len(self)), np.inf)  # own split, others
        partner = np.full((2, len(self)), -1, np.int64)
        for a, b in _candidates(chosen, hashes):
            different = content[a] != content[b]
            a, b = a[different], b[different]
            far = thumbnail_distance(thumbnails, a, b)
            close = far <= MAX_DISTANCE
            for one, other in ((a[close], b[close]), (b[close], a[close])):
                elsewhere = are_apart[members[one], members[other]].astype(np.int64)
                better = far[close] < best[elsewhere, one]
                where = (elsewhere[better], one[better])
                best[where] = far[close][better]
                partner[where] = other[better]
        return partner[0], partner[1]

    def _memberships_apart(self, apart: Bool[np.ndarray, "s s"] | None) -> Bool[np.ndarray, "m m"]:
        count = 1 + max((max(splits) for splits in self.memberships), default=0)
        if apart is None:
            apart = ~np.eye(count, dtype=bool)
        held = np.zeros((len(self.memberships), len(apart)), bool)
        for code, splits in enumerate(self.memberships):
            held[code, sorted(splits)] = True
        return (held.astype(int) @ apart.astype(int) @ held.T.astype(int)) > 0


def _candidates(
    chosen: Int64[np.ndarray, " n"], hashes: Shaped[np.ndarray, " m"]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (a, b) of images whose hashes differ in few bits; in one yield, no image comes twice in a, nor in b."""
    for band in range(_BANDS):
        part = _part(hashes[chosen], band)
        order = np.lexsort((hashes[chosen], part))
        image, part = chosen[order], part[order]
        for offset in range(1, min(_WINDOW, len(image) - 1) + 1):
            same = np.flatnonzero(part[offset:] == part[:-offset])
            if not len(same):
                break
            a, b = image[same], image[same + offset]
            changed = hashes[a] ^ hashes[b]
            wanted = num_bits(changed) <= MAX_BITS
            for earlier in range(band):  # where they have met already
                wanted &= _part(changed, earlier) != 0
            yield a[wanted], b[wanted]


def _part(hashes: Shaped[np.ndarray, " n"], band: int) -> Shaped[np.ndarray, " n"]:
    """One of the `_BANDS` parts of each hash."""
    width = 64 // _BANDS + 1
    return hashes >> np.uint64(band * width) & np.uint64(2**width - 1)


def num_bits(numbers: Shaped[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """How many bits of each 64-bit number are 1."""
    return np.unpackbits(numbers[:, None].view(np.uint8), axis=1).sum(1, dtype=np.int64)


def thumbnail_distance(
    thumbnails: UInt8[np.ndarray, "n p"], a: Int64[np.ndarray, " m"], b: Int64[np.ndarray, " m"]
) -> Float32[np.ndarray, " m"]:
    """1 - correlation of pairs of thumbnails.

    Args:
        thumbnails: A row for each image: a byte that says whether there is one, and its grey values.
        a: The first of each pair.
        b: The second.
    """
    distance = np.zeros(len(a), np.float32)
    for start in range(0, len(a), _BLOCK):
        part = slice(start, start + _BLOCK)
        x, y = (thumbnails[images[part], 1:].astype(np.float32) for images in (a, b))
        x -= x.mean(1, keepdims=True)
        y -= y.mean(1, keepdims=True)
        norms = np.sqrt((x * x).sum(1) * (y * y).sum(1))
        distance[part] = 1 - (x * y).sum(1) / np.maximum(norms, 1e-6)
    return distance
