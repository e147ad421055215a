"""The wheel and the sdist: what is in them, and that the wheel works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
RECIPES = {path.relative_to(ROOT).as_posix() for path in (ROOT / "recipes").rglob("*.*")}

pytestmark = [pytest.mark.slow, pytest.mark.long]


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """The output of a command that has to succeed, started without the checkout on Python's path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, out: Path, *kinds: str) -> None:
    """Build with the tools of this environment, which asks no index."""
    command = ["-m", "uv", "build", *kinds, "--offline", "--no-build-isolation", "--python"]
    run(sys.executable, *command, sys.executable, "--out-dir", out, source, cwd=out.parent)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Wheel and sdist: those that VITSEG_DIST names, else built from the checkout, the wheel from the sdist."""
    if "VITSEG_DIST" in os.environ:
        return Path(os.environ["VITSEG_DIST"])
    built = tmp_path_factory.mktemp("dist")
    build(ROOT, built)
    return built


@pytest.fixture(scope="module")
def wheel(folder) -> Path:
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def sdist(folder) -> Path:
    (found,) = folder.glob("*.tar.gz")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder with the wheel alone; all that it needs is in this environment."""
    target = tmp_path_factory.mktemp("installed")
    command = ["-m", "uv", "pip", "install", "--offline", "--no-deps", "--python", sys.executable]
    run(sys.executable, *command, "--target", target, wheel, cwd=target)
    return target


def test_names_say_the_version(wheel, sdist):
    assert wheel.name == f"vitseg-{VERSION}-py3-none-any.whl"
    assert sdist.name == f"vitseg-{VERSION}.tar.gz"


def test_the_wheel_has_the_package_with_its_recipes_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"vitseg-{VERSION}.dist-info"
    about = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    assert about | {f"{info}/licenses/LICENSE", "vitseg/py.typed"} <= names
    assert {f"vitseg/{name}" for name in RECIPES} <= names
    tracked = run("git", "ls-files", "src/vitseg", cwd=ROOT).splitlines()
    package = {name.removeprefix("src/") for name in tracked}
    assert package <= names
    extra = names - package - about - {f"vitseg/{name}" for name in RECIPES}
    assert extra <= {f"{info}/licenses/LICENSE", "vitseg/py.typed"}


def test_the_sdist_has_what_its_tests_and_documents_need(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "Makefile", "pyproject.toml", "PKG-INFO"):
        assert name in names, name
    for room in ("src/vitseg", "recipes", "tests", "docs", "benchmarks", "deploy", "examples"):
        tracked = run("git", "ls-files", room, cwd=ROOT).splitlines()
        assert tracked
        assert set(tracked) <= names
    assert not {name for name in names if "__pycache__" in name or name.endswith(".pyc")}
    assert not {name for name in names if name.startswith((".venv", "build", "dist", "runs"))}


def test_the_sdist_builds_the_same_wheel_as_the_checkout(wheel, sdist, tmp_path):
    from_tree, from_sdist = tmp_path / "tree", tmp_path / "sdist"
    build(ROOT, from_tree, "--wheel")
    build(sdist, from_sdist, "--wheel")
    built = [path.read_bytes() for out in (from_tree, from_sdist) for path in out.glob("*.whl")]
    assert built == [wheel.read_bytes()] * 2


def test_the_metadata_are_what_an_index_takes(wheel, sdist):
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=wheel.parent)


def test_the_wheel_works_away_from_the_checkout(installed, tmp_path):
    code = "import vitseg; print(vitseg.__file__)"
    where = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert Path(where.strip()).is_relative_to(installed)
    verb = installed / "bin" / "vitseg"
    listed = run(verb, "recipes", cwd=tmp_path, PYTHONPATH=str(installed))
    assert "folder/small-vit_tiny" in listed
    short = ["training.iterations=4", "training.val_interval=4", "schedule.warmup_iterations=1"]
    run(verb, "demo", *short, cwd=tmp_path, PYTHONPATH=str(installed), OMP_NUM_THREADS="1")
    assert (tmp_path / "vitseg-demo" / "index.html").is_file()
    assert (tmp_path / "vitseg-demo" / "run" / "best").is_dir()
