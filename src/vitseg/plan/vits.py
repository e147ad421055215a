"""The backbone of a plan: by the device and the time, as the user says, or as a weight file shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import timm
from torch import nn

from vitseg.backbones.config import BackboneConfig
from vitseg.backbones.create import create_backbone, outline
from vitseg.backbones.pretrained import hub_file
from vitseg.backbones.tensor_files import read_tensors
from vitseg.backbones.weights import CLASSIFIER_PREFIXES
from vitseg.errors import CheckpointError, ConfigError
from vitseg.hub import is_reachable
from vitseg.plan.device_facts import DeviceFacts
from vitseg.types import StateDict

PATCH = 16
"""Side of the patches in pixels that a ViT of larger or smaller ones is brought to, by resampling its patch weights."""

TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
SMALL = "vit_small_patch14_reg4_dinov2.lvd142m"
BASE = "vit_base_patch14_reg4_dinov2.lvd142m"
LARGE = "vit_large_patch14_reg4_dinov2.lvd142m"

TELLABLE = (
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "vit_tiny_patch16_384.augreg_in21k_ft_in1k",
    "vit_small_patch16_224.augreg_in21k_ft_in1k",
    "vit_small_patch16_384.augreg_in21k_ft_in1k",
    "vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch14_reg4_dinov2.lvd142m",
    "vit_small_patch16_dinov3.lvd1689m",
    "vit_base_patch16_224.augreg_in21k_ft_in1k",
    "vit_base_patch16_384.augreg_in21k_ft_in1k",
    "vit_base_patch14_dinov2.lvd142m",
    "vit_base_patch14_reg4_dinov2.lvd142m",
    "vit_base_patch16_dinov3.lvd1689m",
    "deit3_small_patch16_224.fb_in22k_ft_in1k",
    "deit3_base_patch16_224.fb_in22k_ft_in1k",
    "beitv2_base_patch16_224.in1k_ft_in22k",
    "vit_large_patch16_224.augreg_in21k_ft_in1k",
    "vit_large_patch16_384.augreg_in21k_ft_in1k",
    "vit_large_patch14_dinov2.lvd142m",
    "vit_large_patch14_reg4_dinov2.lvd142m",
    "vit_large_patch16_dinov3.lvd1689m",
    "beitv2_large_patch16_224.in1k_ft_in22k",
    "test_vit.r160_in1k",
)
"""Models that a weight file without a name may be of, in the order in which they are tried; of two of the same
parameters, the one whose position embeddings are of the file's grid."""


_WIDTHS = {"tiny": 192, "small": 384, "base": 768, "large": 1024}


@dataclass(frozen=True)
class Vit:
    """A backbone that was chosen.

    Attributes:
        name: timm's, with a weight tag where one is meant.
        depth: Transformer blocks.
        width: Channels of its tokens.
        patch: Side of its own patches in pixels.
        weights: File of its pretrained weights; None: timm's download, or none.
        pretrained: Whether it starts from pretrained weights.
        why: What speaks for it, in words.
    """

    name: str
    depth: int
    width: int
    patch: int
    weights: Path | None
    pretrained: bool
    why: str

    def section(self) -> dict[str, Any]:
        """Its part of a recipe's backbone section."""
        found: dict[str, Any] = {"name": self.name, "pretrained": self.pretrained}
        if self.weights is not None:
            found["weights"] = str(self.weights)
        if self.patch != PATCH:
            found["patch_size"] = PATCH
        return found


def choose_vit(
    device: DeviceFacts,
    minutes: float | None,
    name: str | None = None,
    weights: Path | None = None,
    pretrained: bool = True,
) -> Vit:
    """The backbone; its weights are there, or can be fetched.

    Args:
        device: What is trained on.
        minutes: Time for everything; None: as long as the data ask for.
        name: timm's name of the one that the user wants.
        weights: The user's weight file.
        pretrained: False: the user wants to start from random weights.

    Raises:
        CheckpointError: The file is of no model that can be told or of another one, or there are no weights at all.
        ConfigError: No plain ViT of that name.
    """
    if weights is not None and not pretrained:
        raise ConfigError(
            "--weights names a file, but backbone.pretrained=false asks for random weights: leave one of them out."
        )
    if weights is not None:
        return _of_file(weights, name)
    if name is not None:
        found = _described(name, None, pretrained, "as --backbone says")
    else:
        chosen, why = by_device(device, minutes)
        found = _described(chosen, None, pretrained, why)
    if pretrained:
        require_weights(found.name)
    return found


