"""Nothing is allocated for what a file cannot be: sizes and counts are compared with the weights first."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.memory import peak_bytes
from tests.tiny import write_model
from vitseg.checkpoint.model_dir import CONFIG, SUMS, WEIGHTS, load_model
from vitseg.errors import CheckpointError


def changed(folder, keys, value):
    """The model directory with one value of its config.json changed, and its sums renewed."""
    raw = json.loads((folder / CONFIG).read_text())
    inner = raw
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    (folder / CONFIG).write_text(json.dumps(raw))
    sums = subprocess.run(
        ["sha256sum", CONFIG, WEIGHTS], cwd=folder, capture_output=True, text=True, check=True
    )
    (folder / SUMS).write_text(sums.stdout)
    return folder


CASES = [
    (["image_size"], [0, 64], "image_size is 0 x 64, but sides are from 1"),
    (["image_size"], [64, -1], "image_size is 64 x -1"),
    (["image_size"], [100_000, 100_000], "image_size is 100000 x 100000"),
    (["image_size"], [10**18, 64], "image_size is 1000000000000000000 x 64"),
    (["image_size"], [16_000, 16_000], "size mismatch for backbone.pos_embed"),
    (["architecture", "decoder", "num_layers"], 10**9, "far more layers than the weights have"),
    (["architecture", "decoder", "embed_dim"], 10**9 * 64, "does not fit its config.json"),
    (["architecture", "backbone", "name"], "vit_large_patch16_384", "does not fit its config.json"),
    (["architecture", "backbone", "patch_size"], 10**7, "less than one patch"),
]


@pytest.mark.parametrize(("keys", "value", "words"), CASES, ids=[str(c[1])[:20] for c in CASES])
def test_a_model_directory_of_impossible_size(tmp_path, keys, value, words):
    folder = changed(write_model(tmp_path / "model"), keys, value)
    before, start = peak_bytes(), time.process_time()
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert peak_bytes() - before < 200 * 2**20
    assert time.process_time() - start < 60  # else it does not end at all
