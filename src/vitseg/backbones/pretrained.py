"""timm's models by name, and what is said where a name or a download fails."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import timm
from torch import nn

from vitseg.errors import CheckpointError, ConfigError, first_line, unknown_name
from vitseg.hub import offline_if_unreachable


def check_name(
    name: str, kind: str, modules: Iterable[str], listing: str, others: Iterable[str] = ()
) -> None:
    """Refuse a name that is not timm's.

    Args:
        name: With or without a weight tag.
        kind: What is meant, in the user's words.
        modules: timm's modules from which a near name may be suggested.
        listing: What lists the allowed names.
        others: Names to suggest that timm does not have.

    Raises:
        ConfigError: An unknown name, or an unknown tag.
    """
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        names = [known for module in modules for known in timm.list_models(module=module)]
        near = unknown_name(kind, architecture, [*names, *others]).partition(" Known:")[0]
        raise ConfigError(f"backbone.name {near} List them with: {listing}.")
    if tag and not timm.is_model_pretrained(name):
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
        raise ConfigError(
            f"backbone.name {unknown_name(f'weight tag of {architecture}', tag, tags)}"
        )


def module_of(name: str) -> str:
    """Of timm, the module that makes a model of this known name, such as "swin_transformer"."""
    return timm.models.model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2]


def create_timm(name: str, download: bool, options: dict[str, Any]) -> nn.Module:
    """A model of timm by its known name.

    Args:
        name: With or without a weight tag.
        download: Whether it gets its pretrained weights.
        options: Of timm's constructor.

    Raises:
        CheckpointError: The weights cannot be had.
    """
    try:
        with offline_if_unreachable() if download else nullcontext():
            return timm.create_model(name, pretrained=download, **options)
    except (OSError, RuntimeError) as error:
        raise no_download(name, error) from error


def no_download(name: str, error: Exception) -> CheckpointError:
    """The one line for weights that cannot be had."""
    return CheckpointError(
        f"the pretrained weights of {name} could not be downloaded ({first_line(error)}). Pass a local "
        f"file with backbone.weights=FILE{_fetched(name)}, or start from random weights with "
        "backbone.pretrained=false."
    )


def hub_file(name: str) -> tuple[str, str] | None:
    """Where timm gets the weights of a model from: repository on the Hugging Face hub, and the file in it.

    None: it has none there, or does not know the name.
    """
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if known is None or not isinstance(known.hf_hub_id, str):
        return None
    repo = known.hf_hub_id if "/" in known.hf_hub_id else f"timm/{known.hf_hub_id}"
    return repo.partition("@")[0], known.hf_hub_filename or "model.safetensors"


def _fetched(name: str) -> str:
    found = hub_file(name)
    return "" if found is None else f" ({found[1]} of {found[0]} on the Hugging Face hub)"
