"""From facts to a recipe: nothing is read, measured or written here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitseg.plan.data_facts import DataFacts
from vitseg.plan.device_facts import DeviceFacts, num_workers
from vitseg.plan.heads import DEFAULT, head_of
from vitseg.plan.scale import Scale
from vitseg.plan.vits import Vit

MOSTLY_IGNORED = 0.5
"""Share of the pixels without a class from which on labels are sparse."""

VERY_IMBALANCED = 200.0
"""The commonest class' pixels over the rarest's, from which on crops are placed on rare ones."""

PLANNED = 0.92
"""Share of the time that is planned: over a quarter of an hour a machine is slower than in the steps measured first."""

FEWEST_ITERATIONS = 40
"""Below, no head learns anything."""

_FOCUS = {"rare_class_crops": 0.25, "rare_class_temperature": 0.1}


@dataclass(frozen=True)
class Times:
    """What things take, in seconds.

    Attributes:
        step: One training step.
        image: One image that is scored while training.
        page: One image of the final report.
        start: Until the first step: reading, checking and building.
    """

    step: float
    image: float
    page: float
    start: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """How long is trained.

    Attributes:
        iterations: Steps.
        val_interval: Steps between validations.
        seconds: All that is still to be done, the report included.
    """

    iterations: int
    val_interval: int
    seconds: float


def choose_method(data: DataFacts) -> tuple[str, str]:
    """The method, and why."""
    if data.ignored > MOSTLY_IGNORED:
        unlabelled = f"{100 * data.ignored:.0f} %"
        return DEFAULT, f"{unlabelled} of the pixels have no label, which its loss leaves out"
    return DEFAULT, "the best of ours in equal minutes"


def choose_batch(device: DeviceFacts, vit: Vit) -> int:
    """Crops per step."""
    if device.kind == "cpu":
        return 4
    return 16 if device.gigabytes >= 40 and vit.width < 768 else 8


def recipe_mapping(
    data: DataFacts,
    device: DeviceFacts,
    vit: Vit,
    method: str,
    scale: Scale,
    source: Mapping[str, Any],
    seed: int = 0,
) -> dict[str, Any]:
    """The recipe, but for its iterations, as its file would have it.

    Args:
        data: The survey of the data.
        device: What is trained on.
        vit: The backbone.
        method: A key of `HEADS`.
        scale: How images are brought to the model.
        source: Fields of the data section: where the data are, and their split.
        seed: Of everything.
    """
    head = head_of(method)
    decoder = dict(head.decoder)
    ratios: dict[str, float] = {}
    if head.last_blocks:
        number = decoder[head.last_blocks] = max(1, min(vit.depth // 4, 4))
        if head.last_blocks_ratio != 1:
            last = range(vit.depth - number, vit.depth)
            ratios = {f"backbone.blocks.{block}.": head.last_blocks_ratio for block in last}
    loss = dict(head.loss)
    if head.leaves_out:
        loss["ignored"] = "left_out"
    augment: dict[str, Any] = {"crop_size": list(scale.crop)}
    if scale.base_size is not None:
        augment["base_size"] = list(scale.base_size)
    if len(data.shown) < 2:
        augment["max_class_share"] = 1.0
    recipe: dict[str, Any] = {
        "method": method,
        "backbone": {
            **vit.section(),
            "taps": head.blocks(vit.depth),
            "drop_path": head.drop_path,
            **head.backbone,
        },
        "decoder": decoder,
        "loss": loss,
        "data": {
            **source,
            "num_workers": num_workers(device),
            "balance": dict(_FOCUS) if data.imbalance > VERY_IMBALANCED else {},
            "augment": augment,
        },
        "inference": dict(scale.inference),
        "optimizer": {
            "lr": head.learning_rate(vit.width),
            "head_lr_ratio": head.head_lr_ratio,
            **({"lr_ratios": ratios} if ratios else {}),
            "weight_decay": head.weight_decay,
        },
        "training": {"batch_size": choose_batch(device, vit), "seed": seed},
    }
    return {name: section for name, section in recipe.items() if section != {}}


def fit(seconds: float, times: Times, num_val: int) -> Schedule:
    """As many iterations as a time allows, with the validations and the report that belong to it.

    Args:
        seconds: What is left of the time, for everything.
        times: What things take.
        num_val: Images to validate on.
    """
    once = num_val * times.image
    ends = times.start + once + num_val * times.page
    more = _earlier_validations(seconds, once)
    left = PLANNED * seconds - ends - more * once
    iterations = max(0, math.floor(left / times.step))
    return Schedule(iterations, _interval(iterations, more), seconds)


def last(iterations: int, times: Times, num_val: int) -> Schedule:
    """The schedule of a number of iterations that is given; see `fit`."""
    once = num_val * times.image
    trained = iterations * times.step
    more = _earlier_validations(trained, once)
    seconds = (times.start + trained + once * (1 + more) + num_val * times.page) / PLANNED
    return Schedule(iterations, _interval(iterations, more), seconds)


def _earlier_validations(seconds: float, once: float) -> int:
    """Validations in front of the last one: three at most, in a small part of the time."""
    return max(0, min(3, int(0.06 * seconds / max(once, 1e-6))))


def _interval(iterations: int, earlier: int) -> int:
    return max(1, math.ceil(iterations / (earlier + 1)))


def default_minutes(
    data: DataFacts, device: DeviceFacts, times: Times, batch: int, begun: float
) -> float:
    """The time where the user gives none: forty passes over the images, within what one waits for.

    Args:
        data: The survey of the data.
        device: What is trained on.
        times: What things take.
        batch: Crops per step.
        begun: Seconds that have passed.
    """
    wanted = min(20_000, max(800, 40 * data.num_train // batch))
    seconds = begun + last(wanted, times, data.num_val).seconds
    most = 60 if device.kind == "cpu" else 180
    return float(min(most, max(5, math.ceil(seconds / 60 / 5) * 5)))


def warmup(method: str, iterations: int) -> int:
    """Iterations of warm-up."""
    return min(max(0, iterations - 1), max(1, round(head_of(method).warmup * iterations)))


def most_to_validate(seconds: float, times: Times) -> int:
    """Images to validate on, so that one pass takes a twelfth of the time at most, but twenty."""
    return max(20, int(seconds / 12 / max(times.image + times.page, 1e-6)))
