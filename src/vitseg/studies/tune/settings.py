"""What `vitseg tune` compares: settings of token pruning, and plainer ways to make the same model faster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil
from pathlib import Path
from typing import Literal, cast

import torch

from vitseg.backbones.patches import require_resizable_patch, with_patch_size
from vitseg.backbones.steps.exit import pruning_of, set_pruning
from vitseg.backbones.steps.exit_rules import RULES, PruningConfig
from vitseg.backbones.vit import PlainViT
from vitseg.checkpoint.model_dir import ModelRecord, load_model
from vitseg.config import parse
from vitseg.decoders.token_heads import TokenHeads
from vitseg.errors import ConfigError
from vitseg.inference.config import InferenceConfig
from vitseg.inference.predictor import Predictor
from vitseg.methods import METHODS
from vitseg.methods.dtop import DtopConfig
from vitseg.methods.model import SegmentationModel

Kind = Literal["unpruned", "pruned", "smaller input", "larger patch"]

SCALES = (0.875, 0.75, 0.625)
"""Sides of the smaller inputs over those of the model's own protocol."""

PATCH_RATIOS = (1.25, 1.5)
"""Sides of the larger patches over those of the model's own: 20 and 24 pixels for 16."""


@dataclass(frozen=True)
class Setting:
    """A way to run the model.

    Attributes:
        name: Unique.
        kind: What it changes.
        predictor: The model and its protocol. Settings share models, so call `activate` before a run.
        pruning: The rule by which the model is run.
        scale: Side of its input over that of the model's own protocol.
    """

    name: str
    kind: Kind
    predictor: Predictor
    pruning: PruningConfig
    scale: float = 1.0

    @property
    def model(self) -> SegmentationModel:
        return self.predictor.network

    @property
    def vit(self) -> PlainViT:
        return cast(PlainViT, self.model.backbone)

    @property
    def exits(self) -> tuple[int, ...]:
        """Numbers of the exits, from 0, at which tokens may leave."""
        num_exits = len(cast(TokenHeads, self.model.decoder).exits)
        rule = self.pruning.build()
        return tuple(number for number in range(num_exits) if rule.acts_at(number))

    def activate(self) -> Predictor:
        """The predictor, with the model's rule set to this setting's."""
        set_pruning(self.vit, self.pruning)
        return self.predictor

    @property
    def record(self) -> ModelRecord:
        """What a model directory says that runs the model in this way."""
        record = self.predictor.record
        pruning = self.pruning.model_dump(mode="json")
        return record.model_copy(
            update={"architecture": {**record.architecture, "pruning": pruning}}
        )


def load_prunable(path: Path | str) -> tuple[SegmentationModel, ModelRecord]:
    """A model whose tokens can leave early, read as DToP.

    Args:
        path: As for `load_model`: of a method with heads that judge tokens before the last block.

    Raises:
        CheckpointError: There is no sound model.
        ConfigError: No head of the model judges tokens before the last block, or its rule has no threshold.
    """
    model, record = load_model(path)
    config = parse(METHODS[record.method], record.architecture)
    try:
        found = config.prunable(model.state_dict())
    except ConfigError as error:
        raise ConfigError(f"{path} cannot be pruned: {error}") from error
    if found is None:
        raise ConfigError(
            f"{path} is a {record.method}, which has no heads that judge tokens before the last block, so none can "
            "leave. Models of method dtop have them, and SETR's naive ones with decoder.auxiliary: train one of these."
        )
    pruned, state = found
    if pruned is config:
        require_threshold(pruning_of(cast(PlainViT, model.backbone)).config)
        return model, record
    model = pruned.build(record.classes.num_classes, record.image_size, load_pretrained=False)
    model.load_state_dict(state)
    changes = {
        "method": METHODS.name_of(type(pruned)),
        "architecture": pruned.model_dump(mode="json"),
    }
    return model.eval(), record.model_copy(update=changes)


def require_threshold(pruning: PruningConfig) -> None:
    """Raise ConfigError unless the rule has a confidence threshold."""
    allowed = [name for name, rule in RULES.items() if "threshold" in rule.fields]
    if pruning.rule not in allowed:
        raise ConfigError(
            f"pruning.rule {pruning.rule} has no threshold: there is nothing to tune. Allowed are models of the rules "
            f"{', '.join(allowed)}; vitseg profile and vitseg evaluate measure this one."
        )


