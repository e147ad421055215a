from __future__ import annotations

import asyncio
import base64
import socket

import pytest
from pydantic import ValidationError

from tests.serve import local_host
from tests.serve.local_host import png
from vitseg.errors import ConfigError, DataError
from vitseg.serve.fetching import Fetcher, LabelStudioSettings, address_of


@pytest.fixture
def host():
    with local_host.running() as host:
        yield host


def fetch(place, token=None, **settings):
    values = {"allow_private": True, "timeout": 10.0, **settings}
    return asyncio.run(Fetcher(LabelStudioSettings(**values), token)(place))


def test_a_listed_host_is_fetched_from(host):
    place = f"http://{host.place}/a%20b.png?x=1&y=%2F"
    assert fetch(place, "secret", hosts=("studio.example", host.place)) == png()
    ((path, headers),) = host.asked
    assert path == "/a%20b.png?x=1&y=%2F"
    assert headers["Host"] == host.place
    assert "Authorization" not in headers


def test_paths_of_label_studio_are_fetched_from_it_with_the_token(host):
    url = f"http://{host.place}"
    for place in ("/data/upload/1/a b.png", "/data/local-files/?d=a/../../etc/passwd"):
        assert fetch(place, "secret", url=url) == png()
    assert [path for path, _ in host.asked] == [
        "/data/upload/1/a%20b.png",
        "/data/local-files/?d=a/../../etc/passwd",
    ]
    assert {headers["Authorization"] for _, headers in host.asked} == {"Token secret"}


def test_the_first_host_is_label_studio(host):
    assert fetch("/data/upload/1/a.png", "secret", hosts=(host.place, "b.example")) == png()
    assert host.asked[0][1]["Authorization"] == "Token secret"
    for hosts, origin in {
        ("a.example", "b.example:1"): ("https", "a.example", 443),
        ("a.example:8443",): ("https", "a.example", 8443),
        ("localhost:8080",): ("http", "localhost", 8080),
        ("[::1]:80",): ("http", "::1", 80),
    }.items():
        studio = LabelStudioSettings(hosts=hosts).studio
        assert studio is not None
        assert studio.origin == origin
    assert LabelStudioSettings().studio is None


def test_the_token_goes_to_label_studio_alone(host):
    with local_host.running() as studio:
        settings = {"url": f"http://{studio.place}", "hosts": (host.place,)}
        fetch(f"http://{host.place}/a.png", "secret", **settings)
        fetch(f"http://{studio.place}/a.png", "secret", **settings)
        assert "Authorization" not in host.asked[0][1]
        assert studio.asked[0][1]["Authorization"] == "Token secret"


@pytest.mark.parametrize(
    "place",
    [
        "http://example.org/a.png",
        "http://127.0.0.1/a.png",  # another port than the listed one
        "ftp://127.0.0.1/a.png",
        "file:///etc/passwd",
        "s3://bucket/a.png",
        "images/a.png",
        "../a.png",
        "//example.org/a.png",
        "\\\\example.org\\a.png",
        "http://user:word@{place}/a.png",
        "http://{place}@example.org/a.png",
        "http://example.org\\@{place}/a.png",
        "http://{place}.example.org/a.png",
        "http://[::1]:bad/a.png",
        "http://",
        "",
    ],
)
def test_what_is_not_listed_is_not_fetched(host, place):
    with pytest.raises(ConfigError):
        fetch(place.format(place=host.place), hosts=(host.place,))
    assert not host.asked


def test_paths_need_the_address_of_label_studio(host):
    with pytest.raises(ConfigError, match="has not set"):
        fetch("/data/upload/1/a.png")
    with pytest.raises(ConfigError, match="has not set"):
        fetch("//example.org/a.png", url=f"http://{host.place}")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("redirect", "answers 302 redirects, which are not followed"),
        ("missing", "answers 404"),
        ("compressed", "compressed"),
        ("large", "more than 200,000 bytes"),
        ("endless", "more than 200,000 bytes"),
        ("cut", "does not speak HTTP|closed"),
        ("noise", "does not speak HTTP"),
    ],
)
def test_answers_that_are_no_image_end(host, place, words):
    with pytest.raises(DataError, match=words):
        fetch(f"http://{host.place}/{place}", hosts=(host.place,), max_bytes=200_000)
    assert len(host.asked) == 1  # nobody was redirected
    if place == "endless":
        assert host.hung_up.wait(10)


def test_a_slow_host_is_given_up(host):
    with pytest.raises(DataError, match=r"within 0\.5 seconds"):
        fetch(f"http://{host.place}/slow", hosts=(host.place,), timeout=0.5)
    assert host.hung_up.wait(10)


def test_nobody_there_is_an_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(OSError, match="Connect call failed"):
            fetch(f"http://{place}/a.png", hosts=(place,))


def test_private_addresses_are_refused_unless_they_are_allowed(host):
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1, which is no public address"):
        fetch(f"http://{host.place}/a.png", hosts=(host.place,), allow_private=False)
    with pytest.raises(ConfigError, match="no public address"):
        fetch("/data/upload/1/a.png", url=f"http://{host.place}", allow_private=False)
    assert not host.asked


