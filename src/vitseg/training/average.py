"""The moving average of a model's weights over its training (EMA), which is often better than the last weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """An exponential moving average of what is trained of a model.

    After step n (from 1) it becomes d times itself plus 1 - d times the model, with d the smaller of `decay` and
    (1 + n) / (10 + n): the first weights, which are random in parts, are soon forgotten.

    Parameters that are trained are averaged, and so are statistics (of BatchNorm), which belong to the weights that
    they were measured with. Frozen parameters and counters are the model's own.

    Args:
        model: The model, on its device, with the weights that the training starts from.
        decay: In (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float):
        self._decay = decay
        self._current = _averaged(model)
        self._average = {name: value.detach().clone() for name, value in self._current.items()}

    @property
    def state(self) -> dict[str, Tensor]:
        """The averages by name."""
        return self._average

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take the averages of a saved state.

        Args:
            state: What `state` was.

        Raises:
            KeyError: An average is missing.
        """
        _copy(list(self._average.values()), [state[name] for name in self._average])

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Follow the model.

        Args:
            iteration: Optimiser steps so far, this one included.
        """
        decay = min(self._decay, (1 + iteration) / (10 + iteration))
        average, current = list(self._average.values()), list(self._current.values())
        get_ema_multi_avg_fn(decay)(average, current, 0)

    @contextmanager
    def in_the_model(self) -> Iterator[None]:
        """Within it, the model has the averages for its weights; they are copied, so that nobody's tensor moves."""
        current = list(self._current.values())
        kept = [value.detach().clone() for value in current]
        _copy(current, list(self._average.values()))
        try:
            yield
        finally:
            _copy(current, kept)


def _averaged(model: nn.Module) -> dict[str, Tensor]:
    """Trained parameters, and the numbers that are saved with them; what is shared comes once."""
    saved = model.state_dict().keys()
    found: dict[str, Tensor] = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    for name, buffer in model.named_buffers():
        if name in saved and buffer.is_floating_point():
            found[name] = buffer
    return found


@torch.no_grad()
def _copy(to: Sequence[Tensor], source: Sequence[Tensor]) -> None:
    for target, value in zip(to, source, strict=True):
        target.copy_(value)
