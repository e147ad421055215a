"""The image and the wishes of a request, which come in several forms."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Receive

from vitseg.errors import first_line
from vitseg.serve.problems import BadRequestError, UnusableError, WrongFormatError

MAX_FIELDS = 20
MAX_FIELD_BYTES = 65_536

Value = TypeVar("Value")


class ClientLeftError(Exception):
    """Nobody is there to be answered."""


class Incoming(NamedTuple):
    """What a request brings.

    Attributes:
        content: The bytes of the image file.
        fields: The fields of a form, by name.
    """

    content: bytes
    fields: dict[str, str]


async def read_image(request: Request) -> Incoming:
    """The image of a request: its body, or the field `image` of a form.

    Raises:
        Problem: There is none, or the form cannot be read.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _of_form(request)
    if kind and not kind.startswith("image/") and kind != "application/octet-stream":
        raise WrongFormatError(
            f"the body is {kind[:100]!r}: send the bytes of an image (image/jpeg, application/octet-stream), or a form "
            "(multipart/form-data) with a file named image."
        )
    return Incoming(await request.body(), {})


async def _of_form(request: Request) -> Incoming:
    from python_multipart.exceptions import FormParserError
    from starlette.exceptions import HTTPException

    _require_utf8(request.headers["content-type"])
    fields: dict[str, str] = {}
    content: bytes | None = None
    try:
        async with request.form(
            max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
        ) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    if name != "image":
                        raise UnusableError(
                            f"the form has a file named {name[:100]!r}: name it image."
                        )
                    content = await value.read()
                elif name in fields:
                    raise UnusableError(f"the form has {name[:100]!r} twice: give it once.")
                else:
                    fields[name] = value
    except HTTPException as error:
        raise BadRequestError(f"the form cannot be read: {error.detail}") from error
    except FormParserError as error:  # which starlette puts into its own words since 1.0 only
        raise BadRequestError(f"the form cannot be read: {first_line(error)}.") from error
    if content is None:
        raise UnusableError("the form has no file named image.")
    return Incoming(content, fields)


def _require_utf8(kind: str) -> None:
    """Raise BadRequestError for texts in any other code: some of Python's take long, or fail in ways of their own."""
    for part in kind.lower().split(";")[1:]:
        name, _, code = part.partition("=")
        if name.strip().startswith("charset") and code.strip(" \t\"'") not in ("utf-8", "utf8"):
            raise BadRequestError("the form has texts in another code: send it in UTF-8.")


def allowed_seconds(request: Request) -> float | None:
    """What a client allows for its answer, by the header X-Request-Timeout; None: it says nothing.

    Raises:
        BadRequestError: It is no number above 0.
    """
    value = request.headers.get("x-request-timeout")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BadRequestError(
            f"X-Request-Timeout is {value[:50]!r}, but it is a number of seconds above 0."
        )
    return seconds


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Value]) -> Value:
    """The result of some work, which is given up when the client leaves.

    Args:
        receive: Of the request, whose body was read.
        work: What is done for it.

    Raises:
        ClientLeftError: It has left.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientLeftError
    finally:
        for each in (task, watch):
            each.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
