"""Heads and backbones side by side: every contender trained under one budget, then counted and timed in one run.

Source: thesis section 4.3.5, which makes the backbone the variable and asks what a light head gets out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vitseg.checkpoint.model_dir import load_model
from vitseg.errors import InterruptedRunError, SaidElsewhereError, VitsegError
from vitseg.evaluation.evaluate import device_name
from vitseg.inference.operations import count_operations
from vitseg.inference.scores import OutputScores, label_map
from vitseg.inference.timing import alternating_medians
from vitseg.launch import is_first_process
from vitseg.methods.model import SegmentationModel
from vitseg.runs import LAST, read_result
from vitseg.studies.compare.contenders import Contender, require_same_recipe
from vitseg.studies.continued import train_or_continue
from vitseg.training.caching import cache_name
from vitseg.training.display import Display
from vitseg.training.encoder import encoder_of
from vitseg.types import Size

ROUNDS, WARMUPS = 5, 2
"""Timed rounds, in each of which every model runs once, and those before them that do not count."""


@dataclass(frozen=True)
class Cost:
    """What a prediction on one image costs.

    Attributes:
        parameters: Parameters that it uses.
        head_parameters: Parameters beyond the backbone.
        gmacs: Multiply-adds in 10^9, up to the scores of every pixel.
        head_gmacs: Multiply-adds beyond what the backbone by itself takes, in 10^9.
        milliseconds: Median time, from a normalised image to the label map.
        time_ratio: That time over the first contender's.
    """

    parameters: int
    head_parameters: int
    gmacs: float
    head_gmacs: float
    milliseconds: float = 0.0
    time_ratio: float = 1.0


@dataclass(frozen=True)
class Row:
    """A contender's line.

    Attributes:
        contender: Name and recipe.
        result: What its `result.json` says; empty where the training failed.
        cost: What a prediction costs; None where the training failed.
        error: Why it failed, in one line.
    """

    contender: Contender
    result: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost | None = None
    error: str | None = None

    @property
    def backbone(self) -> str:
        recipe = self.contender.recipe
        return recipe.model.backbone.name

    @property
    def miou(self) -> float | None:
        """MIoU of the model after the last iteration, in [0, 1]; no model is picked by its score."""
        return self.result["final"]["miou"] if self.result else None

    def to_csv(self) -> dict[str, Any]:
        """Plain values by column; None where unknown."""
        recipe, cost = self.contender.recipe, self.cost
        height, width = recipe.data.augment.crop_size
        return {
            "name": self.contender.name,
            "method": recipe.method,
            "backbone": self.backbone,
            "size": f"{height}x{width}",
            "miou": self.miou,
            "best_miou": self.result.get("best_miou"),
            "params_m": cost and cost.parameters / 1e6,
            "head_params_m": cost and cost.head_parameters / 1e6,
            "gmacs": cost and cost.gmacs,
            "head_gmacs": cost and cost.head_gmacs,
            "training_minutes": self.result.get("training_minutes"),
            "feature_minutes": self.result.get("feature_minutes"),
            "latency_ms": cost and cost.milliseconds,
            "time_ratio": cost and cost.time_ratio,
            "error": self.error,
        }


def compare(
    contenders: Sequence[Contender],
    out: Path,
    device: torch.device,
    cache_features: Path | None = None,
    say: Callable[[str], object] = lambda line: None,
    new_display: Callable[[], Display] = lambda: Display(quiet=True),
) -> list[Row]:
    """Train what is not trained yet, then count and time all.

    A run lies in `out/runs/NAME`. One that is complete is taken as it is, one that was stopped goes on where it was
    saved. A training that fails becomes the error of its row, and the others go on. With several processes it ends the
    comparison: a process that has failed is at another place than those that have not, and they would wait for it.

    Args:
        contenders: What is compared.
        out: Folder of the comparison.
        device: Where predictions are timed.
        cache_features: Folder for the features of frozen backbones, with a cache for each kind of features in it.
        say: Called with a line before each training.
        new_display: Makes what shows the progress of a training.

    Returns:
        A row for each; without its cost in other processes than the first of trainings with several.

    Raises:
        ConfigError: A folder holds a run of another recipe; then nothing was trained.
        InterruptedRunError: Ctrl-C or SIGTERM; the same call goes on.
        VitsegError: A training of several processes failed.
    """
    for contender in contenders:
        require_same_recipe(contender, out / "runs" / contender.name)
    rows = []
    for number, contender in enumerate(contenders, start=1):
        folder = out / "runs" / contender.name
        say(f"{number} of {len(contenders)}: {contender.name}")
        cache = None
        if cache_features is not None:
            cache = cache_features / cache_name(contender.recipe)
        try:
            train_or_continue(contender.recipe, folder, new_display(), cache)
            rows.append(Row(contender, read_result(folder)))
        except (InterruptedRunError, SaidElsewhereError):
            raise
        except Exception as error:  # whatever it is, it is reported, and the others are of use
            if contender.recipe.training.devices * contender.recipe.training.num_nodes > 1:
                raise VitsegError(
                    f"{contender.name} failed: {_one_line(error)}. With several processes this ends the comparison: "
                    "mend it, or leave it out, and run the same command again; finished trainings are kept."
                ) from error
            rows.append(Row(contender, error=_one_line(error)))
            say(f"{contender.name} failed: {rows[-1].error}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return _with_costs(rows, out, device) if is_first_process() else rows


def comparison_json(rows: Sequence[Row], device: torch.device) -> dict[str, Any]:
    """All rows with their results, which state recipe, seed, minutes, versions and the hash of the data."""
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "rows": [{**row.to_csv(), "result": dict(row.result) or None} for row in rows],
    }


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def _with_costs(rows: Sequence[Row], out: Path, device: torch.device) -> list[Row]:
    """The rows with their costs; only those that were trained have any."""
    models: dict[int, SegmentationModel] = {}
    runs: dict[int, Callable[[], None]] = {}
    channels: dict[int, int] = {}
    for number, row in enumerate(rows):
        if row.error is None:
            model, record = load_model(out / "runs" / row.contender.name / LAST)
            models[number] = model.to(device)
            channels[number] = record.preprocessing.num_channels
            size = row.contender.recipe.data.augment.crop_size
            image = torch.zeros(1, channels[number], *size, device=device)
            runs[number] = partial(_label, models[number], image)
    seconds = alternating_medians(runs, ROUNDS, WARMUPS)
    measured = list(rows)
    for number, model in models.items():
        size = rows[number].contender.recipe.data.augment.crop_size
        cost = count_cost(model, size, device, channels[number])
        time_ratio = seconds[number] / next(iter(seconds.values()))
        cost = replace(cost, milliseconds=1000 * seconds[number], time_ratio=time_ratio)
        measured[number] = replace(rows[number], cost=cost)
    return measured


def count_cost(
    model: SegmentationModel, size: Size, device: torch.device, num_channels: int = 3
) -> Cost:
    """Parameters and multiply-adds of a prediction, without times.

    What is beyond the backbone is the whole model less the backbone run by itself, so that necks and queries within it
    count. A model that runs its backbone on fewer tokens can take less than that: then its decoder counts.

    Args:
        model: The model, on the device.
        size: (height, width) of the image in pixels.
        device: Where to run.
        num_channels: Of its input.
    """
    image, encoder = torch.zeros(1, num_channels, *size, device=device), encoder_of(model)
    whole = count_operations(model, lambda: label_map(OutputScores(model(image), 0)))
    alone = count_operations(encoder, lambda: encoder(image))
    decoder = sum(whole.macs["decoder"].values())
    return Cost(
        parameters=whole.used_parameters,
        head_parameters=max(0, whole.used_parameters - alone.used_parameters),
        gmacs=whole.total / 1e9,
        head_gmacs=max(decoder, whole.total - alone.total) / 1e9,
    )


@torch.no_grad()
def _label(model: SegmentationModel, image: torch.Tensor) -> None:
    label_map(OutputScores(model(image), 0))
