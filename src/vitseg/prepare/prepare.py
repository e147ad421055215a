"""A data set made ready for its loader: downloaded or found, unpacked, converted, counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vitseg.data.catalog import DATASETS
from vitseg.data.splits import choose_split
from vitseg.errors import ConfigError, DataError, unknown_name
from vitseg.prepare.archives import unpack
from vitseg.prepare.download import fetch
from vitseg.prepare.jobs import OnProgress, Outcome, no_progress
from vitseg.prepare.sources import find_archives, locate
from vitseg.prepare.table import PREPARATIONS, Preparation

DOWNLOADS = "downloads"
"""Folder in the output folder that keeps what was downloaded; it may be deleted afterwards."""


class SplitCount(NamedTuple):
    """Images with masks of a split, and how many the complete data set has."""

    split: str
    found: int
    official: int

    @property
    def is_complete(self) -> bool:
        return self.found == self.official

    def __str__(self) -> str:
        """In words, as `2 of 2975 images`."""
        state = ", complete" if self.is_complete else ""
        return f"{self.split}: {self.found} of {self.official} images{state}"


@dataclass(frozen=True)
class Prepared:
    """What came of a preparation.

    Attributes:
        specs: `NAME:ROOT` for every loader of the result.
        made: Files that were unpacked or converted.
        kept: Files that were there and whole already.
        counts: Images of every split beside their official number.
        notes: Findings of the loader about the result.
        failures: What is damaged or contradicts the official counts.
    """

    specs: tuple[str, ...]
    made: int
    kept: int
    counts: tuple[SplitCount, ...]
    notes: tuple[str, ...]
    failures: tuple[str, ...]


def prepare(
    name: str,
    out: Path,
    sources: Sequence[Path] = (),
    say: Callable[[str], None] = print,
    on_progress: OnProgress = no_progress,
) -> Prepared:
    """Make a data set ready; run again after an interruption, it continues.

    Args:
        name: One of `PREPARATIONS`.
        out: Folder for the result; may be the source itself.
        sources: Folders with the official files, unpacked or as archives, or the archives. Empty: download.
        say: Called with a line that is worth knowing.
        on_progress: Called with the progress of every step, see `OnProgress`.

    Raises:
        ConfigError: The name is unknown.
        DataError: Nothing usable is in the sources, an archive is refused, or the download is not possible.
    """
    if name not in PREPARATIONS:
        raise ConfigError(unknown_name("data set to prepare", name, PREPARATIONS))
    kind = PREPARATIONS[name]
    if out.exists() and not out.is_dir():
        raise DataError(f"--out {out} is a file, but a folder is expected.")
    if not sources:
        done = _complete(kind, out)
        if done is not None:
            return done
        archives = _fetched(name, kind, out, say, on_progress)
    else:
        archives = find_archives(kind.archives, sources)
    made = kept = 0
    for archive, into in archives:
        written = unpack(archive, out / into, on_progress=on_progress)
        made, kept = made + written.written, kept + written.kept
    folders = [source for source in sources if source.is_dir()]
    outcome = Outcome(made, kept, ())
    if kind.convert is not None:
        outcome = kind.convert([*folders, out], out, on_progress)
    elif not archives:
        return _unpacked_already(kind, folders, out, say)
    return _counted(kind, out, outcome)


def _fetched(
    name: str, kind: Preparation, out: Path, say: Callable[[str], None], on_progress: OnProgress
) -> list[tuple[Path, str]]:
    """The downloaded archives, each with the folder that it is unpacked into."""
    if kind.by_hand:
        raise DataError(
            f"{name} cannot be downloaded without you: {kind.by_hand}, then run "
            f"vitseg data prepare {name} --source FOLDER --out {out}."
        )
    say(f"licence of {name}: {kind.licence}")
    archives = []
    for archive in kind.archives:
        assert archive.download is not None, f"{archive.name} has no download"
        path = fetch(archive.download, out / DOWNLOADS, say, on_progress)
        archives.append((path, archive.into))
    return archives


def _complete(kind: Preparation, out: Path) -> Prepared | None:
    """The result if it is there already, every split complete."""
    try:
        done = _counted(kind, out, Outcome(0, 0, ()))
    except DataError:
        return None
    return done if all(count.is_complete for count in done.counts) else None


def _unpacked_already(
    kind: Preparation, folders: Sequence[Path], out: Path, say: Callable[[str], None]
) -> Prepared:
    """The counts of a data set that needs nothing but unpacking, in the source folder."""
    for folder in folders:
        try:
            done = _counted(kind, folder, Outcome(0, 0, ()))
        except DataError:
            continue
        if folder.resolve() != out.resolve():
            say(f"{folder} is unpacked already and is read as it is: nothing was written to {out}")
        return done
    names = " or ".join(archive.name for archive in kind.archives)
    raise DataError(
        f"{' and '.join(map(str, folders))} has neither {names} nor what it unpacks to: pass --source with the "
        "archive or the folder that holds it."
    )


def _counted(kind: Preparation, out: Path, outcome: Outcome) -> Prepared:
    """The result as its loader finds it.

    Raises:
        DataError: The loader finds nothing.
    """
    root = locate([out], kind.inside) if kind.inside else out
    root = out if root is None else root
    loader = DATASETS[kind.loaders[0]]
    counts, notes, failures = [], [], list(outcome.failures)
    try:
        splits = loader.splits(root)
    except DataError:
        if not failures:
            raise
        splits = ()  # nothing could be made: the failures say why
    for split, official in kind.images.items():
        found = 0
        try:
            dataset = loader.open(root, choose_split(split, splits, root))
            found = len(dataset)
            notes += [f"{split}: {item.message}" for item in dataset.findings]
        except DataError as error:
            if split in splits:
                notes.append(f"{split}: {error}")
        counts.append(SplitCount(split, found, official))
        if found > official:
            failures.append(
                f"{split} has {found} images, but the official data set has {official}: are other files mixed in?"
            )
    if not any(count.found for count in counts) and not failures:
        raise DataError(
            f"{root} has no image with its mask in {', '.join(kind.images)}. {' '.join(notes)}".strip()
        )
    specs = tuple(f"{name}:{root}" for name in kind.loaders)
    return Prepared(specs, outcome.made, outcome.kept, tuple(counts), tuple(notes), tuple(failures))
