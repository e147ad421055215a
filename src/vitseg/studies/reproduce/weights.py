"""The pretrained weights of a recipe: their name, their place, their licence, and whether they are at hand."""

from __future__ import annotations

import huggingface_hub

from vitseg.backbones.config import CommonConfig
from vitseg.backbones.create_pyramid import V1C
from vitseg.backbones.licences import licence_line
from vitseg.backbones.mix_transformer import FILES, VARIANTS, published_place
from vitseg.backbones.pretrained import hub_file
from vitseg.errors import CheckpointError
from vitseg.hub import is_reachable


def weights_line(backbone: CommonConfig) -> str:
    """What a backbone starts from, where that is, and its licence."""
    if not backbone.pretrained:
        return "no pretrained weights: the backbone starts from random ones"
    if backbone.weights is not None:
        return f"pretrained weights from the file {backbone.weights}"
    place = _place(backbone.name)
    if place is None:
        return (
            f"pretrained weights {backbone.name}: nobody publishes them; give backbone.weights=FILE"
        )
    repository, files = place
    return f"{licence_line(backbone.name)}; {files[0]} of {repository} on the Hugging Face hub"


def require_weights(backbone: CommonConfig) -> None:
    """See, without any wait, that the weights that a backbone starts from are kept here or can be fetched.

    Raises:
        CheckpointError: Neither; says which file to fetch.
    """
    if not backbone.pretrained or backbone.weights is not None:
        return
    place = _place(backbone.name)
    if place is None:
        raise CheckpointError(
            f"the pretrained weights of {backbone.name} cannot be downloaded: pass a file of them with "
            "backbone.weights=FILE. Random weights (backbone.pretrained=false) are no reproduction."
        )
    repository, files = place
    kept = (huggingface_hub.try_to_load_from_cache(repository, file) for file in files)
    if any(isinstance(path, str) for path in kept) or is_reachable():
        return
    raise CheckpointError(
        f"the pretrained weights of {backbone.name} are not on this machine, and the hub does not answer: fetch "
        f"{files[0]} of {repository} on the Hugging Face hub where there is a network, and pass it with "
        "backbone.weights=FILE. Random weights (backbone.pretrained=false) are no reproduction."
    )


def _place(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The repository on the hub, and names that the file may have there; None: the weights are not there."""
    if name in VARIANTS:
        return published_place(name), tuple(FILES)
    found = None if name in V1C else hub_file(name)
    return None if found is None else (found[0], (found[1],))
