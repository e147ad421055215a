"""States that are written beside the training: a copy of their moment, one at a time, and no error is lost."""

from __future__ import annotations

import errno
import threading

import pytest
import torch
from torch import nn

from tests.tiny import tiny_recipe, write_dataset
from vitseg.training import state_writer
from vitseg.training.loop import train
from vitseg.training.recipe import Recipe, parse_recipe
from vitseg.training.state import Progress, RunIdentity, snapshot, write_state

FULL = OSError(errno.ENOSPC, "No space left on device", "state.ckpt")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("writer") / "data")


def recipe(root, **training) -> Recipe:
    raw = tiny_recipe(**{"iterations": 6, "val_interval": 6, "save_interval": 2, **training})
    raw["data"]["source"] = f"folder:{root}"
    return parse_recipe(raw)


def iteration_of(out) -> int:
    return torch.load(out / "state.ckpt", weights_only=True)["progress"]["iteration"]


def test_a_state_is_that_of_its_moment():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        model(torch.randn(4, 2)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    progress = Progress(3)
    identity = RunIdentity({"a": 1}, None, None, {})  # type: ignore[arg-type]
    average = {"x": torch.ones(2)}
    state = snapshot(model, optimizer, progress, identity, {"scale": 2.0}, average)
    before = [value.clone() for value in model.state_dict().values()]
    moment = optimizer.state[model[0].weight]["exp_avg"].clone()
    step()
    progress.iteration = 4
    average["x"].zero_()
    assert all(old.equal(kept) for old, kept in zip(before, state["model"].values(), strict=True))
    assert state["optimizer"]["state"][0]["exp_avg"].equal(moment)
    assert state["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)
    assert state["progress"]["iteration"] == 3
    assert state["average"]["x"].tolist() == [1, 1]
    assert state["model"]._metadata["1"]["version"] == 2  # as torch's own saves have it


def test_the_training_goes_on_while_a_state_is_written(root, tmp_path, monkeypatch):
    """The first state is written once two more steps are taken, and the second only then."""
    steps: list[int] = []
    written: list[tuple[int, int]] = []
    may_write = threading.Event()
    real_step, real_write = torch.optim.AdamW.step, write_state

    def step(*arguments, **options):
        steps.append(len(steps) + 1)
        if len(steps) == 4:
            may_write.set()
        return real_step(*arguments, **options)

    def write(out, state):
        assert may_write.wait(60)
        real_write(out, state)
        written.append((state["progress"]["iteration"], len(steps)))

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    monkeypatch.setattr(state_writer, "write_state", write)
    train(recipe(root), tmp_path / "run")
    assert [iteration for iteration, _ in written] == [2, 4, 6]
    assert written[0][1] == 4  # the save of iteration 4 had to wait for it
    assert iteration_of(tmp_path / "run") == 6


@pytest.mark.parametrize("fails_at", [2, 6])
def test_a_full_disk_ends_the_run_and_keeps_the_last_good_state(
    root, tmp_path, monkeypatch, fails_at
):
    out, steps = tmp_path / "run", []
    real_step, real_write = torch.optim.AdamW.step, write_state

    def step(*arguments, **options):
        steps.append(None)
        return real_step(*arguments, **options)

    def write(out, state):
        if state["progress"]["iteration"] == fails_at:
            raise FULL
        real_write(out, state)

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", step)
        patched.setattr(state_writer, "write_state", write)
        with pytest.raises(OSError, match="No space left on device"):
            train(recipe(root), out)
    assert fails_at <= len(steps) <= fails_at + 2  # at the latest, the next save waits for it
    if fails_at > 2:
        assert iteration_of(out) == fails_at - 2
        train(recipe(root), out, resume=True)
        assert iteration_of(out) == 6


def test_a_write_that_fails_half_way_leaves_the_state_before(tmp_path, monkeypatch):
    state = {"progress": {"iteration": 1}, "weights": torch.zeros(1000)}
    write_state(tmp_path, state)
    real = torch.save

    def half(content, file):
        file.write(b"half")
        raise FULL

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half)
        with pytest.raises(OSError, match="No space"):
            write_state(tmp_path, {**state, "progress": {"iteration": 2}})
    assert torch.save is real
    assert iteration_of(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.ckpt"]


def test_two_that_write_at_once_leave_a_whole_state(tmp_path, monkeypatch):
    """Where no lock tells them of each other."""
    state = {"model": {}, "optimizer": {}, "recipe": {}, "data": {}}
    real, written = torch.save, []
    (tmp_path / ".state.ckpt.1234.writing").write_bytes(b"of a killed process")
    (tmp_path / ".state.ckpt.writing").write_bytes(b"of an older version")

    def save(content, file):
        real(content, file)
        written.append(sorted(path.name for path in tmp_path.glob(".state*")))
        if len(written) == 1:
            write_state(tmp_path, {**state, "progress": {"iteration": 2}})

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(FileNotFoundError):
        write_state(tmp_path, {**state, "progress": {"iteration": 1}})
    assert iteration_of(tmp_path) == 2
    assert [len(names) for names in written] == [1, 1], "one file at most"
    assert written[0] != written[1]
    assert [path.name for path in tmp_path.iterdir()] == ["state.ckpt"]


def test_another_error_of_a_run_waits_for_the_state(root, tmp_path, monkeypatch):
    """A run that ends by itself leaves a state that is whole, though it was being written."""
    real_step, real_write = torch.optim.AdamW.step, write_state
    steps: list[None] = []
    may_write = threading.Event()

    def step(*arguments, **options):
        steps.append(None)
        if len(steps) == 3:
            may_write.set()
            raise ZeroDivisionError
        return real_step(*arguments, **options)

    def write(out, state):
        assert may_write.wait(60)
        real_write(out, state)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    monkeypatch.setattr(state_writer, "write_state", write)
    with pytest.raises(ZeroDivisionError):
        train(recipe(root), tmp_path / "run")
    assert iteration_of(tmp_path / "run") == 2
