from __future__ import annotations

import json
import logging
from io import BytesIO
from typing import cast

import numpy as np
import pytest
from PIL import Image

from tests.serve import local_host
from tests.serve.local_host import SIZE
from vitseg.errors import DataError
from vitseg.images.brush_rle import decode_brush
from vitseg.serve.app import _add_handlers
from vitseg.serve.engine import Engine
from vitseg.serve.fetching import LabelStudioSettings
from vitseg.serve.label_studio import KEY_VARIABLE, MOST_TASKS, create_router
from vitseg.serve.problems import (
    BusyError,
    LateError,
    TooLargeError,
    UnavailableError,
    UnusableError,
    WrongFormatError,
)
from vitseg.serve.service import Segmented, Service
from vitseg.serve.settings import ServeSettings

fastapi = pytest.importorskip("fastapi")
testclient = pytest.importorskip("fastapi.testclient")

CONFIG = """<View><Image name="photo" value="$url"/>
<BrushLabels name="classes" toName="photo"><Label value="road"/><Label value="Sky"/></BrushLabels></View>"""
LABELS = np.zeros(SIZE, np.uint8)
LABELS[5:, 3:20] = 1
LABELS[20:] = 2
CONFIDENCE = np.where(LABELS == 1, 0.5, 0.9).astype(np.float32)


async def segment(model, image):
    """The same labels for every image of the right size."""
    try:
        size = Image.open(BytesIO(image)).size
    except OSError as error:
        raise DataError(f"no image: {image[:8]!r}") from error
    assert size == SIZE[::-1]
    return Segmented(LABELS, ("sky", "road", "tree"), CONFIDENCE)


def serving(segment):
    """A service whose model is a function."""
    service = Service(cast(Engine, None), ServeSettings())

    async def of_place(place, model, image):
        return await segment(model, image)

    service.segment = of_place
    service.admission.state = "ready"
    return service


@pytest.fixture
def host():
    with local_host.running() as host:
        yield host


@pytest.fixture
def client(host):
    settings = LabelStudioSettings(
        url=f"http://{host.place}", allow_private=True, timeout=0.5, max_bytes=200_000
    )
    return client_of(create_router(serving(segment), settings, version="streets"))


def client_of(router):
    app = fastapi.FastAPI()
    app.include_router(router)
    _add_handlers(app)
    return testclient.TestClient(app)


def predict(client, *places, config=CONFIG):
    tasks = [{"id": number, "data": {"url": place}} for number, place in enumerate(places)]
    body = {
        "tasks": tasks,
        "project": "1.1700000000",
        "label_config": config,
        "params": {"login": None, "password": None, "context": None},
    }
    return client.post("/predict", json=body)


def test_labels_are_answered_as_brush_strokes(client):
    answer = predict(client, "/data/upload/1/a.png")
    assert answer.status_code == 200
    (result,) = answer.json()["results"]
    assert result["model_version"] == "streets"
    assert result["score"] == pytest.approx(0.7)
    sky, road = result["result"]  # the project has no label for trees
    assert sky["value"]["brushlabels"] == ["Sky"]
    for region, index, score in ((sky, 0, 0.9), (road, 1, 0.5)):
        assert (region["from_name"], region["to_name"]) == ("classes", "photo")
        assert (region["original_height"], region["original_width"]) == SIZE
        assert region["type"] == "brushlabels"
        assert region["value"]["format"] == "rle"
        assert region["score"] == pytest.approx(score)
        inside = decode_brush(bytes(region["value"]["rle"]), SIZE)
        np.testing.assert_array_equal(inside, index == LABELS)


