"""`vitseg train --fit`."""

from __future__ import annotations

import pytest
import yaml

from tests.tiny import write_dataset, write_recipe
from vitseg.training import fit
from vitseg.training.step_memory import StepMemory


@pytest.fixture
def source(tmp_path):
    return f"folder:{write_dataset(tmp_path / 'data')}"


@pytest.fixture
def needs_checkpointing(monkeypatch):
    """In place of the measurement: made-up numbers, and what was measured."""
    measured = []

    def measure(recipe, most):
        measured.append(recipe)
        return StepMemory(10**9 if recipe.model.backbone.gradient_checkpointing else 3 * 10**9)

    monkeypatch.setattr(fit, "measure_step", measure)
    return measured


def test_what_fits_is_trained_said_and_kept_on_a_resume(
    vitseg, source, tmp_path, needs_checkpointing
):
    recipe, out = write_recipe(tmp_path / "tiny.yaml"), tmp_path / "run"
    command = ("train", recipe, "--data", source, "--out", out, "--fit")
    result = vitseg(*command, "--max-memory", "2GB")
    assert result.code == 0, result.err
    assert (
        "--fit: a step takes 3.0 GB, 2.0 GB are given: trained with backbone.gradient_checkpointing=true, with which "
        "it takes 1.0 GB"
    ) in " ".join(result.messages)
    kept = yaml.safe_load((out / "recipe.yaml").read_text())
    assert kept["backbone"]["gradient_checkpointing"] is True
    assert kept["training"]["batch_size"] == 2
    needs_checkpointing.clear()
    assert vitseg(*command, "--resume").code == 0
    assert not needs_checkpointing
    assert yaml.safe_load((out / "recipe.yaml").read_text()) == kept


def test_what_cannot_fit_leaves_nothing_behind(vitseg, source, tmp_path, needs_checkpointing):
    recipe, out = write_recipe(tmp_path / "tiny.yaml", batch_size=1), tmp_path / "run"
    command = ("train", recipe, "--data", source, "--out", out, "--fit", "--max-memory", "500MB")
    result = vitseg(*command)
    assert result.code == 2
    assert "a step takes 3.0 GB, and 1.0 GB at least, with backbone" in result.messages[-1]
    assert not out.exists()


def test_of_several_tasks_none_measures_by_itself(alone, refused, source, tmp_path, monkeypatch):
    for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.setenv(name, "2")
    recipe = write_recipe(tmp_path / "tiny.yaml")
    for task in ("0", "1"):
        monkeypatch.setenv("SLURM_PROCID", task)
        told = refused("train", recipe, "--data", source, "--out", tmp_path / "out", "--fit")
        assert "but there are 2 (SLURM)" in told
    assert not (tmp_path / "out").exists()


def test_where_it_does_not_belong(refused, source, tmp_path):
    recipe, out = write_recipe(tmp_path / "tiny.yaml"), tmp_path / "run"
    assert "--fit changes a recipe" in refused("train", source, "--out", out, "--fit")
    cached = ("--cache-features", tmp_path / "features")
    line = refused("train", recipe, "--data", source, "--out", out, "--fit", *cached)
    assert "--fit measures a step with the backbone" in line


@pytest.mark.slow
def test_the_step_is_really_measured(vitseg, source, tmp_path):
    recipe, out = write_recipe(tmp_path / "tiny.yaml"), tmp_path / "run"
    result = vitseg("train", recipe, "--data", source, "--out", out, "--fit")
    assert result.code == 0, result.err
    assert "are at hand: nothing is changed" in " ".join(result.messages)
    other = ("--out", tmp_path / "other", "--fit", "--max-memory", "1MB")
    result = vitseg("train", recipe, "--data", source, *other)
    assert result.code == 2
    assert "but 1 MB are given. Take a smaller" in result.messages[-1]
