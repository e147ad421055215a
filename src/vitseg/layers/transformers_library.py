"""The transformers library: an optional dependency, imported where a model is built of its layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vitseg.errors import ConfigError


@contextmanager
def transformers_needed(what: str) -> Iterator[None]:
    """Around imports of the library's layers: say what to install where they fail.

    Args:
        what: Which part is made of them, as the user calls it.

    Raises:
        ConfigError: The library is not there, or too old to have them.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"{what} is made of layers of transformers 5.12 or later, which is not installed: "
            "pip install 'vitseg[transformers]'"
        ) from error
