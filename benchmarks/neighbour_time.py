"""A training step on all cores, alone and beside a process that keeps one core busy, by how long waiting threads turn.

Each form runs in a process of its own, since libgomp reads GOMP_SPINCOUNT as it is loaded. The command sets it
(`vitseg.cli.main`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from functools import partial

import torch
from _measure import print_table
from compile_time import train_step

from vitseg.cli.main import SPINS
from vitseg.training.recipe import load_recipe
from vitseg.training.step import LossOfModel

FORMS = {"libgomp's own": None, f"GOMP_SPINCOUNT={SPINS}, as vitseg sets it": SPINS}
RECIPE = "camvid/segvit_joint-vit_tiny"


def measure(steps: int, seconds: float) -> float:
    """Seconds of a step with bf16: forward, losses, backward, optimiser."""
    recipe = load_recipe(RECIPE, ["backbone.pretrained=false"], "camvid:-")
    size = recipe.data.augment.crop_size
    model = recipe.model.build(11, size, load_pretrained=False)
    step = partial(
        train_step,
        torch.randn(4, 3, *size),
        torch.randint(0, 11, (4, *size)),
        step=LossOfModel(model, recipe.model.criterion()).train(),
        optimizer=torch.optim.AdamW(model.parameters(), 1e-4, fused=True),
        dtype=torch.bfloat16,
    )
    step()
    began, done = time.perf_counter(), 0
    while done < steps and time.perf_counter() - began < seconds:
        step()
        done += 1
    return (time.perf_counter() - began) / done


def in_process(spins: str | None, options: argparse.Namespace) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    if spins is not None:
        environment["GOMP_SPINCOUNT"] = spins
    command = [sys.executable, __file__, "--one", "--steps", str(options.steps)]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(found.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--one", action="store_true", help="measure in this process, and print it")
    options = parser.parse_args()
    if options.one:
        print(measure(options.steps, seconds=20))
        return
    found: dict[tuple[str, bool], list[float]] = {}
    for _ in range(options.rounds):
        for beside in (False, True):
            busy = [sys.executable, "-c", "while True: pass"]
            neighbour = subprocess.Popen(busy, start_new_session=True) if beside else None
            try:
                for name, spins in FORMS.items():
                    found.setdefault((name, beside), []).append(in_process(spins, options))
            finally:
                if neighbour is not None:
                    neighbour.kill()
                    neighbour.wait()
    base = min(found[next(iter(FORMS)), False])
    rows = [
        [name, *(f"{min(found[name, beside]) / base:.2f}" for beside in (False, True))]
        for name in FORMS
    ]
    print_table(
        f"A step of {RECIPE} over the quickest of the first row",
        ["waiting threads", "alone", "beside a busy process"],
        rows,
        f"cpu, bf16, {torch.get_num_threads()} threads",
    )


if __name__ == "__main__":
    main()
