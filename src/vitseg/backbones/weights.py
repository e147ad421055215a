"""Backbone weights from a local file in timm's parameter names."""

from __future__ import annotations

import logging
import re
import zipfile
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from timm.layers import resample_patch_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitseg.backbones.families import TimmViT
from vitseg.backbones.tensor_files import read_weight_file
from vitseg.errors import CheckpointError, first_line, first_names
from vitseg.layers.grid import GridInterpolation, resample_grid, whole_cells
from vitseg.types import Size, StateDict
from vitseg.weight_files import require_weight_file

logger = logging.getLogger(__name__)

CLASSIFIER_PREFIXES = ("head.", "head_dist.", "fc_norm.", "attn_pool.", "dist_token", "mask_token")
"""Parameters of classification models that no segmentation backbone has: named in the log, not an error."""

PATCH_WEIGHT = "patch_embed.proj.weight"
"""By which the backbone is found in the file of a whole model: in front of it stands what stands before all its names.
"""

TOKENS = ("cls_token", "dist_token", "reg_token")
"""Tokens in front of the grid, in the order of their position embeddings."""

GRID_REMARK = "pos_embed_grid"
"""Remark of a .safetensors file that says which grid its position embeddings are of, as "32x64"."""

_NPZ_FAULTS = (
    AttributeError, EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile,
)  # fmt: skip
"""What reading a damaged .npz file, or one of another kind, ends in."""

_JAX_POS_EMBED = "Transformer/posembed_input/pos_embedding"


def load_weight_file(
    vit: TimmViT,
    path: Path,
    interpolation: GridInterpolation,
    image_size: Size | None = None,
    grid: Size | None = None,
) -> Size:
    """Load a file in timm's names into a timm model.

    Position embeddings of another grid and patch weights of another patch size are resampled, the former once: from the
    grid of the file to that of the images. Classifier weights in the file are left out and named in the log.

    Args:
        vit: The model.
        path: The file.
        interpolation: How position embeddings are resampled.
        image_size: Of the images that they are to be for, in pixels; those that the model's name has where not given.
        grid: (height, width) in patches of the position embeddings in the file; where not given, what the file says,
            else the model's own, else a square; asked for where the images' own grid has as many cells, too.

    Returns:
        The grid that the model's position embeddings are for.

    Raises:
        CheckpointError: The file lacks a parameter, has one that the model lacks, or a shape differs; or its position
            embeddings are of no square grid or of one of several, and nobody says of which.
    """
    target = _grid_of(vit, image_size)
    if path.suffix == ".npz":
        return _load_npz(vit, path, interpolation, target, grid)
    file = read_weight_file(path)
    if file.weights.line:
        logger.info("%s: taken %s", path.name, file.weights.line)
    state = {
        name: value.float() for name, value in _backbone_of(file.weights.tensors, path).items()
    }
    if grid is None and path.suffix == ".safetensors":
        grid = parse_grid(file.content.get(GRID_REMARK))
    _fit_patch(state, vit)
    pos_embed = state.get("pos_embed")
    if pos_embed is not None and vit.pos_embed is not None and pos_embed.ndim == 3:
        front = sum(state[n].shape[1] for n in TOKENS if n in state and state[n].ndim == 3)
        state["pos_embed"] = _fitted(pos_embed, vit, path, interpolation, target, grid, front)
        if state["pos_embed"].shape[2] == vit.pos_embed.shape[2]:
            vit.pos_embed = nn.Parameter(torch.empty_like(state["pos_embed"]))
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
    has_grid = pos_embed is not None and vit.pos_embed is not None
    return target if has_grid else _grid_of(vit, None)


def grid_remark(grid: Size) -> dict[str, str]:
    """What a .safetensors file says of the grid of its position embeddings."""
    return {GRID_REMARK: f"{grid[0]}x{grid[1]}"}


def parse_grid(remark: object) -> Size | None:
    """The grid of a remark; None where it is none."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", remark) if isinstance(remark, str) else None
    return (int(match[1]), int(match[2])) if match else None


def _backbone_of(state: StateDict, path: Path) -> StateDict:
    """The parameters of the backbone in the file of a model that has other parts too, which are left out."""
    if PATCH_WEIGHT in state:
        return state
    places = [n.removesuffix(PATCH_WEIGHT) for n in state if n.endswith(f".{PATCH_WEIGHT}")]
    if not places:
        return state
    prefix = next((p for p in places if p.split(".")[-2] == "backbone"), places[0])
    if len(places) > 1 and sum(p.split(".")[-2] == "backbone" for p in places) != 1:
        raise CheckpointError(
            f"{path.name} has {len(places)} ViTs, {', '.join(places)}: save the parameters of the one that you mean, "
            "without that beginning of their names."
        )
    others = [name for name in state if not name.startswith(prefix)]
    if others:
        logger.info("%s: left out %s (no backbone)", path.name, first_names(others))
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}


def _grid_of(vit: TimmViT, image_size: Size | None) -> Size:
    """The token grid of images of a size; where none is given, the model's own."""
    if image_size is None:
        return cast(Size, vit.patch_embed.grid_size)
    down, right = cast(Size, vit.patch_embed.feat_ratio(as_scalar=False))
    return whole_cells(image_size[0], int(down)), whole_cells(image_size[1], int(right))


