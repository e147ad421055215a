"""Text files that list the images of a split, in the spellings that such lists have."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from vitseg import parsing
from vitseg.data.class_file_places import is_class_file
from vitseg.data.finding import Finding
from vitseg.data.listing import files_of, image_names_below, read_lines, same_name
from vitseg.errors import DataError, first_names
from vitseg.images.decode import IMAGE_SUFFIXES

SPLIT_FOLDERS = ("", "splits", "ImageSets/Segmentation")
"""Folders in which split files are looked for."""

USUAL_SPLIT = re.compile(r"(train(ing)?|val(id(ation)?)?|test(ing)?|trainval|default)\d*", re.I)
"""Names of lists and folders that are splits, whatever is in them."""

_LIST = ".txt"
_MAY_BE_LISTS = (_LIST, ".csv", ".tsv", ".lst", ".list", ".text")
_ANNOTATIONS = (".json", ".txt", ".xml")  # files that lines may name instead of their images
_MOST_LOOKED_AT = 100  # other text files: there may be one beside every image
_SNIFFED = 65536  # bytes of a text file by which it is seen whether it lists images


def split_lists(root: Path, images: Sequence[Path]) -> dict[str, Path]:
    """The text files of a folder that list images, by the name of the split.

    Args:
        root: The folder; lists may also lie in `SPLIT_FOLDERS` below it.
        images: Folders of images.
    """
    candidates = [path for path in _text_files(root) if path.suffix.lower() == _LIST]
    sniffed = [path for path in candidates if not USUAL_SPLIT.fullmatch(path.stem)]
    indices = [index_of(folder) for folder in images] if sniffed else []
    return {
        path.stem: path
        for path in candidates
        if path not in sniffed or any(share_of_ids(path, index) >= 0.5 for index in indices)
    }


def unread_lists(root: Path, images: Sequence[Path], read: Collection[Path]) -> list[Finding]:
    """The finding about text files that name images and are no lists of a split.

    Args:
        root: The folder of the data set.
        images: Folders of images.
        read: The lists that are used.
    """
    others = [path for path in _text_files(root) if path not in set(read)][:_MOST_LOOKED_AT]
    if not others:
        return []
    indices = [index_of(folder) for folder in images]
    found = {
        path: share
        for path in others
        if (share := max((share_of_ids(path, index) for index in indices), default=0)) > 0
    }
    if not found:
        return []
    shares = [f"{path.name} ({share:.0%} of its lines)" for path, share in found.items()]
    return [
        Finding.of(
            "list-not-used",
            "warning",
            f"{'A file names' if len(found) == 1 else f'{len(found)} files name'} images, but "
            f"{'is' if len(found) == 1 else 'are'} not read as the list of a split: {first_names(shares)}.",
            "A list is a text file (.txt) of which at least half of the lines are images that are there.",
            found,
        )
    ]


def _text_files(root: Path) -> list[Path]:
    """The files that may be lists; of two of one name, the one in the folder itself comes last."""
    return [
        path
        for folder in reversed(SPLIT_FOLDERS)
        for path in files_of(root / folder, _MAY_BE_LISTS)
        if not is_class_file(path)
    ]


def share_of_ids(path: Path, ids: IdIndex) -> float:
    """The share of the lines at the beginning of a text file that are ids of images."""
    try:
        with path.open("rb") as file:
            data = file.read(_SNIFFED + 1)
        text = parsing.decoded(data, cut=len(data) > _SNIFFED)
    except (OSError, parsing.UnreadableError):
        return 0
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(data) > _SNIFFED:
        lines = lines[:-1]  # cut
    lines = [line for line in lines if line[0] != "#" or ids.find(line) is not None]
    return sum(ids.find(line) is not None for line in lines) / max(1, len(lines))


def index_of(folder: Path) -> IdIndex:
    """The index of all images below a folder."""
    names = image_names_below(folder, arrays=True)
    return IdIndex(names, folder.name, files=names)


class IdIndex:
    """Finds the image that a line of a list means, in the spellings that lists have.

    Args:
        keys: The ids of the images: paths below their folder, without suffix.
        folder: Name of that folder, which lines may have before the id.
        deep: Whether an id may also be the last part of a key, if that is clear.
        files: The file of each id, whose suffix decides where names differ in that alone; none: nobody knows them.
    """

    def __init__(
        self,
        keys: Iterable[str],
        folder: str = "",
        deep: bool = True,
        files: Mapping[str, str | Path] | None = None,
    ) -> None:
        whole = {_with_low_suffix(key, path): key for key, path in (files or {}).items()}
        self._whole = _Names(whole, folder, deep)
        self._ids = _Names({key: key for key in keys}, folder, deep)

    def find(self, line: str) -> str | None:
        """The id that a line means; None if there is no such image, or if several could be meant.

        A line is an id, perhaps with the suffix of the file, perhaps with the folder of the images or a longer path
        before it; behind it, there may be the path of the mask. A line with a suffix means the file of that name, and
        one with another suffix only where there is none.
        """
        text = same_name(line.strip())
        for name in dict.fromkeys((text, *_first_of_columns(text))):
            found = self._find(name)
            if found is not None:
                return found
        return None

    def of_last(self, last: str, spelt: Callable[[str], str]) -> list[str]:
        """The ids of which the last part of the file's name, or else of the id, is spelt so by another program.

        Args:
            last: The spelling, with or without suffix.
            spelt: Gives the other program's spelling of the last part of a name.
        """
        stem, suffix = os.path.splitext(last)
        whole = self._whole.of_last(stem + suffix.lower(), spelt)
        return whole or self._ids.of_last(_without_suffix(last), spelt)

    def _find(self, text: str) -> str | None:
        name = os.path.normpath(text.replace("\\", "/")).lstrip("/")
        while name.startswith("../"):
            name = name[3:]
        stem, suffix = os.path.splitext(name)
        found = self._whole.find((stem + suffix.lower(),))
        if not found:
            found = self._ids.find(tuple(dict.fromkeys((text, name, _without_suffix(name)))))
        return found[0] if len(found) == 1 else None


class _Names:
    """The names of images, by which their ids are found.

    Args:
        ids: Name, a path below the folder of the images -> id.
        folder: See `IdIndex`.
        deep: See `IdIndex`.
    """

    def __init__(self, ids: Mapping[str, str], folder: str, deep: bool) -> None:
        self._ids = ids
        self._folder = folder
        self._deep = deep
        self._by_last: dict[str, list[str]] | None = None
        self._by_spelling: dict[str, list[str]] | None = None

    def find(self, names: Sequence[str]) -> list[str]:
        """The ids that one of these names may mean, the first that is clear; of several, all."""
        for each in names:
            if each in self._ids:
                return [self._ids[each]]
        for each in names:
            parts = each.split("/")
            for place, part in enumerate(parts[:-1]):
                below = "/".join(parts[place + 1 :])
                if part == self._folder and below in self._ids:
                    return [self._ids[below]]
        if not self._deep:
            return []
        for each in names:  # a path of another place, of which a folder is left
            parts = each.split("/")
            for place in range(1, len(parts) - 1):
                if (below := "/".join(parts[place:])) in self._ids:
                    return [self._ids[below]]
        ends = [found for each in names if (found := self._ending_with(each))]
        return min(ends, key=len, default=[])

    def of_last(self, last: str, spelt: Callable[[str], str]) -> list[str]:
        """The ids of the names of which the last part is spelt so, see `IdIndex.of_last`."""
        if self._by_spelling is None:
            self._by_spelling = {}
            for name, key in self._ids.items():
                self._by_spelling.setdefault(spelt(name.rpartition("/")[2]), []).append(key)
        return self._by_spelling.get(last, [])

    def _ending_with(self, name: str) -> list[str]:
        """The ids of the longer names of which this one is the last part."""
        if self._by_last is None:
            self._by_last = {}
            for each in self._ids:
                if "/" in each:
                    self._by_last.setdefault(each.rpartition("/")[2], []).append(each)
        found = self._by_last.get(name.rpartition("/")[2], ())
        return [self._ids[each] for each in found if each.endswith(f"/{name}")]


def _with_low_suffix(key: str, path: str | Path) -> str:
    """The name of an image: its id, and the suffix of its file in lower case."""
    return key + os.path.splitext(path)[1].lower()


def _without_suffix(name: str) -> str:
    """A name less the suffix of an image or of an annotation file."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in (*IMAGE_SUFFIXES, *_ANNOTATIONS) else name


def _first_of_columns(line: str) -> tuple[str, ...]:
    """The first of several columns of which it is clear that they are paths: `/images/a.png /masks/a.png`."""
    columns = re.split(r"\s*[,;\t]\s*|\s+(?=\S*[/\\])", line)
    if len(columns) < 2:
        return ()
    first = columns[0].strip("\"'")
    is_path = os.path.splitext(first)[1].lower() in IMAGE_SUFFIXES or "/" in columns[1]
    return (first,) if first and is_path else ()


def read_ids(path: Path) -> list[str]:
    """The lines of a text file of ids.

    Raises:
        DataError: It is unreadable or empty.
    """
    ids = read_lines(path)
    if not ids:
        raise DataError(f"{path} lists no ids: write one a line, without suffix.")
    return ids
