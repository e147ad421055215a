"""Findings about the classes as a whole and about sizes: what never occurs, how uneven it is, which crop fits."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

import numpy as np

from vitseg.checks.facts import TINY_SHARE
from vitseg.checks.tally import SplitTally, Tally
from vitseg.classes import ClassTable, folded_name
from vitseg.data.finding import Finding
from vitseg.errors import first_names
from vitseg.types import Size

LARGEST_CROP = 768
SMALLEST_CROP = 32
_CROP_STEP = 32
_MAX_NAMED = 10
_UNEVEN = 20  # ratio of the commonest to the rarest class from which the finding says what to do


def class_findings(tally: Tally) -> list[Finding]:
    """Classes that are missing somewhere, and facts about how often and how large they are."""
    if not tally.pixels.any():
        return []
    # a split made of others has what they have: it would hide what one of them alone has
    labelled = [
        split
        for split, joint in zip(tally.splits, tally.sharing.is_joint, strict=True)
        if split.pixels.any() and not joint
    ]
    return [
        *_never(tally),
        *(_in_one_split(tally, labelled) if len(labelled) > 1 else []),
        *_uneven(tally),
        *_tiny(tally),
    ]


def name_findings(classes: ClassTable) -> list[Finding]:
    """The warning that classes have names which may be one, typed differently."""
    by_fold: dict[str, list[str]] = {}
    for name in classes.names:
        by_fold.setdefault(folded_name(name), []).append(name)
    groups = [names for names in by_fold.values() if len(names) > 1]
    if not groups:
        return []
    shown = [" and ".join(map(_quoted, names)) for names in groups]
    merge = ", ".join(
        f"{_quoted(_plainest(names))}: [{', '.join(map(_quoted, names))}]" for names in groups
    )
    return [
        Finding.of(
            "alike-class-names",
            "warning",
            f"Classes have names that differ in nothing but case, blanks around them or the spelling of accents: "
            f"{first_names(shown, _MAX_NAMED)}.",
            f"If they are one class, rename it where it was labelled, or merge them in the class file (classes.json): "
            f'{{"merge": {{{merge}}}}}.',
            [name for names in groups for name in names],
        )
    ]


def _quoted(name: str) -> str:
    """A name as JSON has it; of accents, a spelling that is not the usual one is shown by its codes."""
    return json.dumps(name, ensure_ascii=not unicodedata.is_normalized("NFC", name))


def _plainest(names: Sequence[str]) -> str:
    """The name for all: the first that has no blanks around it and the usual spelling of accents."""
    plain = (name for name in names if unicodedata.normalize("NFC", name).strip() == name)
    return next(plain, names[0])


def suggested_crop(tally: Tally) -> Size | None:
    """A square crop that three quarters of the images fill: their short side, down to a multiple of 32.

    At most 768, the largest crop of the papers (Cityscapes); None without readable images.
    """
    sizes = tally.whole.sizes()
    if not len(sizes):
        return None
    short = int(np.quantile(sizes.min(1), 0.25, method="lower"))
    side = min(LARGEST_CROP, max(SMALLEST_CROP, short // _CROP_STEP * _CROP_STEP))
    return side, side


def size_findings(tally: Tally) -> list[Finding]:
    """How large the images are, with the crop size that suits them."""
    crop = suggested_crop(tally)
    if crop is None:
        return []
    sizes = tally.whole.sizes()
    quantiles = np.quantile(sizes, (0, 0.5, 1), axis=0, method="nearest")
    low, middle, high = quantiles.astype(int).tolist()
    if len(sizes) == 1:
        text = f"The only image is {low[1]} pixels wide and {low[0]} high."
    elif low == high:
        text = f"All {len(sizes)} images are {low[1]} pixels wide and {low[0]} high."
    else:
        text = (
            f"The {len(sizes)} images are {low[1]} to {high[1]} pixels wide (median {middle[1]}) and {low[0]} to "
            f"{high[0]} high (median {middle[0]})."
        )
    smaller = int((sizes.min(1) < crop[0]).sum())
    padded = f"; {plural(smaller, 'image')} would have to be padded" if smaller else ""
    fix = f"A crop size of [{crop[0]}, {crop[1]}] suits them{padded}."
    return [Finding("image-sizes", "info", text, fix, (), len(sizes))]


def _never(tally: Tally) -> list[Finding]:
    names = tally.labels.classes.names
    missing = [name for name, pixels in zip(names, tally.pixels, strict=True) if not pixels]
    if not missing:
        return []
    splits = " or ".join(split.dataset.split for split in tally.splits)
    verb = "never occurs" if len(missing) == 1 else "never occur"
    return [
        Finding.of(
            "class-never-occurs",
            "warning",
            f"{len(missing)} of {len(names)} classes {verb} in the masks of {splits}: "
            f"{first_names(missing, _MAX_NAMED)}.",
            "If the data set is complete: is the class list that of these masks, in the order of their ids? Classes "
            "without pixels cannot be learned.",
            missing,
        )
    ]


def _in_one_split(tally: Tally, labelled: list[SplitTally]) -> list[Finding]:
    names = tally.labels.classes.names
    occurs = np.stack([split.images > 0 for split in labelled])  # (splits, k)
    lonely = np.flatnonzero(occurs.sum(0) == 1)
    if not len(lonely):
        return []
    parts = []
    for number, split in enumerate(labelled):
        only = [names[index] for index in lonely if occurs[number, index]]
        if only:
            parts.append(f"in {split.dataset.split} only: {first_names(only, _MAX_NAMED)}")
    verb = "occurs" if len(lonely) == 1 else "occur"
    return [
        Finding.of(
            "class-in-one-split",
            "warning",
            f"{len(lonely)} of {len(names)} classes {verb} in one split only; {'; '.join(parts)}.",
            "What is missing in training cannot be learned, and what is missing in validation is not scored: "
            "move images.",
            [names[index] for index in lonely],
        )
    ]


def _uneven(tally: Tally) -> list[Finding]:
    names = tally.labels.classes.names
    pixels, images = tally.pixels, tally.whole.images
    order = [index for index in np.argsort(pixels, kind="stable") if pixels[index]]
    if len(order) < 2:
        return []
    rare, common, total = order[0], order[-1], pixels.sum()
    ratio = pixels[common] / pixels[rare]
    return [
        Finding.of(
            "class-frequency",
            "info",
            f"The commonest class, {names[common]}, has {pixels[common] / total:.1%} of the labelled pixels; the "
            f"rarest, {names[rare]}, has {100 * pixels[rare] / total:.2g}% of them and occurs in "
            f"{plural(int(images[rare]), 'image')}: a ratio of {ratio:,.0f} to 1.",
            "Loss weights by class, crops with rare classes, and repeat-factor sampling of images help rare classes."
            if ratio >= _UNEVEN
            else "Nothing: this is even.",
            [names[index] for index in order[: min(_MAX_NAMED, len(order) // 2)]],
        )
    ]


def _tiny(tally: Tally) -> list[Finding]:
    names = tally.labels.classes.names
    objects = tally.whole.objects
    tiny = tally.whole.tiny
    if not tiny.sum():
        return []
    mostly = [i for i in np.argsort(-tiny, kind="stable") if tiny[i] > objects[i] / 2]
    where = f", above all of {first_names([names[i] for i in mostly[:3]])}" if mostly else ""
    return [
        Finding.of(
            "tiny-objects",
            "info",
            f"{tiny.sum():,} of {objects.sum():,} connected regions ({tiny.sum() / objects.sum():.0%}) cover less than "
            f"{TINY_SHARE:.2%} of their image{where}.",
            "If they matter, do not scale images down, and choose a small patch size; if they are stray pixels, clean "
            "the masks.",
            [names[i] for i in mostly],
        )
    ]


def plural(count: int, word: str) -> str:
    """The count with its noun, as `1 image` or `2 images`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
