"""The feature cache of a run: whether it can have one, opening it, filling it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import nn

from vitseg.backbones import PlainViT, Swin
from vitseg.data.grid_views import GridViewsConfig
from vitseg.errors import ConfigError, InterruptedRunError
from vitseg.images.preprocess import Preprocessing
from vitseg.methods.model import SegmentationModel
from vitseg.training.display import Display
from vitseg.training.encoder import ENCODERS
from vitseg.training.feature_cache import FeatureCache
from vitseg.training.fingerprint import feature_fingerprint
from vitseg.training.recipe import Recipe
from vitseg.training.sampler import GridSamples, TrainSamples
from vitseg.training.stop import StopSignals


def require_cacheable(recipe: Recipe) -> None:
    """Raise ConfigError unless the recipe's features are the same in every pass, saying what makes them so."""
    changes = [] if recipe.training.freeze_backbone else ["training.freeze_backbone=true"]
    augment = recipe.data.augment
    if not isinstance(augment, GridViewsConfig):
        height, width = augment.crop_size
        fields = [f"crop_size: [{height}, {width}]"]
        if augment.base_size is not None:
            fields.append(f"base_size: {list(augment.base_size)}")
        changes.append(f'"data.augment={{views: grid, {", ".join(fields)}}}"')
    if changes:
        raise ConfigError(
            "--cache-features keeps what does not change from pass to pass, the features that a frozen backbone has of "
            f"fixed views, and this recipe is another: add {' '.join(changes)}, or leave --cache-features out."
        )


def open_cache(
    folder: Path,
    recipe: Recipe,
    model: SegmentationModel,
    preprocessing: Preprocessing,
    samples: TrainSamples | GridSamples,
) -> FeatureCache:
    """The cache of the features of a run, filled or not.

    Args:
        folder: Folder of the cache.
        recipe: One that passes `require_cacheable`.
        model: Model of the run, with its weights.
        preprocessing: Normalisation of the images.
        samples: Training samples of the run.

    Raises:
        ConfigError: The features change in training, or the folder holds something else.
    """
    backbone = model.backbone
    has_steps = isinstance(backbone, PlainViT) and not backbone.is_encoder
    has_steps |= isinstance(backbone, Swin) and backbone.semantic is not None
    if has_steps or not isinstance(backbone, ENCODERS):
        raise ConfigError(
            f"method {recipe.method} trains or drives layers within its backbone here, so no features of it can be "
            "kept: train it without --cache-features."
        )
    assert isinstance(samples, GridSamples)
    config = recipe.model.backbone
    stamp = feature_fingerprint(model.backbone, config, preprocessing, samples.views)
    return FeatureCache(folder, stamp, samples.views)


def fill_cache(
    cache: FeatureCache,
    backbone: nn.Module,
    device: torch.device,
    recipe: Recipe,
    display: Display,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Compute what is missing, with a bar.

    Args:
        cache: The cache.
        backbone: That of its fingerprint, on the device.
        device: Where to run it.
        recipe: Its batch size and loader processes are used.
        display: Where progress is shown.
        share: See `FeatureCache.fill`.

    Raises:
        InterruptedRunError: Ctrl-C or SIGTERM; what is written is kept.
    """
    missing = len(cache.missing())
    if not missing:
        return
    with StopSignals() as stop, display.caching(missing) as advance:

        def on_view() -> None:
            advance()
            if stop.received:
                raise InterruptedRunError(
                    "stopped while features are computed; those that are written are kept. Continue with the same "
                    "command.",
                    stop.received,
                )

        workers = recipe.data.num_workers
        cache.fill(backbone, device, recipe.training.batch_size, workers, on_view, share)


def cache_name(recipe: Recipe) -> str:
    """Name of a folder that recipes of the same features share, for caches that lie beside each other."""
    backbone = recipe.model.backbone
    parts = {
        "backbone": backbone.model_dump(
            mode="json", exclude={"drop_path", "gradient_checkpointing"}
        ),
        "augment": recipe.data.augment.model_dump(mode="json"),
    }
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
    return f"{backbone.name}-{digest}"
