"""The whole check of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vitseg.checks.class_rules import class_findings, name_findings, size_findings, suggested_crop
from vitseg.checks.duplicate_rules import duplicate_findings
from vitseg.checks.facts import Examiner
from vitseg.checks.file_rules import file_findings
from vitseg.checks.id_rules import SHIFTED, id_findings, ignored_class
from vitseg.checks.image_rules import image_findings
from vitseg.checks.on_disk import Coverage, not_listed, unlisted_pictures
from vitseg.checks.pixel_rules import pixel_findings
from vitseg.checks.report import CheckReport, SplitReport, worst_first
from vitseg.checks.sharing import image_groups
from vitseg.checks.tally import SplitTally, Tally
from vitseg.checks.turn_rules import turn_findings
from vitseg.checks.unnamed import no_class_file, open_unnamed
from vitseg.classes import IGNORE_INDEX
from vitseg.data.catalog import list_splits, open_unchecked, parse_data_spec, require_one_table
from vitseg.data.class_file import read_class_file
from vitseg.data.class_file_places import find_class_file
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.data.parallel import CHUNK, map_in_order
from vitseg.errors import DataError
from vitseg.machine import num_cores


def check_dataset(
    spec: str,
    splits: Sequence[str] = (),
    merge: Mapping[str, Sequence[str]] | None = None,
    ignore: Sequence[str] = (),
    num_workers: int | None = None,
    on_start: Callable[[int], object] = lambda total: None,
    on_image: Callable[[], object] = lambda: None,
) -> CheckReport:
    """Read a data set once, every image and mask, and report what is wrong with it.

    Args:
        spec: `NAME:ROOT`.
        splits: Names of splits; none: all. What several of them hold is read once.
        merge: Joint class -> classes that it joins.
        ignore: Classes whose pixels count nowhere.
        num_workers: Processes; None: one per processor. Small data sets are read by this process.
        on_start: Called with the number of images.
        on_image: Called once per image.

    Raises:
        ConfigError: `spec`, `merge` or `ignore` is wrong.
        DataError: There is no data set that could be read, or no such split.
    """
    name, root = parse_data_spec(spec)
    folder = root if isinstance(root, Path) else None  # the hub's data sets are in none
    unnamed = None
    try:
        datasets = [
            open_unchecked(spec, split, merge, ignore) for split in splits or list_splits(spec)
        ]
    except DataError:
        unnamed = None if folder is None else open_unnamed(name, folder, splits)
        if unnamed is None:
            raise
        datasets = unnamed
    require_one_table(datasets)
    datasets = [dataset.with_bands(datasets[0].bands) for dataset in datasets]  # as training does
    tally = _scan(datasets, num_workers, on_start, on_image)
    twins = duplicate_findings(tally)
    findings = [*_of_listing(datasets), *file_findings(tally), *(finding for finding, _ in twins)]
    findings += [*image_findings(tally), *pixel_findings(tally.storage, datasets)]
    findings += tally.bands.findings()
    findings += turn_findings(tally, folder)
    if unnamed is not None and folder is not None:
        findings.append(no_class_file(tally, folder))
    else:
        findings += [*id_findings(tally), *_ignored(tally, folder)]
        findings += [*name_findings(tally.labels.classes), *class_findings(tally)]
    on_disk, unlisted = unlisted_pictures(datasets)
    findings += [*tally.sharing.findings(), *([] if splits else not_listed(unlisted))]
    findings += size_findings(tally)
    examples = {code: tuple(fault.places) for code, fault in tally.faults.items()}
    examples |= {finding.code: places for finding, places in twins}
    shown = examples.get("id-outside-table", ())  # they show, too, how ids are shifted
    examples |= {finding.code: shown for finding in findings if finding.code in SHIFTED}
    reports = tuple(_split_report(split) for split in tally.splits)
    coverage = Coverage(on_disk, tally.num_images, tally.num_images_read)
    return CheckReport(
        spec, reports, worst_first(findings), examples, suggested_crop(tally), coverage
    )


def _scan(
    datasets: Sequence[SegmentationDataset],
    num_workers: int | None,
    on_start: Callable[[int], object],
    on_image: Callable[[], object],
) -> Tally:
    groups = list(image_groups(datasets))
    total = len(groups)
    workers = num_cores() if num_workers is None else num_workers
    if total <= CHUNK * workers:
        workers = 0  # starting processes would take longer
    on_start(total)
    tally = Tally(datasets)
    for samples in map_in_order(Examiner(datasets), groups, workers):
        tally.add_image(samples)
        on_image()
    return tally


def _of_listing(datasets: Sequence[SegmentationDataset]) -> list[Finding]:
    """Findings from listing the splits; one that several splits share comes once."""
    return list(dict.fromkeys(finding for dataset in datasets for finding in dataset.findings))


def _ignored(tally: Tally, folder: Path | None) -> list[Finding]:
    """Whether the class file of the folder ignores an ordinary class."""
    path = None if folder is None else find_class_file(folder)
    if path is None:
        return []
    ignore_id = read_class_file(path).ignore_index
    labels = tally.splits[0].dataset.labels
    if ignore_id is None or labels.colors or labels.mapping.get(ignore_id) != IGNORE_INDEX:
        return []
    finding = ignored_class(tally, ignore_id)
    return [] if finding is None else [finding]


def _split_report(split: SplitTally) -> SplitReport:
    sizes = split.sizes()
    smallest = median = largest = None
    if len(sizes):
        smallest, median, largest = (
            (int(pair[0]), int(pair[1]))
            for pair in np.quantile(sizes, (0, 0.5, 1), axis=0, method="nearest")
        )
    counts = (split.pixels, split.images, split.objects, split.tiny)
    return SplitReport(split.dataset, split.num_masks, *counts, smallest, median, largest)
