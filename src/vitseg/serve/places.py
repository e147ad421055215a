"""What is served, from where, and by what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vitseg.errors import VitsegError
from vitseg.inference.precision import Precision

Hashes = Mapping[str, str | None]
"""SHA-256 of a model's files, as `runtimes.places.hashes` has them: what tells one model from another."""


class ChangedError(VitsegError):
    """Other files lie where a model was when the server started."""


@dataclass(frozen=True)
class ModelPlaces:
    """What is to be served, and how.

    Attributes:
        models: Place of every model by the name that it gets.
        device: As `vitseg.load` takes it.
        dtype: Numbers.
        protocol: Changes of the models' protocols.
        threads: That a forward pass may use; None: as torch chooses.
    """

    models: Mapping[str, str]
    device: str = "auto"
    dtype: Precision = "fp32"
    protocol: tuple[str, ...] = ()
    threads: int | None = None


def require_same(name: str, place: object, found: Hashes, known: Mapping[str, Hashes]) -> None:
    """Raise ChangedError where a model is not the one that was loaded first.

    Args:
        name: Of the model.
        place: Where it lies.
        found: Its hashes now.
        known: Hashes of all models as they were loaded first.
    """
    if dict(found) != dict(known[name]):
        raise ChangedError(
            f"{place} changed since the server started, and models are loaded at its start alone: restart it to serve "
            f"{name} as it is now, or put the files back."
        )
