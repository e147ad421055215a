"""Files below a folder, as every format sees them: what counts as a file of a data set, and by which name it goes."""

from __future__ import annotations

import codecs
import errno
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from vitseg import parsing
from vitseg.data.finding import Finding
from vitseg.errors import DataError, first_names
from vitseg.images.decode import IMAGE_SUFFIXES
from vitseg.images.suffixes import is_array_name

_JUNK_FOLDERS = (
    "__MACOSX",
    "@eaDir",
    "__pycache__",
    "$RECYCLE.BIN",
    "lost+found",
    "System Volume Information",
)
"""Folders that systems leave beside people's files; their files are copies and no data."""

_THUMBNAIL = re.compile(
    r"(?:(?<=/)|^)(?:thumb(?:nail)?s?/|thumb(?:nail)?[._-])|[._-]thumb(?:nail)?$", re.IGNORECASE
)
_MAX_LINKS = 5  # links to folders, one inside another, that are followed

_remembered: ContextVar[dict[tuple[str, Path], Any] | None] = ContextVar("listings", default=None)
_Made = TypeVar("_Made")


@contextmanager
def listed_once() -> Generator[None, None, None]:
    """Within this block, a folder is listed when it is first asked for, and not again."""
    if _remembered.get() is not None:
        yield
        return
    token = _remembered.set({})
    try:
        yield
    finally:
        _remembered.reset(token)


def remember(kind: str, folder: Path, make: Callable[[], _Made]) -> _Made:
    """What `make` finds out about a folder; within a block of `listed_once`, what it found before.

    Args:
        kind: Name of what is found out.
        folder: The folder.
        make: Finds it out.
    """
    store = _remembered.get()
    if store is None:
        return make()
    if (kind, folder) not in store:
        store[kind, folder] = make()
    return store[kind, folder]


def same_name(text: str) -> str:
    """A file name in the one Unicode form in which names are compared.

    An `é` may be one character or two, and systems and archives change the one into the other.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of people's own: hidden, or left there by a system."""
    return name[:1] == "." or name in _JUNK_FOLDERS


def files_below(folder: Path) -> Sequence[str]:
    """Every file that is not hidden, by its path below `folder` with forward slashes, sorted.

    Links to folders are followed, but not one that leads back to a folder it lies in. A folder that is not there has no
    files.

    Raises:
        DataError: A folder cannot be read, whose files would be missed without a word.
    """

    def walk() -> tuple[str, ...]:
        files: list[str] = []
        _walk(str(folder), "", _above(folder), 0, files)
        return tuple(sorted(files))

    return remember("files", folder, walk)


def _above(folder: Path) -> list[tuple[int, int]]:
    """Device and inode of the folders that a folder lies in, by the path that was given and by the real one."""
    found: list[tuple[int, int]] = []
    given = folder.absolute()
    named = () if ".." in given.parts else given.parents  # a/../b does not lie in a
    for parent in {*named, *folder.resolve().parents}:
        try:
            status = parent.stat()
        except OSError:
            continue
        found.append((status.st_dev, status.st_ino))
    return found


def _walk(
    folder: str, prefix: str, above: list[tuple[int, int]], links: int, files: list[str]
) -> None:
    """Add the files of a folder and below.

    Args:
        folder: The folder.
        prefix: Its path below the one that was asked for, with a slash at the end.
        above: Device and inode of the folders that it lies in.
        links: How many of these were reached by a link.
        files: Where the paths go.
    """
    entries = _entries(folder)
    if entries is None:
        return
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in entries:
        if is_hidden(entry.name):
            continue
        try:
            is_folder = entry.is_dir()
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link that leads nowhere
                continue
            raise _unreadable(entry.path, error) from error
        if not is_folder:
            files.append(prefix + entry.name)
            continue
        through = links + entry.is_symlink()
        if through <= _MAX_LINKS:
            _walk(entry.path, f"{prefix}{entry.name}/", [*above, here], through, files)


def _entries(folder: str | Path) -> list[os.DirEntry[str]] | None:
    """What a folder holds; None where there is none.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: str | Path, error: OSError) -> DataError:
    return DataError(
        f"{folder} cannot be read ({error.strerror}), so that what is in it would be missed: make it readable, or move "
        "it elsewhere."
    )


def files_of(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of a folder itself, without those below, by their suffixes in either case; not hidden, sorted.

    Args:
        folder: The folder; one that is not there has no files.
        suffixes: Suffixes in lower case, with their dot.

    Raises:
        DataError: It cannot be read.
    """
    return sorted(
        folder / entry.name
        for entry in _entries(folder) or ()
        if os.path.splitext(entry.name)[1].lower() in suffixes
        and not is_hidden(entry.name)
        and entry.is_file()
    )


