"""`--fit`: what is changed for which memory, in which order, and that a step is measured for it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tiny import tiny_recipe, write_dataset
from vitseg.errors import ConfigError, DataError
from vitseg.training.fit import Place, as_begun, changed, fitted, place_of
from vitseg.training.recipe import Recipe, parse_recipe
from vitseg.training.step_memory import StepMemory, measure_step

GB = 10**9
CPU = Place(False, True, False, 8 * GB, given=False, most=20 * GB)
GPU = Place(True, True, True, 8 * GB, given=True, most=20 * GB)


def recipe(**training: Any) -> Recipe:
    return parse_recipe(tiny_recipe(**{"batch_size": 4, **training}))


def memory_of(run: Recipe) -> float:
    """Made-up gigabytes: of weights and states, and of activations."""
    narrow = run.training.precision == "bf16-mixed"
    recomputed = run.model.backbone.gradient_checkpointing
    images = run.training.batch_size // run.training.accumulate
    states = 1 if run.optimizer.kind == "adamw8bit" else 2
    return states + images * (0.5 if recomputed else 1) * (0.5 if narrow else 1)


class Measured:
    """Measures by `memory_of`, with a base, and remembers what."""

    def __init__(self, base: float, has_batch_norm: bool = False):
        self.base, self.has_batch_norm = base, has_batch_norm
        self.runs: list[Recipe] = []

    def __call__(self, run: Recipe, most: int) -> StepMemory:
        self.runs.append(run)
        return StepMemory(int((self.base + memory_of(run)) * GB), self.has_batch_norm)


NOTHING: frozenset[str] = frozenset()
CHECKPOINTED = {"backbone.gradient_checkpointing": True}


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (2, {}),
        (3, CHECKPOINTED),
        (4.5, {**CHECKPOINTED, "training.accumulate": 2}),
        (5.5, {**CHECKPOINTED, "training.accumulate": 4}),
    ],
)
def test_as_little_as_is_needed_is_changed(base, expected):
    lines: list[str] = []
    measure = Measured(base)
    assert fitted(recipe(), CPU, NOTHING, measure, lines.append) == expected
    assert all(run.training.batch_size == 4 for run in measure.runs)
    assert lines[0] == "--fit: measuring a step of the training"
    if not expected:
        assert lines[1] == "--fit: a step takes 8.0 GB, 8.0 GB are at hand: nothing is changed"
    if base == 4.5:
        assert lines[1] == (
            "--fit: a step takes 10.5 GB, 8.0 GB are at hand: trained with backbone.gradient_checkpointing=true "
            "training.accumulate=2, with which it takes 7.5 GB"
        )


def test_a_gpu_has_bf16_first_and_8_bit_states_last():
    narrow = {"training.precision": "bf16-mixed"}
    full = recipe(precision="32-true")
    say = [].append
    assert fitted(full, GPU, NOTHING, Measured(4), say) == narrow
    assert fitted(full, GPU, NOTHING, Measured(5), say) == {**narrow, **CHECKPOINTED}
    everything = {**narrow, **CHECKPOINTED, "training.accumulate": 4, "optimizer.kind": "adamw8bit"}
    assert fitted(full, GPU, NOTHING, Measured(6), say) == everything
    assert not any(
        field == "training.precision" for field in fitted(recipe(), GPU, NOTHING, Measured(3), say)
    )


def test_what_changes_more_than_rounding_is_left_out():
    with pytest.raises(ConfigError) as refused:
        fitted(recipe(), CPU, NOTHING, Measured(5, has_batch_norm=True), [].append)
    assert str(refused.value).startswith(
        "--fit: a step takes 11.0 GB, and 9.0 GB at least, with backbone.gradient_checkpointing=true, but 8.0 GB are "
        "at hand. Take a smaller data.augment.crop_size"
    )


def test_what_is_settled_stays():
    measure = Measured(4)
    settled = frozenset({"backbone.gradient_checkpointing"})
    assert fitted(recipe(), CPU, settled, measure, [].append) == {"training.accumulate": 2}
    frozen = recipe(freeze_backbone=True)
    assert fitted(frozen, CPU, NOTHING, Measured(4), [].append) == {"training.accumulate": 2}
    shared = recipe(devices=2)
    with pytest.raises(ConfigError, match=r"training.accumulate=2, but"):
        fitted(shared, CPU, NOTHING, Measured(90), [].append)


def test_more_than_there_is_can_be_made_to_fit():
    lines: list[str] = []

    def measure(run: Recipe, most: int) -> StepMemory:
        return StepMemory(GB if run.training.accumulate == 4 else None)

    assert fitted(recipe(), CPU, NOTHING, measure, lines.append)["training.accumulate"] == 4
    assert lines[1].startswith(
        "--fit: a step takes more than there is, 8.0 GB are at hand: trained"
    )


def test_a_run_goes_on_as_it_began(tmp_path):
    from vitseg.runs import write_recipe

    begun = changed(recipe(), {**CHECKPOINTED, "training.accumulate": 2})
    write_recipe(tmp_path, begun.to_mapping())
    assert as_begun(recipe(), tmp_path, frozenset()) == begun
    kept = as_begun(recipe(), tmp_path, frozenset({"training.accumulate"}))
    assert kept == changed(recipe(), CHECKPOINTED)


def test_the_memory_of_several_processes_on_a_cpu_is_shared():
    one, two = (place_of(recipe(devices=number), 8 * GB) for number in (1, 2))
    if not one.is_gpu:
        assert (one.memory, two.memory) == (8 * GB, 4 * GB)
    with pytest.raises(ConfigError, match="holds the whole model"):
        place_of(recipe(devices=2, strategy="fsdp"), None)
    measured = place_of(recipe(), None)
    assert 0 < measured.memory < measured.most
    assert not measured.given


@pytest.mark.slow
def test_a_step_is_measured_in_another_process(tmp_path):
    root = write_dataset(tmp_path / "scenes")
    small = tiny_recipe()
    small["data"]["source"] = f"folder:{root}"
    large = tiny_recipe(batch_size=64)
    large["data"] |= {"source": f"folder:{root}"}
    small_run, large_run = parse_recipe(small), parse_recipe(large)
    less, more = (measure_step(run, 100 * GB).num_bytes for run in (small_run, large_run))
    assert less is not None
    assert more is not None
    assert 10**8 < less < more
    assert measure_step(large_run, (less + more) // 2).num_bytes is None  # given up
    (root / "images/train_0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="train_0"):
        measure_step(
            parse_recipe({**small, "training": {**small["training"], "batch_size": 4}}), 100 * GB
        )


@pytest.mark.slow
def test_normalisations_over_the_batch_are_told(tmp_path):
    mapping = tiny_recipe()
    mapping |= {"method": "linear", "decoder": {"norm": "batch"}}
    mapping["backbone"] |= {"tap_norm": True}
    mapping["data"]["source"] = f"folder:{write_dataset(tmp_path / 'scenes')}"
    assert measure_step(parse_recipe(mapping), 100 * GB).has_batch_norm
