"""A recipe of learning in steps: an ordinary recipe, what differs in later steps, and the protocol."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.extend.new_stages import NewStages
from vitseg.methods import METHODS
from vitseg.methods.linear import LinearProbeConfig
from vitseg.methods.method import MethodConfig
from vitseg.methods.segvit import SegVitConfig
from vitseg.studies.continual.datasets import Setting
from vitseg.studies.continual.splits import Order
from vitseg.studies.continual.steps import MibConfig, PlopConfig
from vitseg.training.recipe import Recipe, parse_recipe
from vitseg.training.recipe_files import read_recipe

ApproachName = Literal["segvit_cl", "joint", "finetune", "linear_rows", "mib", "plop"]

CONFIGS_OF: dict[str, tuple[type[MethodConfig], ...]] = {
    "segvit_cl": (SegVitConfig,),
    "joint": (SegVitConfig, LinearProbeConfig),
    "finetune": (LinearProbeConfig,),
    "linear_rows": (LinearProbeConfig,),
    "mib": (LinearProbeConfig,),
    "plop": (LinearProbeConfig,),
}
"""The methods of which each approach trains models."""

OWN_LOSS = ("mib", "plop")
"""Approaches whose later steps have a loss of their own."""


class ContinualConfig(BaseModel):
    """The protocol, and how classes are added."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str = Field(description="classes of the first step and of each further one, as 15-5")
    approach: ApproachName = Field(
        description="how classes are added: segvit_cl (new queries and stages on a frozen model), finetune, "
        "linear_rows (new rows of a linear layer on a frozen model), mib, plop; or joint: all at once, the oracle"
    )
    setting: Setting = Field(
        default="overlapped",
        description="which images a step has: overlapped (all that show one of its classes), disjoint (of those, the "
        "ones without later classes) or partitioned (every image serves one step)",
    )
    order: Order = Field(
        default="dataset",
        description="order in which classes are learnt: the data set's, as listed in classes, or random",
    )
    order_seed: int = Field(default=0, ge=0, description="seed of the random order")
    classes: tuple[str, ...] | None = Field(
        default=None,
        description="the classes that are learnt; all others are background; null: every class",
    )
    background: str | None = Field(
        default=None,
        description="the data set's class for what belongs to no class (VOC's background); no step learns it. Where it "
        "is given, classes not learnt yet are scored as background, otherwise their pixels are left out",
    )
    score_background: bool = Field(
        default=False,
        description="count the background among the classes of the first step in every mean, as tables on VOC do",
    )
    new_stages: NewStages = Field(
        default="fresh",
        description="for segvit_cl: what the stages of a new task start from: random weights (fresh) or a copy of the "
        "first task's (first_task), as `vitseg extend` has it",
    )
    mib: MibConfig = Field(default=MibConfig(), description="weights of the approach mib")
    plop: PlopConfig = Field(default=PlopConfig(), description="weights of the approach plop")

    @model_validator(mode="after")
    def _background_is_there(self) -> ContinualConfig:
        if self.score_background and self.background is None:
            raise ValueError(
                "score_background is true, but background names no class: give it, or leave score_background out"
            )
        return self


