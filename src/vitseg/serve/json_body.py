"""JSON that a request brings, whose values are counted before it is parsed."""

from __future__ import annotations

from typing import Any

from vitseg import parsing
from vitseg.serve.problems import BadRequestError

MAX_VALUES = 5_000_000
"""Numbers and lists in JSON at most, of a request or of an answer: each takes tens of bytes while it is read."""


def parse_body(text: bytes, instead: str) -> Any:
    """The value that JSON of a request holds. It may take a second, so it is for a thread beside the event loop.

    Args:
        text: The JSON.
        instead: What a client with too many values can do: "send the tensor as binary data".

    Raises:
        BadRequestError: It has more than MAX_VALUES values.
        UnreadableError: See `parsing.parse_json`.
    """
    if sum(map(text.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise BadRequestError(
            f"the request has more than {MAX_VALUES:,} values in JSON: {instead}."
        )
    return parsing.parse_json(text)
