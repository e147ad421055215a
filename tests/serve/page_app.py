"""A stand-in for the server: models whose labels are known at every pixel, and refusals as they are wanted."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from PIL import Image, ImageOps

import vitseg
from vitseg.classes import ClassTable
from vitseg.render.palette import encode, label_image

PAGE = Path(vitseg.__file__).parent / "serve" / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

Painter = Callable[[np.ndarray], np.ndarray]
"""RGB to labels or to a map, (H, W)."""


@dataclass
class FakeModel:
    """A model: what it knows and what it says of an image."""

    name: str
    classes: ClassTable
    labels: Painter
    confidence: Painter
    views: tuple[str, ...] = ()
    method: str = "segvit"
    stages: Callable[[np.ndarray, int], dict[str, np.ndarray]] | None = None
    probability: float = 0.875
    numbers: Painter | None = None
    names: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass
class Mood:
    """How the server is disposed."""

    key: str | None = None
    refusals: list[tuple[int, str, dict[str, str]]] = field(default_factory=list)
    is_slow: bool = False
    asked: list[str] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    left: int = 0
    """Requests whose clients went away."""


def text_of(image: Image.Image) -> str:
    return base64.b64encode(encode(image, "PNG")).decode()


def create_app(models: list[FakeModel], mood: Mood) -> FastAPI:
    app = FastAPI()
    known = {model.name: model for model in models}

    @app.middleware("http")
    async def guard(request: Request, call_next):
        path = request.url.path
        mood.asked.append(f"{request.method} {path}")
        is_open = path == "/" or path.startswith("/page/")
        response = None
        if mood.key is not None and not is_open and request.headers.get("X-API-Key") != mood.key:
            response = JSONResponse({"error": "an API key is needed"}, 401)
        elif path in ("/v1/segment", "/v1/explain"):
            if mood.refusals:
                status, error, headers = mood.refusals.pop(0)
                response = JSONResponse({"error": error}, status, headers)
            await request.body()  # or looking for a client that left would swallow it
            while mood.is_slow and response is None:
                if await request.is_disconnected():
                    mood.left += 1
                    return Response(status_code=499)
                await asyncio.sleep(0.02)
        response = response or await call_next(request)
        response.headers.update(HEADERS)
        return response

    @app.get("/")
    async def index():
        return FileResponse(PAGE / "index.html")

    @app.get("/page/{name}")
    async def file(name: str):
        return FileResponse(PAGE / name)

    @app.get("/v1/models")
    async def list_models():
        listed = [
            {
                "name": model.name,
                "method": model.method,
                "num_classes": model.classes.num_classes,
                "format": "directory",
                "views": list(model.views),
                "protocol": {"mode": "whole"},
            }
            for model in models
        ]
        return {"models": listed, "default": models[0].name}

    @app.get("/v1/models/{name}/classes")
    async def list_classes(name: str):
        return {"model": name, "classes": classes_of(known[name])}

    @app.post("/v1/segment")
    async def segment(request: Request, model: str):
        picture = await read(request)
        if picture is None:
            return JSONResponse({"error": "this file is no image."}, 415)
        assert dict(request.query_params) == {
            "model": model, "format": "png", "confidence": "true", "areas": "true",
        }  # fmt: skip
        answer = answer_of(known[model], picture)
        mood.answers.append(answer)
        return answer

    @app.post("/v1/explain")
    async def explain(request: Request, model: str, view: str):
        picture = await read(request)
        assert picture is not None
        found = known[model]
        height, width = picture.shape[:2]
        facts = {"model": model, "width": width, "height": height, "view": view}
        if view != "stages":
            assert found.numbers is not None
            png = text_of(Image.fromarray(found.numbers(picture)))
            return facts | {"names": list(found.names), "png": png}
        assert found.stages is not None
        number = int(request.query_params["class"])
        stages = [
            {"name": name, "png": text_of(Image.fromarray(mask))}
            for name, mask in found.stages(picture, number).items()
        ]
        chosen = found.classes.names[number]
        return facts | {"class": chosen, "probability": found.probability, "stages": stages}

    return app


async def read(request: Request) -> np.ndarray | None:
    try:
        picture = Image.open(BytesIO(await request.body()))
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except OSError:
        return None


def classes_of(model: FakeModel) -> list[dict[str, Any]]:
    pairs = zip(model.classes.names, model.classes.palette, strict=True)
    return [{"index": i, "name": name, "color": color} for i, (name, color) in enumerate(pairs)]


def answer_of(model: FakeModel, picture: np.ndarray) -> dict[str, Any]:
    labels, sure = model.labels(picture), model.confidence(picture)
    assert labels.shape == sure.shape == picture.shape[:2]
    listed = [
        entry
        | {
            "area": float((labels == entry["index"]).mean()),
            "confidence": float(sure[labels == entry["index"]].mean() / 255),
        }
        for entry in classes_of(model)
        if (labels == entry["index"]).any()
    ]
    return {
        "model": model.name,
        "width": labels.shape[1],
        "height": labels.shape[0],
        "mask": {"format": "png", "png": text_of(label_image(labels, model.classes))},
        "classes": listed,
        "confidence": text_of(Image.fromarray(sure)),
        "seconds": {"waiting": 0.01, "forward": 0.25},
        "notices": list(model.notices),
    }


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app on a free port of this machine; gives its address."""
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the stand-in did not start"
        thread.join(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://localhost:{port}"
    server.should_exit = True
    thread.join()
