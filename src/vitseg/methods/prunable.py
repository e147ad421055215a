"""SETR models that DToP can prune as they are: their auxiliary heads judge single tokens, and become its exits."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from vitseg.decoders.token_heads import TokenHeadsConfig
from vitseg.errors import ConfigError
from vitseg.methods.dtop import DtopConfig
from vitseg.methods.setr import SetrConfig

_AUXILIARY = re.compile(r"^decoder\.auxiliary\.(\d+)\.(.+)$")


def from_setr(
    config: SetrConfig, state: Mapping[str, Tensor]
) -> tuple[DtopConfig, dict[str, Tensor]]:
    """Configuration and parameters of the DToP model whose heads are those of a SETR; at threshold 1 it is that SETR.

    The head of the deepest block, if it has an auxiliary one too, is left out: SETR runs it in training only.

    Args:
        config: The SETR.
        state: Its parameters.

    Raises:
        ConfigError: Its heads see more than one token each, or blocks in front of the last have none.
    """
    head, taps = config.decoder, config.backbone.taps
    if head.kind != "naive" or head.form != "setr" or head.auxiliary_convs != 1:
        raise ConfigError(
            f"decoder.kind {head.kind} (form {head.form}, auxiliary_convs {head.auxiliary_convs}) mixes neighbouring "
            "tokens in its heads, so that none can be judged alone. Prunable is kind naive of form setr with "
            "auxiliary_convs 1; or train method dtop."
        )
    if len(taps) < 2:  # the recipe's rules see to it that every earlier tap has an auxiliary head
        raise ConfigError(
            "the model has no auxiliary heads, by which tokens could leave: train it with decoder.auxiliary and those "
            "blocks in backbone.taps, or train method dtop."
        )
    exits = {head.auxiliary.index(block): number for number, block in enumerate(taps[:-1])}
    dtop = DtopConfig(
        backbone=config.backbone,
        decoder=TokenHeadsConfig(kind="fcn", auxiliary="fcn"),
        pixel_loss=config.loss,
    )
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        match = _AUXILIARY.match(name)
        if match is None:
            ours = re.sub(r"^backbone\.", "backbone.vit.", name)
            renamed[re.sub(r"^decoder\.head\.", "decoder.head.head.", ours)] = value
        elif int(match[1]) in exits:
            renamed[f"decoder.exits.{exits[int(match[1])]}.head.{match[2]}"] = value
    return dtop, renamed
