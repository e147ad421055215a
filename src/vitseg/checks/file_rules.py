"""Findings about single files: unreadable, of the wrong kind, of the wrong size, smeared."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from vitseg.checks.palettes import DIFFER, OF_GREYS
from vitseg.checks.tally import FaultTally, Tally
from vitseg.data.finding import Finding, Severity


class Rule(NamedTuple):
    """How a fault of files is reported.

    In the texts, `{n}` stands for the number of files, `{first}` for the first of them, `{detail}` for its detail.

    Attributes:
        severity: How bad the fault is.
        one: Message for a single file.
        many: Message for several files.
        fix: What to do about it.
    """

    severity: Severity
    one: str
    many: str
    fix: str


ALL_IGNORED = "all-ignored"

RULES: dict[str, Rule] = {
    "unreadable-image": Rule(
        "error",
        "1 image cannot be read: {detail}",
        "{n} images cannot be read, the first: {detail}",
        "Fetch or export the images again, or remove them together with their masks.",
    ),
    "unreadable-mask": Rule(
        "error",
        "1 mask cannot be read: {detail}",
        "{n} masks cannot be read, the first: {detail}",
        "Export the masks again as PNG, or remove them together with their images.",
    ),
    "size-mismatch": Rule(
        "error",
        "1 mask has another size than its image: {first} is {detail}.",
        "{n} masks have another size than their images; the first, {first}, is {detail}.",
        "Export the masks at the size of the images, or resize them by nearest neighbour.",
    ),
    "lossy-mask": Rule(
        "error",
        "1 mask is a {detail} file, whose compression changes ids.",
        "{n} masks are {detail} files, whose compression changes ids.",
        "Export the masks again as PNG from where they were drawn: renaming or converting these does not bring the "
        "ids back.",
    ),
    "rgb-mask-grey": Rule(
        "error",
        "1 mask is saved with three channels that are equal: the ids are there, but in an RGB file.",
        "{n} masks are saved with three channels that are equal: the ids are there, but in RGB files.",
        "Keep one channel: Image.open(path).getchannel(0).save(path) with Pillow.",
    ),
    "rgb-mask-colors": Rule(
        "error",
        "1 mask holds colours, but is opened as a mask of ids.",
        "{n} masks hold colours, but are opened as masks of ids.",
        "Name the data set color:FOLDER and give every class its colour (palette in classes.json).",
    ),
    "not-binary": Rule(
        "warning",
        "1 binary mask has much between inside and outside: {first}, {detail} of its pixels, is cut at half of white.",
        "{n} binary masks have much between inside and outside, and are cut at half of white: in {first} it is "
        "{detail} of the pixels.",
        "Masks of probabilities, heat maps and photos are no binary masks: save what is inside as 255, the rest as 0.",
    ),
    OF_GREYS: Rule(
        "warning",
        "1 mask has a palette whose greys are numbers of other classes, and others have none: {first}, {detail}.",
        "{n} masks have palettes whose greys are numbers of other classes, and others have none: {first}, {detail}.",
        "If a program that shrinks files has numbered the greys anew, save the masks as they were: in Python, "
        'Image.open(path).convert("L").save(path) after "from PIL import Image".',
    ),
    DIFFER: Rule(
        "warning",
        "1 mask has numbers that its palette shows in another colour than others: {first}, {detail}.",
        "{n} masks have numbers that their palettes show in another colour than others: {first}, {detail}.",
        "Numbers are what counts. If a program that shrinks files has numbered the colours anew, name the data set "
        "color:FOLDER, with each class's colour in the class file (palette), or save the masks with one palette.",
    ),
    "soft-border": Rule(
        "info",
        "1 binary mask has values between inside and outside, {detail} of its pixels; it is cut at half of white.",
        "{n} binary masks have values between inside and outside, and are cut at half of white: in {first} it is "
        "{detail} of the pixels.",
        "Soft borders, of JPEG or of smooth drawing, may stay.",
    ),
    ALL_IGNORED: Rule(
        "warning",
        "1 mask has ignored pixels only: a loss of pixels learns nothing from its image, and a loss of masks "
        "(SegViT's, unless loss.ignored is left_out) that no class is in it.",
        "{n} masks have ignored pixels only: a loss of pixels learns nothing from their images, and a loss of masks "
        "(SegViT's, unless loss.ignored is left_out) that no class is in them.",
        "Remove the images from the split, or label them.",
    ),
}


def told_of_loss(finding: Finding, learns_absence: bool) -> Finding:
    """The finding in the words for one loss, where it is about masks without any label; any other as it is.

    Args:
        finding: A finding.
        learns_absence: See `MethodConfig.learns_absence`.
    """
    if finding.code != ALL_IGNORED:
        return finding
    one = finding.count == 1
    subject = "1 mask has" if one else f"{finding.count} masks have"
    images = "its image" if one else "their images"
    if learns_absence:
        learnt = f"learns from {images} that no class is in {'it' if one else 'them'}"
    else:
        learnt = f"learns nothing from {images}"
    message = f"{subject} ignored pixels only: this recipe's loss {learnt}."
    return replace(finding, message=message)


def file_findings(tally: Tally) -> list[Finding]:
    """What is wrong with single files."""
    found = [
        fault_finding(code, fault, RULES[code])
        for code, fault in tally.faults.items()
        if code in RULES and (code != OF_GREYS or tally.palettes.has_grey)
    ]
    if "smeared-mask" in tally.faults:
        found.append(_smeared(tally))
    if {1, 255} <= tally.insides.keys():
        found.append(_two_insides(tally))
    return found


def fault_finding(code: str, fault: FaultTally, rule: Rule) -> Finding:
    """The finding about a fault, in the words of its rule."""
    text = rule.one if fault.count == 1 else rule.many
    message = text.format(n=fault.count, first=fault.files[0], detail=fault.details[0])
    return Finding(code, rule.severity, message, rule.fix, tuple(fault.files), fault.count)


def _smeared(tally: Tally) -> Finding:
    """An error; only a warning if there is a single value in between: it may be a border drawn on purpose."""
    one_value = tally.smear_values == 1
    rule = Rule(
        "warning" if one_value else "error",
        "1 mask is smeared: at {detail} of its borders there are ids between those of the two sides.",
        "{n} masks are smeared: in the first, at {detail} of the borders there are ids between those of the two sides.",
        "Only if these are borders one pixel wide that you have drawn as a class of their own is it well."
        if one_value
        else "They were resized with blending or were JPEG files once: export them again from where they were drawn, "
        "and resize masks by nearest neighbour only.",
    )
    return fault_finding("smeared-mask", tally.faults["smeared-mask"], rule)


def _two_insides(tally: Tally) -> Finding:
    """A warning of binary masks of which some show what is inside as 1, others as 255, which may count nowhere."""
    few, many = sorted((1, 255), key=lambda value: tally.insides[value].count)
    rare, usual = tally.insides[few], tally.insides[many]
    return Finding(
        "inside-differs",
        "warning",
        f"What is inside is {few} in {rare.count} binary mask{'s' if rare.count > 1 else ''}, the first "
        f"{rare.files[0]}, and {many} in {usual.count}, the first {usual.files[0]}: both are taken for inside.",
        "If they are, they may stay. If 255 counts nowhere, list the classes of 0 and 1, and ignore_index: 255.",
        tuple(rare.files),
        rare.count,
    )