def by_device(device: DeviceFacts, minutes: float | None) -> tuple[str, str]:
    """The name of a backbone that learns enough on a device, and why this one."""
    if device.kind == "cpu":
        return TINY, "the one that learns in minutes on a CPU"
    if device.kind == "mps" or device.gigabytes < 7:
        return SMALL, f"what {device.words()} trains well"
    if device.gigabytes < 20 or (minutes is not None and minutes < 15):
        return (
            (SMALL, "for a short time")
            if device.gigabytes >= 20
            else (SMALL, f"fits {device.words()}")
        )
    if device.gigabytes >= 40 and minutes is not None and minutes >= 120:
        return LARGE, f"{device.words()} and {minutes:g} minutes allow it"
    return BASE, f"{device.words()} allows it"


def require_weights(name: str) -> None:
    """See, without any wait, that the pretrained weights of a name are kept here or can be fetched.

    Raises:
        CheckpointError: Neither; says which file to fetch.
    """
    place = hub_file(name)
    if place is None:
        raise CheckpointError(
            f"timm knows no pretrained weights of {name}: give a file with --weights FILE, or ask for random weights "
            "with backbone.pretrained=false."
        )
    repo, file = place
    if isinstance(huggingface_hub.try_to_load_from_cache(repo, file), str) or is_reachable():
        return
    raise CheckpointError(
        f"the pretrained weights of {name} are not on this machine, and the hub does not answer. Fetch {file} of "
        f"{repo} on the Hugging Face hub where there is a network, and give it with --weights FILE; --weights takes a "
        "file of any plain ViT. Training from random weights needs far more data and time: ask for it with "
        "backbone.pretrained=false."
    )


def _described(name: str, weights: Path | None, pretrained: bool, why: str) -> Vit:
    vit = outline(name)
    patch = vit.patch_embed.feat_ratio(as_scalar=False)
    return Vit(
        name=name,
        depth=len(cast(nn.ModuleList, vit.blocks)),
        width=int(cast(Any, vit.embed_dim)),
        patch=int(cast(Any, patch)[0]),
        weights=weights,
        pretrained=pretrained,
        why=why,
    )


def _of_file(path: Path, name: str | None) -> Vit:
    """The backbone of a weight file.

    Raises:
        CheckpointError: It does not fit the name, or there is none and it cannot be told.
    """
    if name is not None:
        config = BackboneConfig(name=name, weights=path, taps=(0,))
        create_backbone(config, (PATCH, PATCH))  # before anything else is looked at
        return _described(name, path, True, "as --backbone says")
    told = _named(path)
    if path.suffix == ".npz":
        if told is None:
            raise CheckpointError(
                f"which model {path.name} is of cannot be told from JAX weights: say it with --backbone NAME."
            )
        return _described(told, path, True, f"what the name of {path.name} says")
    state = read_tensors(path)
    candidates = TELLABLE if told is None else (told, *TELLABLE)
    found = recognise(state, candidates)
    if found is None:
        raise CheckpointError(
            f"{path.name} is of no plain ViT that can be told from its parameters ({', '.join(list(state)[:3])}, ...): "
            "say which timm model it is of with --backbone NAME."
        )
    return _described(found, path, True, f"what the weights of {path.name} are of")


def _named(path: Path) -> str | None:
    """The timm model that a file's name, or that of a folder around it, gives."""
    for text in (path.stem, path.parent.name.rpartition("--")[2], path.parent.name):
        architecture, _, tag = text.partition(".")
        if tag and timm.is_model(architecture) and timm.is_model_pretrained(text):
            return text
    return None


def recognise(state: StateDict, names: tuple[str, ...]) -> str | None:
    """The first model whose parameters these are; of several, one whose position embeddings have the same grid.

    Args:
        state: Parameters in timm's names, perhaps with those of a classifier.
        names: timm's names of the models that come into question.
    """
    first = state.get("patch_embed.proj.weight")
    if first is None:
        return None
    table, fitting = state.get("pos_embed"), ""
    for name in names:
        size = next((width for word, width in _WIDTHS.items() if f"_{word}_" in name), len(first))
        if size != len(first):  # to build an outline takes a while
            continue
        wanted = outline(name).state_dict()
        if not _fits(state, wanted):
            continue
        own = wanted.get("pos_embed")
        if table is None or own is None or table.shape == own.shape:
            return name
        fitting = fitting or name
    return fitting or None


def _fits(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    ours = {key for key in wanted if not key.startswith(CLASSIFIER_PREFIXES)}
    theirs = {key for key in state if not key.startswith(CLASSIFIER_PREFIXES)}
    if not ours <= theirs or theirs - ours - {"norm.weight", "norm.bias"}:
        return False
    resampled = ("pos_embed", "patch_embed.proj.weight")
    return all(
        tuple(state[key].shape) == tuple(wanted[key].shape) for key in ours if key not in resampled
    ) and len(state["patch_embed.proj.weight"]) == len(wanted["patch_embed.proj.weight"])
