"""Finding and reading a recipe's file, without torch, so that a mistyped name is refused at once."""

from __future__ import annotations

import difflib
import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitseg import parsing
from vitseg.config import apply_overrides, read_yaml
from vitseg.errors import ConfigError

NO_DATA = "no data set: pass --data NAME:ROOT, or set data.source in the recipe."
"""What is said of a training without one."""

_MOST_HINTS = 5


def read_recipe(
    path: str | Path, overrides: Sequence[str] = (), data: str | None = None
) -> dict[str, Any]:
    """The mapping of a recipe file, with what the command line puts in its place.

    Args:
        path: A YAML file, or the name of a recipe that ships with the package (camvid/segvit-vit_tiny).
        overrides: `section.field=value` each.
        data: NAME:ROOT, which takes the place of `data.source`.

    Raises:
        ConfigError: A missing file, one that is no YAML, or an override that does not fit.
    """
    raw = apply_overrides(read_yaml(find_recipe(Path(path))), overrides)
    if data is not None:
        apply_overrides(raw, ["data.source="])
        raw["data"]["source"] = data
    return raw


def find_recipe(path: Path) -> Path:
    """The file itself, or a shipped recipe of that name."""
    if path.is_file():
        return path
    folder = shipped_recipes()
    name = path if path.suffix else path.with_name(path.name + ".yaml")
    parts = name.parts[1:] if name.parts[:1] == ("recipes",) else name.parts
    shipped = folder.joinpath(*parts)
    if shipped.is_file():
        return shipped
    hint = nearest("/".join(parts).removesuffix(".yaml"), shipped_names())
    raise ConfigError(f"no such file, and {str(path)!r} is not a known shipped recipe. {hint}")


def shipped_table(name: str) -> dict[str, dict[str, str]]:
    """A table in the folder of the recipes: the cells of each recipe, by column; nothing where there is no such file.

    Args:
        name: Of the file.
    """
    file = shipped_recipes() / name
    if not file.is_file():
        return {}
    header, *rows = parsing.parse_csv(parsing.read_text(file))
    cells = [dict(zip(header, row, strict=True)) for row in rows]
    return {each.pop("recipe"): each for each in cells}


def shipped_names() -> list[str]:
    """Names of all shipped recipes, sorted."""
    folder = shipped_recipes()
    files = folder.rglob("*.yaml")
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in files)


def nearest(name: str, names: list[str]) -> str:
    """Which shipped recipes may be meant, and how to list all."""
    inside = [known for known in names if name and name in known]
    near = difflib.get_close_matches(name, names, n=_MOST_HINTS)
    # Without its data set a name is as near as any.
    stems = {known.partition("/")[2]: known for known in names}
    near += [stems[stem] for stem in difflib.get_close_matches(name, stems, n=_MOST_HINTS)]
    hints = list(dict.fromkeys([*inside, *near]))[:_MOST_HINTS]
    meant = f"Did you mean {' or '.join(map(repr, hints))}? " if hints else ""
    return f"{meant}List them with: vitseg recipes."


def shipped_recipes() -> Path:
    """The folder of recipes that come with the package (in a source tree: the repository's)."""
    package = Path(str(importlib.resources.files("vitseg")))
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"
