"""A view of a model, as the answer to a request."""

from __future__ import annotations

from vitseg.serve.service import Computed


def encode_view(computed: Computed) -> bytes:
    """The answer to a request for a view, as JSON."""
    raise NotImplementedError
