"""Several processes train one model: the same losses as one, the same weights after a kill, one clear end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.runs import SMALL, arguments, losses
from vitseg.inference.predictor import load

pytestmark = pytest.mark.slow

STILL = {"decoder__dropout": 0, "backbone__drop_path": 0}
"""Nothing is drawn that depends on the number of the process."""


def command(scenes: Path, out: Path, *options: str, **overrides: object) -> list[str]:
    given = {**SMALL, **{key.replace("__", "."): value for key, value in overrides.items()}}
    return ["-m", "vitseg", *arguments(scenes, out, *options, **given)]


def start(arguments: list[str], before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, *before, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(arguments: list[str], before: tuple[str, ...] = ()) -> None:
    process = start(arguments, before)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said


def weights(out: Path) -> dict[str, list[float]]:
    found = load_file(out / "last" / "model.safetensors")
    return {name: tensor.flatten().tolist() for name, tensor in found.items()}


def wait_for_state(out: Path, *processes: subprocess.Popen[str]) -> None:
    """Return once a training has saved a state; none of what runs it may have ended before."""
    until = time.monotonic() + 600
    while not (out / "state.ckpt").is_file():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def killed_after_a_save(arguments: list[str], out: Path) -> None:
    """End all processes of a training at once, as soon as there is a state."""
    process = start(arguments)
    wait_for_state(out, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_two_processes_have_the_losses_of_one_and_write_one_run(scenes, tmp_path):
    scored = {"training__iterations": 10, "training__val_interval": 5, **STILL}
    run(command(scenes, tmp_path / "one", **scored))
    run(command(scenes, tmp_path / "two", training__devices=2, **scored))
    parts = {"training__devices": 2, "training__accumulate": 2}
    run(command(scenes, tmp_path / "parts", **parts, **scored))
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 2
    assert two == pytest.approx(one, rel=2e-5)  # the file has six digits
    assert losses(tmp_path / "parts") == pytest.approx(one, rel=2e-5)
    rows = (tmp_path / "two/val.csv").read_text().split()
    assert [row.partition(",")[0] for row in rows] == ["iteration", "5", "10"]
    assert rows == (tmp_path / "one/val.csv").read_text().split()
    load(tmp_path / "two")


IN_PARTS = {"training__accumulate": 2, "training__ema": 0.9}


@pytest.mark.parametrize(
    ("devices", "further"),
    [
        (2, IN_PARTS),
        *(pytest.param(number, {}, marks=pytest.mark.long) for number in (1, 2, 4)),
    ],
)
def test_killed_and_resumed_a_run_has_the_same_bits(scenes, tmp_path, devices, further):
    options = {
        "training__devices": devices,
        "training__iterations": 12,
        "training__save_interval": 3,
        "backbone__drop_path": 0.2,
        **further,
    }
    run(command(scenes, tmp_path / "whole", **options))
    killed_after_a_save(command(scenes, tmp_path / "killed", **options), tmp_path / "killed")
    run(command(scenes, tmp_path / "killed", "--resume", **options))
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


@pytest.mark.long
def test_a_run_goes_on_with_another_number_of_processes(scenes, tmp_path):
    options = {"training__iterations": 12, "training__save_interval": 3, **STILL}
    run(command(scenes, tmp_path / "whole", **options))
    changed = tmp_path / "changed"
    killed_after_a_save(command(scenes, changed, training__devices=2, **options), changed)
    run(command(scenes, changed, "--resume", **options))
    found, wanted = weights(changed), weights(tmp_path / "whole")
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, abs=2e-4), name


@pytest.mark.long
def test_a_killed_process_ends_the_run_with_one_line_and_a_state(scenes, tmp_path):
    out = tmp_path / "run"
    long = {"training__iterations": 100_000, "training__save_interval": 3}
    process = start(command(scenes, out, training__devices=2, **long))
    wait_for_state(out, process)
    (other,) = [pid for pid in children_of(process.pid) if "train" in command_line(pid)]
    os.kill(other, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "process 0 of 2 has lost another one" in said
    assert "Traceback" not in said
    short = {"training__iterations": 100_000, "training__save_interval": 3}
    again = start(command(scenes, out, "--resume", training__devices=2, **short))
    before = (out / "state.ckpt").stat().st_mtime_ns
    while (out / "state.ckpt").stat().st_mtime_ns == before:
        assert again.poll() is None, again.communicate()
        time.sleep(0.05)
    os.killpg(again.pid, signal.SIGKILL)
    again.communicate()


def children_of(pid: int) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(place.parent.name))
    return found


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")


@pytest.mark.long
def test_torchrun_goes_on_by_itself_after_a_kill(scenes, tmp_path):
    out = tmp_path / "run"
    options = {"training__devices": 2, "training__iterations": 60, "training__save_interval": 3}
    before = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2")
    torchrun = (*before, "--master-port", "0", "--standalone")
    process = start(command(scenes, out, **options), torchrun)
    wait_for_state(out, process)
    os.kill(children_of(process.pid)[-1], signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert (out / "result.json").is_file()


@pytest.mark.long
@pytest.mark.parametrize("on", [0, 1])
def test_on_two_machines_too_at_the_cost_of_one_restart(scenes, tmp_path, on):
    out = tmp_path / "run"
    options = {
        **{"training__devices": 1, "training__num_nodes": 2},
        **{"training__iterations": 60, "training__save_interval": 3},
    }
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    before = ("-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1")
    meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", place, "--rdzv-id", "test")
    machines = [
        start(command(scenes, out, **options), (*before, *meeting, "--max-restarts", "1"))
        for _ in range(2)
    ]
    wait_for_state(out, *machines)
    os.kill(children_of(machines[on].pid)[-1], signal.SIGKILL)
    said = [machine.communicate(timeout=300)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert (out / "result.json").is_file()


def test_torchrun_with_other_numbers_than_the_recipes_is_refused(scenes, tmp_path):
    before = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    process = start(command(scenes, tmp_path / "run", training__iterations=2), before)
    _, said = process.communicate(timeout=300)
    assert process.returncode
    assert "give training.devices=2 training.num_nodes=1" in said


@pytest.mark.long
def test_a_state_that_cannot_be_written_ends_all_processes(scenes, tmp_path):
    out = tmp_path / "run"
    options = {"training__devices": 2, "training__iterations": 100_000}
    process = start(command(scenes, out, training__save_interval=3, **options))
    wait_for_state(out, process)
    in_the_way = out / ".state.ckpt.writing"
    while not in_the_way.is_dir():
        with contextlib.suppress(FileExistsError):
            in_the_way.mkdir()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "Traceback" not in said
    assert "Is a directory" in said
    assert torch.load(out / "state.ckpt", weights_only=True)["progress"]["iteration"] >= 3


@pytest.mark.long
def test_each_process_that_meets_no_number_keeps_its_batch(scenes, tmp_path):
    out = tmp_path / "run"
    rates = {"optimizer__lr": 1e30, "training__devices": 2, "training__iterations": 20}
    process = start(command(scenes, out, **rates))
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "training diverged" in said
    assert "Traceback" not in said
    kept = [torch.load(path, weights_only=True) for path in sorted(out.glob("diverged-*.pt"))]
    assert [content["rank"] for content in kept] == [0, 1]
    positions = {
        sample["position"]
        for content in kept
        for part in content["micro_batches"]
        for sample in part["samples"]
    }
    assert len(positions) == SMALL["training.batch_size"]
