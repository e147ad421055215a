"""What a model makes of an image that has no label: how unsure it is, and what the image is like.

How unsure is the mean of the pixels' entropy, over that of classes that are all as probable as each other. As a mean
over pixels it weighs by area: every image has rims of classes where the model wavers, which are few pixels, and what
counts is that there are large parts that it does not know. A largest or a summed value would rank by the length of the
rims, and by the size of the photo.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from vitseg.checks.fingerprint import Fingerprint, hash_source, perceptual_hash
from vitseg.features import Features
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import ScoreMap, label_map, probabilities
from vitseg.inference.segmentation import Segmentation
from vitseg.runtimes.graph_model import GraphModel

CELLS = 4
"""Cells per side of the grid in which the probabilities of an exported model are averaged."""


@dataclass(frozen=True)
class Look:
    """What stays of an image.

    Attributes:
        uncertainty: Mean entropy of the pixels that hold data, in [0, 1]; 1: all classes are equally probable
            everywhere.
        feature: What it is like, of length 1.
        fingerprint: By which copies and near duplicates are known.
    """

    uncertainty: float
    feature: Float32[np.ndarray, " c"]
    fingerprint: Fingerprint


class Looker:
    """Looks at images with a model.

    Args:
        predictor: The model.
        temperature: Of its probabilities, see `temperature`; 1 leaves them as they are.
    """

    def __init__(self, predictor: Predictor, temperature: float = 1.0):
        self.predictor = predictor
        self.temperature = temperature
        self.has_parts = not isinstance(predictor.model, GraphModel)

    @property
    def features(self) -> str:
        """What images are compared by, in words."""
        if self.has_parts:
            return "the backbone's deepest features, averaged over the image"
        return f"class probabilities, averaged in {CELLS} x {CELLS} cells of the image"

    def __call__(self, path: Path) -> Look:
        """Look at an image.

        Raises:
            DataError: It cannot be read.
            VitsegError: The model's scores are NaN or infinite.
        """
        found = self.predictor.read(path, placed=True)
        pixels = found.pixels
        pool = BackbonePool(self.predictor) if self.has_parts else None
        try:
            entropy, cells = self._pooled(self.predictor.scores(pixels))
        finally:
            if pool is not None:
                pool.close()
        feature = cells.sqrt().flatten() if pool is None else pool.mean()
        shown = perceptual_hash(self.predictor.picture_of(pixels))
        fingerprint = Fingerprint(hash_source(path), 0, *shown)
        known = entropy if found.valid is None else entropy[found.valid]
        uncertainty = float(known.mean(dtype=np.float64)) if known.size else 0.0
        return Look(uncertainty, _unit(feature), fingerprint)

    def closely(self, path: Path) -> tuple[Segmentation, Float32[np.ndarray, "H W"]]:
        """The segmentation of an image, and how unsure the model is of every pixel, in [0, 1]; errors as for a look.

        Of pixels without data that is 0.
        """
        found = self.predictor.read(path, placed=True)
        scores = self.predictor.scores(found.pixels)
        entropy = self._pooled(scores)[0]
        if found.valid is not None:
            entropy[~found.valid] = 0
        segmentation = Segmentation(
            label_map=label_map(scores),
            classes=self.predictor.classes,
            image=self.predictor.picture_of(found.pixels),
            path=path,
            valid=found.valid,
        )
        return segmentation, entropy

    @torch.inference_mode()
    def _pooled(
        self, source: ScoreMap
    ) -> tuple[Float32[np.ndarray, "H W"], Float32[Tensor, "k n n"]]:
        """The entropy of every pixel, and the mean probabilities of every cell of a grid."""
        height, width = source.size
        entropy = np.empty((height, width), np.float32)
        sums = torch.zeros(source.num_classes, CELLS, CELLS, device=self.predictor.device)
        columns = torch.arange(width, device=sums.device) * CELLS // width
        scale = 1 / np.log(max(2, source.num_classes))
        top = 0
        for strip in probabilities(source):
            probs = tempered(strip.float(), self.temperature)
            stop = top + probs.shape[1]
            entropy[top:stop] = (torch.special.entr(probs).sum(0) * scale).cpu().numpy()
            rows = torch.arange(top, stop, device=sums.device) * CELLS // height
            by_column = probs.new_zeros(*probs.shape[:2], CELLS).index_add_(2, columns, probs)
            sums.index_add_(1, rows, by_column)
            top = stop
        return entropy, sums.cpu() / (height * width)


class BackbonePool:
    """Hears what a model's backbone gives while an image is run, and keeps the mean of it.

    The model is run once for labels and features: a hook takes what passes between its parts. Of several windows or
    views it is the mean. `close` ends it.

    Args:
        predictor: A model that has parts.
    """

    def __init__(self, predictor: Predictor):
        self._means: list[Float32[Tensor, " c"]] = []
        self._handle = predictor.network.backbone.register_forward_hook(self._hear)

    def close(self) -> None:
        self._handle.remove()

    def mean(self) -> Float32[Tensor, " c"]:
        """The mean over everything that was run."""
        assert self._means, "the backbone was not run"
        return torch.stack(self._means).mean(0)

    def _hear(self, module: object, inputs: object, output: object) -> None:
        assert isinstance(output, Features)
        # Of a model that drops tokens, the deepest map is the last place where all parts of the image have a say.
        tokens = output.maps[-1].flatten(2) if output.maps else output.alive.tokens.tokens.T[None]
        self._means.append(tokens.float().mean((0, 2)).cpu())


def tempered(probs: Float32[Tensor, "k R W"], temperature: float) -> Float32[Tensor, "k R W"]:
    """Probabilities at another temperature: the softmax of their logarithms over it.

    Args:
        probs: Of the classes, which are the first axis.
        temperature: Above 1 less sure, below it surer.
    """
    if temperature == 1:
        return probs
    powers = probs.pow(1 / temperature)
    return powers / powers.sum(0).clamp_min(torch.finfo(powers.dtype).tiny)


def _unit(feature: Tensor) -> Float32[np.ndarray, " c"]:
    values = feature.double().numpy()
    return (values / max(float(np.linalg.norm(values)), 1e-12)).astype(np.float32)
