"""How many workers of `vitseg predict --engine ray` there are, and what each has."""

from __future__ import annotations

import pytest

from vitseg.cli.predict_scale import Scale, scale_of
from vitseg.data.parallel import most_processes
from vitseg.errors import ConfigError


@pytest.mark.parametrize(
    ("workers", "device", "cpus", "gpus", "threads", "expected"),
    [
        (None, "auto", [8], [0], None, Scale(1, 8, 0, 8)),
        (2, "auto", [8], [0], None, Scale(2, 4, 0, 4)),
        (3, "cpu", [8], [4], None, Scale(3, 2, 0, 2)),
        (2, "cpu", [8], [0], 1, Scale(2, 4, 0, 1)),
        (None, "cpu", [8, 8, 0], [0, 0, 0], None, Scale(2, 8, 0, 8)),
        (None, "cpu", [4, 16], [0, 0], None, Scale(5, 4, 0, 4)),
        (3, "cpu", [8, 8], [0, 0], None, Scale(3, 4, 0, 4)),
        (None, "auto", [16, 16], [2, 4], None, Scale(6, 1, 1, 5)),
        (2, "cuda", [16], [2], None, Scale(2, 1, 1, 8)),
    ],
)
def test_workers_share_what_there_is(workers, device, cpus, gpus, threads, expected):
    assert scale_of(workers, device, cpus, gpus, threads) == expected


@pytest.mark.parametrize(
    ("workers", "device", "message"),
    [
        (5, "cpu", "5 workers need a processor each, but Ray knows of 4: give fewer --workers"),
        (3, "cuda", "3 workers need a GPU each, but Ray knows of 2: give fewer --workers"),
    ],
)
def test_more_than_there_is_is_refused(workers, device, message):
    with pytest.raises(ConfigError, match=message):
        scale_of(workers, device, [2, 2], [0, 2], None)


@pytest.mark.slow  # the import of Ray
def test_no_more_workers_are_started_here_than_the_machine_holds():
    pytest.importorskip("ray")
    from vitseg.cli.predict_cluster import require_room

    most = most_processes()
    require_room(None)
    require_room(most)
    with pytest.raises(ConfigError, match=rf"--workers {most + 1}: this machine holds {most} at"):
        require_room(most + 1)


def test_no_gpu_at_all():
    with pytest.raises(ConfigError, match="1 workers need a GPU each, but Ray knows of 0"):
        scale_of(None, "cuda", [8], [0], None)
