"""Rare classes: loss weights, crops and repetition, all from the class statistics of the training split.

Everything here is off by default: the papers' recipes use none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer
from pydantic import BaseModel, ConfigDict, Field

from vitseg.classes import IGNORE_INDEX
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.statistics import ClassStatistics, class_statistics


class BalanceConfig(BaseModel):
    """How rare classes are favoured in training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_weights: Literal["none", "inverse", "effective"] = Field(
        default="none",
        description="weight of each class in the loss: `inverse` to its pixel frequency, balanced to the median "
        "(Eigen & Fergus 2015), or by the `effective` number of images that show it (Cui et al. 2019)",
    )
    effective_beta: float = Field(
        default=0.999,
        gt=0,
        lt=1,
        description="beta of the effective number: classes in more than about 1 / (1 - beta) images weigh the same",
    )
    max_class_weight: float = Field(
        default=10.0,
        ge=1,
        description="largest weight of a class, where 1 is the mean over the classes; the formulas themselves have "
        "no limit, but a class of a few pixels would drown all others",
    )
    rare_class_crops: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the crops, in [0, 1], that are centred on a pixel of a class drawn from those in the "
        "image, rare ones first: nnU-Net's foreground oversampling (Isensee et al. 2021) with the class "
        "distribution of DAFormer's rare class sampling (Hoyer et al. 2022)",
    )
    rare_class_temperature: float = Field(
        default=0.01,
        gt=0,
        description="temperature T of the draw, P(c) ~ exp((1 - f_c) / T) with the pixel share f_c: small values draw "
        "the rarest class nearly always, large ones all classes alike",
    )
    repeat_threshold: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="repeat-factor sampling (LVIS, Gupta et al. 2019): an image is shown "
        "max over its classes of max(1, sqrt(t / share of the images that show the class)) times per pass; 0: once",
    )

    @property
    def needs_statistics(self) -> bool:
        """Whether the training split has to be counted."""
        return (
            self.class_weights != "none" or self.rare_class_crops > 0 or self.repeat_threshold > 0
        )


class RareClassCrops:
    """Draws the pixel around which a crop is placed.

    Args:
        probability: Share of the crops, in [0, 1], that are placed on a drawn pixel.
        temperature: T of P(c) ~ exp((1 - f_c) / T), with the pixel share f_c (DAFormer, rare class sampling).
        pixels: Pixels of every class in the training split.
    """

    def __init__(
        self, probability: float, temperature: float, pixels: Int64[np.ndarray, " k"]
    ) -> None:
        self.probability = probability
        shares = pixels / max(1, pixels.sum())
        self._log_odds = (1 - shares) / temperature

    def draw(
        self, label_map: Integer[np.ndarray, "H W"], rng: np.random.Generator
    ) -> tuple[int, int] | None:
        """(row, column) of a random pixel of a class drawn from those present; None: place the crop anywhere."""
        if rng.random() >= self.probability:
            return None
        present = np.unique(label_map)
        present = present[present != IGNORE_INDEX]
        if not len(present):
            return None
        log_odds = self._log_odds[present]
        odds = np.exp(log_odds - log_odds.max())
        drawn = present[rng.choice(len(present), p=odds / odds.sum())]
        places = np.flatnonzero(label_map == drawn)
        place = int(places[rng.integers(len(places))])
        return divmod(place, label_map.shape[1])


class Balance(NamedTuple):
    """What a training does about rare classes; None where nothing is done.

    Attributes:
        class_weights: (k,) weight of every class in the loss.
        repeats: (n,) how often every image is shown per pass over the data.
        crops: Places crops on rare classes.
    """

    class_weights: Float64[np.ndarray, " k"] | None = None
    repeats: Float64[np.ndarray, " n"] | None = None
    crops: RareClassCrops | None = None


def measure_balance(
    config: BalanceConfig,
    dataset: SegmentationDataset,
    num_workers: int = 0,
    on_image: Callable[[], object] = lambda: None,
) -> Balance:
    """Count the classes of the training split, if the configuration needs it, and apply the rules.

    Args:
        config: The rules.
        dataset: The training split.
        num_workers: Processes that read masks; 0: this one.
        on_image: Called after each mask.

    Raises:
        DataError: A mask cannot be read.
    """
    if not config.needs_statistics:
        return Balance()
    statistics = class_statistics(dataset, num_workers, on_image)
    repeats, crops = None, None
    if config.repeat_threshold > 0:
        repeats = repeat_factors(config.repeat_threshold, statistics.present)
    if config.rare_class_crops > 0:
        crops = RareClassCrops(
            config.rare_class_crops, config.rare_class_temperature, statistics.pixels
        )
    return Balance(class_weights(config, statistics), repeats, crops)


def class_weights(
    config: BalanceConfig, statistics: ClassStatistics
) -> Float64[np.ndarray, " k"] | None:
    """Weight of every class in the loss; None where all weigh the same.

    The weights of the classes that occur have mean 1 before `max_class_weight` cuts them; a class that never occurs has
    weight 1.

    Args:
        config: The configuration, of which `class_weights` names the rule.
        statistics: Class counts of the training split.
    """
    if config.class_weights == "none":
        return None
    occurs = statistics.pixels > 0
    weights = np.ones(len(occurs))
    if not occurs.any():
        return weights
    if config.class_weights == "inverse":
        frequency = statistics.pixels[occurs] / statistics.around[occurs]
        rule = np.median(frequency) / frequency
    else:
        images = statistics.images[occurs]
        rule = (1 - config.effective_beta) / (1 - config.effective_beta**images)
    weights[occurs] = rule / rule.mean()
    return weights.clip(max=config.max_class_weight)


def repeat_factors(threshold: float, present: Bool[np.ndarray, "n k"]) -> Float64[np.ndarray, " n"]:
    """How often every image is shown per pass, at least once (LVIS, Gupta et al. 2019).

    Args:
        threshold: Share of the images, in [0, 1]. Classes that a larger share shows are not repeated.
        present: Whether image n shows class k.
    """
    share = present.mean(0)  # (k,)
    per_class = np.sqrt(threshold / np.maximum(share, 1 / len(present))).clip(min=1)
    return np.where(present, per_class, 1.0).max(1)
