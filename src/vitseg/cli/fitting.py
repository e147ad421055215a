"""`--fit` of `vitseg train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitseg.errors import ConfigError
from vitseg.launch import is_repeating, started

if TYPE_CHECKING:
    from vitseg.training.recipe import Recipe


def require_memory(size: str, given: Mapping[str, Any]) -> None:
    """Raise ConfigError for a `--max-memory` that is no number of bytes, or stands alone."""
    from vitseg.inference.options import parse_memory

    parse_memory(size)
    if not given.get("fit"):
        raise ConfigError(f"--max-memory {size} says what --fit may use: give --fit, too.")


def fitted(
    recipe: Recipe, overrides: Sequence[str], out: Path, resume: bool, max_memory: str | None
) -> Recipe:
    """The recipe that fits the memory; of a run that goes on, as it fitted when it began.

    It is written into the folder of the run at once, where further processes of the training read it.

    Args:
        recipe: The run.
        overrides: `section.field=value` each; what they say stays.
        out: Its folder.
        resume: Whether it goes on.
        max_memory: What a step may take; None: what is at hand.

    Raises:
        ConfigError: Nothing makes it fit, or several processes were started, of which each would measure.
    """
    from vitseg.inference.options import parse_memory
    from vitseg.runs import write_recipe
    from vitseg.training.display import Display
    from vitseg.training.fit import as_begun, fit_to_memory

    settled = frozenset(override.partition("=")[0] for override in overrides)
    if resume or is_repeating():
        return as_begun(recipe, out, settled)
    processes = started()
    if processes.number > 1:
        raise ConfigError(
            "--fit measures a step before the processes of a training are there, but there are "
            f"{processes.number} ({processes.by}): run vitseg train with --fit once by itself, and give them the "
            "fields that it names."
        )
    given = None if max_memory is None else parse_memory(max_memory)
    found = fit_to_memory(recipe, given, settled, Display())
    out.mkdir(parents=True, exist_ok=True)
    write_recipe(out, found.to_mapping())
    return found
