"""The tasks of Label Studio's exports: which image each is about, and what was drawn."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from vitseg import parsing
from vitseg.data.formats.bitmaps import read_bitmap, runs_of_bitmap
from vitseg.data.formats.faults import Faults
from vitseg.data.formats.polygons import has_area, is_within_reach
from vitseg.data.formats.shapes import Brush, Shape
from vitseg.data.id_lists import IdIndex
from vitseg.data.listing import both_ends, files_below, files_of
from vitseg.errors import DataError
from vitseg.images.brush_rle import brush_values
from vitseg.images.decode import IMAGE_SUFFIXES, MAX_PIXELS
from vitseg.types import Size

_SNIFFED = 65536  # bytes of a json file from either end
_MARKS = (
    b'"brushlabels"', b'"polygonlabels"', b'"bitmasklabels"',
    b'"original_width"', b'"from_name"', b'"format": "rle"', b'"format":"rle"',
)  # fmt: skip
_PNG = re.compile(
    r"task-(\d+)-annotation-(\d+)-by-([^@]*@(?:[\w-]+\.)*\w+|[^-@]*)-([^-]+)-(.+)-(\d+)"
)  # who annotated is a number, or an address that may have dashes
_LABELS = (
    "brushlabels", "polygonlabels", "bitmasklabels", "labels", "rectanglelabels", "ellipselabels", "keypointlabels",
    "vectorlabels",
)  # fmt: skip
"""Keys under which regions of images have their labels."""

_SHAPES = ("rle", "imageDataURL", "points", "vertices")
"""Keys of what is drawn, where it may lack a label."""

_UPLOADED = re.compile(
    r"^[0-9a-f]{8}-"
)  # what Label Studio puts before the name of an uploaded file


class Task(NamedTuple):
    """One task with its annotation.

    Attributes:
        number: Its id.
        image: What the export says of the image: an address or a path; "" if nothing.
        regions: What was drawn, as the export has it.
        labels: The labels of the regions.
        masks: (label, number) -> PNG file, of a task that is annotated in the PNG export alone.
        source: The json file, or the folder of the PNG files.
        further: How many more annotations it has.
        key: The name under which the task has the image.
        is_predicted: Whether the regions are a prediction's, and nobody has looked at them.
    """

    number: str
    image: str
    regions: Sequence[Mapping[str, Any]]
    labels: frozenset[str]
    masks: Mapping[tuple[str, str], Path]
    source: Path
    further: int
    key: str = ""
    is_predicted: bool = False


def find_exports(root: Path) -> list[Path]:
    """The json exports in a folder, or in `annotations/`, to judge by their beginning and end."""
    for folder in (root, root / "annotations"):
        found = [path for path in files_of(folder, (".json",)) if _is_export(path)]
        if found:
            return found
    return []


def _is_export(path: Path) -> bool:
    start, end = both_ends(path, _SNIFFED)
    ends = start + end
    if start.lstrip()[:1] not in (b"[", b"{") or b'"categories"' in ends:
        return False
    is_task = b'"annotations"' in ends and b'"data"' in ends
    return is_task or any(mark in ends for mark in _MARKS)


def is_brush_label(name: str) -> bool:
    """Whether a file has the name of a mask of "Brush labels to PNG"."""
    stem, suffix = os.path.splitext(name.rpartition("/")[2])
    return suffix.lower() == ".png" and _PNG.fullmatch(stem) is not None


def mask_files(root: Path) -> dict[tuple[str, str], dict[tuple[str, str], Path]]:
    """The PNG files of brush labels: (task, annotation) -> (label, number) -> file."""
    found: dict[tuple[str, str], dict[tuple[str, str], Path]] = {}
    for name in files_below(root):
        stem = name.rpartition("/")[2]
        match = _PNG.fullmatch(stem[:-4]) if stem.lower().endswith(".png") else None
        if match is not None:
            task, annotation, _, _, label, number = match.groups()
            found.setdefault((task, annotation), {})[label, number] = root / name
    return found


def read_tasks(
    exports: Sequence[Path], masks: Mapping[tuple[str, str], Mapping[tuple[str, str], Path]]
) -> list[Task]:
    """The annotated tasks: those of the json, and those that have PNG files alone, for which the json gives the images.

    The json has what the PNG files lack: polygons, which annotation counts, annotations without a stroke. Where no task
    is annotated at all, those that have predictions, as tasks for an import do.

    Raises:
        DataError: A json file is malformed.
    """
    tasks = [task for path in exports for task in _of_json(path)]
    annotated = [task for task in tasks if not task.is_predicted and task.further >= 0]
    found = annotated + _of_pngs(tasks, masks, {task.number for task in annotated})
    return found or [task for task in tasks if task.is_predicted]


def _of_pngs(
    tasks: Sequence[Task],
    masks: Mapping[tuple[str, str], Mapping[tuple[str, str], Path]],
    known: Container[str],
) -> list[Task]:
    """The tasks of PNG files, without those of known numbers."""
    images = {task.number: task.image for task in tasks}
    of_task: dict[str, list[str]] = {}
    for number, annotation in masks:
        if number not in known:
            of_task.setdefault(number, []).append(annotation)
    found = []
    for number, done in of_task.items():
        files = masks[number, min(done, key=int)]
        labels = frozenset(label for label, _ in files)
        folder = next(iter(files.values())).parent
        image = images.get(number, "")
        found.append(Task(number, image, (), labels, files, folder, len(done) - 1))
    return found


def _of_json(path: Path) -> list[Task]:
    try:
        content = parsing.read_json(path, parsing.MOST_ANNOTATION_BYTES, finite=False)
    except parsing.UnreadableError as error:
        raise DataError(f"{path} is not a readable JSON file: {error}.") from error
    entries = content if isinstance(content, list) else [content]
    return [_task(entry, path) for entry in entries if isinstance(entry, dict)]


def _task(entry: Mapping[str, Any], path: Path) -> Task:
    """A task of JSON, or of JSON-MIN, whose regions lie in the task itself; `further` is -1 if it has no annotation."""
    predictions = entry.get("predictions")
    annotations = entry.get("annotations", entry.get("completions"))
    is_predicted = not annotations and isinstance(predictions, list) and bool(predictions)
    annotations = predictions if is_predicted else annotations
    if isinstance(annotations, list):
        sound = [
            each
            for each in annotations
            if isinstance(each, dict)
            and isinstance(each.get("result"), list)
            and not each.get("was_cancelled")
        ]
        sound.sort(key=lambda each: not each.get("ground_truth"))  # stable: else the first
        regions = [each for each in (sound[0]["result"] if sound else ()) if isinstance(each, dict)]
        data = entry.get("data")
        image, key = _image(data if isinstance(data, dict) else {})
        count = len(sound)
    else:
        regions = [
            {**region, "value": region}
            for value in entry.values()
            if isinstance(value, list)
            for region in value
            if isinstance(region, dict)
        ]
        is_annotated = bool(regions) or "annotation_id" in entry
        (image, key), count = _image(entry), int(is_annotated)
    regions = _joined(regions)
    labels = frozenset(label for region in regions for label in _labels_of(region))
    number = str(entry.get("id", ""))
    is_predicted = is_predicted and count > 0
    return Task(number, image, regions, labels, {}, path, count - 1, key, is_predicted)


def _joined(regions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The regions, each once: where shape and label are drawn by two tools, they are two entries of one id."""
    entries: dict[Any, list[Mapping[str, Any]]] = {}
    for number, region in enumerate(regions):
        key = region.get("id")
        entries.setdefault(key if isinstance(key, str | int) else (number,), []).append(region)
    joined: list[Mapping[str, Any]] = []
    for same in entries.values():
        values = [each["value"] for each in same if isinstance(each.get("value"), dict)]
        value = {key: content for each in values for key, content in each.items()}
        joined.append({**same[0], "value": value} if len(same) > 1 else same[0])
    return joined


