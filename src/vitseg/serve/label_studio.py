"""The four routes by which Label Studio asks a model for labels (its "ML backend").

Masks are answered as brush strokes, with the labels of the project that have the names of classes. What is fetched, and
from where, is in `fetching`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from vitseg.annotations.label_config import BrushControl, read_brush_control
from vitseg.annotations.label_studio import brush_regions
from vitseg.errors import ConfigError, DataError, VitsegError, first_line
from vitseg.serve.admission import Place
from vitseg.serve.described import JSON_BODY, errors
from vitseg.serve.fetching import Fetcher, LabelStudioSettings
from vitseg.serve.incoming import while_connected
from vitseg.serve.json_body import parse_body
from vitseg.serve.problems import (
    BadRequestError,
    TooLargeError,
    UnusableError,
    WrongFormatError,
)
from vitseg.serve.service import Segmented, Service

KEY_VARIABLE = "LABEL_STUDIO_API_KEY"
"""Environment variable of the token that Label Studio wants for its uploaded files."""

MOST_TASKS = 100
"""Tasks of one request; Label Studio sends some ten."""

AT_ONCE = 4
"""Tasks whose images are fetched and run at a time, of all requests together."""

ASKING = (400, 401, 408, 413, 415, 429, 500, 503, 504)
"""What may come instead of a result."""

_log = logging.getLogger("vitseg")

OF_AN_IMAGE = (TooLargeError, UnusableError, WrongFormatError)
"""What is wrong with the image of a task, and not with the server or with the moment."""

Value = TypeVar("Value")


def create_router(
    service: Service,
    settings: LabelStudioSettings,
    *,
    version: str = "vitseg",
    model: str | None = None,
) -> APIRouter:
    """The routes `/predict`, `/setup`, `/webhook` and `/health`.

    A task whose image cannot be had has an empty result, and a line in the log says why: the others of the request are
    of use. Where the server cannot run an image the request fails as a whole: an empty result would say that nothing
    is on it. The token is read from the environment here, once.

    Args:
        service: What answers.
        settings: Where images may lie.
        version: What Label Studio shows as the version of the model.
        model: Name of the model; None: the server's own choice.
    """
    router = APIRouter(tags=["Label Studio"])
    fetch = Fetcher(settings, os.environ.get(KEY_VARIABLE))
    backend = _Backend(service, fetch, version, model)

    @router.post("/predict", openapi_extra=JSON_BODY, responses=errors(*ASKING))
    async def predict(request: Request) -> Response:
        """Annotations for the tasks of a Label Studio project."""
        deadline = service.deadline(None)
        with service.admission.enter(deadline) as place:
            tasks, control = await backend.read(request, _read_request, deadline)
            answers = backend.answers(tasks, control, place)
            found = {"results": await while_connected(request.receive, answers)}
            content = await service.off_loop(partial(_encoded, found), service.deadline(None))
            return Response(content, media_type="application/json")

    @router.post("/setup", openapi_extra=JSON_BODY, responses=errors(*ASKING))
    async def setup(request: Request) -> JSONResponse:
        """What Label Studio asks when a project is connected."""
        deadline = service.deadline(None)
        with service.admission.enter(deadline):
            await backend.read(request, _look_at_project, deadline)
        return JSONResponse({"model_version": version})

    @router.post("/webhook", status_code=201, responses=errors(401))
    async def webhook() -> JSONResponse:
        """Events of Label Studio, which change nothing here."""
        # Label Studio tells of every annotation; this server trains nothing.
        return JSONResponse({}, 201)

    @router.get("/health")
    async def health() -> JSONResponse:
        """Whether the server runs, as Label Studio asks it."""
        return JSONResponse({"status": "UP", "model_class": version})

    return router


class _Backend:
    """What answers Label Studio's requests, once they have a place."""

    def __init__(self, service: Service, fetch: Fetcher, version: str, model: str | None):
        self._service, self._fetch = service, fetch
        self._version, self._model = version, model
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def read(
        self, request: Request, reading: Callable[[bytes], Value], deadline: float
    ) -> Value:
        """What a body says, which is parsed beside the event loop."""
        body = await request.body()
        try:
            return await self._service.off_loop(partial(reading, body), deadline)
        except VitsegError as error:
            raise BadRequestError(str(error)) from error

    async def answers(
        self, tasks: Sequence[Mapping[str, Any]], control: BrushControl, place: Place
    ) -> list[dict[str, Any]]:
        """A result for each task; raises a `Problem` where the server cannot run an image now."""
        results = []
        for task in tasks:
            try:
                async with self._turns:
                    with place.one_image():
                        answer = await self._answer(task, control, place)
            except (VitsegError, *OF_AN_IMAGE) as error:
                _log.warning("Label Studio's task %.99r: %s", task.get("id"), first_line(error))
                answer = {"result": [], "score": 0.0}
            results.append({**answer, "model_version": self._version})
        return results

    async def _answer(
        self, task: Mapping[str, Any], control: BrushControl, place: Place
    ) -> dict[str, Any]:
        """The regions of a task, and how sure the model is of them."""
        image = await self._image(task, control)
        found = await self._service.segment(place, self._model, image)
        names = matching_labels(found.class_names, control.labels)
        if not names:
            raise ConfigError(
                f"none of the labels {', '.join(control.labels[:5])} is a class of the model, which are "
                f"{', '.join(found.class_names[:5])}: name labels as the model's classes."
            )
        return await asyncio.to_thread(_regions, found, names, control)  # seconds for a large photo

    async def _image(self, task: Mapping[str, Any], control: BrushControl) -> bytes:
        """The image file of a task; raises VitsegError where it cannot be had."""
        data = task.get("data")
        where = data.get(control.key) if isinstance(data, dict) else None
        if not isinstance(where, str):
            raise DataError(
                f"its data have no {control.key!r}, where the label config has the image."
            )
        try:
            return await self._fetch(where)
        except Exception as error:  # whoever wrote the task has chosen what answers
            raise DataError(first_line(error)) from error


