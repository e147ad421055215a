"""Versions of the model directory's format, and how an older one becomes the present one.

Format 2 (vitseg 0.1) dropped a level of names: a plain ViT inside another backbone ("backbone.vit.blocks.0 ...") is the
backbone itself. Nothing else changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vitseg.checkpoint.versions import package_versions
from vitseg.errors import CheckpointError
from vitseg.types import StateDict

FORMAT = 2
"""What is written."""


def require_readable_format(raw: Any, where: str) -> None:
    """Raise CheckpointError if a `config.json` is of no known format; where it is a newer one, say what to install.

    Args:
        raw: The content.
        where: The file, for the error.
    """
    version = raw.get("format_version", FORMAT) if isinstance(raw, Mapping) else FORMAT
    known = f"this vitseg reads formats 1 to {FORMAT}"
    if type(version) is not int or version < 1:
        raise CheckpointError(
            f"{where} has format_version {version!r}, but {known}: it was not written by vitseg. Restore the file."
        )
    if version <= FORMAT:
        return
    versions = raw.get("versions")
    writer = versions.get("vitseg") if isinstance(versions, Mapping) else None
    known_writer = writer and writer != package_versions().get("vitseg")
    wanted = f"vitseg {writer} or newer" if known_writer else "a newer vitseg"
    raise CheckpointError(
        f"{where} has format_version {version}, but {known}: install {wanted} (pip install --upgrade vitseg)."
    )


def renamed_state(state: StateDict, old_names: Sequence[tuple[str, str]], where: str) -> StateDict:
    """Parameters of format 1 by their present names.

    Args:
        state: Parameters by their old names.
        old_names: (pattern, replacement) of the method.
        where: The file, for the error.

    Raises:
        CheckpointError: Two parameters would get one name.
    """
    renamed: StateDict = {}
    for name, value in state.items():
        ours = name
        for pattern, replacement in old_names:
            ours = re.sub(pattern, replacement, ours)
        if ours in renamed:
            raise CheckpointError(
                f"{where} has two parameters for {ours}, one of them called {name}: it was not written by vitseg. "
                "Convert the weights again."
            )
        renamed[ours] = value
    return renamed
