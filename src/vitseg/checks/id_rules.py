"""Findings about what the ids of the masks mean: outside the table, shifted by one, ignored by mistake."""

from __future__ import annotations

import re

from vitseg.checks.file_rules import Rule, fault_finding
from vitseg.checks.tally import FaultTally, Tally
from vitseg.classes import IGNORE_INDEX
from vitseg.data.class_labels import USUAL_IGNORE_ID
from vitseg.data.finding import Finding, Severity
from vitseg.data.labels import LabelTable, ranges

VOID_NAME = re.compile(
    r"(void|ignored?|unlabel+(ed)?|unannotated|unknown|undefined|no[ _-]?label|don'?t[ _-]?care)"
    r"([ _-](area|region|class|label|pixels?))?",
    re.IGNORECASE,
)
"""Names that people give to pixels that should not count."""

SHIFTED = ("looks-unreduced", "looks-already-reduced", "looks-doubly-reduced")
"""Codes of the findings that ids are shifted by one."""

_MAX_NAMED = 10


def id_findings(tally: Tally) -> list[Finding]:
    """What is wrong with the ids of the masks."""
    found = _reduction(tally)
    if "id-outside-table" in tally.faults and not any(f.severity == "error" for f in found):
        found.append(_outside(tally))
    labels = tally.labels
    if not labels.colors:
        found += _foreground_ignored(tally, labels) + _ignore_id_is_class(tally, labels)
    return found + _void_classes(tally, labels)


def _outside(tally: Tally) -> Finding:
    labels = tally.labels
    pixels = tally.whole.unknown_ids
    unknown = sorted(pixels, key=lambda raw: -pixels[raw])
    what = "colours" if labels.colors else "ids"
    if labels.colors:
        listed = ", ".join(map(labels.raw_text, unknown[:_MAX_NAMED]))
        listed += ", ..." if len(unknown) > _MAX_NAMED else ""
    else:
        listed = ranges(unknown)
    text = f"{what} outside the class table, which has {_allowed(labels)}: {listed}"
    rule = Rule(
        "error",
        f"1 mask has {text}. {{first}}: {{detail}}.",
        f"{{n}} masks have {text}. {{first}}: {{detail}}.",
        labels.hint,
    )
    return fault_finding("id-outside-table", tally.faults["id-outside-table"], rule)


def _allowed(labels: LabelTable) -> str:
    if labels.colors:
        return f"{len(labels.mapping)} colours"
    return ranges(labels.mapping)


def _reduction(tally: Tally) -> list[Finding]:
    """Whether the ids look shifted by one against the table, as subtracting 1 ("reduce_zero_label") does."""
    labels = tally.labels
    known = sorted(raw for raw in labels.mapping if raw != USUAL_IGNORE_ID)
    if labels.colors or len(known) < 2 or known != list(range(known[0], known[-1] + 1)):
        return []
    occurring = set(tally.id_pixels)
    unknown = occurring.difference(labels.mapping)
    last, top = known[-1], known[-1] + 1
    zero_is_class = labels.mapping.get(0, IGNORE_INDEX) != IGNORE_INDEX
    if zero_is_class and unknown == {top} and 0 in occurring:
        return _shifted(
            tally,
            "looks-unreduced",
            "error",
            f'The masks have the ids 0-{top}, but the table ends at {last}: either 0 is no class ("other") and every '
            f"class is one id higher than in the table, or the class with the id {top} is missing.",
            f'If 0 is no class, say so in the class file: "ignore_index": 0 and "classes": {{"1": ..., "{top}": ...}}. '
            "Else add the missing class.",
        )
    if zero_is_class and unknown == {USUAL_IGNORE_ID - 1}:
        return _shifted(
            tally,
            "looks-doubly-reduced",
            "error",
            "The masks have the id 254, which is 255 less 1: 1 seems to be subtracted from their ids twice, so that "
            "every class is taken for the one before.",
            "Use the masks as they were before the last conversion.",
        )
    without_top = USUAL_IGNORE_ID in occurring and last not in occurring
    if not zero_is_class and without_top and unknown <= {USUAL_IGNORE_ID - 1, USUAL_IGNORE_ID}:
        return _shifted(
            tally,
            "looks-already-reduced",
            "error" if unknown else "warning",
            f"The table ignores the id 0 and has the classes 1-{last}, but the masks have 255 and never {last}: "
            "1 seems to be subtracted from their ids already, so that class 1 is ignored and each other class "
            "taken for the one before.",
            "Use the masks as they were published, or, for masks reduced like this, a folder data set with a class "
            "file that lists the classes from 0 and ignores 255.",
        )
    return []


