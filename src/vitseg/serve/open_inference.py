"""The routes of the Open Inference Protocol, version 2, over REST, with Triton's extension for binary tensors.

Source: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md; the extension is described
in Triton's documentation (protocol, extension_binary_data). Models are neither loaded nor unloaded by requests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from vitseg.checkpoint.versions import package_versions
from vitseg.serve.admission import Place
from vitseg.serve.described import errors
from vitseg.serve.incoming import allowed_seconds, while_connected
from vitseg.serve.infer_answer import (
    HEADER_LENGTH,
    VERSION,
    encode_outputs,
    output_tensors,
    require_short,
)
from vitseg.serve.infer_described import (
    INFER_BODY,
    INFER_RESPONSES,
    InferenceModel,
    InferenceServer,
    Live,
    ModelReady,
    Ready,
    TensorTold,
)
from vitseg.serve.infer_request import IMAGE, InferRequest, read_request, require_pixels
from vitseg.serve.jobs import Served
from vitseg.serve.problems import BadRequestError, UnavailableError, UnknownError
from vitseg.serve.service import Computed, Service
from vitseg.serve.uploads import Pixels

EXTENSIONS = ("binary_tensor_data",)


def routes(service: Service) -> APIRouter:
    """The routes.

    Args:
        service: What answers.
    """
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    asking = errors(401, 404, 503)

    @router.get("", responses=errors(401))
    async def server() -> InferenceServer:
        """What this server is."""
        version = package_versions()["vitseg"]
        return InferenceServer(name="vitseg", version=version, extensions=list(EXTENSIONS))

    @router.get("/health/live", responses=errors(503))
    async def live() -> Live:
        """Whether the server runs, and need not be started anew."""
        _require_sound(service)
        return Live(live=True)

    @router.get("/health/ready", responses=errors(503))
    async def ready() -> Ready:
        """Whether its models can be asked."""
        _require_ready(service)
        return Ready(ready=True, live=True)

    @router.get("/models/{name}", responses=asking)
    async def model(name: str) -> InferenceModel:
        """Inputs and outputs of a model."""
        return _metadata(service.model(name))

    @router.get("/models/{name}/versions/{version}", responses=asking)
    async def model_version(name: str, version: str) -> InferenceModel:
        """Inputs and outputs of a model; every model has one version, 1."""
        return _metadata(_version(service, name, version))

    @router.get("/models/{name}/ready", responses=asking)
    async def model_ready(name: str) -> ModelReady:
        """Whether a model can be asked."""
        _require_ready(service)
        return ModelReady(name=service.model(name).name, ready=True)

    @router.get("/models/{name}/versions/{version}/ready", responses=asking)
    async def model_version_ready(name: str, version: str) -> ModelReady:
        """Whether a version of a model can be asked."""
        _require_ready(service)
        return ModelReady(name=_version(service, name, version).name, ready=True)

    @router.post("/models/{name}/infer", openapi_extra=INFER_BODY, responses=INFER_RESPONSES)
    async def infer(request: Request, name: str) -> Response:
        """The labels of images."""
        return await _infer(service, request, name, VERSION)

    @router.post(
        "/models/{name}/versions/{version}/infer",
        openapi_extra=INFER_BODY,
        responses=INFER_RESPONSES,
    )
    async def infer_version(request: Request, name: str, version: str) -> Response:
        """The labels of images, by a version of a model."""
        return await _infer(service, request, name, version)

    return router


async def _infer(service: Service, request: Request, name: str, version: str) -> Response:
    arrived = time.monotonic()
    deadline = service.deadline(allowed_seconds(request))
    with service.admission.enter(deadline) as place:
        served = _version(service, name, version)
        read = partial(
            read_request,
            await request.body(),
            request.headers.get(HEADER_LENGTH),
            served,
            service.settings,
        )
        asked = await service.off_loop(read, deadline)
        del read
        if asked.seconds is not None:
            deadline = min(deadline, arrived + asked.seconds)
        compute = _compute(service, place, asked, served, deadline)
        found = await while_connected(request.receive, compute)
        answer = await service.encode(partial(encode_outputs, asked, found), deadline)
        return Response(answer.content, headers=dict(answer.headers), media_type=answer.media_type)


async def _compute(
    service: Service, place: Place, asked: InferRequest, served: Served, deadline: float
) -> list[Computed]:
    """Run a model on all images of a request."""
    if asked.pixels is not None:
        number, height, width, _ = asked.pixels.shape
        require_short(asked, number, (height, width))
        place.add_pixels(number * height * width)
        ready = [_run(service, asked, served, pixels, deadline) for pixels in asked.pixels]
        return await _together(ready)
    uploads = [await service.inspect(content, deadline) for content in asked.files]
    sizes = [upload.size for upload in uploads]
    if len(set(sizes)) > 1:
        listed = ", ".join(f"{width}x{height}" for height, width in sizes)
        raise BadRequestError(
            f"the images are of {listed} pixels, but the outputs of a request have one size: send them one by one."
        )
    require_pixels(sum(upload.pixels for upload in uploads), service.settings)
    require_short(asked, len(sizes), sizes[0])
    place.add_pixels(sum(upload.pixels for upload in uploads))

    async def decoded_and_run(number: int) -> Computed:
        content, upload = asked.files[number], uploads[number]
        pixels = await service.decode(content, upload, served, deadline)
        return await service.run(pixels, served, deadline, "confidence" in asked.names)

    return await _together([decoded_and_run(number) for number in range(len(uploads))])


def _run(
    service: Service, asked: InferRequest, served: Served, pixels: np.ndarray, deadline: float
) -> Coroutine[Any, Any, Computed]:
    return service.run(Pixels(pixels), served, deadline, "confidence" in asked.names)


async def _together(works: list[Coroutine[Any, Any, Computed]]) -> list[Computed]:
    """The results of several, of which none goes on when one fails."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _version(service: Service, name: str, version: str) -> Served:
    served = service.model(name)
    if version != VERSION:
        raise UnknownError(f"{name} has no version {version[:50]!r}. It has: {VERSION}.")
    return served


def _require_sound(service: Service) -> None:
    if service.engine.fault:
        raise UnavailableError(service.engine.fault)


def _require_ready(service: Service) -> None:
    service.admission.require_ready()
    _require_sound(service)
    if not service.is_ready:
        raise UnavailableError("the models are being loaded again: try again in some seconds.")


def _metadata(served: Served) -> InferenceModel:
    return InferenceModel(
        name=served.name,
        versions=[VERSION],
        platform=f"vitseg_{served.format}",
        inputs=[TensorTold(name=IMAGE, datatype="BYTES", shape=[-1])],
        outputs=output_tensors(served.classes),
    )
