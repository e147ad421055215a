"""Does token pruning pay here? Its settings and plainer ways, measured on one device and one data set.

The papers report multiply-adds; what counts is time, at an accuracy that is still good enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
from torch import nn

from vitseg.checkpoint.model_dir import ModelRecord
from vitseg.checkpoint.versions import package_versions
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.picked import spread_indices
from vitseg.decoders.token_heads import TokenHeads
from vitseg.errors import DataError
from vitseg.evaluation.evaluate import Evaluation, evaluate
from vitseg.inference.modes import image_scores
from vitseg.inference.operations import count_operations
from vitseg.inference.scores import label_map
from vitseg.inference.timing import alternating_medians
from vitseg.methods.model import SegmentationModel
from vitseg.studies.tune.settings import Setting

TIMED_IMAGES = 16
"""Images, spread over the split, on which times and multiply-adds are taken."""

ROUNDS, WARMUPS = 3, 1
"""Rounds per timed image, in each of which every setting runs once, and those before them that do not count."""

CLEARLY_FASTER = 0.97
"""Ratio of two times above which the difference may be chance."""

_TRAINING_FACTS = ("trained_on", "converted_from")
"""Entries among the scores of the model that was tuned which the tuned model's record keeps."""


@dataclass(frozen=True)
class Row:
    """A measured setting: its accuracy and its cost.

    Attributes:
        setting: The setting.
        evaluation: Scores on the split.
        gmacs: Mean multiply-adds of an image in 10^9, up to its labels.
        alive: Share of the images' tokens, in [0, 1], that is left behind each exit.
        milliseconds: Time of an image, from its decoded pixels to its labels: the mean of the images' medians.
        time_ratio: That time over the unpruned model's.
    """

    setting: Setting
    evaluation: Evaluation
    gmacs: float
    alive: tuple[float, ...]
    milliseconds: float
    time_ratio: float

    @property
    def miou(self) -> float:
        """In [0, 1]."""
        return self.evaluation.scores.mean_iou

    def to_json(self) -> dict[str, Any]:
        """Plain values by name; `blocks` are those behind which the exits lie."""
        setting, taps = self.setting, self.setting.vit.config.taps
        is_pruned = setting.kind == "pruned"
        return {
            "name": setting.name,
            "kind": setting.kind,
            "threshold": setting.pruning.threshold,
            "exits": list(setting.exits) if is_pruned else [],
            "blocks": [taps[number] for number in setting.exits],
            "input_scale": setting.scale,
            "patch_size": setting.vit.patch_size[0],
            "miou": self.miou,
            "gmacs": self.gmacs,
            "alive": list(self.alive),
            "milliseconds": self.milliseconds,
            "time_ratio": self.time_ratio,
        }


