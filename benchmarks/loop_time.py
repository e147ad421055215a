"""What a training costs beside its forward, backward and optimiser: the loop, saves of the state, waiting for data.

    python loop_time.py [--backbone vit_base_patch16_224] [--size 512] [--batch 2] [--steps 16] [--workers 2]

A real run on synthetic photos, whose parts are timed where they are called. Claims, for SegViT on ViT-B at 512 x 512 in
batches of 2 on a CPU: the loop costs below 3 % above forward, backward and optimiser; a save costs below 1 % of the
time of the iterations between two of the default interval; with two workers, below 2 % of the time waits for data.

The loop's cost is all of an iteration but these three parts and the waiting: clipping, the look at loss and gradient,
the log, the display. A save costs what the loop waits for the copy, and what the iterations during the writing take
above the median of the others.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from _measure import print_table

from vitseg.data.scenes import write_scenes
from vitseg.files import write_json
from vitseg.training import state_writer
from vitseg.training.display import Display
from vitseg.training.loop import train
from vitseg.training.recipe import Recipe, TrainingConfig, parse_recipe
from vitseg.training.state_writer import StateWriter
from vitseg.training.step import LossOfModel
from vitseg.training.waiting import WaitingClock

DEFAULT_INTERVAL = TrainingConfig.model_fields["save_interval"].default
PARTS = ("forward and losses", "backward", "optimiser")


class Stopwatch(Display):
    """Notes when each iteration ends, and what its parts took."""

    def __init__(self):
        super().__init__(quiet=True)
        self.ends: list[float] = []
        self.spent: list[dict[str, float]] = [{}]
        self.writing: list[tuple[float, float]] = []

    def step(self, *arguments: Any) -> float:
        self.ends.append(time.perf_counter())
        self.spent.append({})
        return super().step(*arguments)

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same, its time added to the iteration that is going on."""

        def measured(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                spent = self.spent[-1]
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

        return measured

    def waited(self, stepped: Callable[[WaitingClock], float]) -> Callable[[WaitingClock], float]:
        """The same, with a note of what the iteration waited for its batch."""

        def measured(clock: WaitingClock) -> float:
            before = clock.progress.waiting_minutes
            share = stepped(clock)
            self.spent[-1]["waiting"] = 60 * (clock.progress.waiting_minutes - before)
            return share

        return measured

    def written(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same, with a note of when it began and ended."""

        def measured(*arguments: Any) -> None:
            start = time.perf_counter()
            work(*arguments)
            self.writing.append((start, time.perf_counter()))

        return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="vit_base_patch16_224")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_scenes(root / "data", 24, 1, (options.size, options.size * 4 // 3), seed=0)
        watch_parts(watch)
        train(recipe_of(options, root / "data"), root / "run", display=watch)
        size = (root / "run" / "state.ckpt").stat().st_size
    figures = figures_of(watch, options.steps // 2) | {"state_bytes": size}
    show(figures, options)
    if options.json is not None:
        write_json(options.json, figures)


def recipe_of(options: argparse.Namespace, data: Path) -> Recipe:
    """SegViT with one save in the middle of the run, and nothing to validate before its end."""
    return parse_recipe(
        {
            "method": "segvit",
            "backbone": {
                "name": options.backbone,
                "pretrained": False,
                "prefix_tokens": "drop",
                "taps": [1, 3] if options.backbone == "test_vit" else [5, 7, 11],
            },
            "data": {
                "source": f"folder:{data}",
                "num_workers": options.workers,
                "augment": {"crop_size": [options.size, options.size]},
            },
            "schedule": {"warmup_iterations": 1},
            "training": {
                "iterations": options.steps,
                "batch_size": options.batch,
                "val_interval": options.steps,
                "save_interval": options.steps // 2,
            },
        }
    )


def watch_parts(watch: Stopwatch) -> None:
    """Put the stopwatch where the loop calls its parts."""
    LossOfModel.forward = watch.timed(PARTS[0], LossOfModel.forward)
    lightning.Fabric.backward = watch.timed(PARTS[1], lightning.Fabric.backward)
    torch.optim.AdamW.step = watch.timed(PARTS[2], torch.optim.AdamW.step)
    WaitingClock.stepped = watch.waited(WaitingClock.stepped)
    StateWriter.save = watch.timed("save", StateWriter.save)
    state_writer.write_state = watch.written(state_writer.write_state)


def figures_of(watch: Stopwatch, saved_at: int) -> dict[str, float]:
    """Seconds of an iteration and its parts (medians), and of a save.

    Args:
        watch: Of the whole run.
        saved_at: The iteration behind which the state was saved, whose copy the next one has.
    """
    spans = {
        number: (watch.ends[number - 2], watch.ends[number - 1])
        for number in range(2, len(watch.ends) + 1)
    }
    copy = watch.spent[saved_at]["save"]
    began, ended = watch.writing[0]
    during = [number for number, (start, end) in spans.items() if start < ended and end > began]
    quiet = [number for number in spans if number not in during]
    iteration = statistics.median(length(spans[number]) for number in quiet)
    excess = sum(length(spans[number]) - iteration for number in during) - copy
    parts = {
        name: [watch.spent[number - 1].get(name, 0.0) for number in quiet]
        for name in (*PARTS, "waiting")
    }
    rest = [
        length(spans[number]) - sum(each)
        for number, *each in zip(quiet, *parts.values(), strict=True)
    ]
    return {
        **{name: statistics.median(seconds) for name, seconds in parts.items()},
        "loop": statistics.median(rest),
        "iteration": iteration,
        "copy": copy,
        "writing": ended - began,
        "excess": excess,
    }


def length(span: tuple[float, float]) -> float:
    return span[1] - span[0]


def show(figures: dict[str, float], options: argparse.Namespace) -> None:
    """Two tables: an iteration, and a save."""
    computing = sum(figures[name] for name in PARTS)
    rows = [
        [name, f"{1000 * seconds:.0f}", f"{seconds / computing:.2%}"]
        for name, seconds in [
            *((name, figures[name]) for name in PARTS),
            ("the loop (aim: below 3 %)", figures["loop"]),
            ("waiting for data (aim: below 2 %)", figures["waiting"]),
        ]
    ]
    title = (
        f"SegViT on {options.backbone}, {options.size} x {options.size}, batch {options.batch}, "
        f"{options.workers} workers"
    )
    print_table(title, ["of an iteration", "ms", "of the computing"], rows)
    interval = DEFAULT_INTERVAL * figures["iteration"]
    whole = figures["copy"] + max(0.0, figures["excess"])
    rows = [
        [name, f"{seconds:.2f}", f"{seconds / interval:.3%}"]
        for name, seconds in [
            ("copy, for which the loop waits", figures["copy"]),
            ("iterations beside the writing take longer by", figures["excess"]),
            ("a save (aim: below 1 %)", whole),
            ("the writing itself, beside the training", figures["writing"]),
        ]
    ]
    title = f"a state of {figures['state_bytes'] / 1e6:.0f} MB, every {DEFAULT_INTERVAL} iterations"
    print_table(title, ["of a save", "s", "of the interval"], rows)


if __name__ == "__main__":
    main()