def _encoded(found: dict[str, Any]) -> bytes:
    return json.dumps(found).encode()


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        content = parse_body(body, "send fewer tasks at a time")
    except ValueError as error:
        raise DataError(f"the request is no readable JSON: {error}.") from error
    if not isinstance(content, dict):
        raise DataError("the request is no JSON object, but Label Studio's requests are.")
    return content


def _look_at_project(body: bytes) -> None:
    """Log what is wrong with the labels of a project; it may be connected before they are set up.

    Raises:
        DataError: The body is no JSON object.
    """
    content = _object(body)
    try:
        if content.get("schema"):
            read_brush_control(str(content["schema"]))
    except ConfigError as error:
        _log.warning("Label Studio's project %.99r: %s", content.get("project"), error)


def _read_request(body: bytes) -> tuple[list[Mapping[str, Any]], BrushControl]:
    """The tasks and where regions belong.

    Raises:
        DataError: They are no tasks, or too many.
        ConfigError: The label config has no brush labels, or cannot be read.
    """
    content = _object(body)
    tasks = content.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise DataError("the request has no list of tasks: [{'id': 1, 'data': {...}}].")
    if len(tasks) > MOST_TASKS:
        raise DataError(f"{len(tasks)} tasks came, but at most {MOST_TASKS} go into one request.")
    return tasks, read_brush_control(str(content.get("label_config") or ""))


def _regions(found: Segmented, names: Mapping[int, str], control: BrushControl) -> dict[str, Any]:
    scores = None if found.confidence is None else mean_confidence(found)
    regions = brush_regions(
        found.label_map, names, control.from_name, control.to_name, scores=scores
    )
    known = [each["score"] for each in regions if "score" in each]
    return {"result": regions, "score": sum(known) / len(known) if known else 0.0}


def matching_labels(class_names: Sequence[str], labels: Sequence[str]) -> dict[int, str]:
    """Class index -> label of the same name; upper and lower case differ only where nothing else fits."""
    folded = {label.casefold(): label for label in reversed(labels)}
    matched = {}
    for index, name in enumerate(class_names):
        label = name if name in labels else folded.get(name.casefold())
        if label is not None:
            matched[index] = label
    return matched


def mean_confidence(found: Segmented) -> dict[int, float]:
    """Class index -> mean probability of its pixels, of the classes that occur."""
    assert found.confidence is not None
    labels = found.label_map.ravel()
    counts = np.bincount(labels)
    sums = np.bincount(labels, found.confidence.ravel())
    return {index: float(sums[index] / counts[index]) for index in np.flatnonzero(counts).tolist()}
