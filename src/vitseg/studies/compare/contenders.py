"""Which trainings a comparison consists of: recipes, each with its own or with several backbones, under one budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vitseg.backbones.create import num_blocks
from vitseg.backbones.exchange import scaled_blocks, with_backbone
from vitseg.changes import changed_recipe
from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.runs import STATE
from vitseg.studies.continued import require_same_run
from vitseg.training.recipe import Recipe, load_recipe

"""By method, its field beside the taps that names blocks of a plain ViT."""

BUDGET: dict[str, Callable[[Recipe], object]] = {
    "training.iterations": lambda recipe: recipe.training.iterations,
    "training.batch_size": lambda recipe: recipe.training.batch_size,
    "training.seed": lambda recipe: recipe.training.seed,
    "data.source": lambda recipe: recipe.data.source,
    "data.train_split": lambda recipe: recipe.data.train_split,
    "data.val_split": lambda recipe: recipe.data.val_split,
    "data.merge": lambda recipe: recipe.data.merge,
    "data.ignore": lambda recipe: recipe.data.ignore,
}
"""What all trainings of a comparison have in common."""


class Contender(NamedTuple):
    """One training of a comparison.

    Attributes:
        name: Name of the training's folder, unique.
        recipe: What is trained.
    """

    name: str
    recipe: Recipe


def make_contenders(
    recipes: Sequence[str],
    overrides: Sequence[str],
    data: str | None,
    backbones: Sequence[str] = (),
) -> list[Contender]:
    """Every recipe with its own backbone, or with each of the given ones.

    Args:
        recipes: Files, or names of shipped recipes.
        overrides: `section.field=value`, for all of them.
        data: NAME:ROOT, for all of them.
        backbones: timm names.

    Raises:
        ConfigError: As for a recipe and for `with_backbone`; or the budgets differ, or one comes twice.
    """
    found = []
    for title, path in zip(_titles(recipes), recipes, strict=True):
        recipe = load_recipe(path, overrides, data)
        if not backbones:
            found.append(Contender(title, recipe))
        for backbone in backbones:
            name = f"{title}--{re.sub(r'[^A-Za-z0-9._-]', '_', backbone)}"
            try:
                found.append(Contender(name, _exchanged(recipe, backbone)))
            except ConfigError as error:
                raise ConfigError(f"{path} with {backbone}: {error}") from error
    names = [contender.name for contender in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{twice[0]} would be trained twice: name each recipe and backbone once.")
    _require_one_budget(found)
    return found


def _titles(recipes: Sequence[str]) -> list[str]:
    """Names of the recipes' files, with those of their folders where they would not be unique."""
    paths = [Path(recipe.removesuffix(".yaml")) for recipe in recipes]
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    return ["-".join(part for part in path.parts if part.strip("./")) for path in paths]


def _exchanged(recipe: Recipe, backbone: str) -> Recipe:
    """The recipe with another backbone: taps, and what else counts blocks, at the same fractions of its depth."""
    old = recipe.model.backbone
    new = with_backbone(old, backbone)
    raw: dict[str, Any] = recipe.model.model_dump(mode="json")
    raw["backbone"] = new.model_dump(mode="json")
    for section, field in recipe.model.block_fields if new.name != old.name else ():
        if raw[section] is None:
            continue
        depths = num_blocks(old.name), num_blocks(new.name)
        blocks = raw[section][field]
        if isinstance(blocks, int):
            raw[section][field] = scaled_blocks([blocks], *depths)[0]
        else:
            raw[section][field] = scaled_blocks(blocks, *depths)
    return recipe.model_copy(update={"model": parse(type(recipe.model), raw)})


def _require_one_budget(contenders: Sequence[Contender]) -> None:
    first = contenders[0]
    for other in contenders[1:]:
        for name, value in BUDGET.items():
            ours, theirs = value(first.recipe), value(other.recipe)
            if ours != theirs:
                raise ConfigError(
                    f"{name} is {ours} in {first.name} and {theirs} in {other.name}, but all are compared under one "
                    f"budget: give {name}=... for all of them."
                )


def require_same_recipe(contender: Contender, folder: Path) -> None:
    """See that a folder holds no run of another recipe or of other data; one that is not begun holds none.

    Raises:
        ConfigError: It holds one of another recipe.
        CheckpointError: It holds one of other data, or its state is damaged.
    """
    changed = changed_recipe(folder, contender.recipe.to_mapping())
    if "data.source" in changed and (folder / STATE).is_file():
        changed.remove("data.source")  # the state knows the data themselves
    if changed:
        raise ConfigError(
            f"{folder} holds a run of another recipe ({', '.join(changed[:4])} changed): give another --out, or remove "
            "that folder to train anew."
        )
    require_same_run(contender.recipe, folder)
