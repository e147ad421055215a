"""The trial of two scales, with a stand-in for its trainings."""

from __future__ import annotations

from tests.tiny import tiny_recipe, write_dataset
from vitseg.claims import claim_run
from vitseg.files import write_json
from vitseg.plan import scale_trial
from vitseg.plan.scale import Scale
from vitseg.runs import RESULT, STATE, TRAIN_LOG
from vitseg.training.recipe import parse_recipe
from vitseg.training.task import task_of


def test_what_a_killed_trial_has_left_is_in_nobodys_way(tmp_path, monkeypatch):
    folder, scores = tmp_path / "run" / "plan" / "trial", iter([0.25, 0.5])
    for name in (TRAIN_LOG, STATE, RESULT):
        for number in ("0", "1"):
            write_json(folder / number / name, {"final": {"miou": 1.0}})

    def train(recipe, run, task):
        claim_run(run, resume=False)
        assert recipe.training.num_processes == 1
        write_json(run / RESULT, {"final": {"miou": next(scores)}})

    monkeypatch.setattr(scale_trial, "train", train)
    raw = tiny_recipe(devices=2)
    raw["data"]["source"] = f"folder:{write_dataset(tmp_path / 'data')}"
    recipe = parse_recipe(raw)
    scales = [Scale("own", None, (32, 32), {}, ""), Scale("resized", None, (32, 32), {}, "")]
    found = scale_trial.try_scales(scales, 2 * [recipe], 2 * [task_of(recipe)], 4, folder)
    assert found.scores == (0.25, 0.5)
    assert not folder.exists()
