"""The app: all routes, with what is around them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from vitseg.checkpoint.versions import package_versions
from vitseg.serve.described import describe, errors
from vitseg.serve.docs_page import DOCS_POLICY, docs_page
from vitseg.serve.engine import Engine
from vitseg.serve.fetching import LabelStudioSettings
from vitseg.serve.incoming import ClientLeftError
from vitseg.serve.label_studio import create_router as label_studio_routes
from vitseg.serve.limits import OPEN, Limits
from vitseg.serve.open_inference import routes as open_inference_routes
from vitseg.serve.problems import Problem
from vitseg.serve.service import Service
from vitseg.serve.settings import ServeSettings
from vitseg.serve.v1 import first_words
from vitseg.serve.v1 import routes as own_routes

PAGE = Path(__file__).parent / "page"

CLIENT_LEFT = 499
"""Status in the counts of requests whose client has left; nobody sees it."""


def create_app(engine: Engine, settings: ServeSettings) -> FastAPI:
    """The server as an ASGI app.

    Args:
        engine: Runs the models; it is started with the app, and stopped with it.
        settings: Limits and switches.
    """
    service = Service(engine, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        if not engine.is_ready:
            await engine.start()
        service.admission.state = "ready"
        try:
            yield
        finally:
            service.admission.state = "draining"
            await engine.stop()
            service.close()

    app = FastAPI(
        title="vitseg",
        version=package_versions()["vitseg"],
        summary="Semantic segmentation of images.",
        lifespan=lifespan,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the address of a redirect would be made of what the client calls its host
    )
    app.state.service = service
    app.include_router(own_routes(service))
    app.include_router(open_inference_routes(service))

    @app.get(
        "/metrics",
        tags=["operation"],
        response_class=PlainTextResponse,
        responses=errors(401),
    )
    async def metrics() -> Response:
        """Numbers for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    label_studio = LabelStudioSettings(
        hosts=settings.label_studio_hosts,
        allow_private=settings.label_studio_private,
        max_bytes=settings.max_body,
    )
    app.include_router(label_studio_routes(service, label_studio))
    _add_page(app, settings)
    if settings.shows_docs:
        _add_docs(app)
    _add_handlers(app)
    describe(app, bool(settings.api_keys), OPEN)
    app.add_middleware(Limits, settings=settings, metrics=service.metrics)
    return app


def _add_page(app: FastAPI, settings: ServeSettings) -> None:
    if not (settings.shows_page or settings.shows_docs):
        return
    files = {file.name: file for file in PAGE.iterdir() if file.is_file()}

    if settings.shows_page:

        @app.get("/", include_in_schema=False)
        async def page() -> Response:
            return FileResponse(files["index.html"])

    @app.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> Response:
        if name not in files:  # no path is made of what a request says
            raise HTTPException(404)
        return FileResponse(files[name])


def _add_docs(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        headers = {"Content-Security-Policy": DOCS_POLICY}
        return HTMLResponse(docs_page(app.openapi()), headers=headers)


def _add_handlers(app: FastAPI) -> None:
    """Every error is one sentence of JSON."""

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return JSONResponse({"error": error.message}, error.status, dict(error.headers))

    @app.exception_handler(ClientLeftError)
    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_LEFT)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"error": first_words(error.errors())}, 422)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers)
