"""What the check found, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Int64

from vitseg.checks.facts import Place
from vitseg.checks.on_disk import Coverage
from vitseg.classes import ClassTable
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.types import Size

_RANK = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class SplitReport:
    """Counts of one split; arrays are in class order.

    Attributes:
        dataset: The split.
        num_masks: Masks that could be read.
        pixels: Pixels of each class.
        images: Images in which each class occurs.
        objects: Connected regions of each class.
        tiny: Tiny ones among these regions, of each class.
        smallest: (smallest height, smallest width) of all images; None without readable images.
        median: (median height, median width), as for `smallest`.
        largest: (largest height, largest width), as for `smallest`.
    """

    dataset: SegmentationDataset
    num_masks: int
    pixels: Int64[np.ndarray, " k"]
    images: Int64[np.ndarray, " k"]
    objects: Int64[np.ndarray, " k"]
    tiny: Int64[np.ndarray, " k"]
    smallest: Size | None
    median: Size | None
    largest: Size | None

    @property
    def name(self) -> str:
        return self.dataset.split

    @property
    def num_images(self) -> int:
        return len(self.dataset)


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    Attributes:
        spec: The data set, as `NAME:ROOT`.
        splits: Counts of every split.
        findings: All findings, worst first.
        examples: Code of a finding -> samples that show it.
        crop_size: (height, width) that suits the images.
        coverage: How many images are on disk, listed and read.
    """

    spec: str
    splits: tuple[SplitReport, ...]
    findings: tuple[Finding, ...]
    examples: Mapping[str, tuple[Place, ...]]
    crop_size: Size | None
    coverage: Coverage

    @property
    def classes(self) -> ClassTable:
        return self.splits[0].dataset.classes

    @property
    def num_errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def num_warnings(self) -> int:
        return sum(finding.severity == "warning" for finding in self.findings)

    @property
    def named(self) -> bool:
        """Whether the classes are known at all."""
        return bool(self.splits[0].dataset.labels.mapping)

    def to_json(self) -> dict[str, object]:
        """All of it but the pictures, in plain types."""
        return {
            "data": self.spec,
            "errors": self.num_errors,
            "warnings": self.num_warnings,
            "images": self.coverage._asdict(),
            "findings": [asdict(finding) for finding in self.findings],
            "splits": {split.name: self._split_to_json(split) for split in self.splits},
            "classes": list(self.classes.names) if self.named else [],
            "suggested_crop_size": self.crop_size,
        }

    def _split_to_json(self, split: SplitReport) -> dict[str, object]:
        counts = {"pixels": split.pixels, "images": split.images}
        counts |= {"objects": split.objects, "tiny_objects": split.tiny}
        by_class = {
            name: {key: int(values[index]) for key, values in counts.items()}
            for index, name in enumerate(self.classes.names)
        }
        return {
            "source": split.dataset.source,
            "images": split.num_images,
            "readable_masks": split.num_masks,
            "smallest": split.smallest,
            "median": split.median,
            "largest": split.largest,
            "classes": by_class if self.named else {},
        }


def worst_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Errors, those that concern most files first; then warnings and then facts, each in the order given."""
    return tuple(sorted(findings, key=_badness))


def _badness(finding: Finding) -> tuple[int, int]:
    return _RANK[finding.severity], -finding.count if finding.severity == "error" else 0
