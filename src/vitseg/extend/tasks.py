"""A model as a list of tasks: taking a SegViT for the first one, and putting another behind those that it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vitseg.checkpoint.learnt import LearntTask, tensor_hashes
from vitseg.checkpoint.model_dir import ModelRecord, fill
from vitseg.classes import ClassTable
from vitseg.colors import farthest_colors
from vitseg.config import parse
from vitseg.decoders.task_decoders import TaskConfig
from vitseg.errors import ConfigError
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.methods.segvit import SegVitConfig
from vitseg.methods.segvit_cl import SegVitClConfig
from vitseg.types import StateDict

TASKS = "decoder.tasks."


def config_of(record: ModelRecord) -> SegVitClConfig:
    """The configuration of a SegViT-CL model.

    Raises:
        ConfigError: The model is of another method.
    """
    return parse(SegVitClConfig, record.architecture, "architecture")


def require_method(name: str) -> None:
    """Raise ConfigError for a method whose models have no classes that can be added or taken away."""
    if not issubclass(METHODS[name], (SegVitConfig, SegVitClConfig)):
        raise ConfigError(
            f"this model is of method {name}, but classes can be added to and taken from models of segvit and "
            "segvit_cl alone: their classes have masks of their own. Train one: `vitseg train NAME:ROOT --method "
            "segvit`, or a recipe of segvit."
        )


def as_tasks(
    model: SegmentationModel, record: ModelRecord
) -> tuple[SegmentationModel, ModelRecord]:
    """A SegViT as a model of one task, whose scores are the same in every bit; a model of tasks stays as it is.

    The record says of every task what is known about it, with the hashes of its parameters; see `with_learnt`.

    Raises:
        ConfigError: The model is of another method.
    """
    method = METHODS[record.method]
    if issubclass(method, SegVitClConfig):
        return model, with_learnt(model, record)
    require_method(record.method)
    assert issubclass(method, SegVitConfig)
    config = parse(method, record.architecture, "architecture")
    names = record.classes.names
    task = TaskConfig(num_classes=len(names), decoder=config.decoder)
    whole = SegVitClConfig(backbone=_untrained(config), tasks=(task,), loss=config.loss)
    state = {_of_task(name, 0): value for name, value in model.state_dict().items()}
    learnt = _of_recipe(record, names, tensor_hashes(state, state))
    joined = record.model_copy(
        update={
            "method": METHODS.name_of(SegVitClConfig),
            "architecture": whole.model_dump(mode="json"),
            "tasks": (learnt,),
        }
    )
    return build(joined, state), joined


def with_learnt(model: SegmentationModel, record: ModelRecord) -> ModelRecord:
    """The record of a model of tasks with an entry for each of them, in their order.

    Only `vitseg extend` writes entries: a model whose tasks were trained at once, from a recipe, has none, and says of
    each what its recipe does. What has an entry already keeps it.

    Args:
        model: A model; one of another method has no tasks, and its record stays as it is.
        record: Its record.
    """
    if not issubclass(METHODS[record.method], SegVitClConfig):
        return record
    tasks, state = config_of(record).tasks, model.state_dict()
    if len(record.tasks) == len(tasks):
        return record
    kept = {_number_of(entry): entry for entry in record.tasks}
    names, entries = iter(record.classes.names), []
    for number, task in enumerate(tasks):
        own = [
            next(names) if index in task.kept else f"removed class {index}"
            for index in range(task.num_classes)
        ]
        begins = f"{TASKS}{number}."
        tensors = tensor_hashes(state, [name for name in state if name.startswith(begins)])
        entries.append(kept.get(number) or _of_recipe(record, own, tensors))
    backbone = tensor_hashes(state, [name for name in state if not name.startswith(TASKS)])
    first = entries[0].model_copy(update={"tensors": {**backbone, **entries[0].tensors}})
    return record.model_copy(update={"tasks": (first, *entries[1:])})


def _number_of(entry: LearntTask) -> int:
    """Which task an entry is about: its parameters' names say it."""
    name = next(name for name in entry.tensors if name.startswith(TASKS))
    return int(name.removeprefix(TASKS).partition(".")[0])


