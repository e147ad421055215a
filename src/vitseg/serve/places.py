"""What is served, from where, and by what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vitseg.inference.precision import Precision


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
