"""Archives that are unpacked without trusting them: nothing is written outside the folder, no link made or followed."""

from __future__ import annotations

import gzip
import math
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from vitseg.errors import DataError
from vitseg.prepare.jobs import OnProgress, no_progress
from vitseg.prepare.real_folder import RealFolder

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
"""Names of archives end so; the format is known by content."""

_CHUNK = 1 << 20
_LARGEST_PIECE = 8 << 20  # bytes of content that are read at once
_LARGEST_HEADER = 64 << 10  # bytes; tarfile reads an entry's long name or attributes in one piece
_LARGEST_DIRECTORY = 32 << 20  # bytes; zipfile reads the list of all entries in one piece
_HEADERS_OF_ENTRY = (
    2048  # bytes for each entry that is allowed: a plain one has 512, one with a long name 1536
)
_LONGEST_PATH, _LONGEST_PART, _DEEPEST = 1024, 255, 64  # bytes, bytes, folders
_MOST_GLOBAL = 100  # attributes for all further entries, which tarfile copies for each
_TAR_BLOCK = 512

# What zipfile and tarfile raise for damaged files. OSError counts as damage only where nothing is being written.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    OSError,
    struct.error,
    ValueError,
    KeyError,
    IndexError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)


class Limits(NamedTuple):
    """How much an archive may unpack to. The largest official one has 160 thousand entries and 20 GB.

    With the bounds on headers that this file has, to list the entries takes at most 0.6 GB of memory, and of time about
    a minute beside the decompression.

    Attributes:
        entries: Number of files and folders. Their headers may have 2 kB each in the mean.
        total: Bytes of all files together.
        ratio: Bytes of all files per byte of the archive: images hardly compress, while a decompression bomb has
            thousands. An archive below 1 MiB is allowed what one of 1 MiB is.
    """

    entries: int = 300_000
    total: int = 256 << 30
    ratio: int = 100


class Unpacked(NamedTuple):
    """How many files were written, and how many were there already."""

    written: int
    kept: int


class _Entry(NamedTuple):
    """A file or folder of an archive; `crc` is the checksum of a zip entry's content."""

    name: str
    size: int
    is_file: bool
    fault: str
    crc: int | None
    open: Callable[[], IO[bytes]]


