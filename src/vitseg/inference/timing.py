"""Times of several runs, measured so that they can be compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def alternating_medians(
    runs: Mapping[Name, Callable[[], object]], rounds: int = 10, warmups: int = 3
) -> dict[Name, float]:
    """Median seconds of each run, all done in turn within every round.

    What slows the machine down for a while then hits all of them alike, so that their ratios hold.

    Args:
        runs: What is timed, by name. Each must end with its result in the computer's memory: work that a GPU still has
            to do would count for the next one.
        rounds: Rounds that count.
        warmups: Rounds before them, which do not.
    """
    times: dict[Name, list[float]] = {name: [] for name in runs}
    for number in range(warmups + rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number >= warmups:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}
