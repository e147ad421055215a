"""A recipe: everything that one training run is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    field_validator,
    model_validator,
)

from vitseg.backbones.create import pretrained_mean_std
from vitseg.checkpoint.hub import hub_address
from vitseg.config import parse, require_finite
from vitseg.data.balance import BalanceConfig
from vitseg.data.grid_views import AnyAugmentConfig, GridViewsConfig
from vitseg.data.listed_split import is_list
from vitseg.errors import ConfigError, unknown_name
from vitseg.images.bands import Bands
from vitseg.images.preprocess import Preprocessing
from vitseg.images.value_range import ValueRange
from vitseg.inference.config import InferenceConfig
from vitseg.methods import METHODS
from vitseg.methods.method import MethodConfig
from vitseg.training.loggers.logger import LoggerName
from vitseg.training.lora import LoraConfig
from vitseg.training.optimizer import OptimizerConfig
from vitseg.training.recipe_files import read_recipe
from vitseg.training.schedule import ScheduleConfig

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


class DataConfig(BaseModel):
    """Which data set, which splits, and how samples are varied."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None = Field(
        default=None, description="NAME:ROOT of the data set; --data of the command line"
    )
    train_split: str = Field(
        default="train",
        description="split to train on, or a text file (.txt) of ids, one a line",
    )
    val_split: str = Field(default="val", description="split to validate on, or such a file")
    merge: dict[str, tuple[str, ...]] = Field(
        default={}, description="name of a joint class -> names of the classes that it joins"
    )
    ignore: tuple[str, ...] = Field(
        default=(),
        description="names of classes whose pixels are ignored: no score counts them, and the loss as it does other "
        "pixels without a label",
    )
    value_range: tuple[float, float] | None = Field(
        default=None,
        description="values that are black and white in images of more than 8 bits, of data set and model; null: as "
        "each file states, else measured once over the training images",
    )
    bands: Bands | None = Field(
        default=None,
        description="the bands of the images that the model sees, in their order: all, numbers or names, or tables "
        "with value_range, mean and std, which are measured once where they are not given; null: as the data set "
        "says, else red, green and blue",
    )
    num_workers: int = Field(default=2, ge=0, description="processes that load samples")
    balance: BalanceConfig = Field(
        default=BalanceConfig(), description="how rare classes are favoured; off by default"
    )
    augment: AnyAugmentConfig = Field(description="crop and augmentation")

    @field_validator("value_range")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if value is None else ValueRange.valid(*value)

    @model_validator(mode="after")
    def _crops_can_be_placed(self) -> DataConfig:
        if isinstance(self.augment, GridViewsConfig) and self.balance.rare_class_crops > 0:
            raise ValueError(
                "balance.rare_class_crops places random crops, but augment.views is grid: leave one of them out "
                "(balance.repeat_threshold works with both)"
            )
        return self


