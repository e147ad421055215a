"""What earlier commands left in a folder of predictions and no line of the list stands for any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path, PurePath

from vitseg.images.label_store import partial_files
from vitseg.inference.record import PredictionRecord
from vitseg.runs import MASKS, OVERLAYS, POLYGONS


def remove_files(
    out: Path, records: Iterable[PredictionRecord], kept: Iterable[PredictionRecord]
) -> None:
    """Delete masks, overlays and polygons that lines name, and folders that are empty without them.

    Args:
        out: The folder of the predictions.
        records: The lines.
        kept: Lines that stay, with their files.

    Raises:
        OSError: One cannot be deleted.
    """
    stay = {file for record in kept for file in files_of(record)}
    for file in {file for record in records for file in files_of(record)} - stay:
        path = out / file
        if path.is_file() or path.is_symlink():  # a folder of that name is not ours
            path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == out or not _is_removed(folder):
                break


def files_of(record: PredictionRecord) -> list[str]:
    """Paths of the files that a line names, in the folder of the predictions; those elsewhere are left out."""
    named = [file for file in (record.mask, record.overlay, record.polygons) if file]
    return [file for file in named if _is_inside(PurePath(file))]


def remove_partials(out: Path, kept: Collection[Path]) -> None:
    """Delete labels of tiled images that no command goes on with.

    Args:
        out: The folder of the predictions.
        kept: Masks whose labels stay.
    """
    for path in partial_files(out / MASKS, kept):
        path.unlink(missing_ok=True)


def _is_inside(path: PurePath) -> bool:
    return path.parts[0] in (MASKS, OVERLAYS, POLYGONS) and ".." not in path.parts


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:  # it holds something, or was gone
        return False
    return True
