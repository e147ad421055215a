"""What the description of the interface says of answers, and of bodies that are read by hand."""

from __future__ import annotations

import copy
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

BINARY = {"schema": {"type": "string", "format": "binary"}}

Described = dict[int | str, dict[str, Any]]

_WORDS = {
    400: "The request cannot be read.",
    401: "No API key, or a wrong one.",
    404: "There is no such model or page.",
    408: "The request did not arrive in time.",
    413: "More bytes or pixels than are taken.",
    415: "No image of a format that is taken, or a body of another kind.",
    422: "An image or a wish that cannot be followed.",
    429: "Too much waits already.",
    500: "The server failed.",
    503: "The models cannot answer now.",
    504: "The time of the request is over.",
}

ASKING = (400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504)
"""What may come instead of a result."""

_RETRY = {
    "Retry-After": {
        "description": "seconds after which it may be tried again",
        "schema": {"type": "integer"},
    }
}


class Error(BaseModel):
    """Why there is no result."""

    error: str = Field(
        description="one sentence: what came, what is allowed, what to do",
        examples=["there is no model 'cityscape'. Served: camvid, ade20k."],
    )


def errors(*statuses: int) -> Described:
    """Answers with an error, as FastAPI takes them.

    Args:
        statuses: That may come.
    """
    found: Described = {}
    for status in statuses:
        found[status] = {"model": Error, "description": _WORDS[status]}
        if status in (429, 503):
            found[status]["headers"] = _RETRY
    return found


class ModelTold(BaseModel):
    """A model."""

    name: str
    method: str = Field(examples=["segvit"])
    format: str = Field(description="directory, or that of an exported file")
    num_classes: int
    image_size: list[int] = Field(description="height and width of its training images")
    protocol: dict[str, Any] = Field(description="how images are run")
    views: list[str] = Field(description="what POST /v1/explain can show of it")


class ModelsTold(BaseModel):
    """All models."""

    models: list[ModelTold]
    default: str = Field(description="the model that is run where none is named")


class ClassTold(BaseModel):
    """A class."""

    index: int
    name: str
    color: list[int] = Field(description="red, green, blue in [0, 255]", examples=[[128, 64, 128]])


class ClassesTold(BaseModel):
    """The classes of a model, in index order."""

    model: str
    classes: list[ClassTold]


class RunLengths(BaseModel):
    """Where a class is."""

    class_index: int
    class_: str = Field(alias="class")
    size: list[int] = Field(description="height and width")
    counts: str = Field(description="run lengths as COCO compresses them")


class PngMask(BaseModel):
    """Labels as an image."""

    format: Literal["png"]
    png: str = Field(description="base64")


class RunLengthMask(BaseModel):
    """Labels as run lengths, one entry for each class that occurs."""

    format: Literal["rle"]
    rle: list[RunLengths]


class CocoMask(BaseModel):
    """Labels as a COCO data set of one image.

    All pixels of a class are one annotation, its category is class index + 1, and `segmentation` holds run lengths.
    """

    format: Literal["coco"]
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]


class OutlineMask(BaseModel):
    """Labels as a GeoJSON FeatureCollection in (column, row) of pixels, with the properties class and class_index."""

    format: Literal["geojson"]
    geojson: dict[str, Any]


class ClassFound(ClassTold):
    """A class that occurs."""

    area: float | None = Field(
        default=None, description="its share of the pixels with data, in [0, 1]"
    )
    confidence: float | None = Field(
        default=None, description="mean probability of its pixels, in [0, 1]"
    )


class Seconds(BaseModel):
    """Times."""

    waiting: float
    forward: float = Field(description="of all images that were run together")


class Segmented(BaseModel):
    """The labels of an image, with what else was asked for."""

    model: str
    width: int
    height: int
    mask: PngMask | RunLengthMask | CocoMask | OutlineMask
    classes: list[ClassFound]
    seconds: Seconds
    notices: list[str] = Field(
        description="what was decided about the image: how its pixels were read, and whether it was run in windows"
    )
    confidence: str | None = Field(
        default=None, description="base64 of an 8-bit grey PNG, 255 = sure"
    )
    overlay: str | None = Field(
        default=None, description="base64 of a PNG; smaller than the image where that is very large"
    )


class Explained(BaseModel):
    """A view; its further fields are of its kind."""

    model: str
    width: int
    height: int
    view: Literal["stages", "exits", "tasks"]


SEGMENT_RESPONSES: Described = {
    200: {
        "model": Segmented,
        "description": "The labels: the PNG alone where neither another format nor anything else is asked for.",
        "content": {
            "image/png": BINARY,
            "application/json": {
                "example": {
                    "model": "camvid",
                    "width": 960,
                    "height": 720,
                    "mask": {"format": "png", "png": "iVBORw0KGgo..."},
                    "classes": [
                        {"index": 3, "name": "road", "color": [128, 64, 128], "area": 0.31}
                    ],
                    "seconds": {"waiting": 0.001, "forward": 0.21},
                    "notices": [],
                }
            },
        },
    },
    **errors(*ASKING),
}

JSON_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
"""A body that is an object, as another program sends it."""

TIMEOUT = {
    "name": "X-Request-Timeout",
    "in": "header",
    "description": "Seconds that the client allows for the answer.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}


def image_body(wishes: type[BaseModel]) -> dict[str, Any]:
    """How an image comes, with the wishes that a form may hold.

    Args:
        wishes: Their fields.
    """
    fields = copy.deepcopy(wishes.model_json_schema())
    properties = {"image": {"type": "string", "format": "binary"}, **fields["properties"]}
    form = {
        "type": "object",
        "required": ["image"],
        "properties": properties,
        "additionalProperties": False,
    }
    return {
        "parameters": [TIMEOUT],
        "requestBody": {
            "required": True,
            "description": "An image file: as the body itself, or as the file `image` of a form. In a form the wishes "
            "may be fields, instead of parameters of the query.",
            "content": {
                "image/jpeg": BINARY,
                "image/png": BINARY,
                "application/octet-stream": BINARY,
                "multipart/form-data": {"schema": form},
            },
        },
    }


def describe(app: FastAPI, needs_key: bool, open_paths: tuple[str, ...]) -> None:
    """Have an app describe itself as it is.

    FastAPI would say that wrong parameters are answered with errors of its own form, which is replaced here.

    Args:
        app: With all routes.
        needs_key: Whether an API key has to come with requests.
        open_paths: Paths for which none has to.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            about = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes
            )
            _mend_errors(about)
            if needs_key:
                _name_keys(about, open_paths)
            app.openapi_schema = about
        return app.openapi_schema

    app.openapi = openapi


def _mend_errors(about: dict[str, Any]) -> None:
    for operations in about["paths"].values():
        for operation in operations.values():
            shown = operation["responses"].get("422", {})
            if "HTTPValidationError" in str(shown):
                del operation["responses"]["422"]
            for status, answer in operation["responses"].items():
                content = answer.get("content", {})
                if status >= "400" and "text/plain" in content:  # as the result of this route
                    content["application/json"] = content.pop("text/plain")
    for name in ("HTTPValidationError", "ValidationError"):
        about.get("components", {}).get("schemas", {}).pop(name, None)


def _name_keys(about: dict[str, Any], open_paths: tuple[str, ...]) -> None:
    about.setdefault("components", {})["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    about["security"] = [{"key": []}, {"bearer": []}]
    for path in open_paths:
        for operation in about["paths"].get(path, {}).values():
            operation["security"] = []
