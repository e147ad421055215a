"""A server under load, beside a predictor that is called in a loop on the same image: throughput, latency, overload.

    python serve_load.py MODEL IMAGE [--seconds 8] [--rounds 3] [--threads 2] [--serve-options "..."]

Load comes from `hey` (Debian: apt-get install hey). Both ways decode the image file and give the mask as PNG.

- Concurrency 8: throughput over the loop's; medians of alternating rounds.
- Concurrency 1: 95th percentile of the latency, less the loop's.
- Twice the throughput of concurrency 8 offered: 99th percentile of what was accepted, beside the deadline, and of the
  time to a refusal (429).
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from _measure import print_table

from vitseg.inference.predictor import Predictor, load
from vitseg.render.palette import encode, label_image
from vitseg.serve.uploads import decoded

TIMEOUT = 10.0
GROUPS, EACH = 40, 5
"""Processes of the load generator, and connections of each, where a rate is offered."""


class Load(NamedTuple):
    """What a load generator saw.

    Attributes:
        seconds: Of every request.
        codes: Status of every request.
        duration: Seconds in all.
    """

    seconds: np.ndarray
    codes: np.ndarray
    duration: float

    def per_second(self) -> float:
        return float((self.codes == 200).sum() / self.duration)

    def quantile(self, share: float, code: int = 200) -> float:
        """Milliseconds within which this share of the requests with a status was answered."""
        chosen = self.seconds[self.codes == code]
        return 1000 * float(np.quantile(chosen, share)) if len(chosen) else float("nan")


def hey(url: str, image: Path, seconds: float, concurrency: int) -> Load:
    """Offer requests for some seconds, as fast as they are answered.

    Args:
        url: Of the server.
        image: The body.
        seconds: How long.
        concurrency: Connections, each of which waits for its answer.
    """
    return seen([started(url, image, seconds, concurrency)])


def offered(url: str, image: Path, seconds: float, rate: float) -> Load:
    """Offer so many requests a second, however fast they are answered.

    The connections of one `hey` send all at once: here are several, one after the other, with some connections each.
    """
    interval = GROUPS * EACH / rate  # between two requests of a connection
    running = []
    for _ in range(GROUPS):
        running.append(started(url, image, seconds, EACH, 1 / interval))
        time.sleep(interval / GROUPS)
    return seen(running)


def started(
    url: str, image: Path, seconds: float, concurrency: int, rate: float | None = None
) -> subprocess.Popen[str]:
    """A `hey` at work; with a rate, that of each of its connections."""
    limit = [] if rate is None else ["-q", str(rate)]
    command = ["hey", "-z", f"{seconds}s", "-c", str(concurrency), *limit, "-m", "POST"]
    command += ["-T", "application/octet-stream", "-D", str(image), "-t", "60", "-o", "csv", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def seen(running: list[subprocess.Popen[str]]) -> Load:
    """What all of them saw."""
    rows = [
        row for process in running for row in csv.DictReader(io.StringIO(process.communicate()[0]))
    ]
    times = np.array([float(row["response-time"]) for row in rows])
    codes = np.array([int(row["status-code"]) for row in rows])
    ends = [float(row["offset"]) + float(row["response-time"]) for row in rows]
    return Load(times, codes, max(ends))


def in_a_loop(predictor: Predictor, content: bytes, seconds: float) -> Load:
    """The same by a predictor that is called in a loop."""
    times = []
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        before = time.monotonic()
        pixels = decoded(content, predictor.preprocessing, 10**9, 60.0).values
        labels = predictor(pixels).label_map
        encode(label_image(labels, predictor.classes), "PNG", compress_level=1)
        times.append(time.monotonic() - before)
    duration = time.monotonic() - started
    return Load(np.array(times), np.full(len(times), 200), duration)


@contextmanager
def served(model: str, options: list[str]) -> Iterator[str]:
    """A server; gives its address."""
    command = [sys.executable, "-m", "vitseg", "serve", model, "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        while not (found := re.search(r"http://\S+", process.stdout.readline())):
            if process.poll() is not None:
                sys.exit("the server did not start")
        yield found[0]
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("image", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--serve-options", default="")
    arguments = parser.parse_args()
    if shutil.which("hey") is None:
        sys.exit("hey is not installed: apt-get install hey")
    torch.set_num_threads(arguments.threads)
    predictor = load(arguments.model, "cpu")
    content = arguments.image.read_bytes()
    options = ["--threads", str(arguments.threads), "--timeout", str(TIMEOUT)]
    options += shlex.split(arguments.serve_options)
    image, seconds = arguments.image, arguments.seconds
    with served(arguments.model, options) as address:
        url = f"{address}/v1/segment"
        hey(url, image, 2, 2)
        in_a_loop(predictor, content, 2)
        loops, ones, eights = [], [], []
        for _ in range(arguments.rounds):
            loops.append(in_a_loop(predictor, content, seconds))
            ones.append(hey(url, image, seconds, 1))
            eights.append(hey(url, image, seconds, 8))
        own = median(each.per_second() for each in loops)
        eight = median(each.per_second() for each in eights)
        overs = [
            offered(url, image, max(30.0, 3 * seconds), 2 * eight) for _ in range(arguments.rounds)
        ]
    added = median(
        one.quantile(0.95) - loop.quantile(0.95) for one, loop in zip(ones, loops, strict=True)
    )
    refused = sorted(over.quantile(0.99, 429) for over in overs)
    answers = Counter(int(code) for over in overs for code in over.codes)
    rows = [
        ["loop: images a second", f"{own:.2f}"],
        ["concurrency 8: images a second", f"{eight:.2f}"],
        ["its share of the loop's", f"{eight / own:.2f}"],
        ["loop: p95, ms", f"{median(each.quantile(0.95) for each in loops):.1f}"],
        ["concurrency 1: p95 above the loop's, ms", f"{added:.1f}"],
        ["twice the capacity offered: answers by status", str(dict(answers))],
        [
            f"accepted: p99, s (deadline {TIMEOUT:g})",
            f"{median(over.quantile(0.99) for over in overs) / 1000:.2f}",
        ],
        ["refused with 429: p99, ms", ", ".join(f"{each:.1f}" for each in refused)],
    ]
    print_table(f"{arguments.model}, {arguments.image.name}", ["", ""], rows)


if __name__ == "__main__":
    main()
