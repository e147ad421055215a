"""The names of models that are served."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vitseg.errors import ConfigError
from vitseg.runtimes.places import is_exported

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_GIVEN = re.compile(r"([^=/\\]*)=(.+)", re.DOTALL)


def named_models(models: Sequence[str]) -> dict[str, str]:
    """Places of models by the names that they get, in their order.

    Args:
        models: Each PLACE or NAME=PLACE.

    Raises:
        ConfigError: A name is none, or two models have one.
    """
    found: dict[str, str] = {}
    for model in models:
        given = _GIVEN.fullmatch(model)
        name, place = (given[1], given[2]) if given else (_own_name(model), model)
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{model}: {name!r} cannot be the name of a served model, which has letters, digits, '.', '_' and '-', "
                "100 at most: give it another as NAME=MODEL."
            )
        if name in found:
            raise ConfigError(
                f"two models would be named {name}: {found[name]} and {place}. Give one another name as NAME=MODEL."
            )
        found[name] = place
    return found


def _own_name(place: str) -> str:
    path = Path(place)
    if is_exported(path):
        return path.stem
    name = path.resolve().name if "://" not in place else place.rstrip("/").rpartition("/")[2]
    if name == "model" and "://" not in place:  # of a training's folder
        name = path.resolve().parent.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
