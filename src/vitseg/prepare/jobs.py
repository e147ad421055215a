"""Many files, one after the other or in several processes: damaged ones are noted, the others go on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vitseg.data.parallel import map_in_order
from vitseg.errors import DataError
from vitseg.files import whole_file
from vitseg.images.decode import decode_mask
from vitseg.machine import num_cores
from vitseg.render.palette import save_whole

OnProgress = Callable[[str, int, int], None]
"""Called with the name of a step, how much of it is done and how much there is."""

IN_PROCESS = 64
"""Largest number of files that this process does alone: starting others takes a second."""

_MOST_PROCESSES = 16
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

Job = TypeVar("Job")


class Outcome(NamedTuple):
    """How many files were made, how many were whole already, and what was wrong with the others."""

    made: int
    kept: int
    failures: tuple[str, ...]


def no_progress(step: str, done: int, total: int) -> None:
    """Report no progress."""


def run_jobs(
    work: Callable[[Job], bool], jobs: Sequence[Job], step: str, on_progress: OnProgress
) -> Outcome:
    """Do all jobs, in as many processes as there are CPUs.

    Args:
        work: Does one job and says whether it made something; a `DataError` is noted as a failure. It must be
            picklable: a function at the top of a module.
        jobs: Arguments of `work`.
        step: Name of the step, for `on_progress`.
        on_progress: Called after each job.
    """
    results: list[bool | str] = []
    num_workers = 0 if len(jobs) <= IN_PROCESS else min(num_cores(), _MOST_PROCESSES)
    for result in map_in_order(partial(_attempt, work), jobs, num_workers):
        results.append(result)
        on_progress(step, len(results), len(jobs))
    failures = sorted(result for result in results if isinstance(result, str))
    return Outcome(results.count(True), results.count(False), tuple(failures))


def _attempt(work: Callable[[Job], bool], job: Job) -> bool | str:
    try:
        return work(job)
    except DataError as error:
        return str(error)


def is_whole(path: Path, size: tuple[int, int], allowed: Sequence[int]) -> bool:
    """Whether a PNG mask is there and whole, has this (height, width) and no other ids than the allowed."""
    try:
        ids = decode_mask(path)
    except DataError:
        return False
    if not path.read_bytes().endswith(_PNG_END):  # Pillow does without
        return False
    if ids.dtype != np.uint8 or ids.shape != size:
        return False
    counts = np.bincount(ids.ravel(), minlength=256)  # np.unique would sort all pixels
    return set(np.flatnonzero(counts).tolist()) <= set(allowed)


def save_ids(path: Path, ids: UInt8[np.ndarray, "H W"]) -> None:
    """Write an index mask as a grey PNG, whole or not at all."""
    save_whole(path, Image.fromarray(ids))


def bring(source: Path, target: Path) -> None:
    """Put a file at a second place: as a hard link, or as a copy where links are not possible.

    A file of the same size that is there already is kept. The folder is made.

    Raises:
        DataError: The file is missing or cannot be read.
    """
    try:
        size = source.stat().st_size
        if target.is_file() and target.stat().st_size == size:
            return
        with whole_file(target) as partial:
            partial.unlink(missing_ok=True)
            try:
                os.link(source.resolve(), partial)
            except OSError:
                shutil.copyfile(source, partial)
    except FileNotFoundError:
        raise DataError(f"{source} does not exist.") from None
