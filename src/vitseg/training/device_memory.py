"""How much memory of a device there is, and that it was not enough, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vitseg import machine
from vitseg.errors import ConfigError, VitsegError, is_out_of_memory


def memory_at_hand(device: str) -> int:
    """Bytes that nobody uses: of the first GPU, or of the machine within the limit of the container.

    Args:
        device: "cuda" or "cpu".

    Raises:
        ConfigError: The system does not tell.
    """
    found = torch.cuda.mem_get_info()[0] if device == "cuda" else machine.memory_at_hand()
    if found is None:
        raise ConfigError(
            "this system does not tell how much memory is at hand: say how much a step may take (--max-memory 8GB)."
        )
    return found


def in_words(num_bytes: int) -> str:
    """Bytes for people: gigabytes, or megabytes below one."""
    gigabytes = num_bytes / 1e9
    return f"{gigabytes:.1f} GB" if gigabytes >= 1 else f"{num_bytes / 1e6:.0f} MB"


@contextmanager
def memory_named() -> Iterator[None]:
    """Within it, that a training needs more memory than there is becomes one sentence.

    Raises:
        VitsegError: There is no more.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, VitsegError) or not is_out_of_memory(error):
            raise
        raise VitsegError(
            "the training ran out of memory: --fit finds what makes its steps smaller; or give a larger "
            "training.accumulate, backbone.gradient_checkpointing=true, a smaller data.augment.crop_size or fewer "
            "data.num_workers. A state that was saved before stays."
        ) from error
