"""Loggers beside the tables: the real libraries without a network, and what happens where one fails."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tiny import tiny_recipe, write_dataset
from vitseg.changes import changed_fields
from vitseg.errors import ConfigError
from vitseg.runs import FAILED_START
from vitseg.training.log import RunLog
from vitseg.training.loggers import patience, table
from vitseg.training.loggers.logger import LoggedRun
from vitseg.training.loggers.patience import InBackground, Tolerant
from vitseg.training.loggers.table import require_loggers
from vitseg.training.recipe import parse_recipe

CONFIG = {"method": "segvit", "optimizer": {"lr": 0.1}, "data": {"source": "camvid"}}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No server, no account and no name of the surroundings."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_PROJECT", "WANDB_NAME", "WANDB_RUN_ID", "WANDB_DIR", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")


def write_rows(log: RunLog, *iterations: int) -> None:
    for iteration in iterations:
        log.write("train", iteration, {"loss": iteration / 10, "lr": 0.5})


def interrupted_and_resumed(out: Path, logger: Any) -> None:
    """Rows up to 30, of which 30 was not saved, and which are then written again."""
    with RunLog(out, 0, (logger,), CONFIG) as log:
        write_rows(log, 10, 20)
        log.write("val", 20, {"miou": 0.25})
        write_rows(log, 30)
    with RunLog(out, 20, (logger,), CONFIG) as log:
        write_rows(log, 30, 40)
        log.write("val", 40, {"miou": 0.75})


# MLflow


@pytest.mark.slow
def test_mlflow_has_every_row_once_and_the_recipe(tmp_path):
    client_class = pytest.importorskip("mlflow").MlflowClient
    out = tmp_path / "my run"
    interrupted_and_resumed(out, "mlflow")
    client = client_class(tracking_uri=f"sqlite:///{out / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("vitseg")
    (run,) = client.search_runs([experiment.experiment_id])
    steps = [
        (metric.step, metric.value)
        for metric in client.get_metric_history(run.info.run_id, "train/loss")
    ]
    assert steps == [(10, 1.0), (20, 2.0), (30, 3.0), (40, 4.0)]
    history = client.get_metric_history(run.info.run_id, "val/miou")
    assert [(metric.step, metric.value) for metric in history] == [(20, 0.25), (40, 0.75)]
    assert run.info.run_name == "my run"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"method": "segvit", "optimizer.lr": "0.1", "data.source": "camvid"}


@pytest.mark.slow
def test_mlflow_knows_a_run_that_an_error_ended_and_the_names_of_the_environment(
    tmp_path, monkeypatch
):
    client_class = pytest.importorskip("mlflow").MlflowClient
    uri = f"sqlite:///{tmp_path / 'mine.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "streets")
    with suppress(ZeroDivisionError), RunLog(tmp_path / "run", 0, ("mlflow",), CONFIG) as log:
        write_rows(log, 10)
        raise ZeroDivisionError
    client = client_class(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("streets").experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.metrics["train/loss"] == 1.0
    assert not (tmp_path / "run" / "mlflow" / "mlflow.db").exists()


# Weights & Biases


def wandb_records(path: Path) -> list[Any]:
    """What is in a file of an offline run: blocks of 32 kB of records with a checksum, a length and a kind."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, records, parts = path.read_bytes(), 7, [], b""
    while at + 7 <= len(content):
        if (left := 2**15 - at % 2**15) < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(Record.FromString(parts))
            parts = b""
    return records


def offline_rows(out: Path) -> tuple[set[str], list[dict[str, str]]]:
    """Ids of the offline runs in a folder, and the rows of all."""
    ids, rows = set(), []
    for path in sorted(
        out.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime
    ):
        for record in wandb_records(path):
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append(
                    {"/".join(item.nested_key) or item.key: item.value_json for item in items}
                )
    return ids, rows


@pytest.mark.slow
def test_wandb_has_every_row_once_in_one_run_and_no_path(tmp_path):
    pytest.importorskip("wandb")
    out = tmp_path / "my run"
    interrupted_and_resumed(out, "wandb")
    ids, rows = offline_rows(out)
    assert ids == {(out / "wandb" / "run_id").read_text().strip()}
    found = {(row["_step"], key): row[key] for row in rows for key in row if "/" in key}
    assert found == {
        **{
            (str(step), "train/loss"): str(step / 10).removesuffix(".0")
            for step in (10, 20, 30, 40)
        },
        **{(str(step), "train/lr"): "0.5" for step in (10, 20, 30, 40)},
        ("20", "val/miou"): "0.25",
        ("40", "val/miou"): "0.75",
    }
    for path in out.glob("wandb/offline-run-*/*.wandb"):
        content = path.read_bytes()
        assert b"camvid" in content
        assert str(tmp_path).encode() not in content


def test_wandb_without_an_account_is_refused(monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    with pytest.raises(ConfigError, match=r"nobody is logged in: .*WANDB_MODE=offline"):
        require_loggers(("wandb",))


# what is missing, or cannot be written


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_extra_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"pip install 'vitseg\[{name}\]'"):
        require_loggers(("tensorboard", name))


