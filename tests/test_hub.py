from __future__ import annotations

from urllib.error import HTTPError, URLError

import pytest
from huggingface_hub import constants

from vitseg import hub


class Answer:
    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


@pytest.mark.parametrize(
    ("answer", "reachable"),
    [
        (Answer(), True),
        (HTTPError("", 403, "", None, None), True),  # type: ignore[arg-type]
        (URLError("no route"), False),
        (OSError("Tunnel connection failed: 403 Forbidden"), False),
        (TimeoutError(), False),
    ],
)
def test_the_hub_is_asked_once_and_briefly(monkeypatch, answer, reachable):
    asked = []

    def ask(request, timeout):
        asked.append(timeout)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "proxy"})
    monkeypatch.setattr(hub, "urlopen", ask)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert hub.is_reachable() == reachable
    assert len(asked) == 1
    assert asked[0] <= 3
    with hub.offline_if_unreachable():
        assert reachable != constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_a_name_that_nobody_knows_is_no_way(monkeypatch):
    def unknown(*place):
        raise OSError("unknown")

    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(hub.socket, "getaddrinfo", unknown)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert not hub.is_reachable()
