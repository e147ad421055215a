"""What the processes of a test run, other than `vitseg train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.fabric.strategies import DDPStrategy
from torch import Tensor, nn

from vitseg.training.display import Display
from vitseg.training.recipe import load_recipe
from vitseg.training.run_data import read_data
from vitseg.training.run_parts import build_parts
from vitseg.training.sharding import sharded_strategy
from vitseg.training.state import SavedState
from vitseg.training.task import identity_of, task_of


def whole_state(out: str, target: str, *overrides: str) -> None:
    """Restore a run's state in as many processes as there are, and write all of it to one file."""
    recipe = load_recipe(Path(out) / "recipe.yaml", overrides)
    task = task_of(recipe)
    saved = SavedState(Path(out), identity_of(recipe, task))
    parts = build_parts(recipe, task, read_data(recipe, task, Display(quiet=True)), saved)
    state = parts.optimizer.optimizer.state_dict()["state"]
    whole = {
        "model": parts.whole_model().state_dict(),
        "optimizer": {
            number: {name: full(value) for name, value in values.items()}
            for number, values in state.items()
        },
        "groups": [
            group["params"] for group in parts.optimizer.optimizer.state_dict()["param_groups"]
        ],
        "iteration": parts.progress.iteration,
    }
    held = sum(local(value).numel() for value in parts.model.parameters())
    whole["share"] = held / sum(value.numel() for value in parts.model.parameters())
    if parts.fabric.is_global_zero:
        torch.save(whole, target)
    parts.fabric.barrier()


def full(value: Any) -> Any:
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def local(value: Any) -> Any:
    return value.to_local() if hasattr(value, "to_local") else value


def gradients(target: str, strategy: str) -> None:
    """Loss and norm of the gradient of every method on four images, two for each process."""
    from tests.contracts.test_methods import CONFIGS, build, images_of, labels_of

    chosen = sharded_strategy(2) if strategy == "fsdp" else DDPStrategy(find_unused_parameters=True)
    fabric = lightning.Fabric(accelerator="cpu", devices=2, strategy=chosen)
    fabric.launch()
    found = {}
    for case in CONFIGS:
        _, config, model = build(case)
        step = fabric.setup_module(Step(model, cast(Any, config).criterion()))
        size = (64, 96)
        images, labels = images_of(size, 4), labels_of(size, 4)
        mine = slice(2 * fabric.global_rank, 2 * fabric.global_rank + 2)
        torch.manual_seed(3)
        terms = step(images[mine], labels[mine])
        loss = torch.stack(list(terms.values())).sum()
        fabric.backward(loss)
        grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
        norm = full(torch.nn.utils.get_total_norm(grads))
        mean = cast(Tensor, fabric.all_reduce(loss.detach()))
        found[case] = (mean.item(), norm.item())
    if fabric.is_global_zero:
        torch.save(found, target)
    fabric.barrier()


class Step(nn.Module):
    def __init__(self, model: nn.Module, criterion: nn.Module):
        super().__init__()
        self.model, self.criterion = model, criterion

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return self.criterion(self.model(images), labels)
