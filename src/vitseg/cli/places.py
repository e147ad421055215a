"""What a verb is given, looked at before its own modules are imported: with torch that takes up to half a minute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from vitseg.cli import options


def require_places(verb: Callable[..., None], given: Mapping[str, Any]) -> None:
    """See that the model and the data set that a verb was given are there.

    Args:
        verb: The function of the verb; its annotations say which of its options are which.
        given: Its options.

    Raises:
        CheckpointError: No model there.
        ConfigError: Not the name of a data set.
        DataError: No folder there.
    """
    hints = get_type_hints(verb, include_extras=True)
    for name, value in given.items():
        if value is None:
            continue
        if hints[name] == options.Model:
            _require_model(value)
        elif hints[name] in (options.Data, options.DataArgument, options.OptionalData):
            _require_data(value)


def _require_model(place: Path) -> None:
    from vitseg.checkpoint.hub import hub_address
    from vitseg.checkpoint.places import find_model_dir

    if hub_address(place) is None:  # the hub is asked when it is needed
        find_model_dir(place)


def _require_data(spec: str) -> None:
    from vitseg.data.catalog import list_splits, parse_data_spec

    _, root = parse_data_spec(spec)
    if isinstance(root, Path) and not root.is_dir():
        list_splits(spec)  # which says what the format needs
