"""What `import vitseg` offers is typed whole: every public name, its members, and its signatures."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vitseg

ROOT = Path(__file__).resolve().parents[2]
PYRIGHT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]


def strict_files() -> set[Path]:
    named = [ROOT / name for name in PYRIGHT["strict"]]
    assert [path for path in named if not path.exists()] == []
    return {file for path in named for file in ([path] if path.is_file() else path.rglob("*.py"))}


def test_the_package_says_that_it_has_types():
    assert (ROOT / "src" / "vitseg" / "py.typed").read_bytes() == b""


@pytest.mark.parametrize("name", vitseg.__all__)
def test_public_names_live_in_files_that_are_checked_strictly(name):
    home = inspect.getsourcefile(inspect.unwrap(getattr(vitseg, name)))
    assert home is not None
    assert Path(home).resolve() in strict_files()


@pytest.mark.slow
def test_every_public_name_is_complete_for_those_who_import_it():
    """As a type checker sees the installed package: nothing unknown in what is offered."""
    command = ["--verifytypes", "vitseg", "--ignoreexternal", "--outputjson"]
    program = Path(sys.executable).with_name("pyright")
    found = subprocess.run(
        [program, "--pythonpath", sys.executable, *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    report = json.loads(found.stdout)["typeCompleteness"]
    known = {symbol["name"]: symbol["isTypeKnown"] for symbol in report["symbols"]}
    public = {}
    for name in vitseg.__all__:
        made = getattr(vitseg, name)
        full = f"{made.__module__}.{made.__qualname__}"
        assert full in known, full
        public |= {
            each: is_known for each, is_known in known.items() if f"{each}.".startswith(f"{full}.")
        }
    assert len(public) > 40
    assert [each for each, is_known in public.items() if not is_known] == []
