"""How much memory a process has taken."""

from __future__ import annotations

import re
import resource
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_bytes() -> int:
    """The most that this process has held, without what held the process that started it.

    `ru_maxrss` of a new process begins with its parent's, so it says nothing about a small one that a large one starts;
    Linux's own count is of the program alone.
    """
    if STATUS.is_file():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
        assert found
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
