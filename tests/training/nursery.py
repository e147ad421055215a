"""Processes of a training without their start: one process that has imported everything, and forks those that run.

As torchrun would, it gives them their numbers; `vitseg train` itself imports for seconds, and tests here start dozens.
Nothing is computed in the process that forks, so that torch has no threads there.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LIMIT = 400.0  # seconds that any of them may take


class Nursery:
    """The process that forks, seen from a test."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def train(self, arguments: Sequence[str], log: Path, world: int = 1) -> Group:
        """Start `vitseg` with arguments in as many processes, whose stderr goes to `log`."""
        return self._start({"arguments": [*arguments]}, log, world)

    def call(self, name: str, arguments: Sequence[str], log: Path, world: int = 1) -> None:
        """Run `module:function` with arguments in as many processes, and wait for them."""
        group = self._start({"call": name, "arguments": [*arguments]}, log, world)
        assert group.wait() == [0] * world, log.read_text()

    def _start(self, what: dict[str, Any], log: Path, world: int) -> Group:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        numbers = {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "GROUP_RANK": "0"}
        torchrun = {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started = []
        for rank in range(world):
            given = {"RANK": str(rank), "LOCAL_RANK": str(rank), **numbers, **torchrun}
            request = {**what, "log": str(log), "environment": given if world > 1 else {}}
            started.append(self.ask(request))
        return Group(self, started)

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=LIMIT)


class Group:
    """Processes of one training."""

    def __init__(self, nursery: Nursery, processes: list[int]):
        self._nursery = nursery
        self.processes = processes
        self._codes: dict[int, int] = {}

    def codes(self) -> list[int | None]:
        """Exit codes; None of those that are running, and negative of those that a signal has ended."""
        time.sleep(0.001)  # between looks in a loop
        for process in self.processes:
            if process not in self._codes:
                code = self._nursery.ask({"poll": process})
                if code is not None:
                    self._codes[process] = code
        return [self._codes.get(process) for process in self.processes]

    def wait(self, limit: float = LIMIT) -> list[int]:
        """Exit codes of all, once they have ended."""
        until = time.monotonic() + limit
        while None in (codes := self.codes()):
            if time.monotonic() > until:
                self.kill()
                raise AssertionError(f"they hang: {codes}")
            time.sleep(0.02)
        return [code for code in codes if code is not None]

    def kill(self) -> None:
        """End all at once."""
        for process, code in zip(self.processes, self.codes(), strict=True):
            if code is None:
                os.kill(process, signal.SIGKILL)
        self.wait()


def _serve() -> None:
    import lightning  # noqa: F401
    import torch.distributed.checkpoint
    import torch.distributed.fsdp
    import torch.utils.tensorboard  # noqa: F401

    import vitseg.cli.app
    import vitseg.cli.main
    import vitseg.training.loop  # noqa: F401

    running: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            done, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if done else None
            running.discard(done)
        else:
            answer = os.fork()
            if answer == 0:
                _run(request)
            running.add(answer)
        print(json.dumps(answer), flush=True)
    for process in running:  # of a test that has failed
        os.kill(process, signal.SIGKILL)


def _run(request: dict[str, Any]) -> None:
    code = 1
    try:
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDWR)
        for target, source in ((0, nothing), (1, nothing), (2, log)):
            os.dup2(source, target)
        os.environ.update(request["environment"])
        sys.argv = ["vitseg", *request["arguments"]]
        if "call" in request:
            module, _, function = request["call"].partition(":")
            getattr(importlib.import_module(module), function)(*request["arguments"])
        else:
            from vitseg.cli.main import run

            run()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
