"""The program on the page of the Python API, on a model and data of its own."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT
from tests.tiny import photo, write_dataset, write_model, write_recipe


def test_the_example_runs(tmp_path, monkeypatch):
    """Folders are named by text, and all names that it needs are public."""
    (program,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "ROOT")
    write_model(tmp_path / "runs" / "mine")
    from PIL import Image

    Image.fromarray(photo(64, 80)).save("photo.jpg")
    recipe = write_recipe(tmp_path / "tiny.yaml", iterations=2, val_interval=2)
    exec(program.replace("folder/small-vit_tiny", str(recipe)), {})
    assert (tmp_path / "overlay.png").is_file()
    assert (tmp_path / "runs" / "small" / "best" / "model.safetensors").is_file()
