"""A folder in whatever format it is found to be in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.format import DataFormat
from vitseg.data.formats.tools import find_foreign, find_tool
from vitseg.data.listing import listed_once
from vitseg.data.splits import find_splits
from vitseg.errors import DataError


class Candidate(NamedTuple):
    """A format that a folder may be in.

    Attributes:
        name: Name of the format in `NAME:ROOT`.
        evidence: What speaks for it, in words.
    """

    name: str
    evidence: str


class AnyFolder(DataFormat):
    """A folder in the one format that it looks like; the data set's `source` says which, and by what.

    Args:
        formats: The formats that come into question.
    """

    name = "folder"
    summary = "your images and masks, format detected"

    def __init__(self, formats: Sequence[DataFormat]) -> None:
        self._formats = {each.name: each for each in formats}

    def open(self, root: Path, split: str) -> SegmentationDataset:
        """The split in the format found; errors as for `detect` and for that format."""
        with listed_once():
            found = self.detect(root)
            data_format = self._formats[found.name]
            dataset = data_format.open_placed(data_format.parse_root(str(root)), split)
        tool = find_tool(root)
        source = f"{tool}: {dataset.source}" if tool else dataset.source
        return dataset.with_name(self.name, f"{source} (detected by {found.evidence})")

    def open_placed(self, root: Path, split: str) -> SegmentationDataset:
        return self.open(root, split)  # which asks the format found

    def splits(self, root: Path) -> tuple[str, ...]:
        """Names of the splits in the format found; errors as for `open`."""
        with listed_once():
            data_format = self._formats[self.detect(root).name]
            return data_format.splits(data_format.parse_root(str(root)))

    def detect(self, root: Path) -> Candidate:
        """The one format that a folder is in, by its layout, its json and yaml files and the headers of some masks.

        Raises:
            DataError: It is in none, or in several, which are listed; or its masks are of different kinds, or are
                index masks saved as colours.
        """
        found: list[Candidate] = []
        fault: DataError | None = None
        for each in self._formats.values() if root.is_dir() else ():
            try:
                evidence = each.looks_like(root)
            except DataError as error:
                evidence, fault = str(error), error
            if evidence:
                found.append(Candidate(each.name, evidence))
        if fault is not None and len({each.evidence for each in found}) == 1:
            raise fault  # a file that several formats would read
        if len(found) > 1:
            listed = "; ".join(f"{name}:{root} by {evidence}" for name, evidence in found)
            raise DataError(
                f"{root} can be read in {len(found)} ways: {listed}. Write the one that is meant instead of "
                f"folder:{root}."
            )
        if fault is not None:
            raise fault
        return found[0] if found else self._without_evidence(root)

    def _without_evidence(self, root: Path) -> Candidate:
        """Images without anything beside them: opened as index masks, so that every missing mask is reported."""
        foreign = find_foreign(root) if root.is_dir() else ""
        if foreign:
            raise DataError(foreign)
        try:
            find_splits(root)
        except DataError as error:  # no folders of images and masks
            tool = find_tool(root)
            if tool:
                raise DataError(
                    f"{root} is the {tool}, but without its images or masks: export it with them (in CVAT, 'Save "
                    "images'), or put them where the export would have them (JPEGImages/)."
                ) from error
            known = "; ".join(f"{each.name} ({each.summary})" for each in self._formats.values())
            raise DataError(f"{error} Known formats: {known}.") from error
        return Candidate("index", "its folders alone, there is no mask")
