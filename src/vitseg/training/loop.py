"""The training loop, counted in iterations."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from vitseg.backbones.licences import downloaded_weights, licence_line
from vitseg.errors import ConfigError, InterruptedRunError
from vitseg.evaluation.evaluate import Evaluation, evaluate
from vitseg.files import write_json
from vitseg.inference.predictor import Predictor
from vitseg.runs import BEST, DIVERGED, STATE, claim_run, goes_on, write_recipe
from vitseg.training.batches import batches, train_step
from vitseg.training.caching import fill_cache, require_cacheable
from vitseg.training.compilation import compiled_line
from vitseg.training.display import Display
from vitseg.training.keep import keep_last, keep_models, record_of
from vitseg.training.log import RunLog
from vitseg.training.loggers.table import require_loggers
from vitseg.training.processes import RankShare, lost_processes
from vitseg.training.recipe import Recipe
from vitseg.training.run_data import RunData, read_data
from vitseg.training.run_parts import RunParts, build_parts, scaler_of
from vitseg.training.state import RunIdentity, SavedState, save_state
from vitseg.training.stop import StopSignals
from vitseg.training.task import TrainingTask, identity_of, task_of
from vitseg.training.value_range import with_value_range

LOG_INTERVAL = 10
"""Iterations between rows of train.csv."""


def train(
    recipe: Recipe,
    out: Path,
    resume: bool = False,
    display: Display | None = None,
    cache_features: Path | None = None,
    task: TrainingTask | None = None,
) -> Path:
    """Train a model.

    Args:
        recipe: The run.
        out: Folder of the run. Afterwards it holds `best/` and `last/` (model directories), `recipe.yaml`,
            `train.csv`, `val.csv`, `tensorboard/`, `state.ckpt` and `result.json`.
        resume: Continue an interrupted run exactly where it was saved; by itself where torchrun has started the
            processes anew.
        display: Where progress is shown; nothing is shown where not given.
        cache_features: Folder of a `FeatureCache`, filled where it is not: the head is then trained on features read
            from there, the same as without but for their 16 bits. For a frozen backbone and fixed views.
        task: Data sets, starting weights and loss that are not the recipe's, see `TrainingTask`.

    Returns:
        The folder of the best model.

    Raises:
        ConfigError: The folder holds a run already, the recipe names no data set, or the cache cannot be used.
        DataError: The data set cannot be read.
        InterruptedRunError: Ctrl-C or SIGTERM; the state is saved.
    """
    resume = resume or goes_on(out)
    claim_run(out, resume)
    require_loggers(recipe.training.loggers)
    if cache_features is not None:
        require_cacheable(recipe)
    display, task = display or Display(quiet=True), task or task_of(recipe)
    recipe, task = with_value_range(recipe, task, display, begun=out if resume else None)
    data = read_data(recipe, task, display)
    identity = identity_of(recipe, task)
    saved = SavedState(out, identity) if resume else None
    parts = build_parts(recipe, task, data, saved, cache_features)
    with lost_processes(parts.fabric):
        return _Loop(recipe, out, data, parts, display, identity).run()


class _Loop:
    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        data: RunData,
        parts: RunParts,
        display: Display,
        identity: RunIdentity,
    ):
        self.recipe, self.out, self.data, self.parts = recipe, out, data, parts
        self.identity = identity
        self.is_first = parts.fabric.is_global_zero  # of several processes, the one that writes
        self.display = display if self.is_first else Display(quiet=True)
        self.log: RunLog | None = None
        if self.is_first:
            out.mkdir(parents=True, exist_ok=True)
            write_recipe(out, recipe.to_mapping())
            public = recipe.without_paths().to_mapping()
            self.log = RunLog(out, parts.progress.iteration, recipe.training.loggers, public)

    def run(self) -> Path:
        iterations, progress = self.recipe.training.iterations, self.parts.progress
        self._announce()
        self.parts.fabric.barrier()
        self._fill_cache()
        began = time.monotonic() - progress.minutes * 60
        is_to_tell = self.recipe.training.compile
        shows = self.display.training(progress.iteration, iterations)
        with self.log or nullcontext(), StopSignals() as stop, shows:
            for inputs, labels in batches(self.recipe, self.data, self.parts):
                loss, terms = train_step(self.recipe, self.parts, inputs, labels)
                if is_to_tell:
                    is_to_tell = False
                    self.display.started(compiled_line())
                progress.minutes = (time.monotonic() - began) / 60
                self._report(loss.item(), terms)
                at = progress.iteration
                last = at == iterations
                signal_number = self._agreed_signal(stop)
                validates = at % self.recipe.training.val_interval == 0 or last
                saves = at % self.recipe.training.save_interval == 0 or last or signal_number
                if (validates or saves) and not self._is_finite():
                    raise self._diverged("a weight is not finite", at)
                if validates:
                    self._validate()
                if saves:
                    self._save_state()
                if signal_number and not last:
                    if self.is_first and not validates:
                        keep_last(self.out, self.recipe, self.data, self.parts)
                    self._finish_log()
                    raise InterruptedRunError(
                        f"stopped at iteration {at} of {iterations}; everything is saved. Continue with --resume.",
                        signal_number,
                    )
        self._finish_log()
        self.display.finished(self.out / BEST)
        return self.out / BEST

    def _announce(self) -> None:
        data, fabric = self.data, self.parts.fabric
        num_val = 0 if data.val_set is None else len(data.val_set)
        self.display.started(
            f"{self.recipe.method} on {self.recipe.data.source}: {len(data.train_set)} training and "
            f"{num_val} validation images, {data.train_set.classes.num_classes} classes, "
            f"{fabric.world_size} x {fabric.device.type}; {data.train_set.source}"
        )
        start = downloaded_weights(self.recipe.model.backbone.model_dump())
        if start is not None and self.recipe.training.init_from is None:
            self.display.started(licence_line(start))
        for warning in data.warnings:
            self.display.started(f"warning: {warning.message} {warning.fix}")
        if self.parts.warning is not None:
            self.display.started(f"warning: {self.parts.warning}")

    def _fill_cache(self) -> None:
        """Compute the features that are not kept yet. This is no training time."""
        cache, fabric = self.parts.cache, self.parts.fabric
        if cache is None:
            return
        place = (fabric.global_rank, fabric.world_size)
        backbone = self.parts.model.backbone
        fill_cache(cache, backbone, fabric.device, self.recipe, self.display, place)
        fabric.barrier()

    def _agreed_signal(self, stop: StopSignals) -> int:
        """The signal that any process received, 0 for none: all processes must stop at the same iteration."""
        fabric = self.parts.fabric
        if fabric.world_size == 1:
            return stop.received
        received = torch.tensor(stop.received, device=fabric.device)
        return int(cast(Tensor, fabric.all_reduce(received, reduce_op="max")))

    def _report(self, loss: float, terms: dict[str, Tensor]) -> None:
        at = self.parts.progress.iteration
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}", at)
        lr = self.parts.optimizer.param_groups[0]["lr"]
        rate = self.display.step(at, loss, lr, self.recipe.training.batch_size)
        if self.log is not None and (at % LOG_INTERVAL == 0 or at == 1):
            values = {name: value.item() for name, value in terms.items()}
            self.log.write(
                "train", at, {"loss": loss, "lr": lr, "images_per_second": rate, **values}
            )

    def _is_finite(self) -> bool:
        """Whether all weights are numbers: others are neither validated nor saved over those of before."""
        return all(bool(weight.isfinite().all()) for weight in self.parts.model.parameters())

    def _diverged(self, found: str, at: int) -> ConfigError:
        """The error of a run whose numbers grew without bound, with what can be done about it."""
        advice = "Lower optimizer.lr, lengthen schedule.warmup_iterations or train with training.precision=32-true"
        if not (self.out / STATE).is_file():
            return ConfigError(
                f"{found} at iteration {at}: training diverged. {advice}, in another --out: no state was saved before."
            )
        if self.is_first:
            write_json(self.out / DIVERGED, {"iteration": at, "found": found})
        return ConfigError(
            f"{found} at iteration {at}: training diverged. {advice}, and go on with --resume from the state saved "
            f"last, {self.out / STATE}; or begin again in another --out."
        )

    def _validate(self) -> None:
        """Score the model where there is a validation split, each process some images, and keep it."""
        result = self._scored()
        if self.is_first:
            keep_models(self.out, self.recipe, self.data, self.parts, result)
        self.parts.fabric.barrier()

    def _scored(self) -> Evaluation | None:
        val_set, progress = self.data.val_set, self.parts.progress
        if val_set is None:
            return None
        record = record_of(self.recipe, self.data, {})
        predictor = Predictor(self.parts.model, record, self.parts.fabric.device)
        share = RankShare(self.parts.fabric)
        with self.display.validation(len(share.indices(len(val_set)))) as advance:
            result = evaluate(predictor, val_set, advance, share=share)
        scores = result.scores
        if self.log is not None:
            values = {
                "miou": scores.mean_iou,
                "macc": scores.mean_accuracy,
                "aacc": scores.pixel_accuracy,
            }
            self.log.write("val", progress.iteration, values)
        self.display.validated(progress.iteration, scores.mean_iou, progress.best_miou)
        return result

    def _save_state(self) -> None:
        if self.is_first:
            parts = self.parts
            scaler = scaler_of(parts.fabric)
            state = None if scaler is None else scaler.state_dict()
            save_state(self.out, parts.model, parts.optimizer, parts.progress, self.identity, state)
        self.parts.fabric.barrier()

    def _finish_log(self) -> None:
        if self.log is not None:
            self.log.close()
