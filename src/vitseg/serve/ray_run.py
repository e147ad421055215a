"""Ray Serve started, filled with the server's applications, and ended in order."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType
from typing import Any

import ray
from ray import serve

from vitseg.errors import ConfigError, VitsegError
from vitseg.machine import num_cores
from vitseg.serve import ray_app
from vitseg.serve.places import ModelPlaces
from vitseg.serve.ray_app import ENTRANCE, MODELS, Scale, Switch
from vitseg.serve.ray_cluster import join
from vitseg.serve.ray_environment import ADDRESS, is_own_cluster
from vitseg.serve.settings import ServeSettings

_log = logging.getLogger("vitseg")

SMALLEST_STORE = 100_000_000
BYTES_PER_PIXEL = 6
"""Of an image and its labels on their way between processes."""

_QUIET = {"log_level": "WARNING", "enable_access_log": False}


class _EndedError(BaseException):
    """A signal came while the models were being loaded."""


def run(
    places: ModelPlaces,
    settings: ServeSettings,
    scale: Scale,
    host: str,
    port: int,
    on_ready: Callable[[], object] = lambda: None,
) -> None:
    """Serve by Ray until SIGTERM or Ctrl-C; what was accepted is finished first.

    A cluster that RAY_ADDRESS names is used and left as it was, without the two applications; else Ray is started on
    this machine, for this machine alone, and ended. `ray_environment.prepare` comes before the import of this module.

    Args:
        places: The models.
        settings: Limits, of each entrance.
        scale: How many replicas.
        host: Address to listen at.
        port: Port.
        on_ready: Called when requests are taken.

    Raises:
        VitsegError: The models cannot be loaded, or the cluster does not answer.
        ConfigError: It has not the GPUs that so many replicas need, or RAY_ADDRESS is no address.
    """
    is_own = is_own_cluster()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    with _signals() as ended:
        try:
            scale = _start(settings, scale, places, is_own)
            ended.catch()
            location = "HeadOnly" if is_own else "EveryNode"
            http = {"host": host, "port": port, "keep_alive_timeout_s": 10}
            serve.start(location, http, logging_config=_QUIET)
            switch: Any = ray.remote(num_cpus=0)(Switch).remote()
            _deploy(places, settings, scale, switch)
            ended.wait(on_ready)
            _log.info("what is accepted is finished, then the server ends")
            ray.get(switch.end.remote(settings.grace))
        except _EndedError:
            pass
        finally:
            _stop(is_own)


def _start(settings: ServeSettings, scale: Scale, places: ModelPlaces, is_own: bool) -> Scale:
    """Start or join Ray.

    Returns:
        The scale, with what a replica has of a machine.
    """
    quiet: dict[str, Any] = {"logging_level": logging.WARNING, "namespace": "vitseg"}
    cores = num_cores()
    if is_own:
        cpus = places.threads or max(1, cores // scale.largest)
        ray.init(
            "local",
            include_dashboard=False,
            num_cpus=max(cores, cpus * scale.largest),
            object_store_memory=max(SMALLEST_STORE, BYTES_PER_PIXEL * settings.max_waiting_pixels),
            _node_ip_address="127.0.0.1",
            **quiet,
        )
    else:
        cpus = places.threads or 1
        join(os.environ[ADDRESS], **quiet)
    there = int(ray.cluster_resources().get("GPU", 0))
    is_cuda = places.device.startswith("cuda") or (places.device == "auto" and there > 0)
    if is_cuda and is_own and there < scale.largest:
        raise ConfigError(
            f"{scale.largest} replicas need a GPU each, but there are {there}: allow fewer, or give --device cpu."
        )
    return replace(scale, cpus=cpus, gpus=int(is_cuda))


def _deploy(places: ModelPlaces, settings: ServeSettings, scale: Scale, switch: Any) -> None:
    try:
        serve.run(
            ray_app.models(places, settings, scale, switch),
            name=MODELS,
            route_prefix=None,
            logging_config=_QUIET,
        )
    except RuntimeError as error:
        reason = ray.get(switch.failure.remote()) or str(error)
        raise VitsegError(reason) from error
    serve.run(
        ray_app.entrance(settings, scale, switch),
        name=ENTRANCE,
        route_prefix="/",
        logging_config=_QUIET,
    )


def _stop(is_own: bool) -> None:
    if not ray.is_initialized():
        return
    for name in (ENTRANCE, MODELS):  # those who ask before those who answer
        with contextlib.suppress(Exception):
            serve.delete(name)
    if is_own:
        serve.shutdown()
    ray.shutdown()


class _Signals:
    def __init__(self):
        self._came = threading.Event()
        self._is_loading = True

    def catch(self) -> None:
        """Take the signals; Ray has set a handler of its own when it was started."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def wait(self, on_ready: Callable[[], object]) -> None:
        """Wait for one."""
        self._is_loading = False
        on_ready()
        self._came.wait()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._came.set()
        if self._is_loading:
            self._is_loading = False
            raise _EndedError


@contextlib.contextmanager
def _signals() -> Iterator[_Signals]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield _Signals()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
