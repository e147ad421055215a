"""The workflow files: their schema, what they may do, and that what they run is there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PINNED = re.compile(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)")


def steps_of(workflow: Path) -> list[dict[str, object]]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def test_all_tests_and_the_release_have_one():
    assert [path.name for path in WORKFLOWS] == ["long.yml", "release.yml", "test.yml"]
    run = [str(step.get("run", "")) for workflow in WORKFLOWS for step in steps_of(workflow)]
    for target in ("test", "long", "check", "lowest", "dist"):
        assert f"make {target}" in run, target


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_the_schema_is_kept(workflow):
    command = ["--builtin-schema", "vendor.github-workflows", str(workflow)]
    tool = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run([tool, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_make_targets_exist(workflow):
    for step in steps_of(workflow):
        if "uses" in step:
            assert PINNED.fullmatch(str(step["uses"])), step["uses"]
        for target in re.findall(r"\bmake (\S+)", str(step.get("run", ""))):
            assert target in TARGETS, target


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_no_job_may_more_than_it_needs(workflow):
    content = yaml.safe_load(workflow.read_text())
    assert content["permissions"] == {"contents": "read"}
    writes = {
        name: {scope for scope, may in job.get("permissions", {}).items() if may == "write"}
        for name, job in content["jobs"].items()
    }
    allowed = {
        "attest": {"id-token", "attestations"},
        "publish": {"id-token"},
        "announce": {"contents"},
    }
    for name, scopes in writes.items():
        assert scopes == (allowed.get(name, set()) if workflow.stem == "release" else set()), name
    assert "secrets." not in workflow.read_text()


def test_every_promised_python_is_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = {
        found[1]
        for each in project["classifiers"]
        if (found := re.search(r"Python :: (3\.\d+)$", each))
    }
    tests = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    tried = set(tests["newest"]["strategy"]["matrix"]["python"])
    assert promised <= tried
    assert "3.14" in tried
    lowest = re.search(r">=(3\.\d+)", project["requires-python"])
    assert lowest is not None
    (used,) = (
        step["with"]["python-version"]
        for step in tests["lowest"]["steps"]
        if "python-version" in step.get("with", {})
    )
    assert used == lowest[1]


def test_the_lowest_versions_are_those_of_all_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.search(r"^EXTRAS := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named is not None
    assert set(named[1].split(",")) == project["optional-dependencies"].keys() - {"dev", "docs"}
