"""Weights of pyramid backbones from a local file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from vitseg.backbones.mix_transformer_names import rename_mix_transformer
from vitseg.backbones.swin_names import rename_swin
from vitseg.backbones.tensor_files import read_tensors
from vitseg.errors import CheckpointError
from vitseg.types import StateDict

PREFIXES = ("backbone.", "segformer.")
"""Before the names of a backbone in the file of a model that has other parts too, which are left out."""

BIAS_TABLE = ".relative_position_bias_table"

COUNTER = "num_batches_tracked"
"""What batch normalisations count and files of old have not."""

_V1C_STEM = re.compile(r"^stem\.([0-6])\.")


def rename_resnet(state: StateDict) -> StateDict:
    """A ResNet in timm's names, which are torchvision's but for a v1c stem: mmsegmentation counts it through."""
    return {
        _V1C_STEM.sub(r"conv1.\1.", name).replace("stem.7.", "bn1."): value
        for name, value in state.items()
    }


class Layout(NamedTuple):
    """The names in files of a kind of backbone.

    Attributes:
        noun: The kind.
        optional: Starts of names that classifiers have and no segmentation backbone: the file may hold them or not.
        namings: Whose names a file may have.
        rename: From any of them to the model's.
    """

    noun: str
    optional: tuple[str, ...]
    namings: str = "timm's names"
    rename: Callable[[StateDict], StateDict] = dict


SWIN = Layout(
    "Swin",
    ("head.", "norm."),
    "the names of timm, of the Swin authors or of mmsegmentation",
    rename_swin,
)
RESNET = Layout("ResNet", ("fc.",), "timm's or mmsegmentation's v1c names", rename_resnet)
CONVNEXT = Layout("ConvNeXt", ("head.", "norm_pre."))
TWINS = Layout("Twins", ("head.", "norm."))
MIX_TRANSFORMER = Layout(
    "Mix Transformer",
    ("head.", "classifier."),
    "the names of transformers, of SegFormer's authors or of mmsegmentation",
    rename_mix_transformer,
)


def load_swin_file(swin: SwinTransformer, path: Path) -> None:
    """Load a file in the names of timm, of the Swin authors or of mmsegmentation into a timm model.

    Bias tables of another window are resampled, bicubically, as the segmentation models do at the start of a training
    (timm's own way is another).

    Raises:
        CheckpointError: The file lacks a parameter, has one that the model lacks, or a shape differs.
    """
    state = SWIN.rename({name: value.float() for name, value in _read_backbone(path).items()})
    wanted = swin.state_dict()
    state = {
        name: resize_bias_table(value, len(wanted[name]))
        if name.endswith(BIAS_TABLE) and name in wanted
        else value
        for name, value in state.items()
    }
    _load(swin, state, path, SWIN)


def resize_bias_table(
    table: Float[Tensor, "positions heads"], num_positions: int
) -> Float[Tensor, "_ heads"]:
    """Biases by relative position for another window.

    Args:
        table: Row by row of a square, of 2w - 1 positions a side.
        num_positions: Of the other window's square.
    """
    old, new = (round(number**0.5) for number in (len(table), num_positions))
    if old == new or old**2 != len(table) or new**2 != num_positions:
        return table
    square = table.T.unflatten(1, (old, old))[None]  # (1, heads, side, side)
    resized = F.interpolate(square, size=(new, new), mode="bicubic", align_corners=False)
    return resized[0].flatten(1).T


def load_pyramid_file(net: nn.Module, path: Path, layout: Layout) -> None:
    """Load a file into a whole classification model or its stages.

    Raises:
        CheckpointError: The file lacks a parameter, has one that the model lacks, or a shape differs.
    """
    _load(net, layout.rename(_read_backbone(path)), path, layout)


def _read_backbone(path: Path) -> StateDict:
    state = read_tensors(path)
    for prefix in PREFIXES:
        inner = {
            name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)
        }
        state = inner or state
    return state


def _load(net: nn.Module, state: StateDict, path: Path, layout: Layout) -> None:
    wanted = net.state_dict()
    names = [n for n in sorted(state.keys() | wanted.keys()) if not n.startswith(layout.optional)]
    problems = [
        *(f"{name} is missing" for name in names if name not in state and COUNTER not in name),
        *(f"{name} is unknown to the model" for name in names if name not in wanted),
        *(
            f"{name} is {tuple(state[name].shape)} in the file, {tuple(wanted[name].shape)} in the model"
            for name in names
            if name in state and name in wanted and state[name].shape != wanted[name].shape
        ),
    ]
    if problems:
        raise CheckpointError(
            f"{path.name} does not fit this {layout.noun}: {'; '.join(problems[:3])} ({len(problems)} problems). Is "
            f"backbone.name the model that these weights are of, and are they in {layout.namings}?"
        )
    taken = {name: state[name] for name in names if name in state}
    net.load_state_dict({**wanted, **taken})
