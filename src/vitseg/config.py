"""YAML and dotted overrides to pydantic models, with errors in the user's words."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from vitseg import parsing
from vitseg.errors import ConfigError

Config = TypeVar("Config", bound=BaseModel)

_LONGEST = 200
"""Characters of a value that a message shows."""

_SECTION = "a section is expected, which has fields (name: value)"
_EXPECTED = {
    "int": "a whole number is expected",
    "int_from_float": "a whole number is expected",
    "int_parsing_size": "a number of at most 64 bits is expected",
    "float": "a number is expected",
    "string": "a text is expected; a number or a word such as no is one in quotes",
    "bool": "true or false is expected",
    "list": "a list is expected",
    "tuple": "a list is expected",
    "path": "the name of a file is expected",
    "dict": _SECTION,
    "mapping": _SECTION,
    "model": _SECTION,
    "model_attributes": _SECTION,
}
"""By the beginning of the validator's names (int_type, int_parsing): what is said of a value of another kind."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: The file is missing, not YAML, or no mapping.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: give the path of a recipe (.yaml).")
    try:
        raw = parsing.read_yaml(path)
    except parsing.UnreadableError as error:
        if isinstance(error.__cause__, OSError):
            raise ConfigError(f"{path} cannot be read: {error}.") from error
        raise ConfigError(f"{path} is not YAML: {error}.") from error
    if isinstance(raw, str):
        raise ConfigError(f"{path} is not YAML with sections: it holds str, and no mapping.")
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path} holds {type(raw).__name__}, but a recipe is a mapping of sections."
        )
    return raw


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`optimizer.lr=3e-5` for each override; values are read as YAML.

    Raises:
        ConfigError: An override without `=`, or one that reaches into a value that is no section.
    """
    for override in overrides:
        name, equals, text = override.partition("=")
        keys = name.split(".")
        if not equals or not all(keys):
            raise ConfigError(
                f"{override!r} is no override: write section.field=value, as in optimizer.lr=3e-5."
            )
        section = raw
        for depth, key in enumerate(keys[:-1]):
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise ConfigError(
                    f"{override}: {'.'.join(keys[: depth + 1])} is a value, not a section."
                )
        section[keys[-1]] = _read_value(override, text)
    return raw


def _read_value(override: str, text: str) -> Any:
    try:
        value = parsing.parse_yaml(text)
    except parsing.UnreadableError as error:
        raise ConfigError(f"{override[:80]}: the value is not YAML: {error}.") from error
    if isinstance(value, str) and value == text.strip():  # in quotes it is meant as text
        try:
            return float(value)  # YAML 1.1 reads 3e-5 as text
        except ValueError:
            return value
    return value


def parse(model: type[Config], raw: Mapping[str, Any], where: str = "") -> Config:
    """Validate a mapping.

    Args:
        model: The configuration class.
        raw: What was read.
        where: Dotted prefix of this section in the user's file.

    Raises:
        ConfigError: Names the first wrong field, what is allowed, and how many more there are.
    """
    try:
        parsed = model.model_validate(raw)
    except ValidationError as error:
        problems = error.errors()
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(_describe(model, raw, problems[0], where) + more) from error
    _require_written_numbers(raw, parsed, where)
    return parsed


def require_parts(model: type[BaseModel], raw: Any, where: str) -> None:
    """See that the given fields of a section are of their kinds; others may be missing, which are filled in later.

    What several fields have to do with each other is not looked at: it may be others that come.

    Args:
        model: The configuration class.
        raw: What was read in the section's place.
        where: Dotted name of the section.

    Raises:
        ConfigError: As for `parse`.
    """
    try:
        parsed = model.model_validate(raw)
    except ValidationError as error:
        problems = [each for each in error.errors() if not _is_of_missing(each)]
        if problems:
            more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
            raise ConfigError(_describe(model, raw, problems[0], where) + more) from error
        for name in [name for name in raw if name in model.model_fields]:
            kind: Any = model.model_fields[name].annotation
            with suppress(ValidationError):  # of a field that lies deeper and is missing
                part = TypeAdapter(kind).validate_python(raw[name])
                _require_written_numbers(raw[name], part, f"{where}.{name}")
        return
    _require_written_numbers(raw, parsed, where)


def _is_of_missing(problem: Any) -> bool:
    """Whether a problem may be gone once all fields are there."""
    is_of_several = problem["type"] == "value_error" and isinstance(problem["input"], Mapping)
    return problem["type"] == "missing" or is_of_several


def _require_written_numbers(raw: Any, parsed: Any, name: str) -> None:
    """Raise ConfigError if a word was taken for a number: the validator reads true (yes, on) as 1.

    Args:
        raw: What was read.
        parsed: What the validator made of it.
        name: Dotted name of it.
    """
    if isinstance(raw, bool) and isinstance(parsed, int | float) and not isinstance(parsed, bool):
        raise ConfigError(f"{name} is {_shown(raw)}: a number is expected.")
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            part = (
                parsed.get(key) if isinstance(parsed, Mapping) else getattr(parsed, str(key), None)
            )
            _require_written_numbers(value, part, f"{name}.{key}" if name else str(key))
    elif isinstance(raw, list | tuple) and isinstance(parsed, list | tuple):
        # a validator may give more or fewer parts than were written
        for place, (value, part) in enumerate(zip(raw, parsed, strict=False)):
            _require_written_numbers(value, part, f"{name}.{place}")


def require_finite(value: Any, name: str = "") -> None:
    """Raise ConfigError if a nested mapping has a number that is none: text such as `inf` passes as one."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            require_finite(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for place, part in enumerate(value):
            require_finite(part, f"{name}.{place}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} is {value}: give a finite number.")


