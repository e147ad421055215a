"""Measuring: alternating times as ratios, peak memory of a fresh process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import TypeVar

import torch
from rich.console import Console
from rich.table import Table

from vitseg.inference.timing import alternating_medians

__all__ = ["alternating_medians", "peak_above", "peak_and_result", "print_table"]

Result = TypeVar("Result")


def peak_above(prepare: Callable[[], Callable[[], object]]) -> tuple[float, float]:
    """MiB before and at the peak of a run, in a fresh process.

    Args:
        prepare: Builds everything that does not count (weights, input) and returns what is measured. Importable.
    """
    before, peak, _ = peak_and_result(prepare)
    return before, peak


def peak_and_result(prepare: Callable[[], Callable[[], Result]]) -> tuple[float, float, Result]:
    """`peak_above`, and what the run returned."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak, (prepare,))


def _peak(prepare: Callable[[], Callable[[], Result]]) -> tuple[float, float, Result]:
    run = prepare()
    before = _status("VmRSS")
    result = run()
    return before, _status("VmHWM"), result


def _status(name: str) -> float:
    """MiB of this process by Linux; `ru_maxrss` would count what held the process that started it, too."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(f"{name}:"))


def print_table(
    title: str, header: list[str], rows: list[list[str]], device: str | None = None
) -> None:
    """A table with the circumstances below it; `device` says where and in which numbers, if not on a CPU."""
    device = device or f"cpu, float32, {torch.get_num_threads()} threads"
    caption = f"torch {torch.__version__}, {device}"
    table = Table(title=title, caption=caption)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)
