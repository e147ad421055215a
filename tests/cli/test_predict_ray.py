"""`vitseg predict --engine ray`: workers and commands that are killed half-way, and the same results as one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.serve import process_tree
from tests.tiny import content, photo, write_model

pytestmark = [pytest.mark.slow, pytest.mark.long]

NUM_PHOTOS = 24
BEGUN = "begun.txt"
"""What `predict_faults` calls it."""

CLUSTER = """
import sys
from vitseg.serve.ray_environment import prepare
prepare()
import ray
for _ in range(5):  # on a busy machine it may take longer than Ray allows
    try:
        started = ray.init("local", include_dashboard=False, num_cpus=2, object_store_memory=200_000_000,
                           _node_ip_address="127.0.0.1")
        break
    except Exception:
        ray.shutdown()
print("address", started.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


class Command:
    """The command in a process of its own."""

    def __init__(self, out: Path, environment: dict[str, str], *words: object, faults: bool = True):
        self.out = out
        module = "tests.cli.predict_faults" if faults else "vitseg"
        command = [sys.executable, "-m", module, "predict", *map(str, words), "--out", str(out)]
        self._log = out.with_name(f"{out.name}.log").open("w+")
        self.process = subprocess.Popen(
            [*command, "--engine", "ray", "--device", "cpu"],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    def wait(self) -> tuple[int, str]:
        """Exit code, and all that was printed."""
        code = self.process.wait(300)
        self._log.seek(0)
        return code, self._log.read()

    def wait_for_lines(self, count: int) -> None:
        for _ in range(3000):
            if len(lines(self.out)) >= count:
                return
            assert self.process.poll() is None, self.wait()
            time.sleep(0.05)
        raise AssertionError(self.wait())

    def begun(self) -> list[tuple[int, str]]:
        """Process and image of what the workers have begun."""
        told = (self.out.parent / BEGUN).read_text().splitlines()
        return [(int(line.split()[0]), line.split()[1]) for line in told]


def lines(out: Path) -> list[dict]:
    file = out / "predictions.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def untimed(out: Path) -> list[dict]:
    return [
        {name: value for name, value in line.items() if name != "seconds"} for line in lines(out)
    ]


def environment(home: Path, **more: str) -> dict[str, str]:
    found = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1", **more}
    if "RAY_ADDRESS" not in more:
        found.pop("RAY_ADDRESS", None)
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def cluster(home):
    """The environment of commands that use a cluster which is there already."""
    started = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(home),
    )
    assert started.stdin is not None
    assert started.stdout is not None
    family = []
    try:
        address = next(line for line in started.stdout if line.startswith("address")).split()[1]
        family = process_tree.below(started.pid)
        # with this Ray leaves a loopback address what it is
        yield environment(home, RAY_ADDRESS=address, RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")
    finally:
        started.stdin.close()
        started.wait(60)
        process_tree.end_all(family)
        started.stdout.close()


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(NUM_PHOTOS):
        Image.fromarray(photo(40 + number, 50, seed=number)).save(folder / f"{number:02d}.png")
    return folder


def wait_for_end(pid: int) -> None:
    for _ in range(600):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} goes on")


def require_same(out: Path, local: Path) -> None:
    assert untimed(out) == untimed(local)
    for folder in ("masks", "overlays"):
        assert content(out / folder) == content(local / folder)


def test_a_worker_that_is_killed_half_way_changes_nothing(vitseg, model, photos, tmp_path, home):
    (photos / "07.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    local = tmp_path / "local"
    expected = vitseg("predict", model, photos, "--out", local)
    assert expected.code == 2

    command = Command(tmp_path / "out", environment(home), model, photos, "--workers", 2)
    command.wait_for_lines(NUM_PHOTOS // 2)
    pid, _ = command.begun()[-1]
    family = process_tree.below(command.process.pid)
    os.kill(pid, signal.SIGKILL)
    code, said = command.wait()

    assert code == 2, said
    assert f"{NUM_PHOTOS - 1} of {NUM_PHOTOS} images -> {command.out}" in said
    assert set(expected.messages) <= set(said.splitlines())
    require_same(command.out, local)
    assert len({process for process, _ in command.begun()}) == 3
    assert sum(Counter(name for _, name in command.begun()).values()) <= NUM_PHOTOS + 2
    for _ in range(200):
        if not any(map(process_tree.is_alive, family)):
            break
        time.sleep(0.1)
    assert [one for one in family if process_tree.is_alive(one)] == []


def test_an_image_that_ends_each_worker_is_reported_and_the_others_go_on(
    vitseg, model, photos, tmp_path, cluster
):
    (photos / "03.png").rename(photos / "dies.png")
    (photos / "05.png").rename(photos / "dies_once.png")
    command = Command(tmp_path / "out", cluster, model, photos, "--workers", 2)
    code, said = command.wait()

    assert code == 2, said
    assert f"{NUM_PHOTOS - 1} of {NUM_PHOTOS} images -> {command.out}" in said
    assert f"{photos / 'dies.png'}: 3 workers ended in the middle of it" in said
    assert f"run again, since their workers ended: {photos / 'dies_once.png'}" in said
    found = {Path(line["image"]).stem: line for line in lines(command.out)}
    assert len(found) == len(lines(command.out)) == NUM_PHOTOS
    assert [name for name, line in found.items() if "error" in line] == ["dies"]
    assert "3 workers ended" in found["dies"]["error"]
    assert "mask" not in found["dies"]
    assert (
        len(list((command.out / "masks").iterdir())) == NUM_PHOTOS - 1
    )  # and nothing half-written

    (photos / "dies.png").rename(photos / "03.png")
    (photos / "dies_once.png").rename(photos / "05.png")
    vitseg("predict", model, photos, "--out", tmp_path / "local")
    theirs = content(tmp_path / "local" / "masks")
    ours = content(command.out / "masks")
    assert ours.pop("dies_once.png") == theirs.pop("05.png")
    theirs.pop("03.png")
    assert ours == theirs


def test_a_second_call_goes_on_where_the_command_was_killed(
    vitseg, model, photos, tmp_path, cluster
):
    words = (model, photos, "--workers", 1)
    first = Command(tmp_path / "out", cluster, *words)
    first.wait_for_lines(NUM_PHOTOS // 3)
    first.process.kill()
    first.process.wait()
    wait_for_end(first.begun()[-1][0])  # the cluster ends the worker of a command that is no more
    finished = [Path(line["image"]).stem for line in lines(first.out)]
    assert NUM_PHOTOS // 3 <= len(finished) < NUM_PHOTOS
    (tmp_path / BEGUN).unlink()

    second = Command(tmp_path / "out", cluster, *words)
    code, said = second.wait()
    assert code == 0, said
    assert f"{NUM_PHOTOS} of {NUM_PHOTOS} images" in said
    assert f"{len(finished)} were finished before and kept" in said
    begun = [name for _, name in second.begun()]
    assert len(begun) == NUM_PHOTOS - len(finished)
    assert not set(begun) & set(finished)
    vitseg("predict", model, photos, "--out", tmp_path / "local")
    require_same(second.out, tmp_path / "local")


def test_rows_addresses_and_lists_are_those_of_one_process(
    vitseg, model, photos, tmp_path, cluster, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    files = sorted(photos.iterdir())
    table = pa.table(
        {
            "id": [f"set/{path.stem}" for path in files[:12]],
            "image": [None, b"no image", *(path.read_bytes() for path in files[2:12])],
        }
    )
    pq.write_table(table, "rows.parquet", row_group_size=5)
    Path("list.txt").write_text("# the rest\nphotos/20.png\nphotos/21.png\n")
    inputs = ("rows.parquet", f"file://{photos}/1[2-9].png", "list.txt")
    expected = vitseg("predict", model, *inputs, "--out", "local")
    assert expected.code == 2
    assert expected.out.strip() == "20 of 22 images -> local"

    command = Command(tmp_path / "out", cluster, model, *inputs, "--workers", 2, faults=False)
    code, said = command.wait()
    assert code == 2, said
    assert set(expected.messages) <= set(said.splitlines())
    require_same(tmp_path / "out", tmp_path / "local")
    assert "rows.parquet#set/00 has no image" in lines(command.out)[0]["error"]


def test_what_is_wrong_with_the_model_is_said_once_and_claims_nothing(
    refused, model, photos, tmp_path, cluster
):
    wrong = ("--set", "flip=perhaps")
    expected = refused("predict", model, photos, "--out", tmp_path / "local", *wrong)
    command = Command(tmp_path / "out", cluster, model, photos, "--workers", 2, *wrong)
    code, said = command.wait()
    assert (code, said.strip()) == (2, expected)
    assert list((tmp_path / "out").iterdir()) == []


def test_more_workers_than_the_cluster_has_processors(model, photos, tmp_path, cluster):
    command = Command(tmp_path / "out", cluster, model, photos, "--workers", 3)
    code, said = command.wait()
    assert (code, said.strip()) == (
        2,
        "ConfigError: 3 workers need a processor each, but Ray knows of 2: give fewer --workers.",
    )
