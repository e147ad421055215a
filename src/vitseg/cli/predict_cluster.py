"""Ray for `vitseg predict --engine ray`: started on this machine for one command, or the cluster of RAY_ADDRESS."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from vitseg.cli.predict_scale import Scale, scale_of
from vitseg.cli.quiet_ray import quiet
from vitseg.data.parallel import most_processes
from vitseg.errors import ConfigError, VitsegError, first_line
from vitseg.machine import num_cores
from vitseg.serve.ray_cluster import join
from vitseg.serve.ray_environment import ADDRESS, is_own_cluster

STORE_BYTES = 500_000_000
"""Of a cluster of our own, for images that were read and wait."""

START_ATTEMPTS = 3
"""Ray gives its own processes half a minute to start, which is little on a machine whose processors are busy."""

_QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}


@contextmanager
def cluster(workers: int | None, device: str) -> Iterator[Scale]:
    """Ray; a cluster of our own is ended afterwards, another one left as it was.

    Args:
        workers: How many are asked for; None: one for each GPU, else for each machine.
        device: "auto", "cpu" or "cuda".

    Raises:
        VitsegError: It cannot be started or reached.
        ConfigError: It has not what so many workers need, or RAY_ADDRESS is none.
    """
    is_own = is_own_cluster()
    if is_own:
        require_room(workers)
    with quiet():
        if is_own:
            _start(workers)
        else:
            join(os.environ[ADDRESS], **_QUIET)
        try:
            machines = [each["Resources"] for each in ray.nodes() if each["Alive"]]
            threads = os.environ.get("OMP_NUM_THREADS", "") if is_own else ""
            yield scale_of(
                workers,
                device,
                [int(each.get("CPU", 0)) for each in machines],
                [int(each.get("GPU", 0)) for each in machines],
                int(threads) if threads.isdecimal() else None,
            )
        finally:
            ray.shutdown()


def require_room(workers: int | None) -> None:
    """Raise ConfigError for more workers than this machine can hold: Ray would start a process for each at once."""
    most = most_processes()
    if workers is not None and workers > most:
        raise ConfigError(
            f"--workers {workers}: this machine holds {most} at most. Give fewer, or a cluster by {ADDRESS}."
        )


def _start(workers: int | None) -> None:
    for attempt in range(START_ATTEMPTS):
        try:
            ray.init(
                "local",
                include_dashboard=False,
                num_cpus=max(num_cores(), workers or 1),
                object_store_memory=STORE_BYTES,
                _node_ip_address="127.0.0.1",
                **_QUIET,
            )
            return
        except Exception as error:  # of no kind in particular
            ray.shutdown()
            if attempt == START_ATTEMPTS - 1:
                raise VitsegError(f"Ray cannot be started here: {first_line(error)}") from error
