"""A state in parts, as one process writes and reads it."""

from __future__ import annotations

import errno
import io
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from vitseg.checkpoint.places import sha256_of
from vitseg.errors import ConfigError
from vitseg.runs import SHARDS
from vitseg.training.recipe import TrainingConfig
from vitseg.training.sharded_state import (
    ShardedSave,
    ShardedTensors,
    _Contents,
    sharded_as_parameters,
)
from vitseg.training.sharding import require_shardable
from vitseg.training.state import shards_named, write_state


def trained(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def save(out: Path, iteration: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> Path:
    saved = ShardedSave(out, iteration)
    saved.begin(shards_named(out))
    saved.write(0, model, optimizer)
    write_state(out, saved.finish())
    saved.clean()
    return out / SHARDS / saved.name


def opened(folder: Path) -> ShardedTensors:
    """With its contents as they are now."""
    return ShardedTensors(folder, sha256_of(folder / ".metadata"))


@pytest.fixture
def saved(tmp_path):
    model, optimizer = trained()
    return model, optimizer, save(tmp_path, 7, model, optimizer)


def test_what_is_saved_is_restored(saved):
    model, optimizer, folder = saved
    other, of_other = trained(1)
    tensors = opened(folder)
    tensors.restore_model(other)
    of_other.load_state_dict(tensors.optimizer_state(of_other))
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    wanted, found = (each.state_dict()["state"] for each in (optimizer, of_other))
    assert found.keys() == wanted.keys()
    for number, values in wanted.items():
        for name, value in values.items():
            assert torch.equal(found[number][name], value), (number, name)


def test_the_state_of_one_file_is_left_as_it_is(saved):
    _, optimizer, _ = saved
    state = optimizer.state_dict()
    same = sharded_as_parameters(state, optimizer)
    assert same["param_groups"] == state["param_groups"]
    assert same["state"][0]["exp_avg"] is state["state"][0]["exp_avg"]


def test_the_folder_of_before_goes_when_the_new_one_is_named(saved, tmp_path):
    model, optimizer, before = saved
    after = save(tmp_path, 8, model, optimizer)
    assert [path.name for path in (tmp_path / SHARDS).iterdir()] == [after.name] != [before.name]
    write_state(tmp_path, {"model": {}})
    assert shards_named(tmp_path) is None
    assert not (tmp_path / SHARDS).exists()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_save_that_is_cut_short_leaves_the_last_one(saved, tmp_path, steps):
    model, optimizer, folder = saved
    cut = ShardedSave(tmp_path, 8)
    for step in (
        lambda: cut.begin(folder.name),
        lambda: cut.write(0, model, optimizer),
        cut.finish,
    )[:steps]:
        step()
    assert shards_named(tmp_path) == folder.name
    opened(folder).restore_model(trained(1)[0])
    later = save(tmp_path, 8, model, optimizer)
    assert [path.name for path in (tmp_path / SHARDS).iterdir()] == [later.name]


def _removed(part: Path) -> None:
    part.unlink()


def _cut(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-10])


@pytest.mark.parametrize("lose", [_removed, _cut])
def test_parts_that_lie_on_another_machine_are_no_state(saved, tmp_path, monkeypatch, lose):
    model, optimizer, folder = saved
    monkeypatch.setattr("vitseg.training.sharded_state._PATIENCE", 0.0)
    monkeypatch.setattr("vitseg.training.sharded_state._PAUSE", 0.0)
    parted = ShardedSave(tmp_path, 8)
    parted.begin(folder.name)
    parted.write(0, model, optimizer)
    (part,) = (tmp_path / SHARDS).glob(".*.writing/__0_0.distcp")
    lose(part)
    with pytest.raises(ConfigError, match=r"__0_0\.distcp of this save, .* do not share --out"):
        parted.finish()
    assert shards_named(tmp_path) == folder.name
    parted.undo()
    assert [path.name for path in (tmp_path / SHARDS).iterdir()] == [folder.name]


def test_a_part_that_cannot_be_written_is_an_error_of_the_system(saved, tmp_path, monkeypatch):
    model, optimizer, folder = saved
    cut = ShardedSave(tmp_path, 8)
    cut.begin(folder.name)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vitseg.training.sharded_state._Stream.write", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        cut.write(0, model, optimizer)
    assert raised.value.errno == errno.ENOSPC
    assert "__0_0.distcp" in str(raised.value.filename)
    cut.undo()
    assert [path.name for path in (tmp_path / SHARDS).iterdir()] == [folder.name]


def test_another_model_is_refused(saved):
    _, _, folder = saved
    for other in (nn.Sequential(nn.Linear(3, 5)), nn.Linear(3, 4)):
        with pytest.raises((KeyError, ValueError, RuntimeError)):
            opened(folder).restore_model(other)


def test_a_table_of_contents_that_would_run_something_is_refused(saved):
    _, _, folder = saved
    (folder / ".metadata").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(pickle.UnpicklingError, match=r"(posix|os)\.system does not belong there"):
        opened(folder)


@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])
def test_contents_of_any_python_are_read(module):
    """The library keeps paths in them, whose class has another name from Python 3.13 on."""
    content = f"c{module}\nPosixPath\np0\n(V/a\np1\ntp2\nRp3\n.".encode()
    assert _Contents(io.BytesIO(content)).load() == Path("/a")


# what a sharded training is not for


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"strategy": "fsdp"}, "shards the model over devices, but there is 1: give devices=N"),
        ({"strategy": "deepspeed", "devices": 2}, "'ddp' or 'fsdp'"),
        ({"batch_size": 1, "devices": 2}, "not divisible by devices 2: give a multiple of 2"),
    ],
)
def test_recipes_that_cannot_be_trained(fields, words):
    with pytest.raises(ValueError, match=words):
        TrainingConfig.model_validate({"iterations": 1, "batch_size": 4, **fields})


def test_what_does_not_go_together():
    require_shardable("ddp", "16-mixed", Path("cache"))
    require_shardable("fsdp", "bf16-mixed", None)
    for precision, cache, words in (
        ("16-mixed", None, "give training.precision=bf16-mixed"),
        ("32-true", Path("cache"), "leave --cache-features out"),
    ):
        with pytest.raises(ConfigError, match=words):
            require_shardable("fsdp", precision, cache)
