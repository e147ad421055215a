"""Run what is missing of the study: train, score, write a small result file for each row and seed.

    python benchmarks/study/run.py --data ROOT_OF_CAMVID --weights DIR [--ccp ROOT_OF_CCP] [--rows main-1000,dtop]

Rows are in `rows.py`; `--plan` lists what is missing and stops. On a CPU two trainings of one thread run at a time, on
a GPU one. Each is a `vitseg train` (or `continual`) of its own, with a log beside its folder in runs/study. The command
can be stopped at any moment: at Ctrl-C and SIGTERM everything is saved, and it ends with 130 or 143 when all that it
started has ended; the same command goes on, also after a kill or a power cut. Results of other versions, budgets,
recipes or data (`identity.py` says what counts) are named and refused with exit code 2 before anything is begun.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO

from identity import Identities, Places
from places import add_places, places_of
from results import Result, device_kind, read_results
from row import Row, read_list
from steps import Plan, Step, choose, in_order

from vitseg.errors import ConfigError, DataError, VitsegError
from vitseg.files import remove_leftovers

LOCK = ".lock"
PATIENCE = 300
"""Seconds that what an earlier driver has left may take to end, before this one gives up."""

POLL = 0.2
PDEATHSIG = 1  # prctl's option


class Lock:
    """That of the folder of runs; the processes that are started hold it, too, so that it is free when all have ended.

    Raises:
        ConfigError: Others work in the folder, and go on to.
    """

    def __init__(self, runs: Path):
        runs.mkdir(parents=True, exist_ok=True)
        self.file = (runs / LOCK).open("a")
        said, began = False, time.monotonic()
        while True:
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() - began > PATIENCE:
                    raise ConfigError(
                        f"{runs} is in use by another run of the study: wait for it, or stop it."
                    ) from None
                if not said:
                    print(f"waiting for what works in {runs} to end", flush=True)
                    said = True
                time.sleep(1)


class Process:
    """One step that is running."""

    def __init__(self, step: Step, threads: int | None, lock: Lock):
        self.step = step
        self.began = time.monotonic()
        command = step.command()
        step.log.parent.mkdir(parents=True, exist_ok=True)
        self.log: IO[bytes] = step.log.open("ab")
        self.log.write(f"== {time.strftime('%F %T')} {step.name}\n".encode())
        self.log.flush()
        environment = dict(os.environ)
        if threads is not None:
            environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(threads)
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C of the terminal reaches this process alone, which passes it on once
            pass_fds=(lock.file.fileno(),),
            preexec_fn=_ends_with_parent(),
        )

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self.began) / 60

    def last_line(self) -> str:
        """What the process said last."""
        lines = self.step.log.read_bytes()[-4000:].decode(errors="replace").split("\n")
        said = (line.strip() for line in reversed(lines))
        return next((line for line in said if line and not line.startswith("== ")), "")


def _ends_with_parent():
    """To be called in a new process: it gets SIGTERM when this one is killed, and saves. Linux alone knows that."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def tie() -> None:
        prctl(PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was killed in between
            os._exit(1)

    return tie


class Driver:
    """Runs the steps of a plan, some at a time.

    Args:
        plan: What is to be done.
        workers: Processes at a time.
        threads: Of each; None: as many as it wants.
        lock: Of the folder of runs.
    """

    def __init__(self, plan: Plan, workers: int, threads: int | None, lock: Lock):
        self.plan, self.workers, self.threads, self.lock = plan, workers, threads, lock
        self.waiting = deque(plan.steps.values())
        self.running: list[Process] = []
        self.failed: set[str] = set()
        self.done = 0
        self.received = 0

    def run(self) -> int:
        """Returns the exit code: 0, 1 where a step failed, or 128 and the signal that stopped it."""
        previous = {n: signal.signal(n, self._stop) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self.running or (self.waiting and not self.received):
                self._begin_some()
                self._end_some()
                time.sleep(POLL)
        finally:
            self._end_all()
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self.received:
            print("stopped; the same command goes on.", flush=True)
            return 128 + self.received
        return 1 if self.failed else 0

    def _end_all(self) -> None:
        """Behind an error of ours or of the system: what still runs saves, and ends."""
        for process in self.running:
            process.popen.terminate()
        for process in self.running:
            process.popen.wait()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """The first signal is passed on once, so that trainings save; at the second they are killed."""
        for process in self.running:
            if self.received:
                with suppress(ProcessLookupError):  # it has just ended
                    os.killpg(process.popen.pid, signal.SIGKILL)
            else:
                process.popen.terminate()  # never Ctrl-C's own, which a script's background job ignores
        self.received = self.received or number

    def _begin_some(self) -> None:
        while len(self.running) < self.workers and not self.received:
            step = self._next()
            if step is None:
                return
            try:
                process = Process(step, self.threads, self.lock)
            except (VitsegError, OSError) as error:  # the others go on
                self.failed.add(step.name)
                print(f"{step.name} failed: {error}", file=sys.stderr, flush=True)
                continue
            self.running.append(process)
            if self.received:  # it came while the process was started
                process.popen.terminate()
            print(
                f"[{self.done + len(self.failed)}/{len(self.plan.steps)}] {step.name}", flush=True
            )

    def _next(self) -> Step | None:
        """The first step that waits for nothing; those behind a failed one are given up."""
        pending = {step.name for step in self.waiting} | {each.step.name for each in self.running}
        for step in list(self.waiting):
            if self.failed & set(step.needs):
                self.waiting.remove(step)
                self.failed.add(step.name)
                print(f"{step.name}: given up, since what it needs failed", flush=True)
                return self._next()
            if not pending & set(step.needs):
                self.waiting.remove(step)
                return step
        return None

    def _end_some(self) -> None:
        for process in list(self.running):
            code = process.popen.poll()
            if code is None:
                continue
            self.running.remove(process)
            process.log.close()
            step = process.step
            if code == 0:
                self.done += 1
                step.after()
                print(
                    f"{step.name}: {process.minutes:.1f} minutes. {process.last_line()}", flush=True
                )
            elif not self.received:
                self.failed.add(step.name)
                print(
                    f"{step.name} failed with {code}: {process.last_line()} ({step.log})",
                    file=sys.stderr,
                    flush=True,
                )


def refuse_other_devices(results: Sequence[Result], missing: Sequence[Row], has_gpu: bool) -> None:
    """See that all rows that any machine runs are of one kind of device: tables and claims pair them across groups.

    Raises:
        ConfigError: A result is of another kind than what would be added.
    """
    here = "a GPU" if has_gpu else "cpu"
    if all(row.on_gpu for row in missing):
        return
    for result in results:
        kind = device_kind(result.content)
        if not result.row.on_gpu and kind != here:
            raise ConfigError(
                f"{result.row.name}-seed{result.seed}.json is of {kind}, but this machine would add results of {here}: "
                "give another --out. Nothing was changed."
            )


def show_plan(plan: Plan, chosen: Sequence[Row], seeds: Sequence[int] | None) -> None:
    for row, seed in in_order(chosen, seeds):
        is_there = plan.places.result(row, seed).is_file()
        print(
            f"{'done   ' if is_there else 'missing'} {row.group:12} {row.name}-seed{seed}  {row.label}"
        )
    print(f"{len(plan.steps)} steps are missing")


def require_data(places: Places, rows: Sequence[Row], is_named: bool) -> list[Row]:
    """The rows whose data are at hand.

    Raises:
        ConfigError: There are none, or rows that were named lack theirs.
    """
    option = {"camvid": "--data", "ccp": "--ccp"}
    lacking = {row.data for row in rows} - places.roots.keys()
    if lacking and (is_named or not places.roots):
        name = sorted(lacking)[0]
        raise ConfigError(f"the folder of {name} is not given: give {option[name]} ROOT.")
    for name in sorted(lacking):
        print(f"rows on {name} are left out: {option[name]} is not given", flush=True)
    return [row for row in rows if row.data not in lacking]


def main() -> None:
    parser = argparse.ArgumentParser(description="Run what is missing of the study.")
    add_places(parser)
    parser.add_argument(
        "--rows", metavar="A,B", help="names of rows or groups; all but the extras if not given"
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="only these")
    parser.add_argument(
        "--workers", type=int, default=2, help="trainings at a time, of one thread each, on a CPU"
    )
    parser.add_argument("--plan", action="store_true", help="list what is missing, and stop")
    args = parser.parse_args()
    if args.workers < 1:
        parser.error("--workers is at least 1")
    try:
        code = study(args)
    except KeyboardInterrupt:
        code = 130
    except (VitsegError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)


def study(args: argparse.Namespace) -> int:
    """Look at what is there, refuse what may not be mixed, and run the rest; returns the exit code."""
    import torch

    has_gpu = torch.cuda.is_available()
    rows = read_list(args.list)
    places = places_of(args)
    chosen = require_data(places, choose(rows, args.rows, has_gpu), args.rows is not None)
    for name, root in places.roots.items():
        if not root.is_dir():
            raise DataError(f"{root} is no folder: give the folder of {name}.")
    identities = Identities(rows, places)
    lock = None if args.plan else Lock(places.runs)
    results = read_results(places.out, identities)
    unknown = set(args.seeds or ()) - {seed for row in chosen for seed in row.seeds}
    if unknown:
        raise ConfigError(f"--seeds: none of the rows has seed {min(unknown)}; --plan lists rows.")
    plan = Plan(identities, places, chosen, args.seeds, args.list)
    if lock is None:
        show_plan(plan, chosen, args.seeds)
        return 0
    missing = [
        row for row, seed in in_order(chosen, args.seeds) if not places.result(row, seed).is_file()
    ]
    for row in missing:
        identities.data(row)
    refuse_other_devices(results, missing, has_gpu)
    plan.refuse_other_runs()
    tell_of_bf16(identities, plan, has_gpu)
    places.out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(places.out)
    workers, threads = (1, None) if has_gpu else (args.workers, 1)
    code = Driver(plan, workers, threads, lock).run()
    if code == 0:
        print(f"all {len(plan.steps)} steps are done; results are in {places.out}")
    return code


def tell_of_bf16(identities: Identities, plan: Plan, has_gpu: bool) -> None:
    """Say so where trainings in bf16 are to be run without instructions for it: each takes hours then."""
    import torch

    from vitseg.inference.precision import has_bf16

    if has_bf16(torch.device("cuda" if has_gpu else "cpu")):
        return
    found = {identities.recipe(row, seed)["training"]["precision"] for row, seed in plan.trained()}
    if "bf16-mixed" in found:
        print(
            "No instructions for bfloat16 here, which the rows are trained in: a step takes many times longer. The "
            "results count all the same.",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    main()
