"""Why an MP4 or MOV file cannot be opened: it is a row of boxes, and without the box `moov` nothing in it is found."""

from __future__ import annotations

from pathlib import Path

FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""What such a file can begin with (ISO/IEC 14496-12; QuickTime)."""


def missing_index(path: Path) -> str | None:
    """What is missing of the index, as the rest of a sentence; None if it is whole, or the file of another kind.

    Args:
        path: The file; only the heads of its boxes are read.
    """
    size = path.stat().st_size
    place = 0
    seen: list[bytes] = []
    with path.open("rb") as file:
        while place + 8 <= size:
            file.seek(place)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if not seen and kind not in FIRST_BOXES:
                return None
            if length == 1:  # the true length follows
                length = int.from_bytes(head[8:16], "big")
            elif length == 0:  # up to the end of the file
                length = size - place
            seen.append(kind)
            if kind == b"moov":
                if place + length <= size:
                    return None
                return (
                    f"since its index (moov) is cut: {place + length - size:,} bytes are missing at the end. "
                    "Copy the file again."
                )
            if length < 8:
                break
            place += length
    if not seen:
        return None
    cut = f" {place - size:,} bytes and" if place > size else ""
    return (
        f"since{cut} its index (moov) is missing, which is written at the end: it was cut while it was recorded or "
        "copied. Copy the file again; what a camera broke off is rebuilt by tools such as untrunc."
    )
