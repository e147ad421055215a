"""Findings about orientation tags: how many images have which, and masks that do not lie on the upright picture."""

from __future__ import annotations

import re
from pathlib import Path

from vitseg.checks.file_rules import Rule, fault_finding
from vitseg.checks.mask_turns import FAULTY, ON_ITS_SIDE
from vitseg.checks.tally import Tally
from vitseg.data.class_file_places import class_files_of
from vitseg.data.finding import Finding
from vitseg.data.formats.yolo_layout import find_data_file
from vitseg.data.mask_pose import KEY, MaskPose

_FEW = 20  # one in so many is the exception

_DRAWN: dict[MaskPose, str] = {
    "stored": "on the pixels as they are stored, not on the upright picture",
    "upright": "on the upright picture, not on the pixels as they are stored",
}
_THESE = "Turn these masks by the tags of their images, or export them again"


def turn_findings(tally: Tally, root: Path | None) -> list[Finding]:
    """What the orientation tags of images and masks mean for them.

    Args:
        tally: All samples.
        root: The folder of the data set; None: it is in none.
    """
    pose = tally.splits[0].dataset.mask_pose
    other: MaskPose = "stored" if pose == "upright" else "upright"
    cure = _cure(other, root)
    found = [
        *_on_their_side(tally, other, cure),
        *_other_pose(tally, pose, other, cure),
        *_own_tag(tally),
        *_otherwise(tally),
    ]
    return [*found, *_tags(tally, found)]


def _cure(pose: MaskPose, root: Path | None) -> str:
    """How to say that all masks lie so, a sentence without its full stop."""
    if root is None:
        return f"say so in the class file: {KEY}: {pose}"
    files = [path for path in class_files_of(root) if path.suffix.lower() in _WITH_FIELDS]
    described = find_data_file(root)
    if described is not None and re.search(rf"^{KEY}:".encode(), described.read_bytes(), re.M):
        files = [described]  # of YOLO, which comes first there
    if not files:
        return f"say so in a file {root / 'classes.yaml'} of this one line: {KEY}: {pose}"
    field = f'"{KEY}": "{pose}"' if files[0].suffix.lower() == ".json" else f"{KEY}: {pose}"
    return f"say so in {files[0]}: {field}"


_WITH_FIELDS = (".json", ".yaml", ".yml")


def _on_their_side(tally: Tally, other: MaskPose, cure: str) -> list[Finding]:
    fault = tally.faults.get(ON_ITS_SIDE)
    if fault is None:
        return []
    what = "was drawn {0}" if fault.count == 1 else "were drawn {0}"
    seems = what.format(_DRAWN[other])
    rule = Rule(
        "error",
        f"1 mask lies on its side: {{first}} is {{detail}}, whose orientation tag turns it. It seems that it {seems}.",
        f"{{n}} masks lie on their side; the first, {{first}}, is {{detail}}, whose orientation tag turns it. It seems "
        f"that they {seems}.",
        f"If all masks were drawn so, {cure}. Else turn these by the tags of their images, or export them again.",
    )
    return [fault_finding(ON_ITS_SIDE, fault, rule)]


def _other_pose(tally: Tally, pose: MaskPose, other: MaskPose, cure: str) -> list[Finding]:
    turns, code = tally.turns, FAULTY["other pose"]
    fault = tally.faults.get(code)
    count = 0 if fault is None else fault.count
    right = turns.verdicts["as read"]
    told = turns.verdicts.total()
    images = f"{told} image{'' if told == 1 else 's'} with an orientation tag"
    if turns.other_pose() and right * _FEW <= count + right:
        if fault is None:
            message = f"Taken together, the masks of {images} lie {_DRAWN[other]}, as the edges in the pictures show."
            return [Finding(code, "warning", message, f"{_say(cure)}.", (), told)]
        rule = Rule(
            "warning",
            f"The mask of 1 of {images} lies {_DRAWN[other]}, as the edges in the picture show: {{first}}.",
            f"The masks of {{n}} of {images} lie {_DRAWN[other]}, as the edges in the pictures show; the first is "
            "{first}.",
            f"{_say(cure)}.",
        )
        return [fault_finding(code, fault, rule)]
    if fault is None:
        return []
    rest = f"; {right} lie as they are read" if right else ""
    rule = Rule(
        "warning",
        f"The mask of 1 of {images} lies {_DRAWN[other]}, as the edges in the picture show: {{first}}{rest}.",
        f"The masks of {{n}} of {images} lie {_DRAWN[other]}, as the edges in the pictures show{rest}; the first "
        "is {first}.",
        f"{_THESE}: `masks: {other}` would hold for all."
        if right
        else f"Look at them. If all masks were drawn so, {cure}.",
    )
    return [fault_finding(code, fault, rule)]


def _say(cure: str) -> str:
    return cure[0].upper() + cure[1:]


def _own_tag(tally: Tally) -> list[Finding]:
    code = FAULTY["without its own tag"]
    fault = tally.faults.get(code)
    if fault is None:
        return []
    rule = Rule(
        "warning",
        "1 mask has an orientation tag of its own that turns it away from its image: {first}.",
        "{n} masks have an orientation tag of their own that turns them away from their images; the first is {first}.",
        "A mask is turned by its own tag, as any picture. Save these without it: their pixels lie right.",
    )
    return [fault_finding(code, fault, rule)]


def _otherwise(tally: Tally) -> list[Finding]:
    code = FAULTY["another turn"]
    fault = tally.faults.get(code)
    # a single one in a turn that nothing explains is chance rather than a fault
    if fault is None or fault.count < 2 or fault.count * _FEW < tally.turns.verdicts.total():
        return []
    rule = Rule(
        "warning",
        "",
        "The masks of {n} images with an orientation tag would fit them better if they were turned; the first, "
        "{first}, if it were {detail}.",
        "Look at them, and export them again: `masks` in the class file does not mend this.",
    )
    return [fault_finding(code, fault, rule)]


def _tags(tally: Tally, found: list[Finding]) -> list[Finding]:
    """How many images have which tag."""
    turns = tally.turns
    if not turns.tagged:
        return []
    listed = ", ".join(f"{turns.tags[tag]:,} with {tag}" for tag in range(2, 9) if turns.tags[tag])
    one = turns.tagged == 1
    message = (
        f"{turns.tagged:,} of {turns.tags.total():,} images {'has' if one else 'have'} an orientation tag, by which "
        f"{'it is' if one else 'they are'} turned upright: {listed}."
    )
    right = turns.verdicts["as read"]
    if found:
        fix = "Masks have to lie on the upright picture: see the other findings."
    elif right:
        fix = f"Masks have to lie on the upright picture, and those of {right:,} are seen to."
    else:
        fix = "Masks have to lie on the upright picture. There was too little in them to tell: look at some."
    return [Finding("orientation-tags", "info", message, fix, (), turns.tagged)]
