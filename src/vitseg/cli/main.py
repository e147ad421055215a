"""The process of the `vitseg` command: Ctrl-C from the first moment on, and errors as one line each."""

from __future__ import annotations

import errno
import io
import os
import sys

from vitseg import machine
from vitseg.cli import interrupts

SPINS = "1000"
"""Turns of a waiting thread of GNU's OpenMP, which makes 300,000 by itself."""

_LONGEST_PLACE = 300  # characters of a file's name in it
_LONGEST = 10_000  # characters of an error's line; a hostile file's values may have millions


def run() -> None:
    """Entry point: errors of the user and of his machine exit with 2, ours with 1, each with one clear line."""
    with interrupts.Handled():
        _print_anything()
        _share_cores()
        _run()


def _print_anything() -> None:
    """Spell out characters that a terminal or a pipe cannot show, as of names of files, which may be any bytes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _share_cores() -> None:
    """Let torch take no more threads than its container gives cores, and give cores up to others soon.

    GNU's threads turn round at a barrier for milliseconds before they sleep. Where another process has one of the
    cores, the thread that is waited for would need just that time: a training step of two threads on two cores took 38
    times as long beside a busy process, and takes 1.8 times as long with few turns, which cost nothing alone
    (docs/results/neighbour_time.txt). What the user's environment says goes first.
    """
    if machine.has_fewer_cores():
        os.environ.setdefault("OMP_NUM_THREADS", str(machine.num_cores()))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def _run() -> None:
    from vitseg.cli import app, frame  # takes time, and Ctrl-C may come within it

    try:
        app.app(prog_name="vitseg")
    except Exception as error:
        if frame.is_debugging():
            raise
        if _is_said_elsewhere(error):
            sys.exit(2)
        line, code = _told(error)
        short = line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."
        print(" ".join(short.splitlines()), file=sys.stderr)
        sys.exit(code)


def _is_said_elsewhere(error: Exception) -> bool:
    """Whether another process of the same training says it: what is wrong with recipes and states, all find alike."""
    from vitseg.errors import CheckpointError, ConfigError, SaidElsewhereError
    from vitseg.launch import started

    if isinstance(error, SaidElsewhereError):
        return True
    is_first = started().local_rank == 0  # of this machine
    is_found_by_all = isinstance(error, ConfigError | CheckpointError) and not error.is_own
    return is_found_by_all and not is_first


def _told(error: Exception) -> tuple[str, int]:
    """What is said of an error, and the exit code."""
    from vitseg.errors import VitsegError, is_out_of_memory

    if isinstance(error, VitsegError):
        return f"{type(error).__name__}: {error}", 2
    if isinstance(error, OSError) and error.errno and error.strerror:
        place = str(error.filename if error.filename is not None else "a file or the output")
        place = place if len(place) <= _LONGEST_PLACE else f"{place[:_LONGEST_PLACE]} ..."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            again = "a training that saved its state goes on with --resume"
            return f"{error.strerror}: {place}. Make room, and run the command again; {again}.", 2
        return f"{error.strerror}: {place}. Give a place that can be read and written.", 2
    if is_out_of_memory(error):
        return "out of memory: give the work more of it, or smaller inputs.", 2
    reason = " ".join(str(error).split()) or "no message"
    return (
        f"internal error, {type(error).__name__}: {reason}. Please report it with: vitseg --debug ...",
        1,
    )
