"""Whether files of torch hold what was written: they carry sums of their parts, which torch does not compare."""

from __future__ import annotations

import zipfile
from typing import IO


def require_sound(archive: IO[bytes]) -> None:
    """Compare every part of what `torch.save` wrote with its sum.

    Args:
        archive: The file, or what is within a larger one.

    Raises:
        zipfile.BadZipFile: A part is another than was written.
    """
    with zipfile.ZipFile(archive) as members:
        damaged = members.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} is not what was written")
