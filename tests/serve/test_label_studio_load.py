"""Label Studio's requests beside others: what they may take, and what they do when there is no place."""

from __future__ import annotations

import base64
import json
import threading

import pytest

from tests.serve.conftest import until
from tests.serve.fake import running
from tests.serve.octants import NAMES, pattern, png
from tests.serve.raw import answer_on, connect, head, request, segment
from vitseg import parsing

CONFIG = (
    '<View><Image name="photo" value="$url"/><BrushLabels name="c" toName="photo">'
    + "".join(f'<Label value="{name}"/>' for name in NAMES)
    + "</BrushLabels></View>"
)
ROUTES = ("/predict", "/setup")


def tasks(count):
    """Of images that come with the request."""
    places = [base64.b64encode(png(pattern(seed))).decode() for seed in range(count)]
    listed = [
        {"id": number, "data": {"url": f"data:image/png;base64,{place}"}}
        for number, place in enumerate(places)
    ]
    return json.dumps({"tasks": listed, "label_config": CONFIG}).encode()


def ask(server, body, route="/predict"):
    return request(server.port, "POST", route, body, {"Content-Type": "application/json"})


@pytest.fixture
def one_place():
    with running(max_requests=1) as one:
        yield one


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_has_a_place_before_it_is_read(one_place, route):
    with connect(one_place.port) as sock:
        body = tasks(1)
        sock.sendall(head("POST", route, {"Content-Length": len(body)}) + body[:-1])
        until(lambda: one_place.service.admission.requests == 1)
        for other in ROUTES:
            answer = ask(one_place, tasks(1), other)
            assert answer.status == 429
            assert answer.headers["retry-after"]
            assert "1 requests wait already" in answer.error
        sock.sendall(body[-1:])
        assert answer_on(sock).status == 200
    until(lambda: one_place.service.admission.requests == 0)


@pytest.mark.parametrize("route", ROUTES)
def test_more_values_than_are_parsed(server, monkeypatch, route):
    monkeypatch.setattr("vitseg.serve.json_body.MAX_VALUES", 1000)
    parsed = []
    monkeypatch.setattr(parsing, "parse_json", parsed.append)
    answer = ask(server, b'{"tasks": [' + b"{}," * 1000 + b"{}]}", route)
    assert answer.status == 400
    assert "more than 1,000 values in JSON: send fewer tasks at a time" in answer.error
    assert parsed == []


@pytest.mark.parametrize("route", ROUTES)
def test_others_are_answered_while_a_body_is_parsed(server, monkeypatch, callers, route):
    gate, began, parse = threading.Event(), threading.Event(), parsing.parse_json

    def slow(*arguments):
        began.set()
        assert gate.wait(20)
        return parse(*arguments)

    monkeypatch.setattr(parsing, "parse_json", slow)
    callers.call(lambda: ask(server, tasks(1), route))
    try:
        until(began.is_set)
        assert request(server.port, "GET", "/health").status == 200
        assert not gate.is_set()
    finally:
        gate.set()
    assert callers.all()[0].status == 200


def test_images_within_a_request_are_unpacked_beside_the_event_loop(server, monkeypatch):
    threads, decode = [], base64.b64decode

    def noted(*arguments, **options):
        threads.append(threading.current_thread())
        return decode(*arguments, **options)

    monkeypatch.setattr("vitseg.serve.fetching.base64.b64decode", noted)
    assert ask(server, tasks(2)).status == 200
    loops = [
        one for one in threading.enumerate() if one.name.endswith("(serve)")
    ]  # the thread that `running` has the event loop in
    assert len(loops) == 1
    assert len(threads) == 2
    assert loops[0] not in threads


def require_regions(answer, count):
    """Every task has those of its image."""
    assert answer.status == 200, answer.body
    found = [
        {each["value"]["brushlabels"][0] for each in one["result"]}
        for one in answer.json["results"]
    ]
    assert found == [{NAMES[label] for label in pattern(seed).ravel()} for seed in range(count)]


def test_a_request_has_one_place_for_all_of_its_tasks(one_place, callers):
    """Also where their images have more pixels together than may be in."""
    one_place.service.admission.max_pixels = 2 * 64 * 64
    one_place.models.gate.clear()
    callers.call(lambda: ask(one_place, tasks(5)))
    until(lambda: one_place.service.admission.pixels == 64 * 64)
    assert one_place.service.admission.requests == 1
    one_place.models.gate.set()
    require_regions(callers.all()[0], 5)
    assert one_place.service.admission.pixels == 0
    assert one_place.service.admission.requests == 0


def test_a_busy_server_says_so(one_place, callers):
    one_place.models.gate.clear()
    callers.call(lambda: segment(one_place.port, png(pattern(9))))
    until(one_place.models.began.is_set)
    answer = ask(one_place, tasks(3))
    assert answer.status == 429
    assert answer.headers["retry-after"]
    one_place.models.gate.set()
    callers.all()


def test_a_request_that_is_in_is_finished_when_the_server_ends(one_place, callers):
    one_place.models.gate.clear()
    callers.call(lambda: ask(one_place, tasks(3)))
    until(one_place.models.began.is_set)
    one_place.service.admission.state = "draining"
    assert ask(one_place, tasks(1)).status == 503
    one_place.models.gate.set()
    require_regions(callers.all()[0], 3)


def test_an_image_that_takes_too_long_is_late(callers):
    with running(timeout=0.3) as server:
        server.models.gate.clear()
        answer = ask(server, tasks(2))
        assert answer.status == 504
        assert "the time of the request is over" in answer.error
        server.models.gate.set()
