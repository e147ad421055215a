"""Where weights of other projects are: one file, or a folder in which one has to be named. Imports no torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vitseg.errors import CheckpointError

INDEX = ".index.json"
"""End of the name of a list of parts."""

PART = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)$")
"""Name of one part of a model."""

_LISTED = ("*.index.json", "*.safetensors", "*.pth", "*.pt", "*.ckpt", "*.bin", "*.npz")
_MOST_NAMED = 3


def require_weight_file(path: Path) -> None:
    """Raise CheckpointError unless there is a file; nothing of it is read."""
    if not os.path.isfile(path):  # Path.is_file fails for a path that is too long
        found = _folder_refusal(path) if os.path.isdir(path) else "does not exist."
        raise CheckpointError(f"weight file {path} {found}")


def _folder_refusal(path: Path) -> str:
    """What to give instead of a folder, behind its name."""
    if (path / ".metadata").is_file() or any(path.glob("*.distcp")):
        return (
            "is a distributed checkpoint of torch: make one file of it with: "
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pth"
        )
    names = [file.name for pattern in _LISTED for file in sorted(path.glob(pattern))]
    listed = any(name.endswith(INDEX) for name in names)
    names = [name for name in names if not (listed and PART.match(name))]
    inside = f" ({', '.join(names[:_MOST_NAMED])})" if names else ""
    return f"is a folder: give the file in it{inside}."
