"""How much memory this process holds, and has held."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def held_bytes() -> int:
    """What this process holds now; 0 where the system does not tell."""
    return _status("VmRSS") or 0


def peak_bytes() -> int:
    """The most that this process has held, without what held the process that started it."""
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def forget_peak() -> None:
    """Count the most from now on, where the system can; else `peak_bytes` stays what it is."""
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")


def _status(name: str) -> int | None:
    if not STATUS.is_file():
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    return None if found is None else int(found[1]) * 1024