@pytest.mark.parametrize(
    ("number", "allow_private", "name", "allowed"),
    [
        ("93.184.216.34", False, "a.example", True),
        ("2606:2800:220:1:248:1893:25c8:1946", False, "a.example", True),
        ("10.0.0.7", False, "a.example", False),
        ("10.0.0.7", True, "a.example", True),
        ("192.168.1.1", False, "a.example", False),
        ("172.16.0.1", False, "a.example", False),
        ("100.64.0.1", False, "a.example", False),
        ("127.0.0.1", False, "a.example", False),
        ("::1", False, "a.example", False),
        ("::ffff:127.0.0.1", False, "a.example", False),
        ("64:ff9b::7f00:1", False, "a.example", False),
        ("2002:7f00:1::", False, "a.example", False),
        ("fd00::1", False, "a.example", False),
        ("fd00::1", True, "a.example", True),
        ("169.254.169.254", False, "a.example", False),
        ("169.254.169.254", True, "a.example", False),
        ("169.254.169.254", True, "169.254.169.254", True),
        ("fe80::1%2", True, "a.example", False),
        ("0.0.0.0", True, "a.example", False),
        ("224.0.0.1", True, "a.example", False),
        ("255.255.255.255", True, "a.example", False),
    ],
)
def test_which_addresses_may_be_used(monkeypatch, number, allow_private, name, allowed):
    """A host is looked up once, and what was looked at is what is connected to."""
    looked_up, connected = [], []

    async def getaddrinfo(self, host, port, **kwargs):
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port))]

    async def connect(host, port, **kwargs):
        connected.append((host, port))
        raise OSError("no network in tests")

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(asyncio, "open_connection", connect)
    expected = OSError if allowed else ConfigError
    with pytest.raises(expected):
        fetch(f"http://{name}:81/a", hosts=(f"{name}:81",), allow_private=allow_private)
    assert looked_up == [name]
    assert connected == ([(number, 81)] if allowed else [])


def test_one_private_address_of_several_is_enough_to_refuse(monkeypatch):
    async def getaddrinfo(self, host, port, **kwargs):
        return [(2, 1, 6, "", (number, port)) for number in ("93.184.216.34", "10.0.0.1")]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConfigError, match=r"10\.0\.0\.1"):
        fetch("http://a.example/a", hosts=("a.example",), allow_private=False)


def test_a_further_address_is_tried_where_the_first_takes_no_connection(monkeypatch, host):
    number, port = host.server_address[:2]

    async def getaddrinfo(self, name, port, **kwargs):
        return [(2, 1, 6, "", (each, port)) for each in ("127.0.0.9", number)]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    place = f"a.example:{port}"
    assert fetch(f"http://{place}/a.png", hosts=(place,)) == png()
    assert host.asked[0][1]["Host"] == place


def test_images_within_addresses_are_read():
    text = base64.b64encode(png()).decode()
    assert fetch(f"data:image/png;base64,{text}") == png()
    assert fetch("DATA:image/x;base64,QQ==") == b"A"
    assert fetch("data:image/svg,%41b") == b"Ab"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("data:text/html;base64,QQ==", "no image"),
        ("data:image/png;base64", "no image"),
        ("data:image/png;base64,Q!", "cannot be read"),
        ("data:image/png;base64," + "QUFB" * 500, "more than 1,000 bytes"),
        ("data:image/png," + "A" * 1001, "more than 1,000 bytes"),
        ("data:image/png," + "A" * 5000, "more than 1,000 bytes"),
    ],
)
def test_other_things_within_addresses_are_not(place, words):
    with pytest.raises(DataError, match=words):
        fetch(place, max_bytes=1000)


@pytest.mark.parametrize("hosts", [("http://a",), ("a/b",), ("*.example.org",), ("a:b",), ("u@a",)])
def test_hosts_are_hosts(hosts):
    with pytest.raises((ValidationError, ConfigError)):
        LabelStudioSettings(hosts=hosts)


def test_a_host_without_port_is_at_the_usual_one():
    settings = LabelStudioSettings(hosts=("Images.example.org", "b.example:8080"))
    for url, allowed in {
        "http://images.example.org/a": True,
        "https://IMAGES.example.org./a": True,
        "https://images.example.org:443/a": True,
        "http://images.example.org:8080/a": False,
        "http://x.images.example.org/a": False,
        "http://b.example:8080/a": True,
        "https://b.example:8080/a": True,
        "http://b.example/a": False,
    }.items():
        assert settings.allows(address_of(url)) == allowed, url


def test_no_line_break_reaches_the_request(host):
    place = f"http://{host.place}/a\r\nX-Evil: 1/b ü.png"
    assert fetch(place, hosts=(host.place,)) == png()
    ((path, headers),) = host.asked
    assert path == "/aX-Evil:%201/b%20%C3%BC.png"
    assert "X-Evil" not in headers