def _fit_patch(state: StateDict, vit: TimmViT) -> None:
    """Resample patch weights of another patch size."""
    weight, proj = state.get("patch_embed.proj.weight"), vit.patch_embed.proj
    if weight is not None and isinstance(proj, nn.Conv2d) and weight.ndim == 4:
        size = list(proj.weight.shape[-2:])
        if list(weight.shape[-2:]) != size:
            state["patch_embed.proj.weight"] = resample_patch_embed(weight, size)


def _fitted(
    pos_embed: Float[Tensor, "1 n c"],
    vit: TimmViT,
    path: Path,
    interpolation: GridInterpolation,
    target: Size,
    grid: Size | None,
    front: int,
) -> Float[Tensor, "1 m c"]:
    """Position embeddings of a file for a target grid.

    Args:
        pos_embed: Those of the file.
        vit: The model.
        path: The file, for the error.
        interpolation: How they are resampled.
        target: Grid of the images.
        grid: Grid of the file where somebody has said it.
        front: Tokens in front of the grid that the file has.

    Raises:
        CheckpointError: The grid given is not theirs, or nobody says which is.
    """
    assert vit.pos_embed is not None
    own = _grid_of(vit, None)
    kept = vit.pos_embed.shape[1] - own[0] * own[1]
    prefix = max(kept, front) if kept else 0  # some families give them no positions
    cells = pos_embed.shape[1] - prefix
    if grid is None:
        grid = _grid_of_cells(cells, own, target, path)
    if cells < 1 or grid[0] * grid[1] != cells:
        raise CheckpointError(
            f"{path.name} has position embeddings of {max(0, cells)} patches, which are "
            f"no grid of {grid[0]} x {grid[1]}: name theirs with backbone.weights_grid=[HEIGHT,WIDTH], the crops of "
            "its training in patches."
        )
    spatial = resample_grid(pos_embed[:, prefix:], grid, target, interpolation)
    return torch.cat([pos_embed[:, :kept], spatial], dim=1)


def _grid_of_cells(cells: int, own: Size, target: Size, path: Path) -> Size:
    """The grid of a number of cells that nothing says: that of the model's name, else a square.

    Raises:
        CheckpointError: The images have another grid of as many cells, which may be theirs as well.
    """
    side = round(max(0, cells) ** 0.5)
    grid = own if cells == own[0] * own[1] else (side, side)
    if target[0] * target[1] == cells == grid[0] * grid[1] and target != grid:
        raise CheckpointError(
            f"{path.name} has position embeddings of {cells} patches, which may be a grid of {grid[0]} x {grid[1]} or "
            f"one of {target[0]} x {target[1]}, as the crops have: say which with backbone.weights_grid="
            f"[{grid[0]},{grid[1]}] or [{target[0]},{target[1]}]."
        )
    if grid != own and grid[0] * grid[1] == cells:
        logger.info(
            "%s: its %d position embeddings are taken for a grid of %d x %d (backbone.weights_grid says otherwise)",
            path.name,
            cells,
            *grid,
        )
    return grid


def _load_npz(
    vit: TimmViT, path: Path, interpolation: GridInterpolation, target: Size, grid: Size | None
) -> Size:
    if not isinstance(vit, VisionTransformer):
        raise CheckpointError(
            f"{path.name}: .npz files hold JAX ViT weights, but the backbone is a {type(vit).__name__}. "
            "Use a .safetensors file."
        )
    require_weight_file(path)
    fitted = None
    try:
        stored = _npz_pos_embed(path)
        if stored is not None and vit.pos_embed is not None:
            fitted = _fitted(stored, vit, path, interpolation, target, grid, 0)
            vit.pos_embed = nn.Parameter(torch.empty_like(stored))  # taken as it is by timm
        vit.load_pretrained(str(path))  # timm's reader; numpy refuses pickled objects by default
    except _NPZ_FAULTS as error:
        raise CheckpointError(
            f"{path.name} is no JAX ViT checkpoint of this model: {first_line(error)}"
        ) from error
    if fitted is None:
        return _grid_of(vit, None)
    vit.pos_embed = nn.Parameter(fitted)
    return target


def _npz_pos_embed(path: Path) -> Float[Tensor, "1 n c"] | None:
    """The position embeddings of a JAX file; None: it has none under the usual name."""
    with np.load(path, allow_pickle=False) as arrays:
        name = next((n for n in arrays.files if n.endswith(_JAX_POS_EMBED)), None)
        array = None if name is None else arrays[name]
    return None if array is None or array.ndim != 3 else torch.from_numpy(array).float()
