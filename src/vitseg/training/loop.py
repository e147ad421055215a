"""The training loop, counted in iterations."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, cast

import lightning
import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vitseg.backbones.create import pretrained_mean_std
from vitseg.checkpoint.model_dir import ModelRecord, save_model
from vitseg.checks.fast import fast_findings
from vitseg.checks.file_rules import ALL_IGNORED
from vitseg.data.balance import Balance, measure_balance
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.finding import Finding
from vitseg.errors import ConfigError, DataError, VitsegError
from vitseg.evaluation.evaluate import Evaluation, evaluate, require_same_classes
from vitseg.images.preprocess import Preprocessing
from vitseg.inference.predictor import Predictor
from vitseg.training.caching import fill_cache, open_cache, require_cacheable
from vitseg.training.display import Display
from vitseg.training.feature_cache import CachedSamples, FeatureCache
from vitseg.training.log import RunLog
from vitseg.training.optimizer import build_optimizer
from vitseg.training.recipe import Precision, Recipe
from vitseg.training.sampler import GridSamples, StreamSampler, collate
from vitseg.training.samples import training_samples
from vitseg.training.schedule import lr_at
from vitseg.training.start import start_from
from vitseg.training.state import STATE, Progress, load_state, save_state, seed_everything
from vitseg.training.stop import InterruptedRunError, StopSignals, ignore_interrupts
from vitseg.training.task import TrainingTask, task_of

Batch = tuple[Tensor | Sequence[Tensor], Tensor]
"""Images, or the feature maps that a cache holds of them, and their labels."""


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
        resume: Continue an interrupted run exactly where it was saved.
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
    return _Run(recipe, out, resume, display or Display(quiet=True), cache_features, task).run()


class _Run:
    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        resume: bool,
        display: Display,
        cache_features: Path | None,
        task: TrainingTask | None,
    ):
        self.recipe, self.out, self.display = recipe, out, display
        config = recipe.training
        _check_out(out, resume)
        if cache_features is not None:
            require_cacheable(recipe)
        task = task or task_of(recipe)
        self.train_set, self.val_set = task.train_set, task.val_set
        for dataset in (self.train_set, self.val_set):
            if dataset is not None and not len(dataset):
                raise DataError(f"split {dataset.split} of {recipe.data.source} is empty.")
        if self.val_set is not None:
            require_same_classes(self.train_set.classes, self.val_set)
        self.warnings = [
            finding
            for finding in check_before_training(self.train_set, self.val_set)
            if not (task.has_negatives and finding.code == ALL_IGNORED)
        ]
        self.balance = self._measure_balance()
        mean, std = pretrained_mean_std(recipe.model.backbone)
        self.preprocessing = Preprocessing(mean=mean, std=std)
        self.drawn = training_samples(recipe, self.train_set, self.balance, self.preprocessing)

        self.fabric = lightning.Fabric(
            devices=config.devices, precision=_precision(config.precision)
        )
        self.fabric.launch()
        if not self.fabric.is_global_zero:
            self.display = Display(quiet=True)
        seed_everything(config.seed)
        model = recipe.model.build(
            self.train_set.classes.num_classes, recipe.data.augment.crop_size
        )
        self.start_warning = None
        if config.init_from is not None and not resume:
            self.start_warning = start_from(
                config.init_from, model, recipe.method, self.train_set.classes
            )
        task.prepare(model)
        if self.fabric.world_size > 1 and self.fabric.device.type == "cuda":
            # Of the whole batch, not of a device's share (torch has no such layer for the CPU).
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # in place
        seed_everything(config.seed + self.fabric.global_rank)
        self.model = model
        weights = self.balance.class_weights
        criterion = recipe.model.criterion(
            None if weights is None else torch.from_numpy(weights).float()
        )
        step = task.step(model, criterion, config.freeze_backbone)
        on_cpu = self.fabric.device.type == "cpu"
        fused = on_cpu and _precision(config.precision) != "16-mixed"
        optimizer = build_optimizer(model, recipe.optimizer, fused)
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.step, self.optimizer = self.fabric.setup(step, optimizer)
        self.progress = Progress()
        if (
            resume
        ):  # after the set-up, so that the optimiser's state lands on the device of its parameters
            self.progress = load_state(out, model, optimizer, recipe.to_mapping())
            if not self.fabric.is_global_zero:  # the stored random state is the first process's
                seed_everything(config.seed + self.fabric.global_rank + self.progress.iteration)
        if cache_features is not None:
            samples = self.drawn.samples
            step.cache = open_cache(cache_features, recipe, model, self.preprocessing, samples)
        self.cache = step.cache
        self.started = time.monotonic() - self.progress.minutes * 60

    def _fill_cache(self, cache: FeatureCache) -> None:
        """Compute the features that are not kept yet. This is no training time."""
        began, recipe = time.monotonic(), self.recipe
        place = (self.fabric.global_rank, self.fabric.world_size)
        fill_cache(cache, self.model.backbone, self.fabric.device, recipe, self.display, place)
        self.fabric.barrier()
        self.started += time.monotonic() - began

    def _measure_balance(self) -> Balance:
        config, workers = self.recipe.data.balance, self.recipe.data.num_workers
        if not config.needs_statistics:
            return Balance()
        with self.display.counting(len(self.train_set)) as advance:
            return measure_balance(config, self.train_set, workers, advance)

    def run(self) -> Path:
        iterations = self.recipe.training.iterations
        if self.fabric.is_global_zero:
            self.out.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(self.recipe.to_mapping(), sort_keys=False)
            (self.out / "recipe.yaml").write_text(text, encoding="utf-8")
            self.log = RunLog(self.out, self.progress.iteration)
        num_val = 0 if self.val_set is None else len(self.val_set)
        self.display.started(
            f"{self.recipe.method} on {self.recipe.data.source}: {len(self.train_set)} training and "
            f"{num_val} validation images, {self.train_set.classes.num_classes} classes, "
            f"{self.fabric.world_size} x {self.fabric.device.type}; {self.train_set.source}"
        )
        for warning in self.warnings:
            self.display.started(f"warning: {warning.message} {warning.fix}")
        if self.start_warning is not None:
            self.display.started(f"warning: {self.start_warning}")
        self.fabric.barrier()
        if self.cache is not None:
            self._fill_cache(self.cache)
        with StopSignals() as stop, self.display.training(self.progress.iteration, iterations):
            for inputs, labels in self._batches():
                self._step(inputs, labels)
                at = self.progress.iteration
                last = at == iterations
                signal_number = self._agreed_signal(stop)
                if at % self.recipe.training.val_interval == 0 or last:
                    self._validate()
                if at % self.recipe.training.save_interval == 0 or last or signal_number:
                    self._save_state()
                if signal_number and not last:
                    self._finish_log()
                    raise InterruptedRunError(
                        f"stopped at iteration {at} of {iterations}; everything is saved. Continue with --resume.",
                        signal_number,
                    )
        self._finish_log()
        self.display.finished(self.out / "best")
        return self.out / "best"

    def _agreed_signal(self, stop: StopSignals) -> int:
        """The signal that any process received, 0 for none: all processes must stop at the same iteration."""
        if self.fabric.world_size == 1:
            return stop.received
        received = torch.tensor(stop.received, device=self.fabric.device)
        return int(cast(Tensor, self.fabric.all_reduce(received, reduce_op="max")))

    def _batches(self) -> Iterator[Batch]:
        config, data = self.recipe.training, self.recipe.data
        samples: Dataset = self.drawn.samples
        if self.cache is not None:
            assert isinstance(samples, GridSamples)
            samples = CachedSamples(samples, self.cache)
        sampler = StreamSampler(
            len(self.drawn.samples),
            config.batch_size // config.devices,
            (self.progress.iteration, config.iterations),
            config.seed,
            self.fabric.global_rank,
            self.fabric.world_size,
            self.drawn.repeats,
        )
        loader = DataLoader(
            samples,
            batch_sampler=sampler,
            num_workers=data.num_workers,
            pin_memory=self.fabric.device.type == "cuda",
            worker_init_fn=ignore_interrupts,
            collate_fn=collate,
            generator=torch.Generator(),  # the loader draws a number that must not shift dropout on a resume
        )
        loader = self.fabric.setup_dataloaders(loader, use_distributed_sampler=False)
        for batch in cast(Iterable[Batch | VitsegError], loader):
            if isinstance(batch, VitsegError):
                raise batch
            yield batch

    def _step(self, inputs: Tensor | Sequence[Tensor], labels: Tensor) -> None:
        recipe, at = self.recipe, self.progress.iteration
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr_at(at, base, recipe.training.iterations, recipe.schedule)
        self.step.train()
        self.model.set_progress(at / recipe.training.iterations)
        terms = self.step(inputs, labels)
        loss = torch.stack(list(terms.values())).sum()
        self.fabric.backward(loss)
        if recipe.optimizer.clip_grad_norm is not None:
            self.fabric.clip_gradients(
                self.step, self.optimizer, max_norm=recipe.optimizer.clip_grad_norm
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.iteration += 1
        self.progress.minutes = (time.monotonic() - self.started) / 60
        self._report(loss.item(), terms)

    def _report(self, loss: float, terms: dict[str, Tensor]) -> None:
        at = self.progress.iteration
        if not math.isfinite(loss):
            raise ConfigError(
                f"the loss is {loss} at iteration {at}: training diverged. Lower optimizer.lr, lengthen "
                f"schedule.warmup_iterations or train with training.precision=32-true. The state saved last is in "
                f"{self.out / STATE}."
            )
        lr = self.optimizer.param_groups[0]["lr"]
        rate = self.display.step(at, loss, lr, self.recipe.training.batch_size)
        if self.fabric.is_global_zero and (at % LOG_INTERVAL == 0 or at == 1):
            values = {name: value.item() for name, value in terms.items()}
            self.log.write(
                "train", at, {"loss": loss, "lr": lr, "images_per_second": rate, **values}
            )

    def _validate(self) -> None:
        if self.fabric.is_global_zero and self.val_set is None:
            self._save_models(None)
        elif self.fabric.is_global_zero:
            assert self.val_set is not None
            predictor = Predictor(self.model, self._record({}), self.fabric.device)
            with self.display.validation(len(self.val_set)) as advance:
                result = evaluate(predictor, self.val_set, advance)
            at, scores = self.progress.iteration, result.scores
            values = {
                "miou": scores.mean_iou,
                "macc": scores.mean_accuracy,
                "aacc": scores.pixel_accuracy,
            }
            self.log.write("val", at, values)
            self.display.validated(at, scores.mean_iou, self.progress.best_miou)
            self._save_models(result)
        self.fabric.barrier()

    def _save_models(self, result: Evaluation | None) -> None:
        """Save the last model, and as the best one if it is; without a result there is no better than the last."""
        metrics: dict = {"iteration": self.progress.iteration}
        best, miou = self.progress.best_miou, None
        if result is not None:
            metrics |= result.to_json()
            miou = result.scores.mean_iou
        record = self._record(metrics)
        save_model(self.out / "last", self.model, record)
        if miou is None or best is None or miou > best or math.isnan(best):
            self.progress.best_miou = miou
            save_model(self.out / "best", self.model, record)
        if self.progress.iteration == self.recipe.training.iterations:
            self._write_result(metrics)

    def _write_result(self, metrics: dict) -> None:
        config = self.recipe.training
        result = {
            "recipe": self.recipe.without_paths().to_mapping(),
            "seed": config.seed,
            "iterations": config.iterations,
            "training_minutes": round(self.progress.minutes, 1),
            "feature_minutes": None if self.cache is None else round(self.cache.minutes, 1),
            "best_miou": self.progress.best_miou,
            "final": metrics,
        }
        text = json.dumps(result, indent=2)
        (self.out / "result.json").write_text(text + "\n", encoding="utf-8")

    def _record(self, metrics: dict) -> ModelRecord:
        public = self.recipe.without_paths()
        return ModelRecord(
            method=public.method,
            architecture=public.model.model_dump(mode="json"),
            image_size=public.data.augment.crop_size,
            classes=self.train_set.classes,
            preprocessing=self.preprocessing,
            inference=public.inference.model_dump(mode="json"),
            recipe=public.to_mapping(),
            metrics=metrics,
        )

    def _save_state(self) -> None:
        if self.fabric.is_global_zero:
            mapping = self.recipe.to_mapping()
            save_state(self.out, self.model, self.optimizer, self.progress, mapping)
        self.fabric.barrier()

    def _finish_log(self) -> None:
        if self.fabric.is_global_zero:
            self.log.close()


def check_before_training(
    train_set: SegmentationDataset, val_set: SegmentationDataset | None
) -> list[Finding]:
    """Run the fast part of `vitseg data check`; returns its warnings.

    Raises:
        DataError: It found errors.
    """
    findings = fast_findings(train_set, val_set)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        worst = errors[0]
        more = (
            f" Errors in all: {len(errors)}; `vitseg data check` lists them." if errors[1:] else ""
        )
        raise DataError(f"{worst.message} {worst.fix}{more}")
    return findings


FAILED_START = {"recipe.yaml", "tensorboard"}
"""What a run leaves that failed before its first iteration; the next one may go over it."""

LOG_INTERVAL = 10
"""Iterations between rows of train.csv."""


def _check_out(out: Path, resume: bool) -> None:
    if resume or not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"--out {out} is a file: give a folder.")
    held = sorted({path.name for path in out.iterdir()} - FAILED_START)
    if held:
        raise ConfigError(
            f"--out {out} is not empty ({', '.join(held[:3])}...): give a new folder, or pass --resume to continue "
            "the run in it. Nothing was changed."
        )


def _precision(name: Precision) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "32-true"
