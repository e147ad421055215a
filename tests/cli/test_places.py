"""What needs no model is checked before torch is imported, which takes up to half a minute."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from tests.tiny import photo

WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise RuntimeError("torch is imported")

sys.meta_path.insert(0, Blocked())
from vitseg.cli.main import run
run()
"""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("predict none photo.png --out o", "CheckpointError: none does not exist"),
        ("predict MODEL photo --out o", "DataError: photo is no file"),
        ("predict MODEL photo.png --out photo.png", "ConfigError: --out photo.png is a file"),
        ("predict MODEL photo.png --out o --tiles --max-memory some", "memory 'some'"),
        ("predict MODEL photo.png --out o --blend cosin", "Did you mean 'cosine'?"),
        ("evaluate none --data folder:.", "CheckpointError: none does not exist"),
        ("evaluate MODEL --data folder:none", "DataError: none is not a folder"),
        ("evaluate MODEL --data cityscapes:none", "DataError: none is not a folder"),
        ("evaluate MODEL --data fodler:none", "Did you mean 'folder'?"),
        ("explain none photo.png --out o", "CheckpointError: none does not exist"),
        ("explain MODEL photo --out o", "DataError: photo is no file"),
        ("video none a.mp4 b.mp4", "CheckpointError: none does not exist"),
        ("extend none --data folder:. --out o", "CheckpointError: none does not exist"),
        ("extend MODEL --data folder:none --out o", "DataError: none is not a folder"),
        ("tune none --data folder:. --out o", "CheckpointError: none does not exist"),
        ("train recipe.yaml --data folder:none --out o", "DataError: none is not a folder"),
        ("data check folder:none", "DataError: none is not a folder"),
        ("data show folder:none", "DataError: none is not a folder"),
        ("classes none", "CheckpointError: none does not exist"),
        ("push none user/name", "CheckpointError: none does not exist"),
    ],
)
def test_mistyped_places_are_refused_without_torch(tmp_path, model, command, said):
    Image.fromarray(photo(20, 30)).save(tmp_path / "photo.png")
    words = [str(model) if word == "MODEL" else word for word in command.split()]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
