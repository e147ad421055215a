"""What the page shows beside the labels: how a model came to them, as pictures of one channel."""

from __future__ import annotations

from typing import cast, get_args

import numpy as np
from jaxtyping import UInt8

from vitseg.errors import ConfigError
from vitseg.explain import exits, stages, tasks
from vitseg.inference.predictor import Predictor
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.serve.jobs import STAYED, View, ViewName


def views_of(predictor: Predictor) -> tuple[ViewName, ...]:
    """The views that a model has: what its method declares. An exported graph has none, for its parts are not known.

    A model whose method has exits has none either where its rule lets no token leave.
    """
    if not isinstance(predictor.model, SegmentationModel):
        return ()
    explainer = METHODS[predictor.record.method].explainer
    if explainer not in get_args(ViewName):
        return ()
    if explainer == "exits" and not exits.can_leave(predictor):
        return ()
    return (cast(ViewName, explainer),)


def compute_view(
    predictor: Predictor,
    pixels: UInt8[np.ndarray, "H W c"],
    view: str,
    class_index: int | None = None,
) -> View:
    """Run a model on one image, whole and in one view, and show how it came to its labels.

    Args:
        predictor: The model.
        pixels: As `Predictor.pixels_of` gives them.
        view: One of `views_of`.
        class_index: The class whose masks are wanted; for stages alone.

    Raises:
        ConfigError: The model has no such view, or the class is missing, unknown or not asked for.
        DataError: The image would be run far beyond its own size.
        VitsegError: The model's scores are NaN or infinite.
    """
    _require_view(predictor, view)
    if view == "stages":
        return _of_stages(predictor, pixels, _require_class(predictor, class_index))
    if class_index is not None:
        raise ConfigError(
            f"class {class_index}: a view of {view} shows all classes at once. Leave class out."
        )
    if view == "exits":
        left = exits.read_exits(predictor, pixels)
        *before, _ = left.stages
        numbers = left.left_at
        numbers[numbers == len(before)] = STAYED
        return View("exits", tuple(stage.name for stage in before), (numbers,))
    claimed = tasks.read_tasks(predictor, pixels)
    assert len(claimed.claims) <= 256, "a picture of 8 bits cannot tell so many tasks apart"
    numbers = np.zeros(claimed.segmentation.size, dtype=np.uint8)
    for number, claim in enumerate(claimed.claims):
        numbers[claim.claimed] = number
    return View("tasks", claimed.names, (numbers,))


def _of_stages(predictor: Predictor, pixels: UInt8[np.ndarray, "H W c"], class_index: int) -> View:
    found = stages.read_stages(predictor, pixels)
    pictures = (
        np.rint(255 * found.mask_of_image(column, class_index)).astype(np.uint8)
        for column in found.columns
    )
    return View(
        "stages",
        tuple(column.name for column in found.columns),
        tuple(pictures),
        class_index,
        found.probabilities[class_index],
    )


def _require_view(predictor: Predictor, view: str) -> None:
    known = views_of(predictor)
    if view in known:
        return
    way = f"It has {', '.join(known)}." if known else "It has none: ask for its labels alone."
    raise ConfigError(f"this model ({predictor.record.method}) has no view {view!r}. {way}")


def _require_class(predictor: Predictor, class_index: int | None) -> int:
    num_classes = predictor.classes.num_classes
    if class_index is None:
        raise ConfigError(
            "a view of stages shows the masks of one class: give class, a name or an index."
        )
    if not 0 <= class_index < num_classes:
        raise ConfigError(
            f"class {class_index} is not in the model, whose classes are 0 to {num_classes - 1}."
        )
    return class_index
