"""The model hub that timm downloads from."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from urllib.parse import urlparse
from urllib.request import getproxies

from huggingface_hub import constants


@contextlib.contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Within the block the hub client uses its cache alone if the hub's name cannot be resolved.

    Without this, an offline machine waits a minute for retries before it hears that it is offline.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _resolves()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _resolves() -> bool:
    if getproxies():
        return True  # the proxy resolves names, not we
    try:
        socket.getaddrinfo(urlparse(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True
