"""The training loop, counted in iterations."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from vitseg.backbones.licences import downloaded_weights, licence_line
from vitseg.claims import claim_run
from vitseg.errors import ConfigError, InterruptedRunError, SaidElsewhereError
from vitseg.evaluation.evaluate import Evaluation, evaluate
from vitseg.inference.predictor import Predictor
from vitseg.launch import is_first_process
from vitseg.methods.model import SegmentationModel
from vitseg.runs import BEST, RESULT, STATE, goes_on, note_launch, was_killed_early, write_recipe
from vitseg.training.batches import Batch, StepResult, batches, train_step
from vitseg.training.caching import fill_cache, require_cacheable
from vitseg.training.children import ended
from vitseg.training.compilation import compiled_line
from vitseg.training.device_memory import memory_named
from vitseg.training.display import Display
from vitseg.training.diverged import diverged, has_finite_weights, not_finite
from vitseg.training.keep import keep_last, keep_models, record_of
from vitseg.training.loaders import killed_loaders
from vitseg.training.log import RunLog
from vitseg.training.loggers.table import require_loggers
from vitseg.training.owner import owned
from vitseg.training.processes import (
    RankShare,
    largest_over_ranks,
    lost_processes,
    together,
    told_of_statistics,
)
from vitseg.training.recipe import Recipe
from vitseg.training.run_data import RunData, read_data
from vitseg.training.run_parts import RunParts, build_parts
from vitseg.training.saving import save_parts
from vitseg.training.state import RunIdentity, SavedState
from vitseg.training.state_writer import StateWriter
from vitseg.training.stop import StopSignals
from vitseg.training.task import TrainingTask, identity_of, task_of
from vitseg.training.value_range import with_value_range
from vitseg.training.waiting import WaitingClock

LOG_INTERVAL = 10
"""Iterations between rows of train.csv."""


def train(
    recipe: Recipe,
    out: str | Path,
    resume: bool = False,
    display: Display | None = None,
    cache_features: str | Path | None = None,
    task: TrainingTask | None = None,
) -> Path:
    """Train a model.

    Args:
        recipe: The run.
        out: Folder of the run. Afterwards it holds `best/` and `last/` (model directories), `recipe.yaml`,
            `train.csv`, `val.csv`, `tensorboard/`, `state.ckpt` and `result.json`.
        resume: Continue an interrupted run exactly where it was saved, or begin it anew if it ended before its first
            save, which is said; by itself where torchrun has started the processes anew.
        display: Where progress is shown; nothing is shown where not given.
        cache_features: Folder of a `FeatureCache`, filled where it is not: the head is then trained on features read
            from there, the same as without but for their 16 bits. For a frozen backbone and fixed views.
        task: Data sets, starting weights and loss that are not the recipe's, see `TrainingTask`.

    Returns:
        The folder of the best model.

    Raises:
        ConfigError: The folder holds a run already, or another process trains there; the recipe names no data set, the
            cache cannot be used, there are no validations to be patient with, or the training diverged.
        DataError: The data set cannot be read.
        InterruptedRunError: Ctrl-C or SIGTERM; the state is saved.
        OSError: The state, a model or a log cannot be written; the state that was saved before stays.
    """
    out = Path(out)
    with owned(out):
        return _train(recipe, out, resume, display, cache_features, task)


def _train(
    recipe: Recipe,
    out: Path,
    resume: bool,
    display: Display | None,
    cache_features: str | Path | None,
    task: TrainingTask | None,
) -> Path:
    cache_features = None if cache_features is None else Path(cache_features)
    display = display or Display(quiet=True)
    resume = resume or goes_on(out)
    claim_run(out, resume)
    if resume and was_killed_early(out):
        resume = False
        if is_first_process():
            display.started(
                f"{out} ended before its first save: there is no {STATE}, and it begins anew"
            )
    require_loggers(recipe.training.loggers)
    if cache_features is not None:
        require_cacheable(recipe)
    task = task or task_of(recipe)
    if recipe.training.patience is not None and task.val_set is None:
        raise ConfigError(
            "training.patience ends a run by its validations, but nothing is validated here: leave it out."
        )
    recipe, task = with_value_range(recipe, task, display, begun=out if resume else None)
    data = read_data(recipe, task, display)
    identity = identity_of(recipe, task)
    saved = SavedState(out, identity) if resume else None
    with ended(), memory_named():
        parts = build_parts(recipe, task, data, saved, cache_features)
        with lost_processes(parts.fabric), killed_loaders(recipe.data.num_workers):
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
        self.clock = WaitingClock(parts.progress)
        self.is_first = parts.fabric.is_global_zero  # of several processes, the one that writes
        self.display = display if self.is_first else Display(quiet=True)
        self.identity, self.writer = identity, StateWriter(out, identity)
        self.log: RunLog | None = None
        with together(parts.fabric):
            if self.is_first:
                out.mkdir(parents=True, exist_ok=True)
                write_recipe(out, recipe.to_mapping())
                note_launch(out)
                public = recipe.without_paths().to_mapping()
                self.log = RunLog(out, parts.progress.iteration, recipe.training.loggers, public)

    def run(self) -> Path:
        with self.log or nullcontext():
            self._announce()
            self.parts.fabric.barrier()
            self._fill_cache()
            if self._is_stalled():
                progress = self.parts.progress
                self.display.stalled(progress.iteration, progress.without_better)
            else:
                try:
                    self._iterate()
                finally:
                    self.writer.wait()
        self.display.finished(self.out / BEST)
        return self.out / BEST

    def _iterate(self) -> None:
        iterations, progress = self.recipe.training.iterations, self.parts.progress
        if self.is_first and progress.iteration < iterations:
            (self.out / RESULT).unlink(missing_ok=True)  # of an end that was not the last
        began = time.monotonic() - progress.minutes * 60
        is_to_tell = self.recipe.training.compile
        with StopSignals() as stop, self.display.training(progress.iteration, iterations):
            for batch in self.clock.timed(batches(self.recipe, self.data, self.parts)):
                step = train_step(self.recipe, self.parts, *batch)
                if is_to_tell:
                    is_to_tell = False
                    self.display.started(compiled_line())
                progress.minutes = (time.monotonic() - began) / 60
                if (found := not_finite(step)) is not None:
                    raise self._diverged(found, batch, step)
                self._report(step)
                if self._is_over_after(batch, step, stop):
                    return

    def _is_over_after(self, batch: Batch, step: StepResult, stop: StopSignals) -> bool:
        """Validate and save where it is time; returns whether the run ends behind this step."""
        config, at = self.recipe.training, self.parts.progress.iteration
        signal_number = self._agreed(stop.received)
        is_last = at == config.iterations
        validates = at % config.val_interval == 0 or is_last
        saves = at % config.save_interval == 0 or is_last or signal_number
        if (validates or saves) and not has_finite_weights(self.parts):
            raise self._diverged("a weight is not finite", batch, step)
        if validates:
            self._validate()
        is_over = is_last or (validates and self._is_stalled())
        if saves or is_over:
            self._save_state(waits=bool(is_over or signal_number))
        if signal_number and not is_over:
            if not validates:
                self._keep_last()
            self._finish_log()
            raise InterruptedRunError(
                f"stopped at iteration {at} of {config.iterations}; everything is saved. Continue with --resume.",
                signal_number,
            )
        return is_over

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
        batch_size = self.recipe.training.batch_size
        of_processes = told_of_statistics(self.parts.model, fabric, batch_size)
        for told in (self.parts.warning, of_processes):
            if told is not None:
                self.display.started(f"warning: {told}")

    def _fill_cache(self) -> None:
        """Compute the features that are not kept yet. This is no training time."""
        cache, fabric = self.parts.cache, self.parts.fabric
        if cache is None:
            return
        place = (fabric.global_rank, fabric.world_size)
        backbone = self.parts.model.backbone
        fill_cache(cache, backbone, fabric.device, self.recipe, self.display, place)
        fabric.barrier()

    def _is_stalled(self) -> bool:
        """Whether the run ends before its last iteration."""
        config, progress = self.recipe.training, self.parts.progress
        return progress.iteration < config.iterations and progress.has_stalled(config.patience)

    def _agreed(self, received: int) -> int:
        """The signal that any process received, 0 for none: all processes must stop at the same iteration.

        Raises:
            OSError: The state could not be saved; in other processes than the one that writes it a SaidElsewhereError.
        """
        has_failed = self.writer.error is not None
        signal_number, failed = largest_over_ranks(self.parts.fabric, received, int(has_failed))
        if failed:
            raise self.writer.error or SaidElsewhereError(
                "the process of this training that writes the state could not, and says why."
            )
        return signal_number

    def _report(self, step: StepResult) -> None:
        at, loss = self.parts.progress.iteration, step.loss.item()
        lr = self.parts.optimizer.param_groups[0]["lr"]
        waiting = self.clock.stepped()
        rate = self.display.step(at, loss, lr, self.recipe.training.batch_size, waiting)
        if self.log is not None and (at % LOG_INTERVAL == 0 or at == 1):
            values = {"loss": loss, "lr": lr, "images_per_second": rate, "waiting": waiting}
            terms = {name: value.item() for name, value in step.terms.items()}
            self.log.write("train", at, values | terms)

    def _diverged(self, found: str, batch: Batch, step: StepResult) -> ConfigError:
        self.writer.wait()
        return diverged(found, self.out, self.recipe, self.data, self.parts, batch, step)

    def _kept_weights(self) -> AbstractContextManager[None]:
        """Within it, the model has the weights that are validated and kept."""
        average = self.parts.average
        return nullcontext() if average is None else average.in_the_model()

    def _validate(self) -> None:
        """Score the model where there is a validation split, each process some images, and keep it."""
        parts, config = self.parts, self.recipe.training
        with self._kept_weights():
            model = self.parts.whole_model()
            result = self._scored(model)
            is_best = parts.progress.judge(None if result is None else result.scores.mean_iou)
            is_over = parts.progress.iteration == config.iterations or self._is_stalled()
            with together(parts.fabric):
                if self.is_first:
                    keep_models(
                        self.out, self.recipe, self.data, parts, model, result, is_best, is_over
                    )
        if self._is_stalled():
            self.display.stalled(parts.progress.iteration, parts.progress.without_better)

    def _keep_last(self) -> None:
        with self._kept_weights():
            model = self.parts.whole_model()
            with together(self.parts.fabric):
                if self.is_first:
                    keep_last(self.out, self.recipe, self.data, self.parts, model)

    def _scored(self, model: SegmentationModel) -> Evaluation | None:
        val_set, progress = self.data.val_set, self.parts.progress
        if val_set is None:
            return None
        record = record_of(self.recipe, self.data, {})
        predictor = Predictor(model, record, self.parts.fabric.device)
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

    def _save_state(self, waits: bool) -> None:
        """Copy the state; it is written while the training goes on, or `waits` until it is written.

        That of a sharded training is written at once, by all processes.
        """
        if self.parts.sharding is not None:
            save_parts(self.out, self.parts, self.identity)
            return
        if self.is_first:
            self.writer.save(self.parts)
        if waits:
            self.writer.wait()
            self._agreed(0)

    def _finish_log(self) -> None:
        if self.log is not None:
            self.log.close()
