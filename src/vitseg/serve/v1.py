"""The routes of this server's own interface."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitseg.serve.answers import Wanted, encode_answer, find_classes
from vitseg.serve.described import (
    ASKING,
    SEGMENT_RESPONSES,
    ClassesTold,
    Explained,
    ModelsTold,
    errors,
    image_body,
)
from vitseg.serve.incoming import Incoming, allowed_seconds, read_image, while_connected
from vitseg.serve.jobs import Served
from vitseg.serve.masks import MaskFormat, require_format
from vitseg.serve.problems import UnusableError
from vitseg.serve.service import Service
from vitseg.serve.shown import encode_view

Asked = TypeVar("Asked", bound="_Asked")


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        default=None, description="name of the model; the first where it is left out"
    )


class SegmentAsked(_Asked):
    """Wishes of a request for labels, as query parameters or as fields of the form."""

    format: MaskFormat = Field(
        default="png",
        description="of the mask: an indexed PNG, COCO's run lengths, a whole COCO data set, or outlines",
        examples=["rle"],
    )
    classes: str | None = Field(
        default=None,
        description="names or indices, comma-separated: pixels of other classes are 255, or 65535 where there are more "
        "than 255 classes; other formats leave them out",
        examples=["road,car"],
    )
    overlay: bool = Field(
        default=False, description="the image with the classes painted over it, too"
    )
    areas: bool = Field(default=False, description="the share of the image of every class, too")
    confidence: bool = Field(
        default=False, description="the probability of every pixel's label, too"
    )


class ExplainAsked(_Asked):
    """Wishes of a request for a view."""

    view: Literal["stages", "exits", "tasks"] = Field(
        description="masks by stage, where tokens left, or which task claims a pixel"
    )
    class_: str | None = Field(
        default=None, alias="class", description="name or index, for the view stages"
    )


def routes(service: Service) -> APIRouter:
    """The routes.

    Args:
        service: What answers.
    """
    router = APIRouter(prefix="/v1", tags=["vitseg"])

    @router.get("/models", responses={200: {"model": ModelsTold}, **errors(401, 503)})
    async def models() -> dict[str, Any]:
        """All models; the first is run where none is named."""
        service.admission.require_ready()
        first = service.model(None)
        served = [_told(one) for one in service.engine.served.values()]
        return {"models": served, "default": first.name}

    @router.get(
        "/models/{name}/classes",
        responses={200: {"model": ClassesTold}, **errors(401, 404, 503)},
    )
    async def classes(name: str) -> dict[str, Any]:
        """The classes of a model: names and colours, in index order."""
        service.admission.require_ready()
        model = service.model(name)
        pairs = zip(model.classes.names, model.classes.palette, strict=True)
        return {
            "model": model.name,
            "classes": [
                {"index": index, "name": each, "color": list(color)}
                for index, (each, color) in enumerate(pairs)
            ],
        }

    @router.post("/segment", openapi_extra=image_body(SegmentAsked), responses=SEGMENT_RESPONSES)
    async def segment(request: Request, asked: Annotated[SegmentAsked, Query()]) -> Response:
        """The label map of an image: as PNG alone, or with what else is asked for as JSON."""
        deadline = service.deadline(allowed_seconds(request))
        with service.admission.enter(deadline) as place:
            incoming = await read_image(request)
            wish = merged(SegmentAsked, asked, incoming)
            model = service.model(wish.model)
            require_format(wish.format)
            indices = None if wish.classes is None else find_classes(wish.classes, model.classes)
            wanted = Wanted(wish.format, indices, wish.overlay, wish.areas, wish.confidence)
            compute = service.compute(
                place, incoming.content, model, deadline, confidence=wanted.confidence
            )
            computed = await while_connected(request.receive, compute)
            answer = await service.encode(
                partial(encode_answer, computed, wanted, service.settings), deadline
            )
            return Response(answer.content, media_type=answer.media_type)

    @router.post(
        "/explain",
        openapi_extra=image_body(ExplainAsked),
        responses={200: {"model": Explained}, **errors(*ASKING)},
    )
    async def explain(request: Request, asked: Annotated[ExplainAsked, Query()]) -> Response:
        """How a model came to its labels, as far as its kind can show it; see `views` of GET /v1/models."""
        deadline = service.deadline(allowed_seconds(request))
        with service.admission.enter(deadline) as place:
            incoming = await read_image(request)
            wish = merged(ExplainAsked, asked, incoming)
            model = service.model(wish.model)
            index = view_class(wish, model)
            compute = service.compute(
                place, incoming.content, model, deadline, view=wish.view, class_index=index
            )
            computed = await while_connected(request.receive, compute)
            content = await service.encode(partial(encode_view, computed), deadline)
            return Response(content, media_type="application/json")

    return router


def view_class(wish: ExplainAsked, model: Served) -> int | None:
    """The class that a view is wanted of; None: of all.

    Raises:
        UnusableError: The model has no such view or class, or the view needs a class, or takes none.
    """
    if wish.view not in model.views:
        raise UnusableError(
            f"{model.name} has no view {wish.view!r}. It has: {', '.join(model.views) or 'none'}."
        )
    if wish.view != "stages":
        if wish.class_ is not None:
            raise UnusableError(
                f"a view of {wish.view} shows all classes at once: leave class out."
            )
        return None
    if wish.class_ is None:
        raise UnusableError(
            "a view of stages shows the masks of one class: give class, a name or an index."
        )
    index, *others = find_classes(wish.class_, model.classes)
    if others:
        raise UnusableError("class names one class: give one.")
    return index


def merged(kind: type[Asked], asked: Asked, incoming: Incoming) -> Asked:
    """The wishes of a query with those of a form.

    Raises:
        UnusableError: A field is unknown, has a wrong value, or came by both.
    """
    given = asked.model_dump(by_alias=True, exclude_unset=True)
    twice = sorted(given.keys() & incoming.fields.keys())
    if twice:
        raise UnusableError(f"{twice[0]} is in the query and in the form: give it once.")
    try:
        return kind.model_validate({**given, **incoming.fields})
    except ValidationError as error:
        raise UnusableError(first_words(error.errors(), kind)) from error


def first_words(errors: Any, kind: type[BaseModel] | None = None) -> str:
    """The first mistake that pydantic found, in a sentence.

    Args:
        errors: As pydantic lists them.
        kind: What was read; its fields are told where one is unknown.
    """
    first = errors[0]
    name = ".".join(str(part) for part in first["loc"] if part not in ("query", "path", "body"))
    if first["type"] == "extra_forbidden" and kind is not None:
        known = ", ".join(field.alias or each for each, field in kind.model_fields.items())
        return f"{name[:100]!r} is not known here. Known: {known}."
    return f"{name[:100]}: {first['msg']}"


def _told(served: Served) -> dict[str, Any]:
    return {
        "name": served.name,
        "method": served.method,
        "format": served.format,
        "num_classes": served.classes.num_classes,
        "image_size": list(served.image_size),
        "protocol": served.inference,
        "views": list(served.views),
    }