def _of_recipe(record: ModelRecord, names: Sequence[str], tensors: Mapping[str, str]) -> LearntTask:
    """The entry of a task that was trained from the recipe of a record, as far as that tells."""
    recipe = record.recipe
    return LearntTask(
        classes=tuple(names),
        source=recipe.get("data", {}).get("source"),
        iterations=recipe.get("training", {}).get("iterations"),
        seed=recipe.get("training", {}).get("seed"),
        tensors=dict(tensors),
    )


def with_task(
    model: SegmentationModel,
    record: ModelRecord,
    part: SegmentationModel,
    part_config: SegVitConfig,
    classes: ClassTable,
    learnt: LearntTask,
) -> tuple[SegmentationModel, ModelRecord]:
    """A model of tasks with one task more, behind the others.

    Args:
        model: One that `as_tasks` gives.
        record: Its record.
        part: A SegViT on the same backbone that knows the new classes alone.
        part_config: Its configuration.
        classes: The new classes.
        learnt: What is kept about how they were learnt; its `tensors` are filled in here.
    """
    config = config_of(record)
    task = TaskConfig(num_classes=classes.num_classes, decoder=part_config.decoder)
    number = len(config.tasks)
    new = {
        _of_task(name, number): value
        for name, value in part.state_dict().items()
        if name.startswith("decoder.")
    }
    state = {**model.state_dict(), **new}
    whole = config.model_copy(update={"tasks": (*config.tasks, task)})
    learnt = learnt.model_copy(update={"tensors": tensor_hashes(state, new)})
    extended = record.model_copy(
        update={
            "architecture": whole.model_dump(mode="json"),
            "classes": joined_classes(record.classes, classes),
            "tasks": (*record.tasks, learnt),
        }
    )
    return build(extended, state), extended


def with_bias(
    model: SegmentationModel, record: ModelRecord, bias: float
) -> tuple[SegmentationModel, ModelRecord]:
    """The model whose newest task has another presence bias."""
    config = config_of(record)
    *before, last = config.tasks
    tasks = (*before, last.model_copy(update={"presence_bias": bias}))
    return with_tasks(model, record, tasks)


def with_tasks(
    model: SegmentationModel, record: ModelRecord, tasks: tuple[TaskConfig, ...]
) -> tuple[SegmentationModel, ModelRecord]:
    """The model with other settings of the same tasks."""
    config = config_of(record).model_copy(update={"tasks": tasks})
    changed = record.model_copy(update={"architecture": config.model_dump(mode="json")})
    return build(changed, model.state_dict()), changed


def build(record: ModelRecord, state: StateDict) -> SegmentationModel:
    """The model of a record with given parameters, in evaluation mode."""
    config = parse(METHODS[record.method], record.architecture, "architecture")
    classes, size = record.classes.num_classes, record.image_size
    model = config.build(classes, size, load_pretrained=False)
    fill(model, state, "the parameters do not fit the model")
    return model.eval()


def task_of_class(record: ModelRecord) -> list[int]:
    """Number of the task of every class of a model, in index order."""
    return [number for number, task in enumerate(config_of(record).tasks) for _ in task.kept]


def joined_classes(old: ClassTable, new: ClassTable) -> ClassTable:
    """Both tables, one behind the other; a new class whose colour is taken gets one that looks different from all.

    Raises:
        ConfigError: A name is in both.
    """
    require_new_names(old, new.names)
    palette = list(old.palette)
    for color in new.palette:
        palette.append(farthest_colors(1, tuple(palette))[0] if color in palette else color)
    return ClassTable(names=(*old.names, *new.names), palette=tuple(palette))


def require_new_names(old: ClassTable, names: Sequence[str]) -> None:
    """Raise ConfigError if the model knows one of the classes already."""
    known = [name for name in names if name in old.names]
    if known:
        raise ConfigError(
            f"the model knows {', '.join(known)} already: leave it out of --classes, or rename the old one first with "
            "`vitseg classes MODEL --rename OLD=NEW --out DIR`."
        )


def _untrained(config: SegVitConfig):
    """The backbone's configuration without the place that its first weights came from."""
    return config.backbone.model_copy(
        update={"pretrained": False, "weights": None, "weights_grid": None}
    )


def _of_task(name: str, number: int) -> str:
    """The name of a SegViT's parameter in a model of tasks."""
    if name.startswith("decoder."):
        return f"{TASKS}{number}.{name.removeprefix('decoder.')}"
    return name
