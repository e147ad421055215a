"""The cluster of RAY_ADDRESS, which a server or a command joins and leaves as it was."""

from __future__ import annotations

import re
import socket
from typing import Any

import ray

from vitseg.errors import ConfigError, VitsegError, first_line
from vitseg.serve.ray_environment import ADDRESS

ANSWER_SECONDS = 20.0
"""In which a cluster takes a connection; Ray itself would go on trying."""


def join(address: str, **options: Any) -> None:
    """Connect to a cluster.

    Args:
        address: HOST:PORT of its head, or "auto": the one that runs on this machine.
        options: Of `ray.init`.

    Raises:
        ConfigError: It is no address.
        VitsegError: Nothing answers there, or not to us.
    """
    named = re.fullmatch(r"\[?([^\[\]]+)\]?:(\d+)", address)
    if "://" in address or (named is None and address != "auto"):
        raise ConfigError(
            f"{ADDRESS}={address} is no address of a cluster's head: give HOST:PORT, or auto on one of its machines."
        )
    try:
        if named is not None:
            socket.create_connection((named[1], int(named[2])), ANSWER_SECONDS).close()
        ray.init(address, **options)
    except Exception as error:  # Ray's have no base of their own
        raise VitsegError(
            f"Ray cannot be reached at {ADDRESS}={address}: {first_line(error)}"
        ) from error
