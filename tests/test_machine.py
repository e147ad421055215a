"""Cores and memory within the limits of a container, told by files as the system has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vitseg import machine

GB = 2**30
MEMINFO = f"MemTotal: {16 * 2**20} kB\nMemFree: {2**20} kB\nMemAvailable: {10 * 2**20} kB\n"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Write what the system says: of which groups this process is, and what their files hold."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_cores_to_run_on", lambda: 8)
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 16 * GB // 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    (tmp_path / "meminfo").write_text(MEMINFO)

    def write(own: str, **files: str) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = Path(tmp_path, "cgroup", *name.split("__"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def files(folder: str = "", **texts: str) -> dict[str, str]:
    """Files of a group by `name_with_underscores`, whose first one is the dot."""
    return {f"{folder}{name.replace('_', '.', 1)}": text + "\n" for name, text in texts.items()}


def test_without_a_container_it_is_the_machine(system):
    assert machine.num_cores() == 8
    assert not machine.has_fewer_cores()
    assert machine.memory_total() == 16 * GB
    assert machine.memory_at_hand() == 10 * GB


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1600000 100000", 8),
        ("max 100000", 8),
        ("max", 8),
        ("", 8),
        ("200000 0", 8),
    ],
)
def test_a_quota_of_time_is_cores(system, quota, cores):
    system("0::/\n", **files(cpu_max=quota))
    assert machine.num_cores() == cores
    assert machine.has_fewer_cores() == (cores < 8)


@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 8), ("0", 8)])
def test_a_quota_of_the_older_kind(system, quota, cores):
    own = "11:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n"
    system(own, **files("cpu__", **{"cpu_cfs_quota_us": quota, "cpu_cfs_period_us": "100000"}))
    assert machine.num_cores() == cores


def test_memory_of_a_container_and_files_in_it_give_way(system):
    texts = files(memory_max=str(4 * GB), memory_current=str(3 * GB))
    system("0::/\n", **texts, **files(memory_stat=f"anon 9\ninactive_file {2 * GB}\nfile 7"))
    assert machine.memory_total() == 4 * GB
    assert machine.memory_at_hand() == 3 * GB


def test_a_job_deep_in_the_groups_is_held_to_the_tightest_of_them(system):
    system(
        "0::/system.slice/job_7/step_0\n",
        **files("system.slice__job_7__", memory_max=str(6 * GB), memory_current=str(GB)),
        **files("system.slice__job_7__step_0__", memory_max="max", memory_current=str(GB)),
        **files("system.slice__", memory_max=str(12 * GB), memory_current=str(11 * GB)),
    )
    assert machine.memory_total() == 6 * GB
    assert machine.memory_at_hand() == GB


def test_memory_of_the_older_kind_without_a_limit(system):
    texts = {"memory_limit_in_bytes": "9223372036854771712", "memory_usage_in_bytes": str(GB)}
    system("4:memory:/\n", **files("memory__", **texts))
    assert machine.memory_total() == 16 * GB
    assert machine.memory_at_hand() == 10 * GB


def test_a_container_that_is_over_its_limit_has_nothing_left(system):
    system("0::/\n", **files(memory_max=str(GB), memory_current=str(2 * GB)))
    assert machine.memory_at_hand() == 0


@pytest.mark.parametrize("own", ["", "nonsense\n", "0::\n", "1:name=systemd:/x\n", "0::/../..\n"])
def test_odd_lists_of_groups(system, own):
    system(own)
    assert machine.num_cores() == 8
    assert machine.memory_total() == 16 * GB


def test_a_system_that_does_not_tell(system, tmp_path, monkeypatch):
    (tmp_path / "meminfo").unlink()
    monkeypatch.delattr(os, "sysconf")
    assert machine.memory_total() is None
    assert machine.memory_at_hand() is None
