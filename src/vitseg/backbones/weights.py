"""Backbone weights from a local file in timm's parameter names."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import torch
from timm.layers import resample_patch_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vitseg.backbones.families import TimmViT
from vitseg.backbones.tensor_files import read_tensors
from vitseg.errors import CheckpointError, first_line, first_names
from vitseg.layers.grid import GridInterpolation, resample_grid

logger = logging.getLogger(__name__)

CLASSIFIER_PREFIXES = ("head.", "head_dist.", "fc_norm.", "attn_pool.", "dist_token", "mask_token")
"""Parameters of classification models that no segmentation backbone has: named in the log, not an error."""


def load_weight_file(vit: TimmViT, path: Path, interpolation: GridInterpolation) -> None:
    """Load a file in timm's names into a timm model.

    Position embeddings of another (square) grid and patch weights of another patch size are resampled. Classifier
    weights in the file are left out and named in the log.

    Raises:
        CheckpointError: The file lacks a parameter, has one that the model lacks, or a shape differs.
    """
    if path.suffix == ".npz":
        _load_npz(vit, path)
        return
    state = {name: value.float() for name, value in read_tensors(path).items()}
    _fit_grid(state, vit, interpolation)
    wanted = vit.state_dict()
    left_out = [n for n in state if n not in wanted and n.startswith(CLASSIFIER_PREFIXES)]
    if "norm.weight" in state and "norm.weight" not in wanted:
        left_out += ["norm.weight", "norm.bias"]  # pooled models normalise after pooling only
    pooled = [n for n in wanted if n not in state and n.startswith(CLASSIFIER_PREFIXES)]
    missing = sorted(set(wanted) - set(state) - set(pooled))
    unexpected = sorted(set(state) - set(wanted) - set(left_out))
    shapes = [
        f"{n} is {tuple(state[n].shape)} in the file, {tuple(wanted[n].shape)} in the model"
        for n in wanted
        if n in state and state[n].shape != wanted[n].shape
    ]
    problems = [
        *(["missing in the file: " + first_names(missing, most=5)] if missing else []),
        *(["unknown to the model: " + first_names(unexpected, most=5)] if unexpected else []),
        *(["of another shape: " + first_names(shapes, most=5)] if shapes else []),
    ]
    if problems:
        raise CheckpointError(
            f"{path.name} does not fit this {type(vit).__name__}: {'; '.join(problems)}. Is backbone.name the model "
            "that these weights are of, and are they in timm's names?"
        )
    if left_out:
        logger.info("%s: left out %s (classifier only)", path.name, ", ".join(sorted(left_out)))
    vit.load_state_dict(
        {**{n: wanted[n] for n in pooled}, **{n: state[n] for n in wanted if n in state}}
    )


def _fit_grid(state: dict[str, Tensor], vit: TimmViT, interpolation: GridInterpolation) -> None:
    weight = state.get("patch_embed.proj.weight")
    if weight is not None and weight.shape[-2:] != vit.patch_embed.proj.weight.shape[-2:]:
        size = list(vit.patch_embed.proj.weight.shape[-2:])
        state["patch_embed.proj.weight"] = resample_patch_embed(weight, size)
    pos_embed = state.get("pos_embed")
    if pos_embed is None or vit.pos_embed is None or pos_embed.shape[1] == vit.pos_embed.shape[1]:
        return
    height, width = vit.patch_embed.grid_size
    prefix = vit.pos_embed.shape[1] - height * width
    side = round((pos_embed.shape[1] - prefix) ** 0.5)
    if side * side + prefix == pos_embed.shape[1]:
        spatial = resample_grid(pos_embed[:, prefix:], (side, side), (height, width), interpolation)
        state["pos_embed"] = torch.cat([pos_embed[:, :prefix], spatial], dim=1)


def _load_npz(vit: TimmViT, path: Path) -> None:
    if not isinstance(vit, VisionTransformer):
        raise CheckpointError(
            f"{path.name}: .npz files hold JAX ViT weights, but the backbone is a {type(vit).__name__}. "
            "Use a .safetensors file."
        )
    if not path.is_file():
        raise CheckpointError(f"weight file {path} does not exist.")
    try:
        vit.load_pretrained(str(path))  # timm's reader; numpy refuses pickled objects by default
    except (KeyError, ValueError, OSError, zipfile.BadZipFile, RuntimeError) as error:
        raise CheckpointError(
            f"{path.name} is no JAX ViT checkpoint of this model: {first_line(error)}"
        ) from error
