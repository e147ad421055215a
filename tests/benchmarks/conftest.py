"""The modules of benchmarks/study, which import one another as scripts do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

STUDY = Path(__file__).resolve().parents[2] / "benchmarks" / "study"
sys.path.insert(0, str(STUDY))

LIST = """
from row import Row, Table

TINY = (
    "data.augment.crop_size=[64,64]", "training.batch_size=1", "data.num_workers=0", "schedule.warmup_iterations=1",
)
ROWS = (
    Row("one", "fake", "One", "scenes/segvit-test_vit", TINY, iterations={iterations}, data="ccp", seeds=(0,)),
    Row("other", "fake", "Other", "scenes/segvit-test_vit", (*TINY, "decoder.init=xavier"), iterations=2, data="ccp"),
)
TABLES = (Table("Fake", ("one", "other")),)
"""


@pytest.fixture
def fake_list(tmp_path: Path):
    """Writes a list of two rows on the synthetic scenes; the first has as many iterations as given."""

    def write(iterations: int = 2, **replaced: str) -> Path:
        text = LIST.format(iterations=iterations)
        for old, new in replaced.items():
            text = text.replace(old, new)
        path = tmp_path / "fake_rows.py"
        path.write_text(text)
        return path

    return write
