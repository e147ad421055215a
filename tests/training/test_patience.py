"""A run that ends early, for its score does not get better, and that goes on only when it is to be more patient."""

from __future__ import annotations

import json

import pytest

from tests.tiny import tiny_recipe, write_dataset
from vitseg.errors import ConfigError
from vitseg.runs import stage_of
from vitseg.training.display import Display
from vitseg.training.loop import train
from vitseg.training.recipe import Recipe, parse_recipe
from vitseg.training.state import Progress
from vitseg.training.task import TrainingTask, open_splits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("patience") / "data")


def recipe(root, **training) -> Recipe:
    """Of so small a learning rate that no label changes."""
    raw = tiny_recipe(**{"iterations": 9, "val_interval": 1, "save_interval": 100, **training})
    raw["data"]["source"] = f"folder:{root}"
    raw["optimizer"]["lr"] = 1e-30
    return parse_recipe(raw)


def result(run) -> dict:
    return json.loads((run / "result.json").read_text())


class Lines(Display):
    def __init__(self):
        super().__init__(quiet=True)
        self.said: list[str] = []

    def started(self, facts: str) -> None:
        self.said.append(facts)


def test_a_run_ends_early_and_stays_so(root, tmp_path):
    out, display = tmp_path / "run", Lines()
    train(recipe(root, patience=2), out, display=display)
    assert result(out)["stopped_early_at"] == 3
    assert result(out)["final"]["iteration"] == 3
    assert result(out)["iterations"] == 9
    assert stage_of(out) == "finished"
    said = "no better score in 2 validations: the run is over at iteration 3"
    assert said in display.said[-1]
    before = {path: path.read_bytes() for path in out.rglob("*.safetensors")}
    again = Lines()
    train(recipe(root, patience=2), out, resume=True, display=again)
    assert said in again.said[-1]
    assert result(out)["stopped_early_at"] == 3
    assert {path: path.read_bytes() for path in out.rglob("*.safetensors")} == before
    rows = (out / "val.csv").read_text().split()
    assert [row.partition(",")[0] for row in rows] == ["iteration", "1", "2", "3"]


def test_more_patience_lets_it_go_on(root, tmp_path):
    out = tmp_path / "run"
    train(recipe(root, patience=2), out)
    train(recipe(root, patience=4), out, resume=True)
    assert result(out)["stopped_early_at"] == 5
    train(recipe(root), out, resume=True)
    assert result(out)["stopped_early_at"] is None
    assert result(out)["final"]["iteration"] == 9


def test_without_patience_or_with_much_of_it_a_run_is_whole(root, tmp_path):
    for patience in (None, 4):
        out = tmp_path / str(patience)
        train(recipe(root, patience=patience, iterations=4), out)
        assert result(out)["stopped_early_at"] is None
        assert result(out)["final"]["iteration"] == 4


def test_better_scores_are_waited_for_anew():
    progress = Progress()
    found = [progress.judge(miou) for miou in (0.3, 0.2, float("nan"), 0.4, 0.4)]
    assert found == [True, False, False, True, False]
    assert (progress.best_miou, progress.without_better) == (0.4, 1)
    assert progress.has_stalled(1)
    assert not progress.has_stalled(2)
    assert not progress.has_stalled(None)
    progress = Progress(best_miou=float("nan"))
    assert progress.judge(0.1)
    assert Progress(best_miou=0.5).judge(None)  # without validations, the last is the best


def test_patience_needs_validations(root, tmp_path):
    chosen = recipe(root, patience=2)
    task = TrainingTask(open_splits(chosen.data)[0], None)
    with pytest.raises(ConfigError, match="nothing is validated here: leave it out"):
        train(chosen, tmp_path / "run", task=task)
    assert not (tmp_path / "run").exists()
