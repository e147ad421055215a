"""One training at a time in a folder: its first process owns the folder while it runs."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from vitseg.claims import claim_folder
from vitseg.errors import ConfigError
from vitseg.launch import is_first_process
from vitseg.runs import OWNER

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

PATIENCE, LEASE = 3.0, 120.0
"""Seconds that are waited for a process that may just be ending; and in a job that was started again for one of another
machine: if that machine was lost, its file server keeps the lock for some 90 seconds."""

_PAUSE = 0.2
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}

_held: dict[Path, int] = {}  # open files by the folders that this process owns


class _Owner(NamedTuple):
    """A process, as the file says it."""

    host: str
    process: int

    def words(self) -> str:
        return f"process {self.process} on {self.host}"


@contextmanager
def owned(out: Path) -> Iterator[None]:
    """Within it no other training writes into a folder, which is made if it is not there.

    The owner holds a lock of the system (flock) on a file in the folder, which says host and process to whom it
    refuses. The lock goes with the process, however that ends. On file systems that are shared by several machines it
    is as good as their flock: NFS and Lustre (mounted with flock) know it on all machines, some others within one only.
    Where there is no flock at all, the file alone stands for it: a process of this machine that runs is respected, and
    one of another machine cannot be seen.

    A process that owns the folder comes in again. Further processes of the same training own nothing, and come in
    behind the first.

    Args:
        out: The folder.

    Raises:
        ConfigError: Another process owns the folder, or it is a file.
        OSError: It cannot be written.
    """
    claim_folder(out, may_hold=None)
    place = out.resolve()
    if place in _held or not is_first_process():
        yield
        return
    made = [folder for folder in (place, *place.parents) if not folder.exists()]
    place.mkdir(parents=True, exist_ok=True)
    try:
        _held[place] = _acquired(place, out)
        try:
            yield
        finally:
            with suppress(OSError):  # the lock goes with the open file
                (place / OWNER).unlink(missing_ok=True)
            os.close(_held.pop(place))
    finally:
        with suppress(OSError):  # of a start that was refused nothing is left
            for folder in made:
                folder.rmdir()


def empty(out: Path) -> None:
    """Remove all that a folder holds that this process owns, but for what says so."""
    for path in out.iterdir():
        if path.name == OWNER:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _acquired(place: Path, out: Path) -> int:
    """The open file that is locked, with this process in it.

    Args:
        place: The folder.
        out: The user's name for it.

    Raises:
        ConfigError: Another process has it, and does not end soon.
    """
    began, path = time.monotonic(), place / OWNER
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if _is_locked(file, path):
            os.truncate(file, 0)
            os.write(file, f"{socket.gethostname()} {os.getpid()}\n".encode())
            return file
        owner = _read(file)
        os.close(file)
        is_elsewhere = owner is not None and owner.host != socket.gethostname()
        patience = LEASE if is_elsewhere and _is_started_again() else PATIENCE
        if time.monotonic() - began > patience:
            who = "another process" if owner is None else owner.words()
            raise ConfigError(
                f"--out {out} is in use by {who}, which trains there: wait until it ends, stop it, or give another "
                "folder. Nothing was changed."
            )
        time.sleep(_PAUSE)


def _is_locked(file: int, path: Path) -> bool:
    """Try to lock; also False where another process has removed the file meanwhile, as an owner does that ends."""
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "no flock")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            return False
        owner = _read(file)
        return owner is None or not _is_running_here(owner)
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _read(file: int) -> _Owner | None:
    """Who the file says owns the folder; None: it does not say."""
    host, _, process = os.pread(file, 1000, 0).decode(errors="replace").strip().rpartition(" ")
    return _Owner(host, int(process)) if host and process.isdigit() else None


def _is_started_again() -> bool:
    """Whether SLURM or torchrun has started this process in the place of one that has ended."""
    names = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")
    return any(os.environ.get(name, "0") not in ("", "0") for name in names)


def _is_running_here(owner: _Owner) -> bool:
    if owner.host != socket.gethostname() or owner.process == os.getpid():
        return False
    try:
        os.kill(owner.process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        pass
    return True


def _leave() -> None:
    """In a process that was forked, as those that load samples: it owns nothing, and holds no lock open."""
    for file in _held.values():
        with suppress(OSError):
            os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave)
