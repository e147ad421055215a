"""A table of methods, each imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitseg.methods.method import MethodConfig


class MethodTable(Mapping[str, "type[MethodConfig]"]):
    """Configuration classes by the method's name.

    Args:
        homes: "module.Class" within `vitseg.methods` by name.
    """

    def __init__(self, homes: Mapping[str, str]):
        self._homes = dict(homes)

    def __getitem__(self, name: str) -> type[MethodConfig]:
        module, _, cls = self._homes[name].partition(".")
        return getattr(importlib.import_module(f"vitseg.methods.{module}"), cls)

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)

    def __contains__(self, name: object) -> bool:
        return name in self._homes

    def name_of(self, config: type[MethodConfig]) -> str:
        """The method whose configuration class this is."""
        home = f"{config.__module__.rpartition('.')[2]}.{config.__name__}"
        return next(name for name, other in self._homes.items() if other == home)
