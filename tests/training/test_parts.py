"""Schedule, parameter groups, logs and signals."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from tests.tiny import tiny_recipe, write_dataset
from vitseg.errors import ConfigError
from vitseg.methods import METHODS
from vitseg.training import run_parts
from vitseg.training.log import RunLog
from vitseg.training.loop import train
from vitseg.training.optimizer import OptimizerConfig, build_optimizer, parameter_groups
from vitseg.training.recipe import parse_recipe
from vitseg.training.schedule import ScheduleConfig, lr_at
from vitseg.training.stop import StopSignals


@pytest.mark.parametrize("iteration", [0, 1, 5, 9, 10, 11, 99])
def test_schedule_is_its_formula(iteration):
    config = ScheduleConfig(power=0.9, warmup_iterations=10, warmup_ratio=0.1, min_lr=1e-4)
    expected = (0.01 - 1e-4) * (1 - iteration / 100) ** 0.9 + 1e-4
    if iteration < 10:
        expected *= 1 - (1 - iteration / 10) * 0.9
    assert lr_at(iteration, 0.01, 100, config) == pytest.approx(expected)


@pytest.mark.parametrize("iteration", [0, 5, 10, 11, 99])
def test_the_decay_may_wait_for_the_warm_up(iteration):
    config = ScheduleConfig(power=0.9, warmup_iterations=10, warmup_ratio=0.1, decay_from="warmup")
    expected = 0.01 * (1 - max(0, iteration - 10) / 90) ** 0.9
    if iteration < 10:
        expected = 0.01 * (0.1 + 0.9 * iteration / 10)
    assert lr_at(iteration, 0.01, 100, config) == pytest.approx(expected)


@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0, 10.0])
def test_no_rate_rises_to_the_least_one(ratio):
    """What learns slower than the backbone ends at as small a share of it; what learns faster, at `min_lr` itself."""
    config = ScheduleConfig(power=0.9, warmup_iterations=0, min_lr=1e-4)
    base = 1e-3 * ratio
    rates = [lr_at(at, base, 100, config, 1e-3) for at in (0, 30, 60, 99, 100)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(base)
    assert rates[-1] == pytest.approx(1e-4 * min(1.0, ratio))


def test_the_rate_of_the_shallowest_block_falls_in_a_training(tmp_path, monkeypatch):
    rates: dict[float, list[float]] = {}

    def told(iteration: int, base_lr: float, *others: object) -> float:
        rates.setdefault(base_lr, []).append(lr_at(iteration, base_lr, *others))  # type: ignore[arg-type]
        return rates[base_lr][-1]

    monkeypatch.setattr("vitseg.training.batches.lr_at", told)
    raw = tiny_recipe(val_interval=4)
    raw["data"]["source"] = f"folder:{write_dataset(tmp_path / 'data')}"
    raw["optimizer"] |= {"layer_decay": 0.5, "head_lr_ratio": 0.1}
    raw["schedule"] = {"warmup_iterations": 0, "min_lr": 5e-4}
    train(parse_recipe(raw), tmp_path / "run")
    assert min(rates) < 1e-4
    for base, found in rates.items():
        assert len(found) % 4 == 0  # several groups may begin alike
        assert found == sorted(found, reverse=True)
        assert found[0] == pytest.approx(base)


def test_what_a_cpu_computes_slowly_is_told_and_what_it_does_not_have_is_refused(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("vitseg.inference.precision.has_bf16", lambda device: False)
    raw = tiny_recipe(iterations=2, val_interval=2)
    raw["data"]["source"] = f"folder:{write_dataset(tmp_path / 'data')}"
    for precision in ("auto", "bf16-mixed"):
        raw["training"]["precision"] = precision
        train(parse_recipe(raw), tmp_path / precision)
        told = "no instructions for bfloat16" in caplog.text
        assert told is (precision == "bf16-mixed")
    raw["training"]["precision"] = "16-mixed"
    with pytest.raises(ConfigError, match=r"16-mixed is for GPUs.*training\.precision=auto"):
        train(parse_recipe(raw), tmp_path / "refused")


def test_a_gpu_that_only_emulates_bf16_trains_in_fp16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for has_it, found in ((False, "16-mixed"), (True, "bf16-mixed")):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True, held=has_it: held or including_emulation,
        )
        assert run_parts._precision("auto") == found


def test_groups_by_part_and_kind():
    config = METHODS["segvit"].model_validate(
        {
            "backbone": {
                "name": "test_vit",
                "pretrained": False,
                "taps": [1],
                "prefix_tokens": "keep",
            }
        }
    )
    model = config.build(3, (32, 32))
    optimizer = OptimizerConfig(lr=1e-4, weight_decay=0.05, head_lr_ratio=4)
    groups = {
        name: (group["lr"], group["weight_decay"])
        for group in parameter_groups(model, optimizer)
        for name in group["names"]
    }
    assert groups.keys() == {name for name, _ in model.named_parameters()}
    assert groups["backbone.blocks.0.norm1.bias"] == (1e-4, 0.0)
    assert groups["backbone.blocks.0.attn.qkv.bias"] == (1e-4, 0.05)
    assert groups["backbone.cls_token"] == (1e-4, 0.05)
    assert groups["decoder.stages.0.input_norm.weight"] == (pytest.approx(4e-4), 0.05)
    assert groups["decoder.query_embed.weight"] == (pytest.approx(4e-4), 0.05)
    built = build_optimizer(model, optimizer)
    assert isinstance(built, torch.optim.AdamW)
    assert sum(len(group["params"]) for group in built.param_groups) == len(groups)


def test_log_of_a_continued_run_has_no_row_twice(tmp_path):
    log = RunLog(tmp_path, 0)
    for iteration in (10, 20, 30):
        log.write("train", iteration, {"loss": iteration / 10})
    log.close()
    log = RunLog(tmp_path, 20)
    log.write("train", 30, {"loss": 9.0})
    log.close()
    rows = (tmp_path / "train.csv").read_text().split()
    assert rows == ["iteration,loss", "10,1", "20,2", "30,9"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_handlers_come_back(number):
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert stop.received == 0
        os.kill(os.getpid(), number)
        assert stop.received == number
        assert (signal.getsignal(number) == before) == (number == signal.SIGINT)
    assert signal.getsignal(number) == before


def test_a_repeated_sigterm_ends_nothing():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with StopSignals() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)  # the first of its kind
        assert stop.received == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_damaged_log_does_not_stop_a_run(tmp_path):
    path = tmp_path / "train.csv"
    cut = b"iteration,loss\r\n10,1.5\r\nx,2\r\n20,\xff\r\n"
    for content, left in [
        (b"", None),
        (b"x" * 200_000, None),
        (cut, None),
        (cut.replace(b"\xff", b""), "iteration,loss\r\n10,1.5\r\n20,\r\n"),
        (b"iteration,loss\r\n10,1.5\r\n20", "iteration,loss\r\n10,1.5\r\n"),
    ]:
        path.write_bytes(content)
        RunLog(tmp_path, 20).close()
        assert (path.read_bytes().decode() if path.exists() else None) == left
        if left is None:
            assert (tmp_path / "train.csv.damaged").read_bytes() == content