def make_settings(
    model: SegmentationModel, record: ModelRecord, device: torch.device, thresholds: Sequence[float]
) -> tuple[list[Setting], dict[str, str]]:
    """All settings, the unpruned model first, and why others are left out, by name.

    Models with larger patches are copies that stay in the device's memory beside the model.

    Args:
        model: The model; its rule stays, but for threshold and exits.
        record: Record of the model.
        device: Where to run.
        thresholds: Confidences to try, each in (0, 1]; at 1 no token leaves, which is the unpruned model.
    """
    larger, left_out = _larger_patches(model, record)  # before the model goes to the device
    predictor = Predictor(model, record, device)
    own = pruning_of(cast(PlainViT, model.backbone)).config
    unpruned = _pruning(own, 1.0, None)
    settings = [Setting("unpruned", "unpruned", predictor, unpruned)]
    for exits in _subsets(len(cast(TokenHeads, model.decoder).exits)):
        for threshold in sorted({*thresholds} - {1.0}):
            name = f"threshold {threshold:g} at {exits_name(exits)}"
            pruning = _pruning(own, threshold, exits)
            settings.append(Setting(name, "pruned", predictor, pruning))
    for scale in SCALES:
        inference = smaller_input(predictor.inference, scale).model_dump(mode="json")
        smaller = Predictor(model, record.model_copy(update={"inference": inference}), device)
        settings.append(Setting(f"input x {scale:g}", "smaller input", smaller, unpruned, scale))
    for name, (copy, of_copy) in larger.items():
        settings.append(Setting(name, "larger patch", Predictor(copy, of_copy, device), unpruned))
    return settings, left_out


def exits_name(exits: Sequence[int]) -> str:
    """Exits in words: "exit 0", "exits 0+1"."""
    return f"exit{'s' if len(exits) > 1 else ''} {'+'.join(map(str, exits))}"


def _pruning(
    config: PruningConfig, threshold: float, exits: tuple[int, ...] | None
) -> PruningConfig:
    return parse(PruningConfig, {**config.model_dump(), "threshold": threshold, "exits": exits})


def _subsets(num_exits: int) -> Iterator[tuple[int, ...]]:
    for size in range(1, num_exits + 1):
        yield from combinations(range(num_exits), size)


def smaller_input(inference: InferenceConfig, scale: float) -> InferenceConfig:
    """The protocol at which the network gets the same views with fewer pixels.

    Views, their least side, and windows with their steps shrink alike: as many windows, each of the same part.
    """
    values = inference.model_dump()
    values["scales"] = tuple(ratio * scale for ratio in inference.scales)
    if inference.min_short is not None:
        values["min_short"] = max(1, ceil(inference.min_short * scale))
    for name in ("crop_size", "stride"):
        sides = getattr(inference, name)
        values[name] = sides and tuple(max(1, ceil(side * scale)) for side in sides)
    return parse(InferenceConfig, values, "inference")


def _larger_patches(
    model: SegmentationModel, record: ModelRecord
) -> tuple[dict[str, tuple[SegmentationModel, ModelRecord]], dict[str, str]]:
    """Models with larger patches by name, and by name why others cannot be made."""
    config = parse(DtopConfig, record.architecture, "architecture")
    vit = cast(PlainViT, model.backbone)
    found: dict[str, tuple[SegmentationModel, ModelRecord]] = {}
    left_out: dict[str, str] = {}
    for ratio in PATCH_RATIOS:
        side = round(vit.patch_size[0] * ratio)
        try:
            require_resizable_patch(vit)
            backbone = config.backbone.model_copy(update={"patch_size": side})
            changed = config.model_copy(update={"backbone": backbone})
            size = record.image_size
            copy = changed.build(record.classes.num_classes, size, load_pretrained=False)
            new = cast(PlainViT, copy.backbone)
            copy.load_state_dict(with_patch_size(model.state_dict(), vit, new, "backbone."))
        except ConfigError as error:
            left_out[f"patch {side}"] = str(error)
            continue
        architecture = changed.model_dump(mode="json")
        found[f"patch {side}"] = (
            copy.eval(),
            record.model_copy(update={"architecture": architecture}),
        )
    return found, left_out
