"""Processes below a process, as /proc lists them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Listed(NamedTuple):
    """A process; a number alone may be given to another one later."""

    pid: int
    started: str
    title: str


def below(root: int) -> list[Listed]:
    """A process and all that it, or what it started, has started."""
    parents = {}
    listed = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
        if fields[0] != "Z":
            pid = int(folder.name)
            parents[pid] = int(fields[1])
            listed[pid] = Listed(pid, fields[19], title)
    found, new = set(), {root}
    while new:
        found |= new
        new = {pid for pid, parent in parents.items() if parent in new} - found
    return [one for pid, one in listed.items() if pid in found]


def is_alive(process: Listed) -> bool:
    """Whether it is there, and no other with its number."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z" and fields[19] == process.started


def end_all(processes: list[Listed]) -> None:
    """End what is still there of them."""
    for process in processes:
        if is_alive(process):
            os.kill(process.pid, 9)
