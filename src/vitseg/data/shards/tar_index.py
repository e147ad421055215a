"""What lies where in an uncompressed tar file: enough to read each member by itself."""

from __future__ import annotations

import re
import tarfile
from typing import BinaryIO, NamedTuple

from vitseg.errors import first_line
from vitseg.images.suffixes import is_image_name

BLOCK = tarfile.BLOCKSIZE

_MEMBER = re.compile(r"(?:\./)?((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)


class Member(NamedTuple):
    """A file in a tar file.

    Attributes:
        key: The sample that it belongs to: its path up to the first dot of its name.
        kind: What follows that dot, in lower case: `jpg`, `mask.png`.
        start: Where its content begins.
        size: Bytes of its content.
    """

    key: str
    kind: str
    start: int
    size: int


def members_of(file: BinaryIO) -> tuple[list[Member], str]:
    """The members of an open tar file, by its headers, and what is wrong with it; "" if nothing is.

    Members whose content is not all there are left out, and so is what belongs to no sample.

    Args:
        file: The file.
    """
    end = file.seek(0, 2)
    file.seek(0)
    found: list[Member] = []
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                match = _MEMBER.fullmatch(info.name)
                if (
                    match is not None
                    and (info.issym() or info.islnk())
                    and is_image_name(info.name)
                ):
                    return found, f"has a link in place of a file, {info.name}"
                if not info.isreg() or match is None:
                    continue
                if info.offset_data + info.size > end:
                    return found, f"is cut off in {info.name}"
                found.append(Member(match[1], match[2].lower(), info.offset_data, info.size))
            last = tar.offset
    except tarfile.ReadError as error:
        if end == 0:
            return [], "is empty"
        what = (
            "is cut off" if found else f"is no tar file without compression ({first_line(error)})"
        )
        return found, what
    file.seek(last)
    block = file.read(BLOCK)
    if len(block) < BLOCK:  # tarfile takes it for the end
        return found, "is cut off: the mark of a tar file's end is not there"
    if any(block):
        return found, f"is damaged {last:,} bytes from its beginning"
    return found, ""
