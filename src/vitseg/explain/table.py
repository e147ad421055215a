"""Which file explains the models of which method; it is imported on use."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NamedTuple

from vitseg.errors import ConfigError
from vitseg.explain.sheet import Sheet
from vitseg.inference.predictor import Predictor
from vitseg.methods import METHODS
from vitseg.methods.method import Explainer


class Kind(NamedTuple):
    """A kind of explanation.

    Attributes:
        module: Module of its file.
        of: Whose labels it explains, for a message.
        shows_some_classes: Whether its `explain` has the options `classes` and `top`; else all classes are shown.
    """

    module: str
    of: str
    shows_some_classes: bool = False

    @property
    def explain(self) -> Callable[..., Sheet]:
        """The one call of its file, `explain(predictor, image)`.

        It runs the model on an image, whole and in one view, and draws how it came to the labels. It raises ConfigError
        for a model that has nothing of this kind, DataError for an image that cannot be read or would be run far beyond
        its own size, and VitsegError for scores that are NaN or infinite.
        """
        return importlib.import_module(self.module).explain


KINDS: dict[Explainer, Kind] = {
    "stages": Kind("vitseg.explain.stages", "a SegViT", shows_some_classes=True),
    "exits": Kind("vitseg.explain.exits", "a pruned model"),
    "cells": Kind("vitseg.explain.cells", "NRD"),
    "tasks": Kind("vitseg.explain.tasks", "a model of several tasks"),
}


def kind_of(predictor: Predictor) -> Kind:
    """The kind of explanation that the method of a model has.

    Raises:
        ConfigError: It has none.
    """
    method = predictor.record.method
    explainer = METHODS[method].explainer
    if explainer is None:
        raise ConfigError(
            "explain shows the masks of class queries (segvit, shrunk, semaskvit, segvit_joint) stage by stage, the "
            f"exits of pruned models (dtop) and the cells of nrd, but this model ({method}) decodes with "
            f"{type(predictor.network.decoder).__name__}, which has none of them. Study it with evaluate or predict."
        )
    return KINDS[explainer]


def require(predictor: Predictor, explainer: Explainer) -> None:
    """Raise ConfigError unless this is the kind of explanation that the method of a model has."""
    method = predictor.record.method
    if METHODS[method].explainer != explainer:
        raise ConfigError(f"a model of method {method} has no {explainer}.")
