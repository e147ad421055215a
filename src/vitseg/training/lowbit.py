"""AdamW whose states have 8 bits a number: bitsandbytes, of the extra `lowbit`.

Source: 8-bit Optimizers via Block-wise Quantization (ICLR 2022). Parameters of fewer than 4,096 numbers keep states of
32 bits. On a CPU it runs, but a step takes more than ten times as long as torch's.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

from torch.optim import Optimizer

from vitseg.runtimes.extra import import_extra


def has_lowbit() -> bool:
    """Whether bitsandbytes is installed."""
    return importlib.util.find_spec("bitsandbytes") is not None


def adamw_8bit(groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> Optimizer:
    """The optimiser.

    Args:
        groups: Of parameters, each with its rate and decay.
        lr: Of groups without.
        betas: As of AdamW.

    Raises:
        ConfigError: bitsandbytes is not installed, or does not load here.
    """
    # it tells on import that 4-bit products, which are not used here, have no kernel
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    library = import_extra("bitsandbytes", "bitsandbytes (optimizer.kind adamw8bit)", "lowbit")
    return library.optim.AdamW8bit(groups, lr=lr, betas=betas)
