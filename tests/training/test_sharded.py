"""A sharded training (FSDP2): the losses of one process, whole models, a state for any number of processes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file

from tests.contracts.test_methods import CONFIGS
from tests.training.nursery import Group
from tests.training.runs import SMALL, STILL, arguments, losses, rows
from vitseg.inference.predictor import load
from vitseg.runs import OWNER

pytestmark = [pytest.mark.slow, pytest.mark.long]

FSDP = {"training.devices": 2, "training.strategy": "fsdp"}
STRATEGIES = {"ddp": {"training.devices": 2}, "fsdp": FSDP}


@pytest.fixture
def start(nursery, scenes, tmp_path):
    """Starts a training by its fields; processes as many as the recipe has."""

    def started(name: str, *options: str, world: int | None = None, **fields: object) -> Group:
        given = {**SMALL, **STILL, **fields}
        processes = int(given.get("training.devices", 1)) if world is None else world
        command = arguments(scenes, tmp_path / name, *options, **given)
        return nursery.train(command, tmp_path / f"{name}.log", processes)

    return started


@pytest.fixture
def train(start, tmp_path):
    def trained(name: str, *options: str, **fields: object) -> Path:
        group = start(name, *options, **fields)
        codes = group.wait()
        assert codes == [0] * len(codes), (tmp_path / f"{name}.log").read_text()
        return tmp_path / name

    return trained


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "last" / "model.safetensors")


CASES = {
    "clipped": {"optimizer.clip_grad_norm": 0.5},
    "recomputed": {"backbone.gradient_checkpointing": "true"},
    "SGD": {"optimizer.kind": "sgd", "optimizer.lr": 0.01},
    "frozen": {"training.freeze_backbone": "true"},
    "pairs on the attention": {"training.lora": "{rank: 2}", "optimizer.layer_decay": 0.8},
}


@pytest.mark.parametrize("case", CASES)
def test_two_sharded_processes_have_the_losses_of_one(train, case):
    fields = {"training.iterations": 6, "training.val_interval": 3, **CASES[case]}
    one, two = train("one", **fields), train("two", **fields, **FSDP)
    assert losses(two) == pytest.approx(losses(one), rel=2e-5)  # the file has six digits
    assert (two / "val.csv").read_text() == (one / "val.csv").read_text()
    found, wanted = weights(two), weights(one)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=2e-4, rtol=0)
    load(two)


def test_in_bf16_it_is_as_near_as_bf16_is(train):
    fields = {"training.iterations": 6, "training.precision": "bf16-mixed"}
    one, two = train("one", **fields), train("two", **fields, **FSDP)
    assert losses(two) == pytest.approx(losses(one), rel=0.02)


@pytest.fixture(scope="module")
def gradients(nursery, tmp_path_factory):
    """Loss and norm of the gradient by strategy and method."""
    folder = tmp_path_factory.mktemp("gradients")
    for strategy in STRATEGIES:
        to = [str(folder / strategy), strategy]
        nursery.call("tests.training.jobs:gradients", to, folder / f"{strategy}.log", 2)
    return {strategy: torch.load(folder / strategy) for strategy in STRATEGIES}


@pytest.mark.parametrize("case", CONFIGS)
def test_every_method_has_the_gradients_of_data_parallel_training(gradients, case):
    sharded, whole = gradients["fsdp"][case], gradients["ddp"][case]
    assert sharded == pytest.approx(whole, rel=1e-4)


# the state


LONG = {"training.iterations": 40, "training.save_interval": 3}


def killed(group: Group, out: Path, saves: int = 1) -> None:
    """End all processes at once after some saves."""
    seen: set[int] = set()
    until = time.monotonic() + 100
    while len(seen) < saves:
        if (out / "state.ckpt").is_file():
            seen.add((out / "state.ckpt").stat().st_mtime_ns)
        assert None in group.codes()
        assert time.monotonic() < until
    group.kill()


def test_a_state_is_the_same_for_any_number_of_processes(nursery, start, tmp_path):
    for strategy, fields in STRATEGIES.items():
        killed(start(strategy, **LONG, **fields), tmp_path / strategy)
        read = {}
        for other, world in (("ddp", 1), ("ddp", 2), ("fsdp", 2), ("fsdp", 4)):
            target = tmp_path / f"{strategy}-{other}-{world}"
            changed = [f"training.devices={world}", f"training.strategy={other}"]
            to = [str(tmp_path / strategy), str(target), *changed]
            nursery.call("tests.training.jobs:whole_state", to, tmp_path / "state.log", world)
            read[other, world] = torch.load(target)
        first = read["ddp", 1]
        assert first["optimizer"]
        assert first["share"] == 1
        assert 0.4 < read["fsdp", 2]["share"] < 0.6
        assert 0.2 < read["fsdp", 4]["share"] < 0.35
        for other in read.values():
            assert other["iteration"] == first["iteration"]
            assert other["groups"] == first["groups"]
            assert same(other["model"], first["model"])
            assert same(other["optimizer"], first["optimizer"])


def same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return one == other


@pytest.mark.parametrize("worlds", [(2, 1, 2), (4, 2)])
def test_a_run_goes_on_with_another_number_of_devices(start, train, tmp_path, worlds):
    whole = train("whole", **LONG)
    for number, world in enumerate(worlds):
        fields = {"training.devices": world, "training.strategy": "fsdp" if world > 1 else "ddp"}
        resume = ["--resume"] if number else []
        if number < len(worlds) - 1:
            killed(start("changed", *resume, **LONG, **fields), tmp_path / "changed", 2)
        else:
            train("changed", *resume, **LONG, **fields)
    found = weights(tmp_path / "changed")
    for name, value in weights(whole).items():
        torch.testing.assert_close(found[name], value, atol=1e-3, rtol=0)
    assert losses(tmp_path / "changed") == pytest.approx(losses(whole), rel=1e-4)


def test_a_state_of_one_file_leaves_no_parts_behind(start, train, tmp_path):
    killed(start("run", **LONG, **FSDP), tmp_path / "run")
    (folder,) = (tmp_path / "run" / "state").glob("[!.]*")
    assert sorted(path.name for path in folder.iterdir()) == [
        ".metadata", "__0_0.distcp", "__1_0.distcp",
    ]  # fmt: skip
    train("run", "--resume", **LONG)
    assert not (tmp_path / "run" / "state").exists()


# what fails


def limit_files(process: int, size: int) -> None:
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size, size))


FULL = {
    "one process": ({}, 0, "/.state.ckpt."),
    "the first of two": (STRATEGIES["ddp"], 0, "/.state.ckpt."),
    "the first of two sharded": (FSDP, 0, "__0_0.distcp"),
    "the second of two sharded": (FSDP, 1, "__1_0.distcp"),
}


@pytest.mark.parametrize("case", FULL)
def test_a_full_disk_keeps_the_last_state_and_ends_all(start, tmp_path, case):
    fields, rank, name = FULL[case]
    out, log = tmp_path / "run", tmp_path / "run.log"
    long = {"training.iterations": 100_000, "training.save_interval": 3, **fields}
    group = start("run", **long)
    while not (out / "state.ckpt").is_file():
        assert None in group.codes(), log.read_text()
    limit_files(group.processes[rank], 20_000)
    assert set(group.wait(60)) == {2}
    assert_said_once(log, "File too large: ", name)
    state = torch.load(out / "state.ckpt")
    named = [state["shards"]] if "shards" in state else []
    assert [path.name for path in out.glob("state/*")] == named
    assert not list(out.glob(".state*"))
    saved = (out / "state.ckpt").stat().st_mtime_ns
    log.unlink()
    group = start("run", "--resume", **long)
    while (out / "state.ckpt").stat().st_mtime_ns == saved:
        assert None in group.codes(), log.read_text()
    group.kill()


def assert_said_once(log: Path, *words: str) -> None:
    lines = [line for line in log.read_text().splitlines() if told(line)]
    assert len(lines) == 1, log.read_text()
    assert all(word in lines[0] for word in words), lines


def told(line: str) -> bool:
    """Whether a line is none of the torch libraries', of the start or of the progress."""
    return any(word in line for word in ("Error: ", "Give a place", "Traceback", "internal error"))