def _image(data: Mapping[str, Any]) -> tuple[str, str]:
    """The value that names a picture, and its key: a usual one, else the first with the suffix of a picture."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    for key in ("image", "img", "picture", "photo"):
        if key in texts:
            return texts[key], key
    for key, text in texts.items():
        if urlsplit(text).path.lower().endswith(IMAGE_SUFFIXES):
            return text, key
    return "", ""


def image_path(task: Task) -> str:
    """The path of the image of a task, as its address has it, with signs for their codes."""
    parts = urlsplit(task.image)
    given = parse_qs(parts.query).get("d")  # decoded already
    return (given[0] if given else unquote(parts.path)).lstrip("/")


def task_image(task: Task, ids: IdIndex, shared: Container[str] = ()) -> str | None:
    """The id of the image of a task; None if there is none.

    Args:
        task: The task.
        ids: The ids of all images.
        shared: Last parts of paths that do not do alone, see `listing.shared_last_parts`.
    """
    if not task.image:
        return _first_found((f"task-{task.number}", task.number), ids)
    path = image_path(task)
    last = path.rpartition("/")[2]
    if last in shared:
        return ids.find(path)
    name = _UPLOADED.sub("", last)
    return _first_found((path, last, name), ids) or _before_upload(name, ids)


def _first_found(names: Iterable[str], ids: IdIndex) -> str | None:
    return next((key for name in names if (key := ids.find(name)) is not None), None)


def _before_upload(name: str, ids: IdIndex) -> str | None:
    """The image of which an upload has the name that Label Studio makes of it: blanks become `_`, other signs go."""
    found = ids.of_last(name, lambda last: re.sub(r"[^-\w.]", "", last.strip().replace(" ", "_")))
    return found[0] if len(found) == 1 else None


def _labels_of(region: Mapping[str, Any]) -> list[str]:
    value = region.get("value")
    if not isinstance(value, dict):
        return []
    found = next((value[key] for key in _LABELS if isinstance(value.get(key), list)), [])
    return [str(label) for label in found if str(label).strip()]


def is_region(region: Mapping[str, Any]) -> bool:
    """Whether an entry of an annotation is a region, and no choice, text or relation."""
    value = region.get("value")
    return isinstance(value, dict) and bool(_labels_of(region) or value.keys() & set(_SHAPES))


def read_regions(
    task: Task, raw_of: Mapping[str, int], faults: Faults
) -> tuple[list[tuple[int, Shape]], Size | None]:
    """The sound regions of a task, and the (height, width) of its image; None if no region gives it."""
    shapes: list[tuple[int, Shape]] = []
    size: Size | None = None
    drawn_on = _drawn_on(task)
    for number, region in enumerate(task.regions):
        place = f"task {task.number}, region {region.get('id', number)}"
        if not is_region(region):
            continue
        labels, value = _labels_of(region), region["value"]
        if not labels:
            faults.add("region-without-label", place)
            continue
        if region.get("to_name") not in (None, drawn_on):
            faults.add("region-of-another-image", f"{place} ({region['to_name']})")
            continue
        height, width = region.get("original_height"), region.get("original_width")
        if (
            type(height) is not int
            or type(width) is not int
            or not 0 < height * width <= MAX_PIXELS
        ):
            faults.add("annotation-malformed", place)
            continue
        if size is not None and size != (height, width):
            faults.add("annotation-malformed", place)
            continue
        size = (height, width)
        if labels[0] not in raw_of:
            faults.add("label-unknown-class", f"{place} ({labels[0]!r})")
            continue
        if len(labels) > 1:
            faults.add("region-of-several-labels", f"{place} ({', '.join(labels)})")
        shape = _shape(value, size, place, faults)
        if shape is not None:
            shapes.append((raw_of[labels[0]], shape))
    return shapes, size


def _drawn_on(task: Task) -> Any:
    """Which of several images of a task its regions count for: that of the task's own key, else the first."""
    names = [region.get("to_name") for region in task.regions if _labels_of(region)]
    return task.key if task.key in names else next(iter(names), None)


def _shape(value: Mapping[str, Any], size: Size, place: str, faults: Faults) -> Shape | None:
    try:
        if "rle" in value:
            data = bytes(value["rle"])
            if brush_values(data) != 4 * size[0] * size[1]:
                raise ValueError("of another size")
            return Brush(data)
        if "imageDataURL" in value:
            inside = read_bitmap(value["imageDataURL"], size[0] * size[1])
            if inside.shape != size:
                raise ValueError("of another size")
            shape = runs_of_bitmap(inside)
            if shape is None:
                faults.add("polygon-without-area", place)
            return shape
        if "points" not in value:
            faults.add("annotation-without-shape", place)
            return None
        points = np.array(value["points"], np.float64).reshape(-1, 2)
        points = points * (size[1] / 100, size[0] / 100)  # from per cent
        if not is_within_reach(points, size):
            raise ValueError("far from the image")
    except (ValueError, TypeError, AttributeError, OverflowError, OSError, SyntaxError):
        faults.add("annotation-malformed", place)
        return None
    if not has_area(points):
        faults.add("polygon-without-area", place)
        return None
    return [points.ravel()]
