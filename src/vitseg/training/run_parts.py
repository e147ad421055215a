"""What a run works with: devices, model, loss, optimiser, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.fabric.strategies import DDPStrategy, Strategy
from torch import nn

from vitseg.errors import ConfigError
from vitseg.inference.precision import has_bf16, warn_of_bf16
from vitseg.launch import started, will_start
from vitseg.methods.model import SegmentationModel
from vitseg.training.average import WeightAverage
from vitseg.training.caching import open_cache
from vitseg.training.children import watch
from vitseg.training.compilation import compile_step
from vitseg.training.feature_cache import FeatureCache
from vitseg.training.lora import add_lora
from vitseg.training.optimizer import build_optimizer
from vitseg.training.processes import as_in_the_first, require_processes, together
from vitseg.training.randomness import seed_everything
from vitseg.training.recipe import Precision, Recipe, TrainingConfig
from vitseg.training.rendezvous import join_processes
from vitseg.training.run_data import RunData
from vitseg.training.sharding import Sharding, require_shardable, sharded_strategy
from vitseg.training.start import start_from
from vitseg.training.state import Progress, SavedState
from vitseg.training.step import LossOfFeatures, LossOfModel
from vitseg.training.task import TrainingTask


@dataclass(frozen=True)
class RunParts:
    """The parts of a run, on its devices.

    Attributes:
        fabric: Devices, precision and what the processes tell each other.
        model: What is trained.
        step: The module that gives the loss terms of a batch, set up by `fabric`.
        optimizer: Set up by `fabric`.
        base_lrs: Learning rate of every group of the optimiser before the schedule.
        progress: How far the run is.
        sharding: How the model becomes a whole one; None: it is whole.
        cache: Where the features of the backbone come from; None: from the backbone.
        warning: What the user is told about the weights that the model starts from.
        average: The moving average of the weights; None: there is none.
    """

    fabric: lightning.Fabric
    model: SegmentationModel
    step: Any
    optimizer: Any
    base_lrs: list[float]
    progress: Progress
    sharding: Sharding | None
    cache: FeatureCache | None
    warning: str | None
    average: WeightAverage | None

    def whole_model(self) -> SegmentationModel:
        """The model with all its weights, and the statistics of the first process; of a sharded one a copy.

        All processes must ask for it.
        """
        as_in_the_first(self.fabric, self.model)
        return self.model if self.sharding is None else self.sharding.whole(self.model)


def build_parts(
    recipe: Recipe,
    task: TrainingTask,
    data: RunData,
    saved: SavedState | None = None,
    cache_features: Path | None = None,
) -> RunParts:
    """Build the model of a run, give it its weights, and lay everything on the devices.

    Args:
        recipe: The run.
        task: What prepares the model, and its training step.
        data: The data of the run.
        saved: The state to go on from; None: begin.
        cache_features: Folder of the features of a frozen backbone; None: they are computed in every step.

    Raises:
        ConfigError: The model to start from is another, the features cannot be kept, or the device has not the
            precision.
        CheckpointError: The model to start from, or pretrained weights, cannot be read.
    """
    config, classes = recipe.training, data.train_set.classes
    precision = _precision(config.precision)
    require_shardable(config.strategy, precision, cache_features)
    require_processes(config.devices, config.num_nodes)
    fabric = lightning.Fabric(
        devices=config.devices,
        num_nodes=config.num_nodes,
        precision=precision,
        strategy=_strategy(config),
        # one process is one, whatever a job's variables say of tasks
        plugins=LightningEnvironment() if config.num_processes == 1 else None,
    )
    _require_device(precision, fabric.device)
    if config.num_processes > 1 and started().number == 1:
        will_start(config.num_processes)
    join_processes(fabric.device.type)
    fabric.launch()
    watch(fabric)
    if precision == "bf16-mixed" and fabric.is_global_zero:
        warn_of_bf16(fabric.device, "training.precision=auto")
    seed_everything(config.seed)
    crop_size = recipe.data.augment.crop_size
    model = recipe.model.build(classes.num_classes, crop_size)
    warning = None
    if config.init_from is not None and saved is None:
        warning = start_from(
            config.init_from,
            model,
            recipe.method,
            classes,
            config=recipe.model,
            preprocessing=data.preprocessing,
        )
    task.prepare(model)
    if config.lora is not None:
        add_lora(model, config.lora)
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        # Of the whole batch, not of a device's share (torch has no such layer for the CPU).
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # in place
    if saved is not None:
        with together(fabric):
            saved.require_sound(fabric.global_rank, fabric.world_size)
            saved.restore_model(model)
    cache = None
    if cache_features is not None:
        cache = open_cache(cache_features, recipe, model, data.preprocessing, data.drawn.samples)

    weights = data.balance.class_weights
    criterion = recipe.model.criterion(
        None if weights is None else torch.from_numpy(weights).float()
    )
    if cache is None:
        step = task.step(model, criterion, config.freeze_backbone)
    else:
        assert task.step is LossOfModel, "other steps look at images"
        step = LossOfFeatures(model, criterion, cache)
    fused = fabric.device.type == "cpu"
    sharding = Sharding(model) if config.strategy == "fsdp" else None
    if sharding is not None:  # before the optimiser, which works on the parts
        step = fabric.setup_module(step)
    optimizer = build_optimizer(model, recipe.optimizer, fused)
    base_lrs = [group["lr"] for group in optimizer.param_groups]
    if config.compile:
        compile_step(step, fabric.device)
    if sharding is None:
        step, set_up = fabric.setup(step, optimizer)
    else:
        set_up = fabric.setup_optimizers(optimizer)
    progress, average = Progress(), None
    if config.ema is not None:
        average = WeightAverage(model, config.ema)
    if saved is not None:  # its state lands on the device of its parameters: after the set-up
        with together(fabric):
            progress = saved.restore(optimizer)
            if average is not None:
                saved.restore_average(average)
        if (scaler := scaler_of(fabric)) is not None and saved.scaler is not None:
            scaler.load_state_dict(dict(saved.scaler))
    return RunParts(
        fabric, model, step, set_up, base_lrs, progress, sharding, cache, warning, average
    )


def _strategy(config: TrainingConfig) -> str | Strategy:
    if config.num_processes == 1:
        return "auto"
    if config.strategy == "fsdp":
        return sharded_strategy(config.num_processes)
    return _data_parallel()


def _data_parallel() -> DDPStrategy:
    """Data-parallel training in which sums over the processes have one order, also after a resume.

    Else torch would put the gradients into other packets after the first step, and sum these in another order.
    """
    return DDPStrategy(find_unused_parameters=True)


def scaler_of(fabric: lightning.Fabric) -> torch.amp.GradScaler | None:
    """The scaler of gradients of a training in fp16; None in others."""
    return getattr(fabric._precision, "scaler", None)


def _precision(name: Precision) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "bf16-mixed" if has_bf16(torch.device("cuda")) else "16-mixed"
    return "32-true"


def _require_device(precision: str, device: torch.device) -> None:
    if precision == "16-mixed" and device.type == "cpu":
        raise ConfigError(
            "training.precision 16-mixed is for GPUs, and this is a CPU: give training.precision=auto (fp32 here), or "
            "bf16-mixed where the processor has instructions for it."
        )
