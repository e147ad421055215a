"""`vitseg predict --engine ray`: images through Ray Data, on this machine or the cluster of RAY_ADDRESS."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import ray
import ray.data
from ray.data.exceptions import ExecutionTimeoutError, SystemException
from ray.exceptions import RayError
from rich.progress import Progress

from vitseg.cli.member import failure_of
from vitseg.cli.predict_cluster import cluster
from vitseg.cli.predict_image import Outcome
from vitseg.cli.predict_run import Engine
from vitseg.cli.predict_scale import Scale
from vitseg.cli.predict_worker import COLUMN, LOADS, Job, Ledger, Worker, read_piece
from vitseg.errors import VitsegError, first_line
from vitseg.inference.record import PredictionRecord
from vitseg.inference.targets import FileTarget, Target, pieces

LOSSES = 2
"""Workers that may end in the middle of an image while others work beside it, which may be what takes its memory. An
image that has lost as many is run once more at the end, with nothing beside it."""

BLOCK_BYTES = 1_000_000
"""Of images from Parquet files and addresses that a worker is given at once, unless one has more."""

BLOCKS = 1000
"""For each worker, at most; a block has one image where there are no more images than that."""

OBJECTS = 16
"""From addresses that are read one after the other."""

PATIENCE = 24 * 3600
"""Seconds without any result: a large image in tiles takes hours, and a cluster may be waited for."""


def on_ray(job: Job, workers: int | None) -> Engine:
    """The engine of a cluster.

    Args:
        job: What is to be done; its device may be "auto", and its threads are chosen here.
        workers: How many; None: one for each GPU, else for each machine.
    """

    def engine(targets: Sequence[Target], bars: Progress) -> Generator[Outcome, None, None]:
        with cluster(workers, job.device) as scale:
            _set_up_data()
            placed = replace(
                job,
                device="cuda" if scale.gpus else "cpu",
                threads=scale.threads,
                most_loads=LOADS * scale.workers,
            )
            ledger = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Ledger).remote()
            given_up = []
            with closing(_results(placed, scale, ledger, targets, LOSSES)) as outcomes:
                for outcome in outcomes:
                    if outcome.is_given_up:
                        given_up.append(outcome.record.image)
                    else:
                        yield outcome
            if given_up:
                again = [target for target in targets if target.image in set(given_up)]
                alone = replace(scale, workers=1)
                yield from _results(placed, alone, ledger, again, LOSSES + 1)

    return engine


def _results(
    job: Job, scale: Scale, ledger: Any, targets: Sequence[Target], most: int
) -> Generator[Outcome, None, None]:
    """What comes of each image, once.

    Raises:
        VitsegError: The model cannot be loaded, or Ray cannot go on.
    """
    left = {target.image: target for target in targets}
    rows = _dataset(
        targets, job, scale, ledger
    ).map_batches(
        Worker,
        fn_constructor_args=(job, ledger, most),
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=min(scale.workers, len(targets))),
        num_cpus=scale.cpus,
        num_gpus=scale.gpus,
    )  # Ray Data starts lost workers anew, and repeats what they were at, without end: the ledger ends it
    try:
        for row in rows.iter_rows():
            answer = pickle.loads(row[COLUMN])
            if isinstance(answer, Exception):
                raise answer
            if left.pop(answer.record.image, None) is not None:
                yield answer
    except (RayError, SystemException, ExecutionTimeoutError) as error:
        raise VitsegError(f"Ray cannot go on: {first_line(error)}.") from error
    for image in left:
        error = VitsegError(f"{image}: no worker told what came of it.")
        failure = failure_of(error, image)
        yield Outcome(PredictionRecord(image=image, error=failure.reason).timed(0.0), failure)


def _dataset(targets: Sequence[Target], job: Job, scale: Scale, ledger: Any) -> ray.data.Dataset:
    """The images as rows: of files their paths, since a worker reads them; else what other processes read for it."""
    if all(isinstance(target, FileTarget) for target in targets):
        items = [{COLUMN: pickle.dumps((target, None))} for target in targets]
        blocks = min(len(items), BLOCKS * scale.workers)
        return ray.data.from_items(items, override_num_blocks=blocks)
    items = [{COLUMN: pickle.dumps(piece)} for piece in pieces(targets, OBJECTS)]
    dataset = ray.data.from_items(items, override_num_blocks=len(items))
    return dataset.map_batches(
        read_piece,  # pyright: ignore[reportArgumentType]  # which takes what is said below
        fn_args=(ledger, job.folder),
        batch_size=None,
        batch_format="numpy",
        num_cpus=0,  # the workers may have them all
        compute=ray.data.TaskPoolStrategy(size=2 * scale.workers),
    )


def _set_up_data() -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = PATIENCE
    context.target_max_block_size = BLOCK_BYTES
    context.max_consecutive_actor_init_deaths = LOADS
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":  # what matters comes as an error, or with an image
            handler.setLevel(logging.CRITICAL)
