"""The model hub that timm downloads from."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import Request, getproxies, urlopen

from huggingface_hub import constants

_PATIENCE = 2.0
"""Seconds within which the hub has to answer."""


@contextlib.contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Within the block the hub client uses its cache alone if the hub does not answer.

    Without this, an offline machine waits a minute for retries before it hears that it is offline.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not is_reachable()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def is_reachable() -> bool:
    """Whether the hub answers, by whatever way leads there; known after a few seconds."""
    if constants.HF_HUB_OFFLINE:
        return False
    if not getproxies():  # else the proxy resolves names, not we
        try:
            socket.getaddrinfo(urlparse(constants.ENDPOINT).hostname, 443)
        except OSError:
            return False
    try:
        with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=_PATIENCE):
            return True
    except HTTPError:  # an answer, whatever it says
        return True
    except (OSError, HTTPException, ValueError):
        return False
