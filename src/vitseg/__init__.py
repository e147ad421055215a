"""vitseg: semantic segmentation with vision transformers, from a folder of masks to a served model."""

from __future__ import annotations

TYPE_CHECKING = (
    False  # `typing` takes longer to import than all that the command does before it handles Ctrl-C
)
if TYPE_CHECKING:
    from typing import Any

    from vitseg.classes import ClassTable
    from vitseg.data.catalog import open_dataset
    from vitseg.errors import CheckpointError, ConfigError, DataError, VitsegError
    from vitseg.evaluation.evaluate import evaluate
    from vitseg.inference.predictor import Predictor, load
    from vitseg.inference.segmentation import Segmentation
    from vitseg.inference.tiles import predict_large
    from vitseg.training.loop import train
    from vitseg.training.recipe import load_recipe

    __version__: str

_HOMES = {
    "CheckpointError": "vitseg.errors",
    "ClassTable": "vitseg.classes",
    "ConfigError": "vitseg.errors",
    "DataError": "vitseg.errors",
    "Predictor": "vitseg.inference.predictor",
    "Segmentation": "vitseg.inference.segmentation",
    "VitsegError": "vitseg.errors",
    "evaluate": "vitseg.evaluation.evaluate",
    "load": "vitseg.inference.predictor",
    "load_recipe": "vitseg.training.recipe",
    "open_dataset": "vitseg.data.catalog",
    "predict_large": "vitseg.inference.tiles",
    "train": "vitseg.training.loop",
}

__all__ = [
    "CheckpointError",
    "ClassTable",
    "ConfigError",
    "DataError",
    "Predictor",
    "Segmentation",
    "VitsegError",
    "evaluate",
    "load",
    "load_recipe",
    "open_dataset",
    "predict_large",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import vitseg` loads neither torch nor training."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("vitseg")
    raise AttributeError(f"module 'vitseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
