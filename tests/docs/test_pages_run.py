"""The commands of the pages that a newcomer follows, run one after another on a drawn data set.

They run as they stand, in a folder that has what they name: `ROOT`, `photo.jpg`, `runs/mine`. Trainings are made short,
by what stands in `SHORTER`; commands that are not run stand in `LEFT_OUT`, with the reason.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.docs.pages import ROOT, commands, vitseg_words
from tests.tiny import make_model, make_record, photo
from vitseg.checkpoint.model_dir import save_model
from vitseg.classes import ClassTable
from vitseg.cli import main
from vitseg.data.official.tables import read_table
from vitseg.studies.tune import tune as tuning_module

pytestmark = pytest.mark.slow

TINY = (
    "backbone.name=test_vit", "backbone.pretrained=false", "backbone.taps=[1,3,5]", "data.num_workers=0",
    "data.augment.crop_size=[64,64]", "inference.resize=[128,96]", "schedule.warmup_iterations=1",
    "training.iterations=2", "training.batch_size=2", "training.val_interval=2", "training.precision=32-true",
)  # fmt: skip
PLANNED = (
    "--backbone", "test_vit", "backbone.pretrained=false", "training.iterations=2", "training.val_interval=2",
    "training.batch_size=2", "training.precision=32-true",
)  # fmt: skip
SHORTER = {
    "demo": ("training.iterations=2", "training.val_interval=2", "schedule.warmup_iterations=1", "data.num_workers=0"),
    "extend": ("training.iterations=2", "training.batch_size=2", "--device", "cpu"),
    "tune": ("--thresholds", "0.95", "--limit", "2", "--max-loss", "100"),
}  # fmt: skip
LEFT_OUT = {
    "vitseg export runs/mine --out mine --fastest --data folder:photos --max-miou-loss 0.5": "tries every format and "
    "precision of the machine: tests/export",
    "vitseg serve runs/mine --port 9090 --label-studio localhost:8080 --label-studio-private": "tests/serve",
    "vitseg serve small=runs/small large=exports/large.onnx --port 9000 --docs": "one server is enough: tests/serve",
}
FINISHED_BEFORE = (
    "out",
    "next",
    "explained",
    "report",
)  # pages use these again, for something else


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the pages name, and no models yet."""
    monkeypatch.chdir(tmp_path)
    write_streets(tmp_path / "ROOT")
    for name in ("data", "photos"):
        (tmp_path / name).symlink_to(tmp_path / "ROOT")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    Image.fromarray(photo(96, 128)).save(tmp_path / "photo.jpg")
    return tmp_path


def write_streets(root: Path) -> None:
    """Pictures in the layout of a folder that have CamVid's classes: two rows of rectangles."""
    table = read_table("camvid", "").classes
    fields = {
        "classes": [*table.names, "void"],
        "palette": [*map(list, table.palette), [0, 0, 0]],
        "ignore_index": 11,
    }
    root.mkdir()
    (root / "classes.json").write_text(json.dumps(fields))
    colors = np.array(table.palette)
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            places = rng.permutation(12) % 11
            labels = np.kron(places.reshape(3, 4), np.ones((32, 32), np.int64)).astype(np.uint8)
            image = (colors[labels] + rng.integers(-25, 26, (*labels.shape, 3))).clip(0, 255)
            Image.fromarray(image.astype(np.uint8)).save(root / "images" / split / f"{number}.png")
            Image.fromarray(labels).save(root / "masks" / split / f"{number}.png")


def write_street_model(path: Path) -> None:
    table = read_table("camvid", "").classes
    save_model(path, make_model(11), make_record(11, classes=ClassTable.from_names(table.names)))


def shortened(words: list[str]) -> list[str]:
    """The words of a command, with what makes it short."""
    verb = words[0]
    words = [word for word in words if not word.startswith("training.iterations=")]
    if verb != "train":
        return [*words, *SHORTER.get(verb, ())]
    if ":" not in words[1]:
        return [*words, *TINY]
    if "--minutes" in words:
        at = words.index("--minutes")
        del words[at : at + 2]
    return [*words, *PLANNED]


def page_commands(page: str) -> list[str]:
    """Those of a page that are run here; installing is not."""
    found = [
        command for command in commands(ROOT / "docs" / page) if not command.startswith("pip ")
    ]
    return [command for command in found if command not in LEFT_OUT]