def _shifted(tally: Tally, code: str, severity: Severity, message: str, fix: str) -> list[Finding]:
    fault = tally.faults.get("id-outside-table", FaultTally())
    count = fault.count or tally.whole.id_images[USUAL_IGNORE_ID]
    return [Finding(code, severity, message, fix, tuple(fault.files), count)]


def _foreground_ignored(tally: Tally, labels: LabelTable) -> list[Finding]:
    """Masks of 0 and 255, where 255 is meant as a class but ignored by custom."""
    occurring = set(tally.id_pixels)
    if occurring != {0, USUAL_IGNORE_ID} or labels.mapping.get(USUAL_IGNORE_ID) != IGNORE_INDEX:
        return []
    if labels.mapping.get(0) == IGNORE_INDEX or labels.classes.num_classes < 2:
        return []
    return [
        Finding(
            "foreground-ignored",
            "error",
            f"The masks hold 0 and 255 only, and 255 is ignored: nothing but {labels.raw_names.get(0, 'class 0')!r} "
            "would be learned.",
            'If 255 is a class, name it in the class file: {"classes": {"0": "background", "255": "object"}}.',
            (),
            tally.whole.id_images[USUAL_IGNORE_ID],
        )
    ]


def _ignore_id_is_class(tally: Tally, labels: LabelTable) -> list[Finding]:
    """A class 255 far from the others is the ignore value of most tools; 0 and 255 alone are a binary mask."""
    is_class = labels.mapping.get(USUAL_IGNORE_ID, IGNORE_INDEX) >= 0
    alone = USUAL_IGNORE_ID - 1 not in labels.mapping and len(labels.mapping) > 2
    pixels = tally.id_pixels
    if not is_class or not alone or not pixels[USUAL_IGNORE_ID]:
        return []
    name = labels.raw_names.get(USUAL_IGNORE_ID, "255")
    share = pixels[USUAL_IGNORE_ID] / sum(pixels.values())
    return [
        Finding(
            "ignore-value-is-class",
            "warning",
            f"The id 255, which most tools write where pixels should not count, is the class {name!r} "
            f"({share:.1%} of the pixels).",
            f"If these pixels should not count, pass --ignore {name!r} or write it into the class file.",
            (name,),
            tally.whole.id_images[USUAL_IGNORE_ID],
        )
    ]


def _void_classes(tally: Tally, labels: LabelTable) -> list[Finding]:
    """Classes that are trained though their name says that they should not count."""
    pixels, found = tally.pixels, []
    for index, name in enumerate(labels.classes.names):
        at_255 = labels.mapping.get(USUAL_IGNORE_ID) == index
        if not VOID_NAME.fullmatch(name) or not pixels[index] or at_255:
            continue
        images = int(tally.whole.images[index])
        found.append(
            Finding(
                "void-class",
                "warning",
                f"The class {name!r} covers {pixels[index] / pixels.sum():.1%} of the labelled pixels and is trained "
                "like any other, though its name says that these pixels should not count.",
                f"Pass --ignore {name!r}, or write it into the recipe (data.ignore) or the class file (ignore).",
                (name,),
                images,
            )
        )
    return found


def ignored_class(tally: Tally, ignore_id: int) -> Finding | None:
    """Whether the id that a class file ignores has an ordinary name and many pixels.

    Args:
        tally: Counts of all splits.
        ignore_id: The `ignore_index` of the class file.
    """
    labels, pixels = tally.labels, tally.id_pixels
    name = labels.raw_names.get(ignore_id, "ignore_index")
    share = pixels[ignore_id] / max(1, sum(pixels.values()))
    if VOID_NAME.fullmatch(name) or name in _USUAL_IGNORED or share < _MANY_IGNORED:
        return None
    return Finding(
        "ignored-class",
        "warning",
        f"The class file ignores the id {ignore_id}, which it names {name!r}: {share:.1%} of all pixels are ignored.",
        "If it is a class to be learned, remove ignore_index from the class file.",
        (name,),
        tally.whole.id_images[ignore_id],
    )


_USUAL_IGNORED = ("ignore_index", "ignored by custom", "background", "other", "others", "null")
_MANY_IGNORED = 0.01
