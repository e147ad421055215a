"""What Ray reads from the environment while it is imported; so this is called before that."""

from __future__ import annotations

import os
from pathlib import Path

ADDRESS = "RAY_ADDRESS"

PATIENCE = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}
"""Seconds that Ray's proxy has to start, and to answer: on a machine whose processors are busy it takes more than the 5
and 10 that Ray itself allows, and is ended."""


def is_own_cluster() -> bool:
    """Whether Ray is started for this server, on this machine; else the cluster of RAY_ADDRESS is used."""
    return not os.environ.get(ADDRESS)


def has_token() -> bool:
    """Whether a token by which a cluster can be asked is at hand, where Ray looks for it."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()


def prepare() -> None:
    """Have Ray tell nobody of its use, ask for its token, and stay on the loopback address where it is ours.

    Another cluster is asked with the token that is at hand; one without authentication answers without any.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if is_own_cluster() or has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    for name, seconds in PATIENCE.items():
        os.environ.setdefault(name, seconds)
    if is_own_cluster():
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on Linux, too, in spite of its name