def sub_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; without hidden ones, and links that lead back to it or above it."""
    return list(remember("sub-folders", folder, lambda: _sub_folders(folder)))


def _sub_folders(folder: Path) -> list[str]:
    above = {folder.resolve(), *folder.resolve().parents}
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if not is_hidden(entry.name)
        and entry.is_dir()
        and not (entry.is_symlink() and Path(entry.path).resolve() in above)
    )


def image_names_below(folder: Path, arrays: bool = False) -> dict[str, str]:
    """Image files as paths below `folder`, by the same without suffix; of two with one stem, the first by name.

    Args:
        folder: The folder.
        arrays: Whether it is one of images, which are arrays where no pictures are there.
    """
    names = remember("images", folder, lambda: _image_names(folder))[0]
    if names or not arrays:
        return names
    found = (name for name in files_below(folder) if is_array_name(name))
    return {same_name(os.path.splitext(name)[0]): name for name in found}


def images_below(folder: Path, findings: list[Finding]) -> dict[str, Path]:
    """As `image_names_below`, but whole paths.

    Args:
        folder: The folder.
        findings: Where two images with one stem are noted.
    """
    names, twice = remember("images", folder, lambda: _image_names(folder))
    if twice:
        findings.append(same_stem([(folder / names[stem], folder / name) for stem, name in twice]))
    return {stem: folder / name for stem, name in names.items()}


def _image_names(folder: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Path by stem, and (stem, path) of those whose stem is taken."""
    names: dict[str, str] = {}
    twice: list[tuple[str, str]] = []
    for name in files_below(folder):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in IMAGE_SUFFIXES:
            continue
        stem = same_name(stem)
        if stem in names:
            twice.append((stem, name))
        else:
            names[stem] = name
    return names, twice


def same_stem(pairs: Sequence[tuple[Path, Path]]) -> Finding:
    """The finding about files that differ in nothing but their suffix (or in how an accent is spelt).

    Args:
        pairs: The file that is used, and another of its stem; at least one such pair.
    """
    first, second = pairs[0]
    more = f", and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    return Finding.of(
        "same-stem",
        "error",
        f"{first} and {second} have the same stem{more}.",
        "Remove one: which of them the annotations belong to is not clear.",
        [second for _, second in pairs],
    )


def without_thumbnails(
    images: Mapping[str, Path], annotated: Container[str], findings: list[Finding]
) -> dict[str, Path]:
    """The images without small copies of others: `a_thumb.jpg` or `thumbs/a.jpg` beside `a.jpg`, not annotated.

    Args:
        images: The images by id.
        annotated: The ids that have a mask; these stay.
        findings: Where it is noted what was left out.
    """
    left_out = [
        key
        for key in images
        if "thumb" in key.lower()
        and key not in annotated
        and _THUMBNAIL.search(key)
        and _THUMBNAIL.sub("", key) in images
    ]
    if not left_out:
        return dict(images)
    files = [images[key] for key in left_out]
    findings.append(
        Finding.of(
            "thumbnail",
            "info",
            f"{len(files)} small copies of other images are left out: {first_names([p.name for p in files])}.",
            "Nothing is to be done; to use them, give them names of their own.",
            files,
        )
    )
    return {key: path for key, path in images.items() if key not in set(left_out)}


def read_text(path: Path) -> str:
    """The content of a text file in UTF-8, or in UTF-16 with its mark, as Windows' Notepad may write it.

    Raises:
        DataError: It is no readable text, or cannot be read at all.
    """
    try:
        return parsing.read_text(path)
    except parsing.UnreadableError as error:
        if isinstance(error.__cause__, OSError):
            raise DataError(f"{path} cannot be read: {error}.") from error
        raise DataError(
            f"{path} is not a readable text file: {error}. Save it as text in UTF-8."
        ) from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank; errors as for `read_text`."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def shared_last_parts(paths: Iterable[str]) -> frozenset[str]:
    """The last parts that several paths have: by one of these alone, the file of another image would be found."""
    times = Counter(path.rpartition("/")[2] for path in set(paths))
    return frozenset(part for part, count in times.items() if count > 1)


def name_first(what: str, paths: Sequence[object]) -> str:
    """Files in words, as `the label file a.txt and 5 more`."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"the {what} {paths[0]}{more}"


def both_ends(path: Path, count: int) -> tuple[bytes, bytes]:
    """The first and the last bytes of a file, to judge by them what it is; nothing of one that cannot be read.

    A mark of the encoding and, of UTF-16 or UTF-32, the zero bytes are left out, so that it reads as ASCII would.

    Args:
        path: The file.
        count: Bytes from either end, which overlap in a short file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(count)
            file.seek(max(0, path.stat().st_size - count))
            end = file.read()
    except OSError:
        return b"", b""
    if start.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        return start.replace(b"\0", b"").lstrip(b"\xff\xfe"), end.replace(b"\0", b"")
    return start.removeprefix(codecs.BOM_UTF8), end
