"""How many pictures lie in the folders of a data set's images, against those that its splits list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import MAX_FILES, Finding
from vitseg.data.left_out import outermost
from vitseg.data.listing import files_below
from vitseg.errors import first_names
from vitseg.images.decode import IMAGE_SUFFIXES


class Coverage(NamedTuple):
    """Images on disk, listed and read; each file counts once.

    Attributes:
        on_disk: Pictures in the folders that the images come from, without masks; None: images are in no folder.
        listed: Images of the splits that were checked.
        read: Those that could be read.
    """

    on_disk: int | None
    listed: int
    read: int

    def sentence(self) -> str:
        """As the last line of a check says it."""
        read = f"all {self.listed:,}" if self.read == self.listed else f"{self.read:,}"
        if self.on_disk is None:
            return f"{self.listed:,} images are listed, {read} were read"
        disk = f"{self.on_disk:,} pictures are on disk"
        return f"{disk}, {self.listed:,} of them in the splits checked, and {read} were read"


def unlisted_pictures(datasets: Sequence[SegmentationDataset]) -> tuple[int | None, list[Path]]:
    """The number of pictures on disk, and those of them that no split lists.

    Looked through are the folders that images come from, with all that is below; where a folder of images (`images`)
    is known by its name, that one. Masks are no pictures in this count.
    """
    listed: set[str] = set()
    masks: set[str] = set()
    folders: set[Path] = set()
    for dataset in datasets:
        if dataset.in_memory:
            continue
        for index in range(len(dataset)):
            source = dataset.image_source(index)
            if isinstance(source, bytes):
                continue
            listed.add(str(source))
            folders.add(source.parent)
            masks.update(map(str, dataset.mask_files(index)))
    if not listed:
        return None, []
    unlisted = set()
    for folder in outermost(folders):
        for name in files_below(folder):
            path = folder / name
            if path.suffix.lower() in IMAGE_SUFFIXES and str(path) not in masks:
                unlisted.add(path)
    unlisted = {path for path in unlisted if str(path) not in listed}
    return len(listed) + len(unlisted), sorted(unlisted)


def not_listed(unlisted: Sequence[Path]) -> list[Finding]:
    """The fact that pictures are in no split."""
    if not unlisted:
        return []
    one = len(unlisted) == 1
    names = first_names([path.name for path in unlisted])
    return [
        Finding(
            "picture-in-no-split",
            "info",
            f"{len(unlisted):,} picture{'' if one else 's'} beside the images {'is' if one else 'are'} in no split and "
            f"{'was' if one else 'were'} not looked at: {names}.",
            "If they should be trained on, add them, with their masks, to a split.",
            tuple(map(str, unlisted[:MAX_FILES])),
            len(unlisted),
        )
    ]
