"""Many small requests to one server: whether memory and file descriptors stay as they are.

Every answer is checked: a wrong one, or another status, ends the run. `--minutes` bounds it.
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.serve.octants import cells_of, encoded, pattern, picture, png, write_octants

KINDS = 64


@dataclass
class Count:
    """Requests that were answered, of which all may be asked."""

    done: int = 0
    error: str = ""


def bodies() -> list[tuple[bytes, np.ndarray]]:
    """Images of several sizes and formats, and their labels."""
    found = []
    for seed in range(KINDS):
        cells = pattern(seed, 2 + seed % 3, 2 + seed % 5)
        if seed % 4 == 3:
            content = encoded(picture(cells.repeat(16, 0).repeat(16, 1)), "JPEG", quality=95)
        else:
            content = png(cells)
        found.append((content, cells))
    return found


def ask(port: int, requests: int, until: float, count: Count, lock: threading.Lock) -> None:
    """One client; every hundredth of its requests is a bad one, every fiftieth leaves unanswered."""
    images = bodies()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for number in range(requests):
        if count.error or time.monotonic() > until:
            return
        content, cells = images[number % KINDS]
        is_bad = number % 100 == 99
        connection.request("POST", "/v1/segment", content[:100] if is_bad else content)
        if number % 50 == 49 and not is_bad:
            connection.close()
        else:
            answer = connection.getresponse()
            body = answer.read()
            is_right = answer.status == 422 if is_bad else answer.status == 200
            if not is_right or not (is_bad or np.array_equal(cells_of(body), cells)):
                count.error = f"request {number}: {answer.status} {body[:200]!r}"
                return
        with lock:
            count.done += 1


def measured(server: psutil.Process) -> Iterator[tuple[str, int, int]]:
    """Name, MB and file descriptors of the server and its children."""
    for process in (server, *server.children()):
        line = " ".join(process.cmdline())
        kind = "server" if process is server else "models" if "spawn_main" in line else "other"
        yield kind, process.memory_info().rss // 1_000_000, process.num_fds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=60.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = write_octants(Path(folder) / "octants")
        command = [
            "-m",
            "vitseg",
            "serve",
            str(model),
            "--port",
            "0",
            "--no-page",
            "--threads",
            "1",
        ]
        own = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
        assert own.stdout is not None
        try:
            port = int(own.stdout.readline().rsplit(":", 1)[1])
            soak(psutil.Process(own.pid), port, asked)
        finally:
            own.terminate()
            print(f"exit code {own.wait(60)}")


def soak(server: psutil.Process, port: int, asked: argparse.Namespace) -> None:
    count, lock = Count(), threading.Lock()
    started = time.monotonic()
    until = started + 60 * asked.minutes
    share = asked.requests // asked.clients
    clients = [
        threading.Thread(target=ask, args=(port, share, until, count, lock))
        for _ in range(asked.clients)
    ]
    print(f"{'requests':>9} {'seconds':>8}  process: MB, file descriptors")
    for client in clients:
        client.start()
    mark = 0
    while any(client.is_alive() for client in clients):
        time.sleep(0.2)
        if count.done >= mark:
            told = ", ".join(f"{kind}: {mb} MB {fds}" for kind, mb, fds in measured(server))
            print(f"{count.done:>9} {time.monotonic() - started:>8.1f}  {told}", flush=True)
            mark = count.done + max(1, asked.requests // 20)
    told = ", ".join(f"{kind}: {mb} MB {fds}" for kind, mb, fds in measured(server))
    print(f"{count.done:>9} {time.monotonic() - started:>8.1f}  {told}")
    if count.error:
        sys.exit(count.error)


if __name__ == "__main__":
    main()
