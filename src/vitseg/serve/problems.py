"""What can go wrong with a request, as a status and a sentence for its client."""

from __future__ import annotations

import json
from collections.abc import Mapping


class Problem(Exception):  # noqa: N818 - it is no fault of this program
    """A request that gets no result.

    Args:
        message: For the client: what came, what is allowed, what to do. No path, no trace.
        retry_after: Seconds after which it may be tried again.
    """

    status = 500

    def __init__(self, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the answer."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def error_body(message: str) -> bytes:
    """The body of an answer without result, as JSON."""
    return json.dumps({"error": message}).encode()


class BadRequestError(Problem):
    """The request cannot be read."""

    status = 400


class UnauthorizedError(Problem):
    """No API key, or a wrong one."""

    status = 401

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class UnknownError(Problem):
    """There is no such thing."""

    status = 404


class SlowBodyError(Problem):
    """The request did not arrive in time."""

    status = 408


class TooLargeError(Problem):
    """More bytes or pixels than are taken."""

    status = 413


class WrongFormatError(Problem):
    """No image of a format that is taken."""

    status = 415


class UnusableError(Problem):
    """An image or a wish that cannot be followed."""

    status = 422


class BusyError(Problem):
    """Too much waits already."""

    status = 429

    def __init__(self, message: str):
        super().__init__(message, retry_after=1)


class UnavailableError(Problem):
    """The model cannot answer now."""

    status = 503

    def __init__(self, message: str):
        super().__init__(message, retry_after=2)


class LateError(Problem):
    """The time of the request is over."""

    status = 504
