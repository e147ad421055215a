"""What the user wants of a training without a recipe, and how it is told apart from one with a recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitseg.config import apply_overrides, require_parts
from vitseg.errors import ConfigError
from vitseg.training.recipe import Recipe


@dataclass(frozen=True)
class Request:
    """Everything that was given.

    Attributes:
        spec: `NAME:ROOT` of the data.
        minutes: Time for everything; None: as the data ask for.
        method: A key of METHODS; None: the plan's choice.
        backbone: timm's name; None: the plan's choice.
        weights: File of pretrained weights.
        overrides: `section.field=value` each, which rule over what is chosen.
    """

    spec: str
    minutes: float | None
    method: str | None
    backbone: str | None
    weights: Path | None
    overrides: tuple[str, ...]

    @classmethod
    def of(
        cls,
        spec: str,
        minutes: float | None = None,
        method: str | None = None,
        backbone: str | None = None,
        weights: Path | None = None,
        overrides: Sequence[str] = (),
    ) -> Request:
        """The request; what an override says of method, backbone and weights counts as the option.

        Raises:
            ConfigError: Something is given twice, in two ways; or an override is none, or has a value that its field
                does not take.
        """
        given = apply_overrides({}, overrides)
        _require_sections(given)
        if _of(given, "data", "source") is not None:
            raise ConfigError(
                f"data.source is given beside {spec}: the data set is the first argument, so leave data.source out."
            )
        method = _once("--method", method, "method", given.get("method"))
        backbone = _once("--backbone", backbone, "backbone.name", _of(given, "backbone", "name"))
        file = _once(
            "--weights",
            None if weights is None else str(weights),
            "backbone.weights",
            _of(given, "backbone", "weights"),
        )
        if minutes is not None and not 0 < minutes < 100_000:
            raise ConfigError(f"--minutes {minutes:g}: give the minutes that everything may take.")
        path = None if file is None else Path(file)
        return cls(spec, minutes, method, backbone, path, tuple(overrides))

    @property
    def given(self) -> dict[str, Any]:
        """The overrides as a recipe would have them."""
        return apply_overrides({}, self.overrides)

    def has(self, *names: str) -> bool:
        """Whether an override sets one of these dotted fields, or one within them."""
        keys = [each.partition("=")[0] for each in self.overrides]
        return any(key == name or key.startswith(f"{name}.") for key in keys for name in names)

    def options(self) -> dict[str, Any]:
        """In plain values, but for the overrides, to tell a resumed run by."""
        weights = None if self.weights is None else os.path.abspath(self.weights)
        return {
            "minutes": self.minutes,
            "method": self.method,
            "backbone": self.backbone,
            "weights": weights,
        }


def _require_sections(given: Mapping[str, Any]) -> None:
    """See that what overrides say of the recipe is what a recipe may say; a method's own sections are looked at later.

    Raises:
        ConfigError: It is not.
    """
    for section in set(Recipe.model_fields) - {"method", "model"}:
        if section in given:
            model = Recipe.model_fields[section].annotation
            assert isinstance(model, type)
            require_parts(model, given[section], section)


def _once(option: str, value: str | None, field: str, other: Any) -> str | None:
    if value is not None and other is not None and value != other:
        raise ConfigError(f"{option} {value} and {field}={other} say two things: leave one out.")
    return value if other is None else str(other)


def _of(given: Mapping[str, Any], section: str, field: str) -> Any:
    found = given.get(section)
    return found.get(field) if isinstance(found, Mapping) else None
