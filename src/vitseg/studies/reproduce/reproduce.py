"""A published row again: trained and scored as the paper says, and put beside what it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitseg.claims import claim_run
from vitseg.evaluation.evaluate import evaluate
from vitseg.files import write_json
from vitseg.inference.config import InferenceConfig
from vitseg.inference.predictor import load
from vitseg.launch import is_first_process
from vitseg.runs import LAST, read_own, read_result, stage_of, was_killed_early
from vitseg.runtimes.places import weights_hash
from vitseg.studies.continued import require_same_run
from vitseg.studies.reproduce.row import Entry, Reference, Scores, changes, entries, reference_of
from vitseg.training.display import Display
from vitseg.training.loop import train
from vitseg.training.recipe import Recipe, load_recipe
from vitseg.training.recipe_shelf import ShelfRecipe
from vitseg.training.task import open_splits

REPRODUCTION = "reproduction.json"
"""In the folder of the run: the row, what it is beside, and how each number was found."""

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""Ratios of the papers' tests at several scales, each with its mirror image."""

Bar = Callable[[int], AbstractContextManager[Callable[..., None]]]
"""Shows an evaluation of so many images; gives what to call after each."""


@dataclass(frozen=True)
class Reproduction:
    """A row beside another.

    Attributes:
        name: Of the recipe.
        reference: What the row is beside; None: nothing.
        changes: Fields in which the run is another than the shipped recipe.
        lacking: What the data lack, a line each.
        entries: The numbers.
        result: What `result.json` of the run says.
        several_scales: The evaluation at several scales; None: nothing of the kind is published.
        weights_sha256: Of the model that was scored.
    """

    name: str
    reference: Reference | None
    changes: dict[str, Any]
    lacking: Sequence[str]
    entries: Sequence[Entry]
    result: dict[str, Any]
    several_scales: dict[str, Any] | None
    weights_sha256: str

    def to_json(self, shown: ShelfRecipe) -> dict[str, Any]:
        """Plain values."""
        final = self.result["final"]
        return {
            "recipe": self.name,
            "changes": self.changes,
            "reference": self.reference,
            "published": None if shown.published is None else shown.published._asdict(),
            "row": {entry.name: entry.to_json() for entry in self.entries},
            "data_lacking": list(self.lacking),
            "seed": self.result["seed"],
            "iterations": self.result["iterations"],
            "training_minutes": self.result["training_minutes"],
            "model": LAST,
            "weights_sha256": self.weights_sha256,
            "one_scale": final,
            "several_scales": self.several_scales,
        }


def reproduce(
    shown: ShelfRecipe,
    recipe: Recipe,
    out: Path,
    lacking: Sequence[str],
    display: Display,
    bar: Bar,
) -> Reproduction | None:
    """Train what is not trained yet, score it as the paper does, and write the row beside the published one.

    The model is that after the last iteration, as the papers have it; at one scale it is scored by the training. A run
    that was stopped goes on, and what is there already is not done again.

    Args:
        shown: The recipe as the shelf has it.
        recipe: The run, with what the user has changed.
        out: Folder of the run.
        lacking: What the data lack, a line each.
        display: Where the training is shown.
        bar: Where an evaluation is shown.

    Returns:
        The row; None in other processes than the first of a training with several.

    Raises:
        CheckpointError: The folder holds a run of another recipe or of other data.
        InterruptedRunError: Ctrl-C or SIGTERM; the same call goes on.
    """
    stage = stage_of(out)
    if stage == "finished":
        require_same_run(recipe, out)
    else:
        resume = stage == "stopped" or was_killed_early(out)  # which begins anew
        claim_run(out, resume)
        train(recipe, out, resume, display)
    if not is_first_process():
        return None
    result, sha256 = read_result(out), weights_hash(out / LAST)
    several = None
    if shown.published is not None and shown.published.miou_multi_scale is not None:
        several = _kept(out, recipe, sha256) or _at_several_scales(recipe, out, bar)
    one_scale = result["final"]
    scores = Scores(_percent(one_scale), _percent(several))
    found = Reproduction(
        name=shown.name,
        reference=reference_of(shown),
        changes=changes(load_recipe(shown.name), recipe),
        lacking=lacking,
        entries=entries(shown, recipe, len(one_scale["per_class"]), scores),
        result=result,
        several_scales=several,
        weights_sha256=sha256,
    )
    write_json(out / REPRODUCTION, found.to_json(shown))
    return found


def several_scales(inference: InferenceConfig) -> InferenceConfig:
    """A protocol with the papers' views: six scales, each with its mirror image.

    Where windows slide, the short side of a view is at least that of the window: the rule of SETR, of Segmenter, and of
    SegViT on COCO-Stuff and PASCAL-Context; its configuration for ADE20K has none, and fails below the window.

    Args:
        inference: The protocol at one scale.
    """
    changed = {**inference.model_dump(), "scales": SCALES, "flip": True}
    if inference.crop_size is not None and inference.resize is not None:
        changed["min_short"] = min(inference.crop_size)
    return InferenceConfig.model_validate(changed)


def _at_several_scales(recipe: Recipe, out: Path, bar: Bar) -> dict[str, Any]:
    protocol = several_scales(recipe.inference).model_dump(mode="json", exclude_none=True)
    settings = [f"{field}={value}" for field, value in protocol.items()]
    predictor = load(out / LAST, protocol=settings)
    _, val_set = open_splits(recipe.data)
    with bar(len(val_set)) as advance:
        return evaluate(predictor, val_set, advance).to_json()


def _kept(out: Path, recipe: Recipe, sha256: str) -> dict[str, Any] | None:
    """What an earlier call found of the same weights by the same protocol; None: there was none."""
    if not (out / REPRODUCTION).is_file():
        return None
    before = read_own(out / REPRODUCTION)
    several = before.get("several_scales")
    wanted = several_scales(recipe.inference).model_dump(mode="json")
    if not several or before.get("weights_sha256") != sha256 or several["inference"] != wanted:
        return None
    return several


def _percent(found: dict[str, Any] | None) -> float | None:
    """MIoU of an evaluation in percent; None: there is none, or no class was there to be scored."""
    return None if found is None or found["miou"] is None else 100 * found["miou"]
