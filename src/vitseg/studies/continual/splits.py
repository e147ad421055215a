"""Which classes are learnt in which step.

Source: Cermelli et al. (MiB, CVPR 2020), section 5.1, whose "15-5" is a first step of 15 classes and further ones of 5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vitseg.errors import ConfigError, unknown_name

Order = Literal["dataset", "listed", "random"]

BACKGROUND = "background"
"""Name of class 0 of a softmax model where the data set has no class for what belongs to no class."""


@dataclass(frozen=True)
class ClassSteps:
    """The classes of every step; each is learnt once.

    Attributes:
        steps: Names by step; the first holds the base classes.
        background: The data set's class for what belongs to no class, which no step learns; None where it has none.
    """

    steps: tuple[tuple[str, ...], ...]
    background: str | None = None

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes in the order in which they are learnt."""
        return self.seen(len(self) - 1)

    @property
    def background_name(self) -> str:
        """What class 0 of a softmax model is called."""
        return self.background or BACKGROUND

    def seen(self, step: int) -> tuple[str, ...]:
        """The classes learnt up to and with a step."""
        return tuple(name for names in self.steps[: step + 1] for name in names)

    def joint(self) -> ClassSteps:
        """All classes in a single step: the oracle."""
        return ClassSteps((self.classes,), self.background)


def make_steps(
    names: Sequence[str],
    split: str,
    order: Order = "dataset",
    order_seed: int = 0,
    subset: Sequence[str] | None = None,
    background: str | None = None,
) -> ClassSteps:
    """Distribute classes over steps.

    Args:
        names: The data set's classes in index order.
        split: "15-5": classes of the first step, and of each further one.
        order: The data set's, that of `subset`, or a permutation of the data set's order by `order_seed`; the same
            classes with the same seed come in the same order under every split.
        order_seed: Seed of the permutation.
        subset: The classes that are learnt; None: all. The others count as background.
        background: The data set's class for what belongs to no class.

    Raises:
        ConfigError: A name is no class of the data set or comes twice, the background is to be learnt, no subset gives
            the order "listed", or the split does not fit the number of classes.
    """
    for field, given in (
        ("classes", subset or ()),
        ("background", [background] * bool(background)),
    ):
        for name in given:
            if name not in names:
                raise ConfigError(f"continual.{field}: {unknown_name('class', str(name), names)}")
    if subset is not None:
        twice = sorted({name for name in subset if list(subset).count(name) > 1})
        if twice:
            raise ConfigError(f"continual.classes names {twice[0]!r} twice: name each class once.")
        if background in subset:
            raise ConfigError(
                f"continual.classes names {background!r}, which continual.background says is no class to be learnt: "
                "take it out of one of them."
            )
    if background is None and BACKGROUND in names:
        raise ConfigError(
            f"the data set has a class {BACKGROUND!r}, but continual.background is not given: set it to {BACKGROUND}, "
            "or join that class to another with data.merge."
        )
    learnt = [name for name in names if name != background and (subset is None or name in subset)]
    if order == "listed":
        if subset is None:
            raise ConfigError("continual.order is listed: list the classes in continual.classes.")
        learnt = list(subset)
    elif order == "random":
        permutation = np.random.default_rng(order_seed).permutation(len(learnt))
        learnt = [learnt[index] for index in permutation]
    ends = np.cumsum(step_sizes(split, len(learnt))).tolist()
    starts = [0, *ends[:-1]]
    steps = (tuple(learnt[start:end]) for start, end in zip(starts, ends, strict=True))
    return ClassSteps(tuple(steps), background)


def step_sizes(split: str, num_classes: int) -> list[int]:
    """Number of classes of every step.

    Raises:
        ConfigError: The split is not two numbers, or the classes left after the first step are no whole number of
            steps: a last step of fewer classes would be another protocol than its name says.
    """
    match = re.fullmatch(r"([1-9]\d*)-([1-9]\d*)", split)
    if match is None:
        raise ConfigError(
            f"continual.split is {split!r}: write the classes of the first step and of each further one, as in 15-5."
        )
    base, increment = int(match[1]), int(match[2])
    left = num_classes - base
    if left < increment or left % increment:
        raise ConfigError(
            f"continual.split is {split}, but there are {num_classes} classes to learn: {left} are left after the "
            f"first step, which is not one or more steps of {increment}. Choose a split that comes out even, or "
            "choose the classes with continual.classes."
        )
    return [base, *[increment] * (left // increment)]
