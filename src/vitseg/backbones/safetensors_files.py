"""Reading .safetensors files within a budget: their list of tensors is looked at before it is parsed."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from vitseg.backbones.file_kinds import file_kind
from vitseg.errors import CheckpointError, first_line
from vitseg.types import StateDict

MOST_HEADER = 16_000_000
"""Bytes of the list of tensors: one of 100,000 tensors with long names has about as many."""

_LENGTH = 8
"""Bytes in front of the list, which say how long it is."""


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as a .safetensors file does, whatever it is called."""
    with path.open("rb") as file:
        head = file.read(_LENGTH + 1)
    length = int.from_bytes(head[:_LENGTH], "little")
    return head[_LENGTH:] == b"{" and length <= path.stat().st_size - _LENGTH


def read_safetensors(path: Path) -> tuple[StateDict, dict[str, str]]:
    """The tensors and the remarks of a .safetensors file.

    Raises:
        CheckpointError: It is damaged, of another kind, or lists far more tensors than any model has.
    """
    if not is_safetensors(path):
        kind = file_kind(path) or (
            "does not begin with the length of its list of tensors, as .safetensors files do"
        )
        raise CheckpointError(f"{path} is damaged or no weight file: it {kind}")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
    if length > MOST_HEADER:
        raise CheckpointError(
            f"{path} has a list of tensors of {length:,} bytes, but no model needs more than {MOST_HEADER:,}: refused."
        )
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        reason = first_line(error)
        if "not fully covered" in reason:
            reason = (
                "it is shorter or longer than its list of tensors says. Download or copy it again"
            )
        raise CheckpointError(f"{path} is damaged or no weight file: {reason}") from error