@dataclass(frozen=True)
class Tuning:
    """All that was measured, and what follows.

    Attributes:
        rows: One per setting, the unpruned model first.
        left_out: Why settings were not measured, by their names.
        max_loss: Points of mIoU that may be lost.
        timed_images: Images on which times and multiply-adds were taken.
    """

    rows: Sequence[Row]
    left_out: Mapping[str, str]
    max_loss: float
    timed_images: int

    @property
    def unpruned(self) -> Row:
        return self.rows[0]

    @property
    def lowest_miou(self) -> float:
        """What a setting must reach, in [0, 1]."""
        return self.unpruned.miou - self.max_loss / 100

    @property
    def best(self) -> Row:
        """The fastest row that loses no more than allowed; among those about as fast, the one of highest mIoU.

        The unpruned one where none is clearly faster than it.
        """
        kinds = ("pruned", "smaller input", "larger patch")
        return self._best_of(*kinds, slowest=CLEARLY_FASTER) or self.unpruned

    @property
    def pays(self) -> bool:
        """Whether pruning is what the model should be run with."""
        return self.best.setting.kind == "pruned"

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        best, limit = self.best, f"within {self.max_loss:g} points of mIoU"
        pruned = self._best_of("pruned")
        if pruned is None:
            of_pruned = f"no pruned setting stays {limit}"
        else:
            of_pruned = f"the best pruned setting {limit} is {self._described(pruned)}"
        if best is self.unpruned:
            return (
                f"pruning does not pay here: nothing {limit} takes {CLEARLY_FASTER:g} of the unpruned time or less; "
                f"{of_pruned}."
            )
        if not self.pays:
            return f"pruning does not pay here: {self._described(best)} is better; {of_pruned}."
        plain = self._best_of("smaller input", "larger patch")
        if plain is None:
            others = f"no plain alternative stays {limit}"
        else:
            others = f"the best plain alternative {limit} is {self._described(plain)}"
        return f"pruning pays here: {self._described(best)}; {others}."

    def _best_of(self, *kinds: str, slowest: float = float("inf")) -> Row | None:
        """As `best`, among the rows of some kinds up to a ratio of times; None if all lose more than allowed."""
        allowed = [
            row
            for row in self.rows
            if row.setting.kind in kinds
            and row.miou >= self.lowest_miou - 1e-9
            and row.time_ratio <= slowest
        ]
        if not allowed:
            return None
        fastest = min(row.time_ratio for row in allowed)
        near = [row for row in allowed if fastest > CLEARLY_FASTER * row.time_ratio]
        return max(near, key=lambda row: (row.miou, -row.time_ratio))

    def _described(self, row: Row) -> str:
        change = 100 * (row.miou - self.unpruned.miou)
        return (
            f"{row.setting.name} ({row.time_ratio:.2f} of the unpruned time, mIoU {100 * row.miou:.2f} %, "
            f"{change:+.2f} points)"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values: the answer, how it was found, and all rows."""
        protocol = self.unpruned.evaluation.protocol
        return {
            "verdict": self.verdict,
            "pays": self.pays,
            "best": self.best.setting.name,
            "max_loss": self.max_loss,
            "rule": self.unpruned.setting.pruning.rule,
            "timing": {"images": self.timed_images, "rounds": ROUNDS, "warmups": WARMUPS},
            **{
                name: protocol[name]
                for name in protocol
                if name not in ("minutes", "without_classes")
            },
            "left_out": dict(self.left_out),
            "rows": [row.to_json() for row in self.rows],
        }

    def record(self) -> ModelRecord:
        """The record of a model directory that runs the model as the best row does, with that row's scores."""
        record, best = self.best.setting.record, self.best
        kept = {name: record.metrics[name] for name in _TRAINING_FACTS if name in record.metrics}
        tuned = {
            "setting": best.setting.name,
            "time_ratio": best.time_ratio,
            "max_loss": self.max_loss,
        }
        metrics = {**kept, **best.evaluation.to_json(), "tuned": tuned}
        return record.model_copy(update={"metrics": metrics, "versions": package_versions()})


def planned_runs(num_settings: int, num_images: int) -> int:
    """Images that `tune` runs in all, each under each setting."""
    timed = min(num_images, TIMED_IMAGES)
    return num_settings * (num_images + timed * (1 + ROUNDS + WARMUPS))


def tune(
    settings: Sequence[Setting],
    left_out: Mapping[str, str],
    dataset: SegmentationDataset,
    max_loss: float,
    on_runs: Callable[[int], object] = lambda count: None,
) -> Tuning:
    """Measure every setting: mIoU on all images; time, multiply-adds and tokens alive on some, spread over the split.

    Args:
        settings: The unpruned model first.
        left_out: Why others are not among them, for the report.
        dataset: The split.
        max_loss: Points of mIoU that may be lost.
        on_runs: Called with the number of images run since the last call, for a progress bar.

    Raises:
        DataError: As for `evaluate`, or no pixel of the split counts.
    """
    seen = settings[0].activate().preprocessing
    dataset = dataset.read_as(seen.bands, seen.limits)
    evaluations = []
    for setting in settings:
        evaluations.append(evaluate(setting.activate(), dataset, lambda: on_runs(1)))
        if np.isnan(evaluations[-1].scores.mean_iou):
            raise DataError(
                f"{dataset.name} {dataset.split} has no labelled pixel in its {len(dataset)} images, so that there is "
                "no mIoU: give another split, or more images."
            )
    indices = spread_indices(len(dataset), TIMED_IMAGES)
    counts = [_count(setting, dataset, indices, on_runs) for setting in settings]
    seconds = _time(settings, dataset, indices, on_runs)
    rows = [
        Row(setting, evaluation, gmacs, alive, 1000 * time / len(indices), time / seconds[0])
        for setting, evaluation, (gmacs, alive), time in zip(
            settings, evaluations, counts, seconds, strict=True
        )
    ]
    return Tuning(rows, left_out, max_loss, len(indices))


def _time(
    settings: Sequence[Setting],
    dataset: SegmentationDataset,
    indices: Sequence[int],
    on_runs: Callable[[int], object],
) -> list[float]:
    """Seconds of each setting: the sum of the images' medians, all settings in turn within every round."""
    totals = [0.0] * len(settings)
    for index in indices:
        image = dataset[index].image
        runs = {number: partial(_label, setting, image) for number, setting in enumerate(settings)}
        for number, median in alternating_medians(runs, ROUNDS, WARMUPS).items():
            totals[number] += median
        on_runs(len(settings) * (ROUNDS + WARMUPS))
    return totals


def _label(setting: Setting, image: np.ndarray) -> None:
    label_map(setting.activate().scores(image))  # ends in the computer's memory


def _count(
    setting: Setting,
    dataset: SegmentationDataset,
    indices: Sequence[int],
    on_runs: Callable[[int], object],
) -> tuple[float, tuple[float, ...]]:
    """Mean multiply-adds of an image in 10^9, and the share of tokens alive behind each exit."""
    predictor, total = setting.activate(), 0
    model = predictor.network.eval()
    with _tokens_read(model) as read:
        for index in indices:
            image = dataset[index].image
            size = (image.shape[0], image.shape[1])
            # Counting needs tensors that autograd may see, which `Predictor.scores` makes none of.
            inputs = [
                predictor.model_input(image, predictor.inference.input_size(size, scale))
                for scale in predictor.inference.scales
            ]
            scores = partial(image_scores, model, inputs, predictor.inference, size)
            total += count_operations(model, lambda s=scores: label_map(s())).total
            on_runs(1)
    everything = next(count for count in read if count)  # nobody has left in front of the first
    alive = [
        next(count for count in read[number:] if count) / everything
        for number in range(1, len(read))
    ]
    return total / 1e9 / len(indices), tuple(alive)


@contextmanager
def _tokens_read(model: SegmentationModel) -> Iterator[list[int]]:
    """Tokens that every head of a DToP model reads while the block runs, the last head's last; 0: it is not run."""
    decoder = cast(TokenHeads, model.decoder)
    heads = [*decoder.exits, decoder.head]
    read = [0] * len(heads)

    def note(number: int, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        read[number] += sum(arguments[0].lengths)

    handles = [
        head.register_forward_pre_hook(partial(note, number)) for number, head in enumerate(heads)
    ]
    try:
        yield read
    finally:
        for handle in handles:
            handle.remove()
