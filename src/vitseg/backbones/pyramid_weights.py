"""Weights of pyramid backbones from a local file."""

from __future__ import annotations

from pathlib import Path

from timm.models.swin_transformer import SwinTransformer, checkpoint_filter_fn

from vitseg.backbones.tensor_files import read_tensors
from vitseg.errors import CheckpointError

OPTIONAL_PREFIXES = ("head.", "norm.")
"""The classifier and the norm before it, which no segmentation backbone has: the file may hold them or not."""


def load_swin_file(swin: SwinTransformer, path: Path) -> None:
    """Load a file in the names of timm or of the Swin authors into a timm model.

    Bias tables of another window and patch weights of another size are resampled, as timm does.

    Raises:
        CheckpointError: The file lacks a parameter, has one that the model lacks, or a shape differs.
    """
    state = checkpoint_filter_fn(
        {name: value.float() for name, value in read_tensors(path).items()}, swin
    )
    wanted = swin.state_dict()
    names = [n for n in sorted(state.keys() | wanted.keys()) if not n.startswith(OPTIONAL_PREFIXES)]
    problems = [
        *(f"{name} is missing" for name in names if name not in state),
        *(f"{name} is unknown to the model" for name in names if name not in wanted),
        *(
            f"{name} is {tuple(state[name].shape)} in the file, {tuple(wanted[name].shape)} in the model"
            for name in names
            if name in state and name in wanted and state[name].shape != wanted[name].shape
        ),
    ]
    if problems:
        raise CheckpointError(
            f"{path.name} does not fit this Swin: {'; '.join(problems[:3])} ({len(problems)} problems). Is "
            "backbone.name the model that these weights are of, and are they in timm's names?"
        )
    swin.load_state_dict({**wanted, **{name: state[name] for name in wanted if name in state}})
