"""Renaming and removing classes of a trained model. No parameter changes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from vitseg.checkpoint.learnt import LearntTask
from vitseg.checkpoint.model_dir import ModelRecord
from vitseg.classes import ClassTable
from vitseg.errors import ConfigError, unknown_name
from vitseg.extend.tasks import TASKS, build, config_of, task_of_class
from vitseg.methods.model import SegmentationModel


def renamed(record: ModelRecord, names: Mapping[str, str]) -> ModelRecord:
    """The record with other class names.

    Args:
        record: Record of a model of any method.
        names: Old name -> new name.

    Raises:
        ConfigError: An old name is no class, or two classes would have one name.
    """
    classes = record.classes
    for old in names:
        if old not in classes.names:
            raise ConfigError(f"--rename: {unknown_name('class', old, classes.names)}")
    new = tuple(names.get(name, name) for name in classes.names)
    twice = sorted({name for name in new if new.count(name) > 1})
    if twice or not all(new):
        raise ConfigError(
            f"--rename would give two classes the name {', '.join(twice)}: choose another name."
            if twice
            else "--rename gives a class an empty name: write OLD=NEW."
        )
    table = ClassTable(names=new, palette=classes.palette)
    return record.model_copy(update={"classes": table})


def without(
    model: SegmentationModel, record: ModelRecord, names: Sequence[str]
) -> tuple[SegmentationModel, ModelRecord]:
    """A model of tasks that no longer predicts some classes.

    The queries of a removed class stay, since the other classes of its task attend to them; a task that has no class
    left is removed as a whole. The scores of the other classes stay the same up to rounding.

    Args:
        model: A model of tasks.
        record: Its record.
        names: Classes.

    Raises:
        ConfigError: A name is no class, or no class would be left.
    """
    classes = record.classes
    for name in names:
        if name not in classes.names:
            raise ConfigError(f"--remove: {unknown_name('class', name, classes.names)}")
    left = [index for index, name in enumerate(classes.names) if name not in names]
    if not left:
        raise ConfigError("--remove names every class of the model: keep at least one.")
    config, of_class = config_of(record), task_of_class(record)
    tasks, kept_tasks = [], []
    for number, task in enumerate(config.tasks):
        own = [index for index, of in enumerate(of_class) if of == number]
        gone = [task.kept[own.index(index)] for index in own if index not in left]
        if len(gone) < len(own):
            removed = tuple(sorted((*task.removed, *gone)))
            tasks.append(task.model_copy(update={"removed": removed}))
            kept_tasks.append(number)
    table = ClassTable(
        names=tuple(classes.names[index] for index in left),
        palette=tuple(classes.palette[index] for index in left),
    )
    learnt = tuple(
        _renumbered(record.tasks[number], number, place, record.tasks)
        for place, number in enumerate(kept_tasks)
    )
    changed = record.model_copy(
        update={
            "architecture": config.model_copy(update={"tasks": tuple(tasks)}).model_dump(
                mode="json"
            ),
            "classes": table,
            "tasks": learnt,
            "metrics": {},
        }
    )
    return build(changed, _kept_state(model.state_dict(), kept_tasks)), changed


def _kept_state(state: Mapping[str, Tensor], kept: Sequence[int]) -> dict[str, Tensor]:
    """The parameters of the backbone and of the tasks that stay, by their new names."""
    found = {}
    for name, value in state.items():
        match = re.match(re.escape(TASKS) + r"(\d+)\.", name)
        if match is None:
            found[name] = value
        elif int(match[1]) in kept:
            found[f"{TASKS}{kept.index(int(match[1]))}.{name[match.end() :]}"] = value
    return found


def _renumbered(
    task: LearntTask, number: int, place: int, all_tasks: Sequence[LearntTask]
) -> LearntTask:
    """A task's record at another place, with its hashes by their new names; the first task has the backbone's, too."""
    old, new = f"{TASKS}{number}.", f"{TASKS}{place}."
    tensors = {
        new + name.removeprefix(old): digest
        for name, digest in task.tensors.items()
        if name.startswith(old)
    }
    if place == 0:
        backbone = all_tasks[0].tensors.items()
        tensors |= {name: digest for name, digest in backbone if not name.startswith(TASKS)}
    return task.model_copy(update={"tensors": tensors})