def test_a_killed_process_ends_the_others_with_one_line(start, tmp_path):
    out, log = tmp_path / "run", tmp_path / "run.log"
    long = {"training.iterations": 100_000, "training.save_interval": 3}
    group = start("run", **long, **FSDP)
    while not (out / "state.ckpt").is_file():
        assert None in group.codes(), log.read_text()
    os.kill(group.processes[1], signal.SIGKILL)
    assert group.wait(60) == [2, -signal.SIGKILL]
    assert_said_once(log, "process 0 of 2 has lost another one")


def test_sigterm_to_one_process_saves_all(start, train, tmp_path):
    whole = train("whole", **LONG, **FSDP)
    out = tmp_path / "run"
    group = start("run", **LONG, **FSDP)
    while not (out / "state.ckpt").is_file():
        assert None in group.codes()
    os.kill(group.processes[1], signal.SIGTERM)
    assert group.wait() == [143, 143]
    load(out)
    train("run", "--resume", **LONG, **FSDP)
    assert same(weights(out), weights(whole))
    assert rows(out) == rows(whole)


REFUSED = {
    "another recipe": ({"optimizer.lr": 3e-4}, ["--resume"], "another recipe: optimizer.lr changed"),
    "an extra rank": ({"training.devices": 1, "training.strategy": "ddp"}, [], "give training.devices=2"),
    "a missing rank": ({"training.devices": 4}, [], "give training.devices=2"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said_once_and_changes_nothing(start, tmp_path, case):
    fields, options, words = REFUSED[case]
    if options:
        killed(start("run", **LONG, **FSDP), tmp_path / "run")
    before = files(tmp_path / "run")
    (tmp_path / "run.log").unlink(missing_ok=True)
    group = start("run", *options, world=2, **{**LONG, **FSDP, **fields})
    assert group.wait() == [2, 2]
    assert_said_once(tmp_path / "run.log", words)
    assert files(tmp_path / "run") == before


def files(folder: Path) -> dict[str, bytes]:
    """All files of a run but the claim on it, which one that has ended leaves to the next."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != OWNER]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_log_that_cannot_be_written_is_said_once(start, tmp_path, strategy):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").touch()
    group = start("run", **LONG, **STRATEGIES[strategy])
    assert group.wait() == [2, 2]
    assert_said_once(tmp_path / "run.log", "tensorboard")


def test_parts_that_are_damaged_or_gone_are_told(start, tmp_path):
    out, log = tmp_path / "run", tmp_path / "run.log"
    killed(start("run", **LONG, **FSDP), out)
    (folder,) = (out / "state").glob("[!.]*")
    part = folder / "__1_0.distcp"
    whole = part.read_bytes()
    for share in (0.0, 0.5, 0.999):
        part.write_bytes(whole[: int(share * len(whole))])
        log.unlink()
        assert start("run", "--resume", **LONG, **FSDP).wait() == [2, 2]
        assert_said_once(log, f"{folder.name} is damaged or no training state")
    part.write_bytes(whole)
    stored = dcp.FileSystemReader(folder).read_metadata().storage_data
    at = next(  # what the first process does not read
        place.offset
        for index, place in stored.items()
        if index.fqn.endswith("exp_avg") and place.relative_path == part.name
    )
    part.write_bytes(whole[:at] + b"?" * 200 + whole[at + 200 :])
    log.unlink()
    assert start("run", "--resume", **LONG, **FSDP).wait() == [2, 2]
    assert_said_once(log, f"{folder.name} is damaged or no training state")
    shutil.rmtree(folder)
    log.unlink()
    assert start("run", "--resume", **LONG, **FSDP).wait() == [2, 2]
    assert_said_once(log, f"names {folder}, which is not there")
