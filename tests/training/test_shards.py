"""A run that draws from shards has the weights of one from the plain folder, also where it was killed on the way."""

from __future__ import annotations

import pytest

from tests.data.shards.same import KINDS, splits_of
from tests.training.test_distributed import command, killed_after_a_save, run, weights
from vitseg.data.scenes import write_scenes
from vitseg.data.shards.write import write_shards

pytestmark = [pytest.mark.slow, pytest.mark.long]
pytest.importorskip("pyarrow")

OPTIONS = {
    "training__iterations": 12,
    "training__save_interval": 3,
    "training__val_interval": 6,
    "backbone__drop_path": 0.2,
    "data__num_workers": 2,
}


def on(arguments: list[str], spec: str) -> list[str]:
    """The command on another data set."""
    place = arguments.index("--data") + 1
    return [*arguments[:place], spec, *arguments[place + 1 :]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The folder of scenes, and the weights of a run on it."""
    folder = tmp_path_factory.mktemp("plain")
    write_scenes(folder / "scenes", 8, 3, (64, 64), seed=0)
    run(command(folder / "scenes", folder / "run", **OPTIONS))
    return folder / "scenes", weights(folder / "run")


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_on_shards_a_run_has_the_bits_of_the_folder(plain, tmp_path, kind):
    scenes, wanted = plain
    write_shards(splits_of(f"folder:{scenes}"), tmp_path / "shards", kind, shard_bytes=30_000)
    spec = f"{kind}:{tmp_path / 'shards'}"
    assert len(list((tmp_path / "shards").glob("train-*.index"))) > 2
    out = tmp_path / "killed"
    killed_after_a_save(on(command(scenes, out, **OPTIONS), spec), out)
    run(on(command(scenes, out, "--resume", **OPTIONS), spec))
    assert weights(out) == wanted
