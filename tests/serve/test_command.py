"""`vitseg serve`: what it says of mistakes, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import psutil
import pytest

from tests.serve.octants import cells_of, pattern, png
from tests.serve.processes import ENVIRONMENT, none_left, started
from tests.serve.raw import request, segment
from vitseg.cli import main
from vitseg.cli.serve import read_keys


@pytest.fixture
def refused(capsys, monkeypatch):
    """The command, which is expected to say one line of its words, and to end with nothing running."""

    def call(*arguments, words):
        before = len(psutil.Process().children(recursive=True))
        monkeypatch.setattr(sys, "argv", ["vitseg", "serve", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.run()
        said, errors = capsys.readouterr()
        require_line(ended.value.code, said, errors, words)
        assert len(psutil.Process().children(recursive=True)) == before

    return call


def require_line(code, said, errors, words):
    """An error of the user: exit code 2, and one line that says what to do."""
    assert code == 2, errors
    assert said == ""
    lines = [line for line in errors.splitlines() if not line.startswith("loading ")]
    assert len(lines) == 1 or "Usage:" in errors, errors
    assert "Traceback" not in errors
    plain = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", errors).split())
    assert re.search(words, plain), plain


@pytest.fixture(scope="module")
def model(octant_models):
    return octant_models["octants"]


def test_no_model(refused):
    refused(words="Missing argument 'MODEL...'")


def test_a_place_without_a_model(refused, tmp_path):
    refused(tmp_path / "nothing", words="nothing")
    refused(tmp_path, words="CheckpointError")


def test_two_models_of_one_name(refused, model, tmp_path):
    other = shutil.copytree(model, tmp_path / "octants")
    refused(model, other, words="two models would be named octants.*NAME=MODEL")


@pytest.mark.parametrize("name", ["a b", "..", "", "_x", ".hidden", "a" * 200, "é", "a%2fb"])
def test_names_that_are_none(refused, model, name):
    refused(f"{name}={model}", words="cannot be the name of a served model")


def test_a_name_with_a_slash_is_a_place(refused, model):
    refused(f"a/b={model}", words=r"a/b=")


def test_a_port_in_use(refused, model):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused(
            model, "--port", port, words=f"--port {port} cannot be used: Address already in use"
        )


@pytest.mark.parametrize("port", ["-1", "65536", "http", "8000.5"])
def test_a_port_that_is_none(refused, model, port):
    refused(model, "--port", port, words="Invalid value for '--port'")


@pytest.mark.parametrize("host", ["999.1.2.3.4", "a..b", "a" * 300, "no such host", "192.0.2.1"])
def test_a_host_that_is_none(refused, model, host):
    refused(model, "--host", host, "--port", "0", words="--host .* cannot be used")


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b"# none\n", b"\xff\xfe"])
def test_a_file_without_keys(refused, model, tmp_path, content):
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    refused(model, "--api-keys", file, words="--api-keys .*keys (cannot be read|has no key)")


@pytest.mark.parametrize("given", ["one,two", "one\ntwo\n", " one , \r\n two"])
def test_keys_of_the_environment_are_parted_by_commas_or_lines(monkeypatch, given):
    monkeypatch.setenv("VITSEG_API_KEYS", given)
    assert read_keys(None) == ("one", "two")


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "prometheus_client"])
def test_a_missing_package(refused, model, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    refused(model, "--port", "0", words=r"pip install 'vitseg\[serve\]'")


@pytest.mark.parametrize(
    "options",
    [
        ["--timeout", "0"],
        ["--timeout", "nan"],
        ["--max-requests", "0"],
        ["--max-body", "-1"],
        ["--max-pixels", "0"],
        ["--max-batch", "0"],
        ["--threads", "0"],
    ],
)
def test_limits_that_are_none(refused, model, options):
    refused(model, "--port", "0", *options, words=options[0].strip("-").replace("-", "."))


@pytest.mark.slow
def test_a_damaged_model(model, tmp_path):
    broken = shutil.copytree(model, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    command = [sys.executable, "-m", "vitseg", "serve", str(broken), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENVIRONMENT)
    require_line(done.returncode, done.stdout, done.stderr, "CheckpointError.*model.safetensors")


@pytest.mark.slow
def test_the_command_serves_and_ends(model, tmp_path):
    (tmp_path / "keys").write_text("# one\nkey-of-the-test\n")
    command = ["-m", "vitseg", "serve", f"first={model}", model, "--port", "0"]
    command += ["--no-page", "--threads", "1", "--api-keys", str(tmp_path / "keys")]
    with started(command, tmp_path / "log.txt") as process:
        line = process.wait_for("serving")
        assert "serving first, octants at http://127.0.0.1:" in line
        port = int(line.rsplit(":", 1)[1])
        assert request(port, "GET", "/v1/models").status == 401
        answer = segment(port, png(pattern(1)), X_API_Key="key-of-the-test")
        assert np.array_equal(cells_of(answer.body), pattern(1))
        family = process.family()
        process.send(signal.SIGTERM)
        assert process.end() == 0
        assert none_left(family)
        assert "Traceback" not in process.log
        assert "key-of-the-test" not in process.log
        assert os.path.basename(model) in process.log