@pytest.mark.parametrize(
    ("name", "folder"), [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_a_folder_that_cannot_be_written_is_named(tmp_path, name, folder):
    (tmp_path / folder).write_text("a file")
    with pytest.raises(
        ConfigError, match=rf"training.loggers has {name}, but its folder .*{folder}"
    ):
        RunLog(tmp_path, 0, (name,))


@pytest.mark.slow
def test_the_command_refuses_such_a_folder_before_it_trains(tmp_path):
    root = write_dataset(tmp_path / "data")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("a file")
    raw = tiny_recipe()
    raw["data"]["source"] = f"folder:{root}"
    from vitseg.training.loop import train

    with pytest.raises(ConfigError, match="tensorboard cannot be written"):
        train(parse_recipe(raw), tmp_path / "run")
    assert not (tmp_path / "run" / "train.csv").exists()


def test_none_at_all(tmp_path):
    with RunLog(tmp_path, 0, ()) as log:
        write_rows(log, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]


# recipes and resumes


def test_names_of_loggers_are_known_and_single():
    assert parse_recipe(tiny_recipe()).training.loggers == ("tensorboard",)
    with pytest.raises(ConfigError, match="loggers"):
        parse_recipe(tiny_recipe(loggers=["comet"]))
    with pytest.raises(ConfigError, match="names one twice"):
        parse_recipe(tiny_recipe(loggers=["wandb", "wandb"]))


def test_runs_of_before_and_runs_with_others_go_on():
    old = {"training": {"seed": 0}}
    now = {"training": {"seed": 0, "loggers": ["wandb"], "compile": False}}
    assert changed_fields(old, now) == set()
    assert changed_fields(now, {"training": {"seed": 0, "loggers": [], "compile": True}}) == set()
    assert {"wandb", "mlflow", "tensorboard"} <= FAILED_START


def test_the_board_hides_what_is_done_again_and_nothing_else(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "vitseg.training.loggers.board.SummaryWriter",
        lambda path, purge_step: asked.append(purge_step),
    )
    table.Board(LoggedRun(tmp_path, 500))
    assert asked == [501]  # the row of iteration 500 was written before its save


# failures


class Recorder:
    """Fails so many times at each thing, then takes it."""

    def __init__(self, failures: int = 0):
        self.failures = failures
        self.rows: list[tuple[str, int, dict[str, float]]] = []
        self.closed: bool | None = None

    def write(self, group, iteration, values):
        if self.failures:
            self.failures -= 1
            raise OSError(f"no route to host\nand {self.failures} more lines")
        self.rows.append((group, iteration, dict(values)))

    def close(self, failed):
        self.closed = failed


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(patience, "CLOSE_SECONDS", 2.0)


def test_a_service_that_comes_back_gets_all_rows_and_is_warned_of_once(impatient, caplog):
    recorder = Recorder(failures=4)
    logger = InBackground("mlflow", lambda: recorder)
    for iteration in range(5):
        logger.write("train", iteration, {"loss": 1.0})
    while len(recorder.rows) < 5:
        time.sleep(0.01)
    logger.close(failed=True)
    assert [row[1] for row in recorder.rows] == list(range(5))
    assert recorder.closed is True
    (said,) = caplog.messages
    assert said.startswith("mlflow fails (no route to host): the run goes on")


def test_a_service_that_never_comes_is_left_at_the_end(impatient, caplog):
    def refuse():
        raise ConnectionError("connection refused")

    logger = InBackground("wandb", refuse)
    logger.write("train", 10, {"loss": 1.0})
    time.sleep(0.05)
    logger.close(failed=False)
    logger.write("train", 20, {"loss": 1.0})  # is no error
    assert [message.split(" (")[0] for message in caplog.messages] == ["wandb fails"] * 2
    assert "its rows are lost" in caplog.messages[-1]


def test_nobody_waits_for_a_service_that_hangs(impatient, monkeypatch, caplog):
    monkeypatch.setattr(patience, "CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(patience, "MOST_WAITING", 3)
    hangs = threading.Event()
    logger = InBackground("mlflow", hangs.wait)
    try:
        for iteration in range(10):
            logger.write("train", iteration, {"loss": 1.0})
        logger.close(failed=False)
    finally:
        hangs.set()
    assert "some are lost" in caplog.messages[0]
    assert len(caplog.messages) == 2


def test_a_logger_in_the_loop_that_fails_is_done_without(caplog):
    recorder = Recorder(failures=1)
    logger = Tolerant("tensorboard", recorder)
    for iteration in range(3):
        logger.write("train", iteration, {"loss": 1.0})
    logger.close(failed=False)
    assert (recorder.rows, recorder.closed) == ([], None)
    assert caplog.messages == ["tensorboard fails (no route to host): the run goes on without it."]


@pytest.mark.slow
def test_a_training_whose_server_is_down_is_a_training(tmp_path):
    pytest.importorskip("mlflow")
    root = write_dataset(tmp_path / "data")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(tiny_recipe(loggers=["mlflow", "wandb"])))
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "WANDB_MODE": "offline",
    }
    found = subprocess.run(
        [
            *(sys.executable, "-m", "vitseg", "train", str(recipe)),
            *("--data", f"folder:{root}", "--out", str(tmp_path / "run")),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "run" / "result.json").is_file()
    assert found.stderr.count("mlflow fails") <= 2
    _, rows = offline_rows(tmp_path / "run")
    assert {row["_step"] for row in rows} == {"1", "4"}