def is_archive_name(path: Path) -> bool:
    """Whether a file is named like an archive."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(
    archive: Path,
    out: Path,
    limits: Limits = Limits(),  # noqa: B008  # a NamedTuple cannot be changed
    on_progress: OnProgress = no_progress,
) -> Unpacked:
    """Unpack a zip, tar or gzipped tar below a folder; run again after an interruption, it continues.

    All entries are looked at before the first is written. A file appears whole or not at all. One that is there already
    with the same size (and, from a zip, the same checksum) is kept; any other of that name is replaced. Modes, owners
    and times are not taken over, empty folders are not made.

    Args:
        archive: The file; its format is known by its content.
        out: Folder below which everything is written; made if it does not exist.
        limits: How much it may unpack to, checked on the headers and again on what comes out.
        on_progress: Called with the bytes that are done and those of all files, see `OnProgress`.

    Raises:
        DataError: An entry has an absolute path, a path with `..`, a Windows path or control characters, is a link, a
            device, encrypted, or comes twice; the archive exceeds a limit, is damaged or in another format; or a folder
            in `out` is a link.
    """
    step = f"unpack {archive.name}"
    with _entries_of(archive, limits) as (entries, careful):
        files = _checked(archive, entries, limits)
        careful.listed()
        total = sum(entry.size for _, entry in files)
        folder, done, written = RealFolder(out), 0, 0
        for parts, entry in files:
            if not _is_there(folder, parts, entry):
                folder.write(parts, _content(archive, entry))
                written += 1
            done += entry.size
            on_progress(step, done, total)
    return Unpacked(written, len(files) - written)


@contextmanager
def _entries_of(archive: Path, limits: Limits) -> Iterator[tuple[Iterable[_Entry], _Careful]]:
    """The entries of an archive and the file that they are read from, which stays open meanwhile."""
    try:
        file = archive.open("rb")
    except OSError as error:
        raise DataError(f"{archive} cannot be read: {error.strerror}.") from error
    with file:
        start = file.read(_TAR_BLOCK)
        file.seek(0)
        headers = _HEADERS_OF_ENTRY * limits.entries
        if start.startswith((b"PK\3\4", b"PK\5\6")):
            careful = _Careful(archive, file, _LARGEST_DIRECTORY, 2 * _LARGEST_DIRECTORY)
            readable: Any = careful  # zipfile and tarfile need no more than read, seek and tell
            with _damage_named(archive):
                opened = zipfile.ZipFile(readable)
            with opened:
                yield (_zip_entry(opened, info) for info in opened.infolist()), careful
        elif start.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=file) as unzipped:
                careful = _Careful(archive, unzipped, _LARGEST_HEADER, headers)
                yield _tar_entries(archive, careful), careful
        elif start[257:262] == b"ustar":
            careful = _Careful(archive, file, _LARGEST_HEADER, headers)
            yield _tar_entries(archive, careful), careful
        else:
            raise DataError(
                f"{archive} is no archive in a known format. Known: zip, tar, tar.gz and tgz, by content. "
                "Was it downloaded completely?"
            )


def _zip_entry(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Entry:
    kind = stat.S_IFMT(info.external_attr >> 16)
    fault = ""
    if kind == stat.S_IFLNK:
        fault = "is a symbolic link"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = "is a device, a pipe or a socket"
    elif info.flag_bits & 0x2041:  # encrypted, strongly encrypted, encrypted directory
        fault = "is encrypted"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # the others are decompressed in pieces of unbounded size
        fault = f"is compressed by method {info.compress_type}, but only stored and deflated entries are read"
    name = info.orig_filename  # `filename` is cut at a zero byte
    return _Entry(
        name, info.file_size, not info.is_dir(), fault, info.CRC, lambda: opened.open(info)
    )


def _tar_entries(archive: Path, file: _Careful) -> Iterator[_Entry]:
    """The entries of a tar file; at its end, whether it is whole is checked."""
    with _damage_named(archive):
        readable: Any = file
        opened: Any = tarfile.TarFile(fileobj=readable)
    while True:
        with _damage_named(archive):
            member = opened.next()
        if member is None:
            break
        if len(opened.pax_headers) > _MOST_GLOBAL:
            raise DataError(
                f"{archive} has more than {_MOST_GLOBAL} attributes for all of its entries. {_BOMB}"
            )
        opened.members.clear()  # it keeps all, with their attributes
        member.pax_headers = {}
        yield _tar_entry(opened, member)
    # tarfile takes a damaged header for the end
    with _damage_named(archive):
        file.seek(opened.offset)
        end = file.read(_TAR_BLOCK)
    if end != bytes(_TAR_BLOCK):
        raise DataError(f"{archive} is damaged or incomplete: its end is missing. Get it again.")


def _tar_entry(opened: tarfile.TarFile, member: tarfile.TarInfo) -> _Entry:
    fault = ""
    if member.issym():
        fault = "is a symbolic link"
    elif member.islnk():
        fault = "is a hard link"
    elif member.isdev():
        fault = "is a device or a pipe"
    elif member.issparse() or not (member.isreg() or member.isdir()):
        fault = "is neither a plain file nor a folder"
    elif member.size < 0:
        fault = "has a negative size"

    def content() -> IO[bytes]:
        stream = opened.extractfile(member)
        assert stream is not None, "a plain file has content"
        return stream

    size = member.size if member.isreg() else 0
    return _Entry(member.name, size, member.isreg(), fault, None, content)


def _checked(
    archive: Path, entries: Iterable[_Entry], limits: Limits
) -> list[tuple[tuple[str, ...], _Entry]]:
    """The files among the entries with the parts of their paths, if there is nothing wrong with any entry."""
    allowed = min(limits.total, limits.ratio * max(archive.stat().st_size, 1 << 20))
    files: dict[tuple[str, ...], _Entry] = {}
    folders: set[tuple[str, ...]] = set()
    total = 0
    for number, entry in enumerate(entries, start=1):
        fault = entry.fault or _path_fault(entry.name)
        parts = tuple(part for part in entry.name.split("/") if part not in ("", "."))
        if not fault and entry.is_file:
            fault = "is a file without name" if not parts else ""
            fault = "comes twice" if parts in files else fault
        if fault:
            raise _refused(archive, entry.name, fault)
        if number > limits.entries:
            raise DataError(
                f"{archive} has more than {limits.entries:,} entries, which are allowed. {_BOMB}"
            )
        total += entry.size
        if total > allowed:
            raise DataError(
                f"{archive} unpacks to more than {allowed:,} bytes, which are allowed for its size. {_BOMB}"
            )
        if entry.is_file:
            files[parts] = entry
        folders.update(parts[:depth] for depth in range(1, len(parts) + (not entry.is_file)))
    for parts in files.keys() & folders:
        raise _refused(archive, files[parts].name, "is a file and a folder at once")
    return list(files.items())


_BOMB = "Nothing was unpacked: is it the official file? Unpack it by hand if you trust it."


def _path_fault(name: str) -> str:
    """Why a path could lead out of the folder on some system; empty if it cannot."""
    parts = name.split("/")
    if name.startswith("/"):
        return "has an absolute path"
    if ".." in parts:
        return "has '..' in its path"
    if "\\" in name or any(re.match("[A-Za-z]:", part) for part in parts):
        return "has a Windows path"
    if any(part.strip(". ") == "" and part not in ("", ".") for part in parts):
        return "has a part of dots and spaces in its path"
    if min(name, default=" ") < " ":
        return "has control characters in its path"
    encoded = name.encode(errors="surrogateescape")
    if len(encoded) > _LONGEST_PATH:
        return f"has a path of more than {_LONGEST_PATH:,} bytes"
    if len(encoded) > _LONGEST_PART and max(map(len, encoded.split(b"/"))) > _LONGEST_PART:
        return f"has a name of more than {_LONGEST_PART} bytes"
    if len(parts) > _DEEPEST:
        return f"lies more than {_DEEPEST} folders deep"
    return ""


def _refused(archive: Path, name: str, fault: str) -> DataError:
    return DataError(
        f"{archive}: the entry {_short(name)} {fault}, which is not unpacked. Nothing was written: is it the official "
        "file?"
    )


def _short(name: str) -> str:
    return repr(name) if len(name) <= _LONGEST_PART else f"{name[:_LONGEST_PART]!r}..."


def _is_there(folder: RealFolder, parts: tuple[str, ...], entry: _Entry) -> bool:
    path = folder.path_of(parts)
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    if entry.crc is None:
        return True
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc == entry.crc


def _content(archive: Path, entry: _Entry) -> Iterator[bytes]:
    """The content of an entry in pieces, exactly as long as its header says."""
    done = 0
    with _damage_named(archive, entry.name):
        stream = entry.open()
    with stream:
        while True:
            with _damage_named(archive, entry.name):
                chunk = stream.read(_CHUNK)
            if not chunk:
                break
            done += len(chunk)
            if done > entry.size:
                break
            yield chunk
    if done != entry.size:
        raise DataError(
            f"{archive}: the entry {entry.name!r} is not the {entry.size:,} bytes that its header says. "
            "The archive is damaged or hostile: get it again from the official page."
        )


class _Careful:
    """A file that refuses to be read in huge pieces, or in very many, which hostile headers ask for.

    Args:
        archive: What errors name.
        file: The file.
        piece: Bytes that may be read at once while the entries are listed.
        headers: Bytes that may be read meanwhile.
    """

    def __init__(
        self, archive: Path, file: BinaryIO | gzip.GzipFile, piece: int, headers: int
    ) -> None:
        self._archive = archive
        self._file = file
        self._piece = piece
        self._left: float = headers
        self._headers = headers
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable

    def listed(self) -> None:
        """All entries are listed: what comes now is their content."""
        self._piece, self._left = _LARGEST_PIECE, math.inf

    def read(self, size: int = -1) -> bytes:
        if size > self._piece:
            raise self._too_large(f"{size:,}")
        data = self._file.read(self._piece + 1 if size < 0 else size)
        if len(data) > self._piece:
            raise self._too_large(f"more than {self._piece:,}")
        self._left -= len(data)
        if self._left < 0:
            raise DataError(
                f"{self._archive} has headers of more than {self._headers:,} bytes, which are read at most. {_BOMB}"
            )
        return data

    def _too_large(self, size: str) -> DataError:
        return DataError(
            f"{self._archive} has a header of {size} bytes; at most {self._piece:,} are read. {_BOMB}"
        )


@contextmanager
def _damage_named(archive: Path, name: str = "") -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        where = f", entry {name!r}," if name else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, RecursionError):
            reason = "header follows header without an entry"
        raise DataError(
            f"{archive}{where} is damaged or incomplete: {reason}. Get it again."
        ) from error