class TrainingConfig(BaseModel):
    """The loop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(ge=1, description="optimiser steps")
    batch_size: int = Field(ge=1, description="images per step over all devices and micro-batches")
    accumulate: int = Field(
        default=1,
        ge=1,
        description="micro-batches per step: each device goes through its images in as many parts, which takes the "
        "memory of one",
    )
    val_interval: int = Field(default=1000, ge=1, description="steps between validations")
    save_interval: int = Field(
        default=500, ge=1, description="steps between saves of the training state"
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**32,
        description="seed of weights, data order, augmentation and dropout",
    )
    precision: Precision = Field(
        default="auto",
        description="auto: bf16 on GPUs that have it, fp16 on other GPUs, fp32 on the CPU",
    )
    devices: int = Field(
        default=1, ge=1, description="devices of each machine to train on; above 1 data-parallel"
    )
    num_nodes: int = Field(
        default=1, ge=1, description="machines, on each of which torchrun starts the training"
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="what a moving average of the weights keeps of itself in a step (0.999), which is then what is "
        "validated and saved; null: the weights themselves are",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="validations without a better score that end the run; null: it runs to its last iteration",
    )
    strategy: Literal["ddp", "fsdp"] = Field(
        default="ddp",
        description="what each of several devices holds: the whole model (ddp), or a part of its weights, gradients "
        "and optimiser state (fsdp), for models that one device cannot hold",
    )
    freeze_backbone: bool = Field(
        default=False,
        description="keep the backbone's pretrained parameters and statistics as they are, drop path off; the "
        "decoder, what a method adds to the backbone (SETR-MLA's neck), and the norms of a pyramid's levels, which "
        "are not pretrained, are trained",
    )
    lora: LoraConfig | None = Field(
        default=None,
        description="train low-rank pairs on the backbone's attention, which is frozen otherwise, with the decoder; "
        "model directories hold the merged weights ({} for the usual ranks)",
    )
    compile: bool = Field(
        default=False,
        description="run the training step through torch.compile; needs a C++ compiler on a CPU, Triton on a GPU",
    )
    loggers: tuple[LoggerName, ...] = Field(
        default=("tensorboard",),
        description="where the numbers go besides train.csv and val.csv: tensorboard, wandb, mlflow",
    )
    init_from: str | None = Field(
        default=None,
        description="start from all weights of a trained model of the same method, classes, normalisation and "
        "architecture: a model directory, a run folder or hf://user/name",
    )

    @field_validator("loggers")
    @classmethod
    def _each_once(cls, value: tuple[LoggerName, ...]) -> tuple[LoggerName, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"loggers names one twice: {list(value)}")
        return value

    @model_validator(mode="after")
    def _even_batches(self) -> TrainingConfig:
        if self.batch_size % (self.num_processes * self.accumulate):
            factors = {"num_nodes": self.num_nodes, "accumulate": self.accumulate}
            further = "".join(f" x {name} {value}" for name, value in factors.items() if value > 1)
            raise ValueError(
                f"batch_size {self.batch_size} is not divisible by devices {self.devices}{further}: give a multiple of "
                f"{self.num_processes * self.accumulate}"
            )
        return self

    @model_validator(mode="after")
    def _one_way_to_freeze(self) -> TrainingConfig:
        if self.lora is not None and self.freeze_backbone:
            raise ValueError(
                "lora trains pairs within the backbone, which it freezes otherwise, but freeze_backbone leaves nothing "
                "of it to train: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _sharded_over_devices(self) -> TrainingConfig:
        if self.strategy == "fsdp" and self.num_processes == 1:
            raise ValueError(
                'strategy "fsdp" shards the model over devices, but there is 1: give devices=N, or strategy=ddp'
            )
        if self.strategy == "fsdp" and self.ema is not None:
            raise ValueError(
                'ema keeps an average of whole weights, which strategy "fsdp" has in parts: leave ema out, or give '
                "strategy=ddp"
            )
        if self.strategy == "fsdp" and self.compile:
            raise ValueError(
                'compile makes one graph of a step, which strategy "fsdp" puts together block by block: leave compile '
                "out, or give strategy=ddp"
            )
        return self

    @property
    def num_processes(self) -> int:
        """Devices of all machines together."""
        return self.devices * self.num_nodes


class Recipe(BaseModel):
    """One run. In the file, the method's sections stand beside these; here they are `model`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field(description="a key of METHODS")
    model: SerializeAsAny[MethodConfig] = Field(description="the method's configuration")
    data: DataConfig = Field(description="data set, splits and augmentation")
    inference: InferenceConfig = Field(
        default=InferenceConfig(), description="the evaluation protocol"
    )
    optimizer: OptimizerConfig = Field(
        default=OptimizerConfig(), description="optimiser and its groups"
    )
    schedule: ScheduleConfig = Field(
        default=ScheduleConfig(), description="learning rate over time"
    )
    training: TrainingConfig = Field(description="the loop")

    @model_validator(mode="after")
    def _channels_are_bands(self) -> Recipe:
        channels, bands = self.model.backbone.channels, self.data.bands
        if channels is not None and (bands is None or bands.num_channels != len(channels)):
            raise ValueError(
                f"backbone.channels is {list(channels)}, which follows from data.bands: leave it out, and choose bands "
                "there"
            )
        return self

    @model_validator(mode="after")
    def _whole_weights_have_8_bit_states(self) -> Recipe:
        if self.training.strategy == "fsdp" and self.optimizer.kind == "adamw8bit":
            raise ValueError(
                'optimizer.kind "adamw8bit" has states of whole weights, which training.strategy "fsdp" has in parts: '
                "give optimizer.kind=adamw or training.strategy=ddp"
            )
        return self

    @model_validator(mode="after")
    def _warmup_fits(self) -> Recipe:
        if self.schedule.warmup_iterations >= self.training.iterations:
            raise ValueError(
                f"schedule.warmup_iterations {self.schedule.warmup_iterations} must be below "
                f"training.iterations {self.training.iterations}"
            )
        return self

    @model_validator(mode="after")
    def _rate_falls(self) -> Recipe:
        end, start = self.schedule.min_lr, self.optimizer.lr
        if end > start:
            raise ValueError(
                f"schedule.min_lr {end:g} is the learning rate at the end, which is no higher than that at the start "
                f"(optimizer.lr {start:g}): give a lower min_lr, or a higher lr"
            )
        return self

    def preprocessing(self) -> Preprocessing:
        """How images are normalised: as the backbone's pretrained weights want them, or as the recipe says.

        Raises:
            ConfigError: Mean or standard deviation are unknown or out of their range.
        """
        bands = self.data.bands
        if bands is not None and all(
            b.mean is not None and b.std is not None for b in bands.chosen
        ):
            mean, std = ([getattr(band, name) for band in bands.chosen] for name in ("mean", "std"))
            chosen = tuple(b.model_copy(update={"mean": None, "std": None}) for b in bands.chosen)
            bands = bands.model_copy(update={"chosen": chosen})
        else:  # bands that are not measured yet
            bands = None
            mean, std = pretrained_mean_std(self.model.backbone)
        stated = parse(Preprocessing, {"mean": mean, "std": std, "bands": bands}, "backbone")
        return stated.model_copy(update={"value_range": self.data.value_range})

    def with_bands(self, bands: Bands) -> Recipe:
        """The recipe with chosen bands of which all is known, and a backbone for them."""
        channels = tuple(band.color or "other" for band in bands.chosen)
        backbone = self.model.backbone.model_copy(update={"channels": channels})
        model = self.model.model_copy(update={"backbone": backbone})
        data = self.data.model_copy(update={"bands": bands})
        return self.model_copy(update={"data": data, "model": model})

    def with_value_range(self, limits: ValueRange) -> Recipe:
        """The recipe with a declared range of values."""
        data = self.data.model_copy(update={"value_range": tuple(limits)})
        return self.model_copy(update={"data": data})

    def to_mapping(self) -> dict[str, Any]:
        """The recipe as its file has it."""
        whole = self.model_dump(mode="json")
        return {"method": whole.pop("method"), **whole.pop("model"), **whole}

    def of_one_process(self) -> Recipe:
        """What one of its processes does, by itself: its share of the batch, on one device."""
        config = self.training
        alone = {"devices": 1, "num_nodes": 1, "strategy": "ddp"}
        share = {"batch_size": config.batch_size // config.num_processes}
        return self.model_copy(update={"training": config.model_copy(update=alone | share)})

    def without_paths(self) -> Recipe:
        """The recipe as it may leave this machine: the data set and the weight file by name, without their folders."""
        changes: dict[str, Any] = {}
        if self.data.source is not None:
            source = self.data.source.partition(":")[0]
            splits = {
                field: Path(split).name if is_list(split) else split
                for field in ("train_split", "val_split")
                if (split := getattr(self.data, field))
            }
            changes["data"] = self.data.model_copy(update={"source": source, **splits})
        backbone = self.model.backbone
        if backbone.weights is not None:
            named = backbone.model_copy(update={"weights": Path(backbone.weights.name)})
            changes["model"] = self.model.model_copy(update={"backbone": named})
        init_from = self.training.init_from
        if init_from is not None and hub_address(init_from) is None:
            named = Path(init_from).name
            changes["training"] = self.training.model_copy(update={"init_from": named})
        return self.model_copy(update=changes)


def load_recipe(path: str | Path, overrides: Sequence[str] = (), data: str | None = None) -> Recipe:
    """Read and validate a recipe.

    Args:
        path: A YAML file, or the name of a recipe that ships with the package (camvid/segvit-vit_tiny).
        overrides: `section.field=value` each.
        data: NAME:ROOT, which takes the place of `data.source`.

    Raises:
        ConfigError: A missing file, an unknown key, a wrong value, an unknown method.
    """
    return parse_recipe(read_recipe(path, overrides, data))


def parse_recipe(raw: dict[str, Any]) -> Recipe:
    """Validate the mapping of a recipe file."""
    raw = dict(raw)
    name = raw.pop("method", None)
    if name is None:
        raise ConfigError(f"method is missing: one of {', '.join(sorted(METHODS))}.")
    if not isinstance(name, str):
        raise ConfigError(
            f"method is {name!r:.80}, but it is one name: one of {', '.join(sorted(METHODS))}."
        )
    if name not in METHODS:
        raise ConfigError(f"method: {unknown_name('method', str(name), METHODS)}")
    config = METHODS[name]
    own = {field: raw.pop(field) for field in config.model_fields if field in raw}
    _refuse_unknown_sections(raw, config)
    model = parse(config, own)
    recipe = parse(Recipe, {**raw, "method": name, "model": model})
    require_finite(recipe.to_mapping())
    return recipe


def _refuse_unknown_sections(raw: dict[str, Any], config: type[BaseModel]) -> None:
    sections = [
        *config.model_fields,
        *(f for f in Recipe.model_fields if f not in ("method", "model")),
    ]
    if "continual" in raw:
        raise ConfigError(
            "the recipe has a section continual, so it is one of several trainings: run it with `vitseg continual`."
        )
    for name in raw:
        if name not in sections:
            raise ConfigError(f"recipe: {unknown_name('section', str(name), sections)}")
