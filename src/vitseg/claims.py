"""The claim of the folder or file that a command is to write, before anything is done."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from vitseg.errors import ConfigError
from vitseg.runs import (
    FAILED_START,
    MASKS,
    OVERLAYS,
    OWNER,
    PREDICTIONS,
    leftovers,
    require_state,
    was_killed_early,
)


def claim_folder(
    out: Path,
    *,
    may_hold: Collection[str] | None = (),
    instead: str = "give a new folder",
    option: str = "--out",
) -> None:
    """See that a folder can take a result: it is not there yet, is empty, or holds nothing but what is allowed.

    Whether files can be written there is tried, so that no long work ends where its result finds no place.

    Args:
        out: The folder; it is not created.
        may_hold: Names that it may hold; None: anything.
        instead: What the user can do where it holds something else.
        option: Option that names the folder.

    Raises:
        ConfigError: The path is a file, the folder holds something else, or files cannot be written there.
    """
    is_there = os.path.exists(out)  # Path.exists fails for a path that is too long
    if is_there and not out.is_dir():
        raise ConfigError(f"{option} {out} is a file: give a folder.")
    if is_there and may_hold is not None:
        held = sorted({path.name for path in out.iterdir()} - {*may_hold, OWNER})
        if held:
            names = ", ".join(held[:3]) + ("..." if held[3:] else "")
            raise ConfigError(
                f"{option} {out} is not empty ({names}): {instead}. Nothing was changed."
            )
    require_writable(out, option)


def require_writable(place: Path, option: str) -> None:
    """See that a folder, or a file in one, can be written: one without a name is, in the nearest folder that is there.

    Args:
        place: The folder or file; neither it nor folders above it are created.
        option: Option that names it.

    Raises:
        ConfigError: It cannot.
    """
    there = place.absolute() if os.path.isdir(place) else place.absolute().parent
    while not os.path.lexists(there) and there.parent != there:
        there = there.parent
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            place.stat()  # a name that is too long is told so
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"1")
            file.flush()
    except OSError as error:
        raise ConfigError(
            f"{option} {place} cannot be written ({there}: {error.strerror}): make that possible, or give another "
            "place. Nothing was changed."
        ) from error


def claim_new(out: Path) -> None:
    """Raise ConfigError if the folder for a changed or converted model exists, even if empty, or cannot be written."""
    if os.path.exists(out):
        raise ConfigError(f"--out {out} exists already: give a new folder. Nothing was changed.")
    require_writable(out, "--out")


def claim_run(out: Path, resume: bool) -> None:
    """As `claim_folder` for a training: its folder is new, or holds a run that is to go on or to begin anew."""
    keeps = "give a new folder, or pass --resume to continue the run in it"
    claim_folder(out, may_hold=None if resume else FAILED_START | leftovers(out), instead=keeps)
    if resume and not was_killed_early(out):
        require_state(out)


def claim_predictions(out: Path, overwrite: bool) -> None:
    """See that a folder can take predictions.

    Args:
        out: The folder; it is not created.
        overwrite: Whether predictions that it holds may be replaced.

    Raises:
        ConfigError: The path is a file, the folder holds predictions that may not be replaced, or it holds masks that
            are none, as the folder of a data set does.
    """
    claim_folder(out, may_hold=None)
    if (out / PREDICTIONS).exists() and (out / PREDICTIONS).stat().st_size:
        if not overwrite:
            raise ConfigError(
                f"--out {out} holds predictions already ({PREDICTIONS}): give a new folder, or pass --overwrite. "
                "Nothing was changed."
            )
        return
    held = [name for name in (MASKS, OVERLAYS) if (out / name).exists()]
    if held:
        raise ConfigError(
            f"--out {out} has {' and '.join(held)} that no prediction wrote (there is no {PREDICTIONS}): give a new "
            "folder. Nothing was changed."
        )
