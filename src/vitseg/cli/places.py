"""What a verb is given, looked at before its own modules are imported: with torch that takes up to half a minute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints


class Before(NamedTuple):
    """In the annotation of an option: how its value is looked at before the verb begins.

    Attributes:
        check: Called with the value, unless that is None, and with all options that the verb was given.
    """

    check: Callable[[Any, Mapping[str, Any]], object]


def require_places(verb: Callable[..., None], given: Mapping[str, Any]) -> None:
    """See that the models, recipes, data sets and files that a verb was given are there.

    Args:
        verb: The function of the verb; its annotations say which of its options are which.
        given: Its options.

    Raises:
        CheckpointError: No model or weight file there.
        ConfigError: Not the name of a data set, no recipe there, or a file that cannot be written there.
        DataError: No folder there.
    """
    hints = get_type_hints(verb, include_extras=True)
    for name, value in given.items():
        for mark in getattr(hints[name], "__metadata__", ()):
            if isinstance(mark, Before) and value is not None:
                mark.check(value, given)


def require_model(place: Path, given: Mapping[str, Any]) -> None:
    """A model directory; the hub is asked when it is needed."""
    from vitseg.checkpoint.hub import hub_address
    from vitseg.checkpoint.places import find_model_dir

    if hub_address(place) is None:
        find_model_dir(place)


def require_predicting_model(place: Path, given: Mapping[str, Any]) -> None:
    """A model directory or an exported file; the hub is asked when it is needed."""
    from vitseg.checkpoint.hub import hub_address
    from vitseg.runtimes.places import find_model

    if hub_address(place) is None:
        find_model(place)


def require_weights(place: str, given: Mapping[str, Any]) -> None:
    """A weight file."""
    from vitseg.checkpoint.hub import hub_address
    from vitseg.weight_files import require_weight_file

    if hub_address(place) is None:
        require_weight_file(Path(place))


def require_data(spec: str, given: Mapping[str, Any]) -> None:
    """The folder of a data set."""
    from vitseg.data.catalog import list_splits, parse_data_spec

    _, root = parse_data_spec(spec)
    if isinstance(root, Path) and not root.is_dir():
        list_splits(spec)  # which says what the format needs


def require_recipe(place: str | Path, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recipe and its overrides; returns what it says."""
    from vitseg.training.recipe_files import read_recipe

    overrides = given.get("overrides") or ()
    return read_recipe(place, overrides, given.get("data"))


def require_training(place: str | Path, given: Mapping[str, Any]) -> None:
    """A recipe with a data set, and the weights that it begins with."""
    from vitseg.errors import ConfigError
    from vitseg.training.recipe_files import NO_DATA
    from vitseg.weight_files import require_weight_file

    raw = require_recipe(place, given)
    source = _stated(raw, "data", "source")
    if source is None:
        raise ConfigError(NO_DATA)
    require_data(source, given)
    if given.get("resume"):  # which begins with its own state
        return
    weights, init_from = _stated(raw, "backbone", "weights"), _stated(raw, "training", "init_from")
    if weights is not None and raw["backbone"].get("pretrained") is not False:
        require_weight_file(Path(weights))
    if init_from is not None:
        require_model(Path(init_from), given)


def is_data(text: str) -> bool:
    """Whether a text that may be a recipe or a data set is the latter, which has a name and a colon in front.

    A file that is there is a recipe, whatever its name. So is what ends as one, or begins with the letter of a drive.
    """
    from vitseg.data.catalog import DATASETS

    name, colon, _ = text.partition(":")
    if not colon or Path(text).is_file():
        return False
    is_file = len(name) == 1 or text.lower().endswith((".yaml", ".yml"))
    return name in DATASETS or not is_file


def require_recipe_or_data(place: str, given: Mapping[str, Any]) -> None:
    """A recipe with a data set, or a data set and the weight file that a training on it begins with."""
    from vitseg.weight_files import require_weight_file

    if not is_data(place):
        require_training(place, given)
        return
    require_data(place, given)
    weights = given.get("weights")
    if weights is not None and not given.get("resume"):
        require_weight_file(weights)


def require_recipe_or_model(place: Path, given: Mapping[str, Any]) -> None:
    """A recipe, a model directory or an exported file."""
    from vitseg.checkpoint.hub import hub_address
    from vitseg.runtimes.places import is_exported

    if is_exported(place):
        require_predicting_model(place, given)
    elif place.is_dir() or hub_address(place) is not None:
        require_model(place, given)
    else:
        require_recipe(place, given)


def require_images(inputs: Sequence[str] | Path, given: Mapping[str, Any]) -> None:
    """Images, folders of images or patterns."""
    from vitseg.cli.inputs import find_inputs

    find_inputs([str(inputs)] if isinstance(inputs, Path) else list(inputs))


def require_repository(repo: str, given: Mapping[str, Any]) -> None:
    """The name of a repository on the hub."""
    from vitseg.checkpoint.hub import require_repository as require

    require(repo)


def _stated(raw: Mapping[str, Any], section: str, field: str) -> str | None:
    """A text in a recipe, if it is there; whatever else may be there is refused by its schema."""
    found = raw.get(section)
    value = found.get(field) if isinstance(found, Mapping) else None
    return value if isinstance(value, str) and value else None
