"""Going on with a planned run: by the recipe in its folder, never by a second plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitseg.errors import CheckpointError, ConfigError
from vitseg.plan.plan import PLAN_FILE
from vitseg.plan.request import Request
from vitseg.runs import PLAN, RECIPE, read_own
from vitseg.training.recipe import Recipe, load_recipe


def planned_recipe(request: Request, out: Path) -> Recipe:
    """The recipe of the run in a folder, with the overrides that were given again.

    Args:
        request: What the user gives now; options that he leaves out are those of before.
        out: Folder of the run.

    Raises:
        CheckpointError: The run there was not planned.
        ConfigError: An option is another than before.
    """
    path = out / PLAN / PLAN_FILE
    if not path.is_file():
        raise CheckpointError(
            f"the run in {out} was begun with a recipe: resume it with that, vitseg train RECIPE --out {out} --resume."
        )
    before: Any = read_own(path)
    options = before.get("options", {}) if isinstance(before, dict) else {}
    for name, now in request.options().items():
        if now is not None and now != options.get(name):
            stated = options.get(name)
            was = (
                f"was planned with --{name} {stated}" if stated is not None else f"chose its {name}"
            )
            raise ConfigError(
                f"--{name} {now}: the run in {out} {was}, and goes on as it was planned. Leave --{name} out, or "
                "train into another --out."
            )
    overrides = [
        each
        for each in request.overrides
        if each.partition("=")[0] not in ("method", "backbone.name", "backbone.weights")
    ]
    return load_recipe(out / RECIPE, overrides, request.spec)
