"""COCO-Stuff-10K: MATLAB files as masks, sorted into the training and the test folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8

from vitseg.errors import DataError
from vitseg.prepare.jobs import OnProgress, Outcome, bring, is_whole, run_jobs, save_ids

NUM_RAW_IDS = 183
"""Ids of the MATLAB files: 0 is unlabelled, 1 to 182 are the classes of COCO and COCO-Stuff."""

UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
"""Ids of COCO that no annotation has: 171 are left."""

SPLITS = {"train": "train2014", "test": "test2014"}
"""Name of the list -> name of the folders. All images come from COCO's train2014."""

_USED = np.setdiff1d(np.arange(NUM_RAW_IDS), UNUSED_IDS)
COMPACT_IDS: dict[int, int] = {raw: compact for compact, raw in enumerate(_USED.tolist())}
"""Raw id -> id in the mask: 0 stays unlabelled, the used ids become 1 to 171 in their order."""


class _Job(NamedTuple):
    labels: Path
    mask: Path
    image: Path
    image_copy: Path


def convert(source: Path, out: Path, on_progress: OnProgress) -> Outcome:
    """Write `annotations/SPLIT/NAME_labelTrainIds.png` for every `.mat`, with image and lists.

    Ids of the lists without `.mat` file are passed over: a part of the data set can be converted. Into another folder,
    the lists are written with the ids that are whole there; in the same folder the official lists stay as they are.

    Args:
        source: The unpacked cocostuff-10k-v1.1.zip: `annotations/NAME.mat`, `images/NAME.jpg` and
            `imageLists/{train,test}.txt`.
        out: Folder for the result; may be `source`. Images become hard links where possible.
        on_progress: Called after each file.

    Raises:
        DataError: A list cannot be read.
    """
    jobs: list[_Job] = []
    names: dict[str, list[str]] = {}
    for split, folder in SPLITS.items():
        names[split] = _listed(source / "imageLists" / f"{split}.txt")
        for name in names[split]:
            labels = source / "annotations" / f"{name}.mat"
            if labels.is_file():
                image = source / "images" / f"{name}.jpg"
                jobs.append(
                    _Job(labels, _mask(out, folder, name), image, _image(out, folder, name))
                )
    outcome = run_jobs(_convert, jobs, "convert the MATLAB files", on_progress)
    if out.resolve() != source.resolve():
        for split, folder in SPLITS.items():
            whole = [
                name
                for name in names[split]
                if _mask(out, folder, name).is_file() and _image(out, folder, name).is_file()
            ]
            if whole:
                path = out / "imageLists" / f"{split}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("".join(f"{name}\n" for name in whole), encoding="utf-8")
    return outcome


def compact(raw_ids: Integer[np.ndarray, "H W"], where: object) -> UInt8[np.ndarray, "H W"]:
    """The ids of the mask, 0 to 171, see `COMPACT_IDS`.

    Args:
        raw_ids: Ids of the MATLAB file.
        where: Name of the file, for the error.

    Raises:
        DataError: An id is outside 0 to 182 or one of `UNUSED_IDS`.
    """
    found = raw_ids.min(), raw_ids.max()
    if found[0] >= 0 and found[1] < NUM_RAW_IDS:
        found = np.flatnonzero(np.bincount(raw_ids.ravel()))
    unknown = [int(raw) for raw in found if raw not in COMPACT_IDS]
    if unknown:
        raise DataError(
            f"{where} has the id {unknown[0]}, but COCO-Stuff has 0 to {NUM_RAW_IDS - 1} without "
            f"{', '.join(map(str, UNUSED_IDS))}. Is it another data set's?"
        )
    table = np.zeros(NUM_RAW_IDS, np.uint8)
    table[list(COMPACT_IDS)] = list(COMPACT_IDS.values())
    return table[raw_ids]


def read_labels(path: Path) -> Integer[np.ndarray, "H W"]:
    """The field `S` of a MATLAB file: raw ids.

    Raises:
        DataError: The file is damaged or has no such field of whole numbers.
    """
    from scipy.io import loadmat

    try:
        labels = loadmat(str(path), variable_names=["S"])["S"]
    except Exception as error:  # of a damaged file, scipy raises nearly everything there is
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is no readable MATLAB file with a field S: {reason}.") from error
    numeric = isinstance(labels, np.ndarray) and labels.ndim == 2 and labels.dtype.kind in "uif"
    if not numeric or not labels.size or not np.isfinite(labels).all() or (labels % 1).any():
        raise DataError(f"{path}: the field S is no matrix of whole numbers, one id per pixel.")
    return labels.astype(np.int64)


def _convert(job: _Job) -> bool:
    raw_ids = read_labels(job.labels)
    ids = compact(raw_ids, job.labels)
    made = not is_whole(job.mask, raw_ids.shape, range(len(COMPACT_IDS)))
    if made:
        save_ids(job.mask, ids)
    bring(job.image, job.image_copy)
    return made


def _mask(out: Path, folder: str, name: str) -> Path:
    return out / "annotations" / folder / f"{name}_labelTrainIds.png"


def _image(out: Path, folder: str, name: str) -> Path:
    return out / "images" / folder / f"{name}.jpg"


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {error}. It comes with cocostuff-10k-v1.1.zip."
        ) from error
    names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    for name in names:
        if "/" in name or "\\" in name or name.startswith("."):
            raise DataError(f"{path} lists {name!r}, which is no name of an image without suffix.")
    return names
