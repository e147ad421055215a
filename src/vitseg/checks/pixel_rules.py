"""Findings about how the pixels of images are stored: depth, range, bands, alpha, pages; from `pixel_facts`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vitseg.checks.pixel_facts import DEPTHS, EIGHT_BITS, DeepGroup, PixelTally
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.data.value_survey import MeasuredRange, measured_range
from vitseg.images.pixel_source import BANDS_LEFT_OUT, FIRST_FRAME, FIRST_PAGE
from vitseg.images.value_range import ValueRange

HIGHER = 2.0
"""Times that the largest value of a split is above that of the training images, from which much of it is clipped."""

_FIXES = {
    FIRST_PAGE: "To label the other pages, too, save each as a file of its own.",
    FIRST_FRAME: "To label the other frames, too, save each as a file of its own.",
    BANDS_LEFT_OUT: "If the model is to see other bands, choose them: ?bands=4,3,2,8 behind the folder, bands in the "
    "class file, or data.bands in the recipe. If the last band is alpha, tag it so: "
    "gdal_edit.py -colorinterp_4 alpha FILE.",
}


def pixel_findings(tally: PixelTally, datasets: Sequence[SegmentationDataset]) -> list[Finding]:
    """What is notable about how pixels are stored; nothing for 8-bit colours without alpha.

    Args:
        tally: The facts of all images.
        datasets: The splits, in the tally's order.
    """
    found = [*_values(tally, datasets), *_mixed(tally, datasets), *_higher(tally, datasets)]
    for (kind, of_many), group in tally.notices.items():
        one = group.count == 1
        subject = group.files[0] if one else f"{group.count:,} images, the first {group.files[0]}"
        text = tally.texts[kind, of_many] if one else of_many
        found.append(
            Finding(
                kind, "info", f"{subject}: {text}.", _FIXES[kind], tuple(group.files), group.count
            )
        )
    if (mixed := _left_out_of_some(tally)) is not None:
        found.append(mixed)
    if tally.with_alpha.count:
        found.append(_alpha(tally))
    return found


def _values(tally: PixelTally, datasets: Sequence[SegmentationDataset]) -> Iterator[Finding]:
    """The values of images of more than 8 bits: a warning where nothing states which are black and white."""
    deep = {words: group for words, group in tally.whole.items() if words != EIGHT_BITS}
    if not deep:
        return
    trained = next((each for each in datasets if each.split == "train"), datasets[0])
    declared = trained.value_range
    training = None if declared else _what_training_does(measured_range(trained), trained.split)
    for words, group in deep.items():
        unstated = group.unstated
        message = (
            f"{_images(group.count)} {words} pixels, with values from {_range(group)}"
            f"{_depth(words, group)}."
        )
        if declared is not None:
            fix = f"Nothing: {declared.words()} is declared as black to white by the class file."
            yield Finding("deep-values", "info", message, fix, tuple(group.files), group.count)
            continue
        if not unstated.count:
            fix = "Nothing: their files state which values are black and white."
            if training is not None:
                fix = f"Their files note ranges that differ. {training}"
            yield Finding("deep-values", "info", message, fix, tuple(group.files), group.count)
            continue
        which = "" if unstated.count == group.count else f" of {unstated.count:,} of them"
        message += f" Nothing states which values{which} are black and white."
        fix = training or "State it in the recipe: data.value_range: [LOW, HIGH]."
        files, count = tuple(unstated.files), unstated.count
        yield Finding("unstated-range", "warning", message, fix, files, count)


def _what_training_does(found: MeasuredRange | None, split: str) -> str | None:
    """The range that a training measures, which is measured here likewise; None where it measures none."""
    if found is None:
        return None
    low, high = found.limits
    return (
        f"Training on the split {split} takes {found.limits.words()} for all of them, and the model keeps "
        f"that. If it is wrong, state another in the recipe, data.value_range: [{low:.10g}, {high:.10g}], "
        "and to a model that has none with --value-range."
    )


def _mixed(tally: PixelTally, datasets: Sequence[SegmentationDataset]) -> Iterator[Finding]:
    """Images of different depths, within a split or between splits."""
    if len(tally.whole) < 2:
        return
    rare = min(tally.whole.values(), key=lambda group: group.count)
    parts = [
        f"{dataset.split}: "
        + " and ".join(f"{group.count:,} of {words}" for words, group in sorted(groups.items()))
        for dataset, groups in zip(datasets, tally.depths, strict=True)
        if groups
    ]
    yield Finding(
        "mixed-depths",
        "warning",
        f"Images have different depths: {'; '.join(parts)}.",
        "Save all images alike, from the same source: converted in different ways, the same scene looks different to a "
        "model.",
        tuple(rare.files),
        rare.count,
    )


def _higher(tally: PixelTally, datasets: Sequence[SegmentationDataset]) -> Iterator[Finding]:
    """Splits whose values go far beyond those that are trained on."""
    first = next((n for n, each in enumerate(datasets) if each.split == "train"), 0)
    if datasets[first].value_range is not None:
        return
    for words, trained in tally.depths[first].items():
        for dataset, groups in zip(datasets, tally.depths, strict=True):
            group = groups.get(words)
            if words == EIGHT_BITS or group is None or not group.unstated.count:
                continue
            if group.high > HIGHER * max(trained.high, 0) and trained.unstated.count:
                yield Finding(
                    "range-differs",
                    "warning",
                    f"The {words} values of {dataset.split} reach {group.high:,.6g}, those of "
                    f"{datasets[first].split} only {trained.high:,.6g}: what is above the range that training "
                    "measures is all white.",
                    "Save both splits alike, or state a range for both: data.value_range in the recipe.",
                    tuple(group.files),
                    group.count,
                )


def _left_out_of_some(tally: PixelTally) -> Finding | None:
    """The warning that some images have more bands than others, where none are chosen."""
    groups = {
        text: group for (kind, text), group in tally.notices.items() if kind == BANDS_LEFT_OUT
    }
    count = sum(group.count for group in groups.values())
    total = sum(group.count for group in tally.whole.values())
    if not count or (count == total and len(groups) == 1):
        return None
    rare = min(groups.values(), key=lambda group: group.count)
    return Finding(
        "mixed-bands",
        "warning",
        f"Images have different numbers of bands: {count:,} of {total:,} have more than three.",
        "Export all images alike, or choose the bands that all have: bands in the class file.",
        tuple(rare.files),
        rare.count,
    )


def _alpha(tally: PixelTally) -> Finding:
    group = tally.with_alpha
    has = f"{_images(group.count)} transparency (an alpha channel or a transparent colour)"
    message = (
        f"{has}: they are laid over white." if group.count > 1 else f"{has}: it is laid over white."
    )
    fix = (
        "Nothing, if transparent pixels are to be white; else save the images without transparency."
    )
    return Finding("transparency", "info", message, fix, tuple(group.files), group.count)


def _images(count: int) -> str:
    return "1 image has" if count == 1 else f"{count:,} images have"


def _range(group: DeepGroup) -> str:
    return ValueRange(group.low, group.high).words()


def _depth(words: str, group: DeepGroup) -> str:
    """`: 12-bit values in 16-bit files`, where they need fewer bits than they have."""
    if words != "uint16":
        return ""
    bits = next(depth for depth in DEPTHS if group.high <= 2**depth - 1)
    return f": {bits}-bit values in 16-bit files" if bits < 16 else ""
