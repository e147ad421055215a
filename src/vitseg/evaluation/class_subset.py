"""Scoring a model on some of its classes, such as PASCAL-Context's 59 of 60."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int64, Integer

from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.errors import ConfigError, unknown_name
from vitseg.inference.scores import Distribution, MeanScores, ScoreMap
from vitseg.types import Size


class ClassSubset:
    """The classes of a model less some: those are neither predicted nor scored.

    This is how a model of 60 PASCAL-Context classes is scored on 59: its best class is taken among the 59, and pixels
    labelled background are ignored, as the 59-class label maps have it. Leaving the background's row out of a 60-class
    confusion matrix would be another thing: there, pixels that the model takes for background count as errors.

    Args:
        classes: The model's.
        without: Names of the classes to leave out.

    Raises:
        ConfigError: A name is none of the model's classes, or no class would remain.
    """

    def __init__(self, classes: ClassTable, without: Sequence[str]):
        for name in without:
            if name not in classes.names:
                raise ConfigError(unknown_name("class of the model", name, classes.names))
        kept = [index for index, name in enumerate(classes.names) if name not in without]
        if not kept:
            raise ConfigError(
                "no class would remain to be scored: leave out fewer than all classes of the model."
            )
        self.classes = ClassTable(
            names=tuple(classes.names[index] for index in kept),
            palette=tuple(classes.palette[index] for index in kept),
        )
        self._kept = torch.tensor(kept)
        self._new_index = np.full(classes.num_classes + 1, IGNORE_INDEX, dtype=np.int64)
        self._new_index[kept] = np.arange(len(kept))  # the last entry is that of IGNORE_INDEX, -1

    def scores(self, source: ScoreMap) -> ScoreMap:
        """The scores of the remaining classes."""
        if isinstance(source, MeanScores):
            return source.of_classes(self._kept)
        return _SelectedScores(source, self._kept)

    def labels(self, labels: Integer[np.ndarray, "H W"]) -> Int64[np.ndarray, "H W"]:
        """Labels of the whole model's classes in terms of the remaining ones; IGNORE_INDEX for the others."""
        return self._new_index[labels]


class _SelectedScores:
    """Some classes of a score map."""

    def __init__(self, source: ScoreMap, kept: torch.Tensor):
        self.source = source
        self.size: Size = source.size
        self.num_classes = len(kept)
        self.distribution: Distribution = source.distribution
        self._kept = kept

    def rows(self, start: int, stop: int) -> torch.Tensor:
        rows = self.source.rows(start, stop)
        return rows[self._kept.to(rows.device)]
