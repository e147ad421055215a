from __future__ import annotations

import socket
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest

from tests.prepare.trees import box, write_polygons
from vitseg.cli import data_prepare
from vitseg.prepare.download import Download
from vitseg.prepare.sources import Archive
from vitseg.prepare.table import PREPARATIONS

STEM = "ulm_000001_000019"


@pytest.fixture
def source(tmp_path):
    write_polygons(tmp_path, "train", STEM, [{"label": "car", "polygon": box(0, 0, 7, 5)}])
    return tmp_path


def test_a_conversion_says_what_it_did(vitseg, source):
    out = source / "out"
    result = vitseg("data", "prepare", "cityscapes", "--source", source, "--out", out)
    assert result.code == 0
    assert result.err == ""
    assert result.out.splitlines() == [
        "train: 1 of 2975 images",
        "val: 0 of 500 images",
        "test: 0 of 1525 images",
        "1 files written, 0 were there already",
        f"Open it with --data cityscapes:{out}",
    ]
    assert vitseg("data", "show", f"cityscapes:{out}").code == 0


def test_damaged_files_exit_with_1_and_are_named(vitseg, source):
    bad = write_polygons(source, "train", "ulm_000002_000019", [])
    good = bad.read_text()
    bad.write_text(good[:20])
    command = ("data", "prepare", "cityscapes", "--source", source, "--out", source)
    result = vitseg(*command)
    assert result.code == 1
    failed, notes = [], []
    for line in result.messages:
        (failed if line.startswith("failed: ") else notes).append(line)
    assert len(failed) == 1
    assert str(bad) in failed[0]
    assert (
        notes[-1]
        == "1 failed. Get these files again and run the same command: it does only what is left."
    )
    assert "train: 1 of 2975 images" in result.out
    bad.write_text(good)
    result = vitseg(*command)
    assert result.code == 0
    assert "1 files written, 1 were there already" in result.out


def test_names_and_help(vitseg, refused, tmp_path):
    message = refused("data", "prepare", "ade", "--out", tmp_path)
    assert message.startswith(
        "ConfigError: 'ade' is not a known data set to prepare. Did you mean 'ade20k'?"
    )
    shown = vitseg("data", "prepare", "--help")
    assert shown.code == 0
    listed = " ".join(data_prepare._NAMES.split())
    known = {name for name in PREPARATIONS if not name.startswith("pascal_context_")}
    assert set(listed.split(", ")) == known


def test_what_needs_a_login(refused, tmp_path):
    message = refused("data", "prepare", "cityscapes", "--out", tmp_path / "out")
    assert "log in at https://www.cityscapes-dataset.com" in message
    assert "--source FOLDER" in message


def test_offline(vitseg, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x.zip"
    archives = (Archive("x.zip", "", Download(url)),)
    kind = replace(PREPARATIONS["ade20k"], archives=archives)
    monkeypatch.setitem(PREPARATIONS, "ade20k", kind)
    result = vitseg("data", "prepare", "ade20k", "--out", tmp_path / "out")
    assert result.code == 2
    licence, message = result.messages
    assert licence == f"licence of ade20k: {kind.licence}"
    assert "is this machine offline?" in message
    assert "pass --source" in message


def test_a_hostile_archive(refused, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("/etc/evil", "x")
    message = refused(
        "data", "prepare", "ade20k", "--source", tmp_path / "a.zip", "--out", tmp_path / "out"
    )
    assert "the entry '/etc/evil' has an absolute path" in message


def test_an_interrupted_run_says_how_to_continue(vitseg, source, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("vitseg.prepare.prepare.prepare", interrupted)
    result = vitseg("data", "prepare", "cityscapes", "--source", source, "--out", source)
    assert result.code == 130
    assert result.messages == ["Interrupted. Run the same command again to continue."]


def test_conversion_needs_no_torch():
    """Worker processes import the converters, and are to be there quickly."""
    code = (
        "import sys; from vitseg.prepare import archives, cityscapes, coco_stuff, download\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
