"""What Ray reads from the environment while it is imported; so this is called before that."""

from __future__ import annotations

import os

ADDRESS = "RAY_ADDRESS"


def is_own_cluster() -> bool:
    """Whether Ray is started for this server, on this machine; else the cluster of RAY_ADDRESS is used."""
    return not os.environ.get(ADDRESS)


def prepare() -> None:
    """Have Ray tell nobody of its use, ask for its token, and stay on the loopback address where it is ours."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if is_own_cluster():
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on Linux, too, in spite of its name
