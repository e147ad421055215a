"""What a pickled checkpoint may cost before it is read: its table of contents and its instructions are counted first.

A pickle of a hundred megabytes can build gigabytes of empty lists, and a compressed archive can hide a large one in a
small file. torch.save compresses nothing, and a checkpoint has some ten instructions per tensor.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import Any

from vitseg.errors import CheckpointError

MOST_INSTRUCTIONS = 3_000_000
"""Instructions of a pickle that is read: a model of 10,000 tensors with its optimiser's state has about 600,000."""

MOST_MEMBERS = 200_000
"""Members of an archive: every tensor is one."""

_LEGACY_PICKLES = 5
"""Of a file that is no archive: a magic number, a version, facts of the system, content, the storages' names."""


def require_affordable(path: Path) -> None:
    """Refuse a checkpoint that would cost far more memory than its file is large.

    Raises:
        CheckpointError: It is compressed, or has more instructions than any checkpoint needs.
    """
    try:
        is_archive = zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return  # torch says what is wrong with it
    if is_archive:
        _check_archive(path)
        return
    with path.open("rb") as file:
        budget = MOST_INSTRUCTIONS
        for _ in range(_LEGACY_PICKLES):
            budget = _count(file, budget, path)
            if budget is None:
                return  # torch says what is wrong with it


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MOST_MEMBERS:
                raise CheckpointError(
                    f"{path} has {len(members):,} members, but no checkpoint has more than {MOST_MEMBERS:,}: refused."
                )
            packed = [each for each in members if each.compress_type != zipfile.ZIP_STORED]
            size = path.stat().st_size
            if packed or sum(each.file_size for each in members) > size:
                name = packed[0].filename if packed else members[0].filename
                raise CheckpointError(
                    f"{path} is packed ({name} would be larger than the file that it is in), which torch.save never "
                    "does: refused. Write it anew with torch.save, or as .safetensors."
                )
            for each in members:
                if each.filename.endswith("data.pkl"):
                    with archive.open(each) as file:
                        _count(file, MOST_INSTRUCTIONS, path)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, RuntimeError):
        return  # torch says what is wrong with it


def _count(file: Any, budget: int, path: Path) -> int | None:
    """What is left of a budget of instructions of a binary file's next pickle; None: there is none."""
    try:
        for _ in pickletools.genops(file):
            budget -= 1
            if budget < 0:
                raise CheckpointError(
                    f"{path} has more than {MOST_INSTRUCTIONS:,} instructions in its pickle, far more than its tensors "
                    "need, and would take gigabytes of memory: refused. Save the weights alone, or as .safetensors."
                )
    except CheckpointError:
        raise
    except Exception:  # a damaged pickle leads the reader to any of them
        return None
    return budget