def given_fields(section: BaseModel, but: Collection[str] = ()) -> list[str]:
    """Names of the fields that have another value than their default, without those in `but`."""
    fields = type(section).model_fields
    return [
        name
        for name in fields
        if name not in but and getattr(section, name) != fields[name].default
    ]


def _describe(model: type[BaseModel], raw: Any, problem: Any, where: str) -> str:
    path = [str(part) for part in problem["loc"]]
    name = ".".join([*([where] if where else []), *path])
    if problem["type"] == "extra_forbidden":
        section = _section(model, raw, path[:-1])
        fields = list(section.model_fields)
        near = difflib.get_close_matches(path[-1], fields, n=1)
        prefix = ".".join([*([where] if where else []), *path[:-1], ""])
        if near:
            return f"{name} is not a field of {section.__name__}. Did you mean {prefix}{near[0]}?"
        return f"{name} is not a field of {section.__name__}. Its fields: {', '.join(fields)}."
    if problem["type"] == "missing":
        field = _section(model, raw, path[:-1]).model_fields.get(path[-1])
        about = field.description if field is not None else None  # None: a missing entry of a list
        return f"{name} is missing" + (f": {about}." if about else ".")
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{name}: {message}." if name else f"{message}."
    return f"{name} is {_shown(problem['input'])}: {_expected(problem) or _lower(message)}."


def _shown(value: Any) -> str:
    """A value as its file has it, or the beginning of it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _expected(problem: Any) -> str | None:
    """What belongs in the place of a value of another kind; None where the validator's own sentence says it."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind in ("too_short", "too_long"):
        which, length = (
            ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
        )
        return (
            f"a list of {which} {context[length]} is expected, and {context['actual_length']} came"
        )
    return _EXPECTED.get(kind.rpartition("_")[0] if kind not in _EXPECTED else kind)


def _lower(sentence: str) -> str:
    return f"{sentence[0].lower()}{sentence[1:]}"


def _section(model: type[BaseModel], raw: Any, path: Sequence[str]) -> type[BaseModel]:
    """The configuration class of a section; of several that may stand there, the one with most of the given fields."""
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not nested:
            return model
        raw = raw.get(part) if isinstance(raw, Mapping) else None
        given = set(raw) if isinstance(raw, Mapping) else set()
        model = max(nested, key=lambda kind: len(given & kind.model_fields.keys()))
    return model
