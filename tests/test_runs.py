from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from vitseg.changes import changed_recipe
from vitseg.claims import claim_folder, claim_new, claim_predictions, claim_run
from vitseg.errors import CheckpointError, ConfigError
from vitseg.runs import (
    FAILED_START,
    MASKS,
    PREDICTIONS,
    RECIPE,
    RESULT,
    STATE,
    goes_on,
    note_launch,
    stage_of,
    was_killed_early,
    write_recipe,
)


def test_a_new_and_an_empty_folder_can_be_claimed(tmp_path):
    claim_folder(tmp_path / "new")
    claim_folder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_refused(tmp_path):
    for name in "dbca":
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"is not empty \(a, b, c\.\.\.\): give a new folder\. "):
        claim_folder(tmp_path)
    with pytest.raises(
        ConfigError, match=r"^--report .* \(a\): look again\. Nothing was changed\.$"
    ):
        claim_folder(tmp_path, may_hold="bcd", instead="look again", option="--report")
    claim_folder(tmp_path, may_hold="abcd")
    claim_folder(tmp_path, may_hold=None)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file: give a folder"):
        claim_folder(tmp_path / "file", may_hold=None)


@pytest.mark.parametrize("place", ["file/out", "file/deeper/out", "/proc/out", "n" * 300])
def test_a_place_that_cannot_be_written_is_found_before_the_work(tmp_path, place):
    if place.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("needs a file system that takes no files")
    (tmp_path / "file").touch()
    for claim in (partial(claim_folder, option="--report"), claim_new):
        with pytest.raises(ConfigError, match=r"^--(report|out) .* cannot be written \("):
            claim(tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_failed_start_leaves_is_no_run(tmp_path):
    write_recipe(tmp_path, {"method": "segvit"})
    claim_folder(tmp_path, may_hold=FAILED_START)


@pytest.mark.parametrize(
    ("restarts", "launch", "same"),
    [
        ("1", "b", True),
        ("1", "none", True),
        ("0", "a", True),
        ("0", "b", False),
        ("0", "none", False),
    ],
)
def test_a_run_goes_on_by_itself_in_the_launch_that_has_begun_it(
    tmp_path, monkeypatch, restarts, launch, same
):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    note_launch(tmp_path)
    claim_folder(tmp_path, may_hold=FAILED_START)
    assert not goes_on(tmp_path)  # there is no state yet
    (tmp_path / STATE).touch()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", launch)
    assert goes_on(tmp_path) == same


def test_without_torchrun_a_run_is_not_gone_on_with_by_itself(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    (tmp_path / STATE).touch()
    note_launch(tmp_path)
    assert not goes_on(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [STATE]


KILLED = ("train.csv", "val.csv", "state", "tensorboard", ".owner", ".state.ckpt.1a2b.writing")


@pytest.mark.parametrize("models", [(), ("last", "best", ".best.old")])
def test_a_run_that_was_killed_before_its_first_save_begins_anew(tmp_path, models):
    write_recipe(tmp_path, {"method": "segvit"})
    for name in (*KILLED, *models):
        (tmp_path / name).mkdir()
    claim_run(tmp_path, resume=True)
    assert was_killed_early(tmp_path)
    if models:
        with pytest.raises(ConfigError, match=r"not empty \(best, last\): .* pass --resume"):
            claim_run(tmp_path, resume=False)
    else:
        claim_run(tmp_path, resume=False)
    for name in (RESULT, "step_0", "notes.txt"):  # a run whose state is gone, or more than a run
        (tmp_path / name).touch()
        with pytest.raises(CheckpointError, match="has no state"):
            claim_run(tmp_path, resume=True)
        (tmp_path / name).unlink()


def test_torchrun_begins_anew_what_was_killed_before_its_first_save(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not goes_on(tmp_path)
    write_recipe(tmp_path, {"method": "segvit"})
    (tmp_path / "last").mkdir()
    assert goes_on(tmp_path)


def test_a_new_folder_must_not_be_there_even_if_it_is_empty(tmp_path):
    claim_new(tmp_path / "new")
    with pytest.raises(ConfigError, match="exists already: give a new folder"):
        claim_new(tmp_path)


def test_predictions_are_replaced_only_if_asked(tmp_path):
    claim_predictions(tmp_path, overwrite=False)
    (tmp_path / MASKS).mkdir()
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="has masks that no prediction wrote"):
            claim_predictions(tmp_path, overwrite)
    (tmp_path / PREDICTIONS).write_text("{}\n")
    claim_predictions(tmp_path, overwrite=True)
    with pytest.raises(ConfigError, match="holds predictions already"):
        claim_predictions(tmp_path, overwrite=False)


def test_the_stages_of_a_run(tmp_path):
    stages = [stage_of(tmp_path)]
    for name in (RECIPE, STATE, RESULT):
        (tmp_path / name).touch()
        stages.append(stage_of(tmp_path))
    assert stages == ["none", "begun", "stopped", "finished"]


def test_a_run_knows_which_fields_of_its_recipe_changed(tmp_path):
    recipe = {"method": "segvit", "optimizer": {"lr": 1e-4, "weight_decay": 0.01}}
    assert changed_recipe(tmp_path, recipe) == []
    write_recipe(tmp_path, recipe)
    assert changed_recipe(tmp_path, recipe) == []
    other = {"method": "setr", "optimizer": {"lr": 1e-3, "weight_decay": 0.01}}
    assert changed_recipe(tmp_path, other) == ["method", "optimizer.lr"]
