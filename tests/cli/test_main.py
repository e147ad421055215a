from __future__ import annotations

import errno
import os
import subprocess
import sys
from importlib import metadata

import pytest
import torch

import vitseg
from vitseg import machine
from vitseg.cli import main
from vitseg.cli.doctor import missing_by_extra
from vitseg.errors import ConfigError

VERBS = [
    "demo", "data", "train", "evaluate", "compare", "continual", "tune", "extend", "classes", "predict", "video",
    "explain", "profile", "convert", "push", "doctor", "recipes",
]  # fmt: skip


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['vitseg', '--help']\n"
        "from vitseg.cli.main import run\n"
        "try:\n    run()\n"
        "finally:\n"
        "    heavy = {'torch', 'torchvision', 'timm', 'lightning', 'numpy', 'PIL', 'pydantic'}\n"
        "    print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = python(code)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    assert all(verb in done.stdout for verb in VERBS)


def test_the_version_is_that_of_the_distribution():
    said = python(
        "import sys; sys.argv = ['vitseg', '--version']\nfrom vitseg.cli.main import run\nrun()"
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, f"vitseg {vitseg.__version__}\n", "")
    assert vitseg.__version__ == metadata.version("vitseg")


def test_the_package_imports_no_torch_before_it_is_used():
    done = python("import sys, vitseg; print('torch' in sys.modules, vitseg.__all__)")
    assert done.stdout.startswith("False ['CheckpointError'")


def test_the_installed_command_runs():
    done = python("import sys; from importlib.metadata import entry_points as e\n"
                  "(found,) = e(group='console_scripts', name='vitseg'); print(found.value)")  # fmt: skip
    assert done.stdout.strip() == "vitseg.cli.main:run"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(vitseg, verb):
    result = vitseg(verb, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: vitseg {verb}")
    assert not result.err


def test_without_arguments_the_help_is_shown(vitseg):
    result = vitseg()
    assert "Usage: vitseg" in result.out + result.err


def test_a_misspelt_verb_gets_a_hint(vitseg):
    result = vitseg("trian")
    assert result.code == 2
    assert "Did you mean 'train'" in result.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "recipe.yaml"], "--out"),
        (["train"], "recipe"),
        (["evaluate", "model"], "--data"),
        (["predict", "model", "photo.jpg"], "--out"),
        (["predict", "model", "--out", "x"], "inputs"),
        (["convert", "file.pth"], "--out"),
        (["train", "recipe.yaml", "--output", "x"], "--output"),
    ],
)
def test_missing_and_unknown_options_are_named(vitseg, arguments, named):
    result = vitseg(*arguments)
    assert result.code == 2
    assert named.lower() in result.err.lower()


@pytest.mark.parametrize(
    ("cores", "given", "threads"), [(2, None, "2"), (2, "3", "3"), (None, None, None)]
)
def test_threads_keep_to_what_a_container_gives(cores, given, threads, monkeypatch):
    monkeypatch.setattr(machine, "has_fewer_cores", lambda: cores is not None)
    monkeypatch.setattr(machine, "num_cores", lambda: cores or 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # put back as it was after the test
    monkeypatch.delenv("OMP_NUM_THREADS")
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    main._share_cores()
    assert os.environ.get("OMP_NUM_THREADS") == threads


@pytest.mark.parametrize(
    ("given", "turns"),
    [({}, main.SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_waiting_threads_give_their_core_up_soon(given, turns, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # put back as it was after the test
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    main._share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == turns


def test_turns_are_settled_before_torch_is_loaded():
    script = "import sys; from vitseg.cli import main; main._share_cores(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_doctor_prints_versions_devices_and_extras(vitseg):
    result = vitseg("doctor")
    assert result.code == 0
    for word in (
        "python",
        "torch",
        "timm",
        "cores",
        "bf16",
        "memory",
        "cuda",
        "[serve]",
        "[export]",
    ):
        assert word in result.out


def test_extras_list_what_is_missing():
    missing = missing_by_extra()
    assert {"serve", "export", "dev"} <= missing.keys()
    assert "pytest" not in missing["dev"]


def test_an_error_of_ours_is_one_line_and_exits_1(vitseg, monkeypatch, model, data):
    def fail(*arguments):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("vitseg.inference.predictor.load", fail)
    result = vitseg("evaluate", model, "--data", f"folder:{data}")
    assert result.code == 1
    (line,) = result.messages
    assert "internal error, RuntimeError: first line second line. Please report it" in line


def test_debug_raises_the_error_itself(tmp_path, monkeypatch):
    command = ["vitseg", "--debug", "train", "none.yaml", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(ConfigError, match="no such file"):
        main.run()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_the_users(refused, tmp_path, model, data):
    (tmp_path / "file").write_text("text")
    image = data / "images" / "val_0.png"
    line = refused("predict", model, image, "--out", tmp_path / "file" / "out")
    assert str(tmp_path / "file") in line
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.EMFILE, errno.EDQUOT, errno.ESTALE, errno.ELOOP]
)
def test_an_error_of_the_file_system_is_no_error_of_ours(refused, monkeypatch, model, data, number):
    def fail(*arguments):
        raise OSError(number, os.strerror(number), "/data/a.png")

    monkeypatch.setattr("vitseg.inference.predictor.load", fail)
    line = refused("evaluate", model, "--data", f"folder:{data}")
    assert line.startswith(f"{os.strerror(number)}: /data/a.png.")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate"),
    ],
)
def test_too_little_memory_is_no_error_of_ours(refused, monkeypatch, model, data, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr("vitseg.inference.predictor.load", fail)
    assert refused("evaluate", model, "--data", f"folder:{data}").startswith("out of memory:")


def test_the_end_of_a_file_is_not_the_end_of_answers(vitseg, monkeypatch, model, data):
    def fail(*arguments):
        raise EOFError

    monkeypatch.setattr("vitseg.inference.predictor.load", fail)
    result = vitseg("evaluate", model, "--data", f"folder:{data}")
    assert result.code == 1
    assert "internal error" in result.err


def test_an_error_is_one_short_line(refused, tmp_path):
    recipe = tmp_path / "a.yaml"
    recipe.write_text(f"method: {'a' * 100_000}")
    assert len(refused("train", recipe, "--out", tmp_path / "out")) < 10_100


@pytest.mark.parametrize(
    "value", ["[a]", "{a: b}", "=", "<<", "[" * 3000, "9" * 5000, "~", "*a", "!!set {a}"]
)
def test_methods_that_are_no_name(refused, tmp_path, value):
    recipe = tmp_path / "a.yaml"
    recipe.write_text(f"method: {value}\n")
    assert refused("train", recipe, "--out", tmp_path / "out").startswith("ConfigError: ")
