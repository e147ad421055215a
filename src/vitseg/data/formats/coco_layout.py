"""Where COCO annotation files and their images lie, in the layouts that labelling tools export."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vitseg.data.class_file_places import is_class_file
from vitseg.data.listing import both_ends, files_below, files_of, same_name
from vitseg.data.splits import IMAGE_FOLDERS
from vitseg.errors import DataError

ROBOFLOW_FILE = "_annotations.coco.json"

_OTHER_TASKS = ("captions_", "person_keypoints_", "panoptic_", "image_info_")
_PREFIXES = ("instances_", "stuff_")
_SPLIT = re.compile(r"(train|val|test)")
_SNIFFED = 65536  # bytes
_TRIED = 20  # images by which the folder is found


class ImageFolder(NamedTuple):
    """A folder of images and the files below it.

    Attributes:
        path: The folder.
        files: Every file below it, by its path with forward slashes.
        own: Whether only this split's images are in it.
        spelt: Path in the form in which names are compared -> path; of a last part that only one file has, that file.
        lower: The same in lower case, where that is clear.
    """

    path: Path
    files: frozenset[str]
    own: bool
    spelt: Mapping[str, str]
    lower: Mapping[str, str]

    def find(self, file_name: str, shared: Container[str] = ()) -> Path | None:
        """The file that a `file_name` means: that path below the folder, else the file that alone has its last part.

        Args:
            file_name: The name.
            shared: Last parts, see `listing.shared_last_parts`, that do not do alone.
        """
        for key in _keys(file_name):
            if key in shared and key != whole_name(file_name):
                continue
            if key in self.files:
                return self.path / key
            spelling = same_name(key)
            found = self.spelt.get(spelling) or self.lower.get(spelling.lower())
            if found is not None:
                return self.path / found
        return None


def find_annotations(root: Path) -> dict[str, Path]:
    """The annotation file of every split.

    Of `annotations/` and the folder itself, the files `instances_SPLIT.json`, and every other COCO file (`train.json`,
    `stuff_train.json`) of a split that has no such file. Else `SPLIT/_annotations.coco.json`, as Roboflow writes it. A
    single file whose name says nothing is the split `all`. COCO's files of other tasks (captions, keypoints, panoptic)
    are passed over.

    Raises:
        DataError: There is no such file, or two for one split.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. {_LAYOUTS}")
    inside = [path for path in files_of(root / "annotations", (".json",)) if _may_be_coco(path)]
    files = [*inside, *(path for path in files_of(root, (".json",)) if _may_be_coco(path))]
    files = [path for path in files if looks_like_coco(path)] or inside
    instances = {_split_name(path) for path in files if path.name.startswith(_PREFIXES[0])}
    named = [
        (_split_name(path), path)
        for path in files
        if path.name.startswith(_PREFIXES[0]) or _split_name(path) not in instances
    ]
    named += [(path.parent.name, path) for path in sorted(root.glob(f"*/{ROBOFLOW_FILE}"))]
    if not named:
        raise DataError(f"{root} holds no COCO annotation file. {_LAYOUTS}")
    if len(named) == 1 and not _SPLIT.match(named[0][0]):
        return {"all": named[0][1]}
    splits: dict[str, Path] = {}
    for name, path in named:
        if name in splits:
            raise DataError(
                f"{splits[name]} and {path} are both annotations of the split {name}: keep one."
            )
        splits[name] = path
    return splits


_LAYOUTS = (
    "A COCO data set holds annotations/instances_SPLIT.json or SPLIT.json with the images in SPLIT/, images/SPLIT/ "
    f"or images/, or SPLIT/{ROBOFLOW_FILE} beside its images."
)


def looks_like_coco(path: Path) -> bool:
    """Whether the beginning of a file has a key of COCO's images or annotations; the whole may be a gigabyte."""
    start, _ = both_ends(path, _SNIFFED)
    return any(key in start for key in (b'"file_name"', b'"image_id"', b'"category_id"'))


def find_images(
    root: Path, annotations: Path, split: str, file_names: Sequence[str]
) -> ImageFolder:
    """The folder that holds most of the images of a split.

    Args:
        root: Folder of the data set.
        annotations: The split's annotation file.
        split: Name of the split.
        file_names: The `file_name` of every image of the split.
    """
    if annotations.name == ROBOFLOW_FILE:
        return _listing(annotations.parent, annotations.parent != root)
    own = [root / split, *(root / name / split for name in IMAGE_FOLDERS)]
    own += [root / split / name for name in IMAGE_FOLDERS]
    candidates = [(path, True) for path in own]
    candidates += [(root / name, False) for name in IMAGE_FOLDERS]
    candidates += [(root, False)]
    tried = file_names[:: max(1, len(file_names) // _TRIED)]
    best, most = None, 0
    for path, is_own in candidates:
        if not path.is_dir():
            continue
        hits = sum(any((path / key).is_file() for key in _keys(name)) for name in tried)
        if best is None or hits > most:
            best, most = (path, is_own), hits
    assert best is not None, "root itself is a folder"
    return _listing(*best)


def whole_name(file_name: str) -> str:
    """A `file_name` as the path that it is, with forward slashes."""
    return str(PurePosixPath(file_name.replace("\\", "/")))


def _keys(file_name: str) -> tuple[str, ...]:
    """Where below the folder of images a file may be; never outside it."""
    name = PurePosixPath(whole_name(file_name))
    if name.is_absolute() or ".." in name.parts:
        return (name.name,)
    return (str(name), name.name)


def _listing(folder: Path, own: bool) -> ImageFolder:
    files = files_below(folder)
    last = Counter(same_name(name.rpartition("/")[2]) for name in files)
    spelt: dict[str, str] = {}
    for name in files:
        whole, part = same_name(name), same_name(name.rpartition("/")[2])
        spelt[whole] = name
        if last[part] == 1:
            spelt[part] = name
    times = Counter(key.lower() for key in spelt)
    lower = {low: name for key, name in spelt.items() if times[low := key.lower()] == 1}
    return ImageFolder(folder, frozenset(files), own, spelt, lower)


def _may_be_coco(path: Path) -> bool:
    if path.name.startswith(_OTHER_TASKS):
        return False
    return looks_like_coco(path) or not is_class_file(path)


def _split_name(path: Path) -> str:
    if path.name == ROBOFLOW_FILE:
        return "all"
    for prefix in _PREFIXES:
        if path.stem.startswith(prefix):
            return path.stem.removeprefix(prefix)
    return path.stem
