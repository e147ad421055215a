"""Numbers of replicas that `vitseg serve` is given."""

from __future__ import annotations

import pytest

from vitseg.cli.serve import require_scale
from vitseg.errors import ConfigError


@pytest.mark.parametrize(
    ("engine", "replicas", "smallest", "largest", "message"),
    [
        ("local", 2, None, None, "--replicas needs --engine ray"),
        ("local", None, None, 2, "--max-replicas needs --engine ray"),
        ("ray", 2, None, 3, "--replicas and --max-replicas contradict each other"),
        ("ray", None, 2, None, "--min-replicas needs --max-replicas"),
        ("ray", None, None, 2, "--max-replicas needs --min-replicas"),
        ("ray", None, 3, 2, "--min-replicas 3 is more than --max-replicas 2"),
    ],
)
def test_contradictions_are_refused(engine, replicas, smallest, largest, message):
    with pytest.raises(ConfigError, match=message):
        require_scale(engine, replicas, smallest, largest)


@pytest.mark.parametrize(
    ("engine", "replicas", "smallest", "largest"),
    [
        ("local", None, None, None),
        ("ray", None, None, None),
        ("ray", 2, None, None),
        ("ray", None, 1, 1),
    ],
)
def test_the_others_are_taken(engine, replicas, smallest, largest):
    require_scale(engine, replicas, smallest, largest)
