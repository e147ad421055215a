"""`--fit` of `vitseg train`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitseg.errors import ConfigError
from vitseg.runs import is_of_torchrun

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
        ConfigError: Nothing makes it fit, or torchrun has started several processes, of which each would measure.
    """
    from vitseg.inference.options import parse_memory
    from vitseg.runs import write_recipe
    from vitseg.training.display import Display
    from vitseg.training.fit import as_begun, fit_to_memory

    settled = frozenset(override.partition("=")[0] for override in overrides)
    if resume or _is_further_process():
        return as_begun(recipe, out, settled)
    if is_of_torchrun():
        raise ConfigError(
            "--fit measures a step before the processes of a training are there, but torchrun has started them: run "
            "vitseg train with --fit once without torchrun, and give torchrun the fields that it names."
        )
    given = None if max_memory is None else parse_memory(max_memory)
    found = fit_to_memory(recipe, given, settled, Display())
    out.mkdir(parents=True, exist_ok=True)
    write_recipe(out, found.to_mapping())
    return found


def _is_further_process() -> bool:
    """Whether the first process of this training, which has measured, has started this one."""
    return "LOCAL_RANK" in os.environ and not is_of_torchrun()
