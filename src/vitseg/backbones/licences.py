"""Licences of pretrained weights, as timm states them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import timm

_NON_COMMERCIAL = re.compile(
    r"(non|not for|no)[\s-]*commercial|research[\s-](use[\s-])?only|(^|[\s-])nc([\s-]|$)",
    re.IGNORECASE,
)


def is_non_commercial(license_text: str) -> bool:
    """Whether a licence, by its identifier or its words, forbids commercial use."""
    return _NON_COMMERCIAL.search(license_text) is not None


def stated_licence(name: str) -> str | None:
    """What timm states of the weights of this name, such as "apache-2.0"; None: timm states nothing, or lacks them.

    Args:
        name: timm's name of a model, with or without the tag of its weights (then those that timm takes).
    """
    if not timm.is_model(name.partition(".")[0]):
        return None
    stated = timm.get_pretrained_cfg(name)
    return None if stated is None else stated.license


def downloaded_weights(backbone: Mapping[str, Any]) -> str | None:
    """The name of the weights that timm downloads for a backbone; None: it starts from a file, or from random weights.

    Args:
        backbone: Its configuration, as a recipe or a model directory has it.
    """
    if not backbone.get("pretrained", True) or backbone.get("weights") is not None:
        return None
    return backbone.get("name")


def licence_line(name: str) -> str:
    """One line on the licence of the weights of this name."""
    licence = stated_licence(name)
    if licence is None:
        return f"pretrained weights {name}: timm states no licence, see their model card"
    forbids = ": no commercial use" if is_non_commercial(licence) else ""
    return f"pretrained weights {name}: {licence}, as timm states{forbids}"