def test_label_studio_itself_reads_the_strokes(client):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    (result,) = predict(client, "/data/upload/1/a.png").json()["results"]
    values = brush.decode_rle(result["result"][1]["value"]["rle"])
    alpha = np.reshape(values, (*SIZE, 4))[:, :, 3]
    np.testing.assert_array_equal(alpha > 0, LABELS == 1)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("/text", "no image: b'no image'"),
        ("/redirect", "redirects"),
        ("/large", "more than 200,000 bytes"),
        ("/slow", "within 0.5 seconds"),
        ("http://169.254.169.254/latest/meta-data", "not fetched from 169.254.169.254"),
        ("file:///etc/passwd", "not fetched"),
        ("/etc/passwd-missing", None),
        (7, "no 'url'"),
    ],
)
def test_a_task_that_fails_is_empty_and_the_others_are_not(client, caplog, place, words):
    with caplog.at_level(logging.WARNING, "vitseg"):
        answer = predict(client, "/a.png", place, "/b.png")
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [len(result["result"]) for result in results] == [2, 0 if words else 2, 2]
    if words:
        assert results[1] == {"result": [], "score": 0.0, "model_version": "streets"}
        (record,) = caplog.records
        assert record.getMessage().startswith("Label Studio's task 1: ")
        assert words in record.getMessage()


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (BusyError("200 pixels wait already"), 429),
        (UnavailableError("the server ends"), 503),
        (LateError("the time is over"), 504),
    ],
)
def test_a_server_that_cannot_answer_does_not_say_that_nothing_is_there(host, problem, status):
    calls = []

    async def busy(model, image):
        calls.append(image)
        if len(calls) == 2:
            raise problem
        return await segment(model, image)

    settings = LabelStudioSettings(url=f"http://{host.place}", allow_private=True)
    answer = predict(
        client_of(create_router(serving(busy), settings)), "/a.png", "/b.png", "/c.png"
    )
    assert (answer.status_code, answer.json()) == (status, {"error": str(problem)})
    assert ("retry-after" in answer.headers) == (status != 504)
    assert len(calls) == 2


@pytest.mark.parametrize("problem", [TooLargeError, UnusableError, WrongFormatError])
def test_an_image_that_is_not_read_is_empty_alone(host, problem):
    async def refusing(model, image):
        raise problem("that image")

    settings = LabelStudioSettings(url=f"http://{host.place}", allow_private=True)
    answer = predict(client_of(create_router(serving(refusing), settings)), "/a.png")
    assert answer.status_code == 200
    assert answer.json()["results"][0]["result"] == []


def test_without_confidence_there_is_no_score(host):
    async def plain(model, image):
        assert model == "small"
        return Segmented(LABELS, ("sky", "road", "tree"))

    settings = LabelStudioSettings(url=f"http://{host.place}", allow_private=True)
    client = client_of(create_router(serving(plain), settings, model="small"))
    (result,) = predict(client, "/a.png").json()["results"]
    assert result["score"] == 0
    assert not any("score" in region for region in result["result"])


def test_labels_of_which_no_class_has_the_name_are_told(client, caplog):
    config = CONFIG.replace("road", "car").replace("Sky", "dog")
    with caplog.at_level(logging.WARNING, "vitseg"):
        (result,) = predict(client, "/a.png", config=config).json()["results"]
    assert result["result"] == []
    assert "none of the labels car, dog is a class of the model" in caplog.text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no readable JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "no list of tasks"),
        (b'{"tasks": [1]}', "no list of tasks"),
        (b'{"tasks": []}', "no readable XML"),
        (json.dumps({"tasks": [], "label_config": "<View/>"}).encode(), "no <BrushLabels>"),
        (json.dumps({"tasks": [], "label_config": "<!DOCTYPE a><a/>"}).encode(), "document type"),
        (json.dumps({"tasks": [{}] * (MOST_TASKS + 1)}).encode(), "at most 100"),
        (b'{"tasks": ' + b"[" * 100_000, "no readable JSON"),
    ],
)
def test_requests_that_are_none_are_refused(client, body, words):
    answer = client.post("/predict", content=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_a_project_is_connected(client, caplog):
    body = {"project": "1.17", "schema": CONFIG, "extra_params": ""}
    answer = client.post("/setup", json=body)
    assert (answer.status_code, answer.json()) == (200, {"model_version": "streets"})
    assert not caplog.records
    answer = client.post("/setup", json={**body, "schema": "<View></View>"})
    assert answer.status_code == 200
    assert "no <BrushLabels>" in caplog.text
    assert client.post("/setup", content=b"x").status_code == 400


def test_events_are_taken_and_health_is_told(client):
    answer = client.post("/webhook", json={"action": "ANNOTATION_CREATED", "project": {"id": 1}})
    assert answer.status_code == 201
    assert client.get("/health").json()["status"] == "UP"


def test_the_token_is_that_of_the_environment(monkeypatch, host):
    monkeypatch.setenv(KEY_VARIABLE, "from-the-environment")
    settings = LabelStudioSettings(url=f"http://{host.place}", allow_private=True)
    predict(client_of(create_router(serving(segment), settings)), "/data/upload/1/a.png")
    assert host.asked[0][1]["Authorization"] == "Token from-the-environment"
