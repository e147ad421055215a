"""Packages of the extra `export`, imported on use."""

from __future__ import annotations

import importlib
from types import ModuleType

from vitseg.errors import ConfigError


def import_extra(module: str, name: str, extra: str = "export") -> ModuleType:
    """A module of an extra.

    Args:
        module: The module.
        name: What it is called by people.
        extra: The extra that has it.

    Raises:
        ConfigError: It is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{name} is not installed, or does not load here ({error}). Install it with: pip install 'vitseg[{extra}]'"
        ) from error
