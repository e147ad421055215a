"""What the features of a cache were made of: backbone, weights, normalisation, data and views."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from pydantic import BaseModel
from torch import nn

from vitseg.data.grid_views import GridViews
from vitseg.evaluation.provenance import content_hash
from vitseg.images.preprocess import Preprocessing

FORMAT = 1
"""Version of the cache's layout."""

WITHOUT_EFFECT = {
    "pretrained", "weights", "gradient_checkpointing", "drop_path", "mean", "std",
}  # fmt: skip
"""Fields of a backbone that change nothing in evaluation mode, or that the fingerprint has in another form."""


def feature_fingerprint(
    backbone: nn.Module, config: BaseModel, preprocessing: Preprocessing, views: GridViews
) -> dict[str, Any]:
    """What features depend on, in plain values: two caches of one fingerprint hold the same.

    Every image and mask of the split is read for its hash.

    Args:
        backbone: The module; its parameters are hashed.
        config: Its configuration.
        preprocessing: Normalisation of the images.
        views: The views of the training split.
    """
    labels = views.dataset.labels
    mapping = json.dumps(sorted(labels.mapping.items()))
    flips = {False: "plain", True: "mirrored"}
    return {
        "format": FORMAT,
        "backbone": config.model_dump(mode="json", exclude=WITHOUT_EFFECT),
        "weights": _weights_hash(backbone),
        "normalisation": preprocessing.model_dump(mode="json"),
        "data": content_hash(views.dataset),
        "classes": list(labels.classes.names),
        "label_mapping": hashlib.sha256(mapping.encode()).hexdigest()[:16],
        "views": {
            **views.config.model_dump(mode="json", exclude={"flip_probability"}),
            "flips": [flips[flip] for flip in views.config.flips],
        },
    }


def _weights_hash(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
