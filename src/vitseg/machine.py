"""What this process may have of the machine: cores and memory, within the limits of its container or job.

A container of `docker run --cpus 2 --memory 4g`, a pod or a job of a cluster sees all cores and all memory of its
machine; what it is held to stands in the files of its control groups, of either generation.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS, MEMINFO = Path("/proc/self/cgroup"), Path("/proc/meminfo")

_MEMORY = (  # limit, what is taken, and what of that are files that give way, of each generation
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def num_cores() -> int:
    """Cores of the processor that this process may use; a part of one counts as one."""
    return min([_cores_to_run_on(), *(max(1, math.ceil(share)) for share in _shares_of_cores())])


def has_fewer_cores() -> bool:
    """Whether its container gives it the time of fewer cores than it may run on, which other programs do not see."""
    return num_cores() < _cores_to_run_on()


def memory_total() -> int | None:
    """Bytes of memory that this process can have at most; None: the system does not tell."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return min([whole, *(limit for limit, _ in _limits_of_memory())])


def memory_at_hand() -> int | None:
    """Bytes of memory that nobody uses, or only as a copy of files; None: the system does not tell."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", _text(MEMINFO), re.MULTILINE)
    if found is None:
        return None
    left = (max(0, limit - taken) for limit, taken in _limits_of_memory())
    return min([int(found[1]) * 1024, *left])


def _cores_to_run_on() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shares_of_cores() -> Iterator[float]:
    """The time of processors that each group gives, in cores."""
    for group in _groups("cpu"):
        quota, _, period = _text(group / "cpu.max").strip().partition(" ")  # "max" for no limit
        old = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            yield int(quota) / int(period)
        elif old[0] and old[1]:
            yield old[0] / old[1]


def _limits_of_memory() -> Iterator[tuple[int, int]]:
    """The limit of each group that has one, and what is taken of it."""
    for group in _groups("memory"):
        for limit, taken, files in _MEMORY:
            most, now = _number(group / limit), _number(group / taken)
            if most is None or now is None:
                continue
            cached = re.search(rf"^{files} (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
            yield most, now - (int(cached[1]) if cached else 0)


def _groups(controller: str) -> Iterator[Path]:
    """The control groups that this process is in, from the innermost to the outermost, as far as they can be seen."""
    for line in _text(OWN_CGROUPS).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            top = CGROUPS
        elif controller in controllers.split(","):
            top = CGROUPS / controller
        else:
            continue
        place = PurePosixPath("/", path)
        for group in (place, *place.parents):
            yield top / group.relative_to("/")


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    """What a file of the system says; nothing where it is missing or not ours to read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