@pytest.fixture
def run(capsys, monkeypatch, folder):
    """Runs a command as it stands, but short; it has to succeed."""

    def call(command: str) -> str:
        words = vitseg_words(command)
        assert words is not None, command
        for name in FINISHED_BEFORE:
            if any(word.partition("/")[0] == name for word in words):
                shutil.rmtree(folder / name, ignore_errors=True)
        monkeypatch.setattr(sys, "argv", ["vitseg", *shortened(words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main.run()
        out, err = capsys.readouterr()
        assert not stopped.value.code, f"{command}\n{out}\n{err}"
        return out

    return call


@pytest.fixture
def pruning_pays(monkeypatch):
    """Makes pruning look fast, so that `tune` keeps a model; counting is slow where shapes are checked."""
    monkeypatch.setattr(tuning_module, "TIMED_IMAGES", 1)

    def timed(runs, rounds, warmups):
        return {number: 1.0 if number == 0 else 0.5 + number / 100 for number in runs}

    monkeypatch.setattr(tuning_module, "alternating_medians", timed)


def predicted(folder: Path) -> bool:
    """Whether there are a mask of the photo's size and a line about it."""
    (mask,) = (folder / "out").rglob("photo.png")
    (line,) = (folder / "out" / "predictions.jsonl").read_text().splitlines()
    return Image.open(mask).size == (128, 96) and "error" not in json.loads(line)


def test_what_is_left_out_is_on_a_page():
    shown = {command for page in (ROOT / "docs").glob("*.md") for command in commands(page)}
    assert set(LEFT_OUT) <= shown


def test_quickstart(run, folder):
    for command in page_commands("quickstart.md"):
        run(command)
    assert (folder / "vitseg-demo" / "index.html").is_file()
    assert (folder / "runs" / "camvid-slow" / "best" / "model.safetensors").is_file()
    assert predicted(folder)


def test_own_data(run, folder):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra export)")
    for command in page_commands("own-data.md"):
        run(command)
    assert (folder / "report" / "report.html").is_file()
    assert predicted(folder)
    assert (folder / "mine.onnx.parity.json").is_file()


def test_own_data_without_splits(run, folder):
    """The folder may have images and masks alone."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra export)")
    for kind in ("images", "masks"):
        for picture in sorted((folder / "ROOT" / kind).rglob("*.png")):
            picture.rename(folder / "ROOT" / kind / f"{picture.parent.name}-{picture.name}")
        for split in ("train", "val"):
            (folder / "ROOT" / kind / split).rmdir()
    for command in page_commands("own-data.md"):
        run(command)
    assert (folder / "runs" / "mine" / "plan" / "val.txt").is_file()
    assert (folder / "report" / "report.html").is_file()
    assert (folder / "mine.onnx.parity.json").is_file()


def test_adding_classes(run, folder):
    story = page_commands("extend.md")
    assert story[3].startswith("vitseg train")
    run(story[3])  # the page shows the verbs first, on the model of its story
    for command in story[:3]:
        run(command)
    shutil.rmtree(folder / "runs" / "seven")
    for command in story[4:]:
        run(command)
    listed = run("vitseg classes runs/six")
    assert "car" in listed
    assert "bicyclist" not in listed
    assert "vehicle" in run("vitseg classes runs/renamed")


@pytest.mark.usefixtures("pruning_pays")
def test_pruning(run, folder):
    for command in page_commands("pruning.md"):
        run(command)
    assert (folder / "tuned" / "tune.html").is_file()
    assert list((folder / "explained").iterdir())


def test_exports(run, folder):
    pytest.importorskip("openvino", reason="needs openvino (extra export)")
    write_street_model(folder / "runs" / "mine")
    for command in page_commands("export.md"):
        run(command)
    assert {"mine.onnx", "mine.xml", "mine.bin", "mine.pt2"} <= {
        path.name for path in folder.iterdir()
    }
    assert predicted(folder)


def test_labelling(run, folder):
    write_street_model(folder / "runs" / "mine")
    for command in page_commands("label.md"):
        run(command)
    assert (folder / "next" / "cvat" / "labelmap.txt").is_file()


def test_serving(folder):
    """The server is a process of its own, and is asked by curl."""
    pytest.importorskip("fastapi", reason="needs fastapi (extra serve)")
    if not shutil.which("curl"):
        pytest.skip("needs curl (a system package)")
    write_street_model(folder / "runs" / "camvid")
    serve, *asked = page_commands("serve.md")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "vitseg", *(vitseg_words(serve) or ()), "--port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, env=environment)
    try:
        wait_for(port, server)
        answers = [answer(command, port, folder) for command in asked]
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
    assert code == 0
    assert len(answers) == 3
    assert Image.open(folder / "mask.png").size == (128, 96)
    (first, *_) = json.loads(answers[1])["classes"]
    assert 0 <= first["area"] <= 1
    assert json.loads(answers[2])


def wait_for(port: int, server: subprocess.Popen) -> None:
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the server does not listen")


def answer(command: str, port: int, folder: Path) -> bytes:
    """What curl gets; with `>` it is a file of the folder, too."""
    words = shlex.split(re.sub(r"localhost:8000", f"127.0.0.1:{port}", command))
    target = words[words.index(">") + 1] if ">" in words else None
    words = words[: words.index(">")] if ">" in words else words
    options = ["--silent", "--show-error", "--fail-with-body", "--max-time", "120"]
    got = subprocess.run([words[0], *options, *words[1:]], capture_output=True, cwd=folder)
    assert got.returncode == 0, (command, got.stdout[:500], got.stderr)
    if target:
        (folder / target).write_bytes(got.stdout)
    return got.stdout