class ContinualRecipe(BaseModel):
    """A run of several trainings. In the file, the sections of the first training stand beside `continual`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: Recipe = Field(description="the training of the first step")
    step: dict[str, Any] = Field(
        default={},
        description="what is different in every later step: sections and fields of the recipe",
    )
    joint: dict[str, Any] = Field(
        default={}, description="what is different in the joint training of all classes"
    )
    continual: ContinualConfig = Field(description="the protocol")

    @model_validator(mode="after")
    def _fits_the_approach(self) -> ContinualRecipe:
        approach, model = self.continual.approach, self.first.model
        if not isinstance(model, CONFIGS_OF[approach]):
            names = " or ".join(METHODS.name_of(config) for config in CONFIGS_OF[approach])
            raise ValueError(
                f"continual.approach {approach} trains models of method {names}, but method is {self.first.method}: "
                "change one of them"
            )
        raw = self.first.to_mapping()
        if isinstance(model, SegVitConfig) and model.decoder.classifier != "presence":
            raise ValueError(
                "decoder.classifier must be presence: the scores of classes learnt in different steps are compared, "
                "and those of the N + 1 classes depend on each other"
            )
        if self.first.training.init_from is not None:
            raise ValueError(
                "training.init_from is settled by the step before: leave it out, and start the first step from "
                "backbone.weights"
            )
        if approach in OWN_LOSS:
            balance = self.later().data.balance
            if balance.class_weights != "none" or raw["loss"]["hardest_pixels"] is not None:
                raise ValueError(
                    f"continual.approach {approach} has a loss of its own, without data.balance.class_weights and "
                    "loss.hardest_pixels: leave them out"
                )
        for each in (model, self.later().model):
            if isinstance(each, SegVitConfig) and each.loss.ignored != "negatives":
                raise ValueError(
                    "loss.ignored must be negatives: in every step the classes of other steps have the ignore label, "
                    "and are what its own are told from"
                )
            if (
                approach == "segvit_cl"
                and isinstance(each, SegVitConfig)
                and each.loss.kind != "masks"
            ):
                raise ValueError(
                    "loss.kind must be masks: in every step the classes of other steps have the ignore label, which "
                    "the cross-entropy of pixels leaves out, so that its own would be told from nothing else"
                )
        self.of_joint()  # both are parsed here, so that what is wrong is found before the first step
        return self

    def later(self) -> Recipe:
        """The recipe of every step behind the first, before an approach adds to it."""
        return self._changed("step", self.step)

    def of_joint(self) -> Recipe:
        """The recipe of the joint training."""
        return self._changed("joint", self.joint)

    def _changed(self, section: str, changes: Mapping[str, Any]) -> Recipe:
        fixed = sorted({"method", "backbone", "decoder", "inference"} & changes.keys())
        if fixed:
            raise ConfigError(
                f"{section}.{fixed[0]} cannot differ from {fixed[0]}: all steps are of one model. Leave it out."
            )
        try:
            return parse_recipe(merged(self.first.to_mapping(), changes))
        except ConfigError as error:
            raise ConfigError(f"{section}: {error}") from error

    def to_mapping(self) -> dict[str, Any]:
        """The recipe as its file has it."""
        return {
            **self.first.to_mapping(),
            "step": self.step,
            "joint": self.joint,
            "continual": self.continual.model_dump(mode="json"),
        }


def merged(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings with the values of another put over those of the first."""
    result = copy.deepcopy(dict(raw))
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def load_continual(
    path: str | Path, overrides: Sequence[str] = (), data: str | None = None
) -> ContinualRecipe:
    """Read and validate a recipe of `vitseg continual`.

    Args:
        path: A YAML file, or the name of one that ships with the package.
        overrides: `section.field=value` each, also `step.section.field=value`.
        data: NAME:ROOT, which takes the place of `data.source`.

    Raises:
        ConfigError: A missing file, an unknown key, a wrong value, or an approach that does not fit the method.
    """
    return parse_continual(read_recipe(path, overrides, data))


def parse_continual(raw: Mapping[str, Any]) -> ContinualRecipe:
    """Validate the mapping of a recipe file."""
    raw = dict(raw)
    if "continual" not in raw:
        raise ConfigError(
            "the recipe has no section continual (split, approach, ...): it is one of `vitseg train`. Give a recipe of "
            "learning in steps, such as recipes/ccp/continual-segvit-vit_tiny-12_4.yaml."
        )
    own = {name: raw.pop(name) for name in ("continual", "step", "joint") if name in raw}
    for name in ("step", "joint"):
        if own.get(name) is None:
            own.pop(name, None)
    return parse(ContinualRecipe, {**own, "first": parse_recipe(raw)})
