"""A row from training to file, with a published one beside it."""

from __future__ import annotations

import json

import pytest

from tests.tiny import write_dataset
from vitseg.cli import frame
from vitseg.errors import CheckpointError
from vitseg.inference.config import InferenceConfig
from vitseg.studies.reproduce import reproduce as study
from vitseg.studies.reproduce.reproduce import REPRODUCTION, SCALES, reproduce, several_scales
from vitseg.studies.reproduce.row import reference_of
from vitseg.training.display import Display
from vitseg.training.published import read_published
from vitseg.training.recipe import load_recipe
from vitseg.training.recipe_shelf import find_shipped

NAME = "scenes/segvit-test_vit"
OVERRIDES = (
    "training.iterations=2", "training.batch_size=2", "training.val_interval=2", "schedule.warmup_iterations=1",
    "data.num_workers=0", "data.augment.crop_size=[64,64]",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return f"folder:{write_dataset(tmp_path_factory.mktemp('scenes') / 'data')}"


@pytest.fixture(scope="module")
def shown():
    """A small recipe that pretends to have a published row."""
    row = read_published()["ade20k/segvit-vit_large_patch16_384"]
    return find_shipped(NAME)[0]._replace(published=row)


def run(shown, data, out, *overrides):
    recipe = load_recipe(NAME, [*OVERRIDES, *overrides], data)
    return reproduce(
        shown, recipe, out, (), Display(quiet=True), lambda images: frame.bar("", images)
    )


@pytest.fixture(scope="module")
def finished(shown, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "row"
    return out, run(shown, data, out)


@pytest.mark.slow
def test_a_row_stands_beside_the_published_one(shown, finished):
    out, found = finished
    entries = {entry.name: entry for entry in found.entries}
    assert list(entries) == ["miou", "miou_multi_scale", "parameters_m", "gmacs"]
    assert (entries["miou"].reference, entries["miou_multi_scale"].reference) == (54.6, 55.2)
    one, several = found.result["final"], found.several_scales
    assert entries["miou"].ours == 100 * one["miou"]
    assert entries["miou_multi_scale"].ours == 100 * several["miou"]
    assert entries["miou"].difference == pytest.approx(100 * one["miou"] - 54.6)
    assert tuple(several["inference"]["scales"]) == SCALES
    assert several["inference"]["flip"]
    assert several["content_hash"] == one["content_hash"]

    written = json.loads((out / REPRODUCTION).read_text())
    assert written["recipe"] == NAME
    assert written["changes"]["training.iterations"] == 2
    assert "data.source" not in written["changes"]
    assert written["row"]["miou"]["difference"] == entries["miou"].difference
    assert written["published"]["source"] == "SegViT (NeurIPS 2022), table 1"
    assert {"seed", "iterations", "training_minutes", "weights_sha256"} <= written.keys()
    assert {"versions", "device", "commit"} <= written["one_scale"].keys()
    assert str(out) not in (out / REPRODUCTION).read_text()


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(shown, data, finished, monkeypatch):
    out, found = finished

    def never(*arguments, **options):
        raise AssertionError("done again")

    monkeypatch.setattr(study, "train", never)
    monkeypatch.setattr(study, "evaluate", never)
    again = run(shown, data, out)
    assert again == found


@pytest.mark.slow
def test_a_finished_run_of_another_recipe_is_refused(shown, data, finished):
    with pytest.raises(CheckpointError, match=r"optimizer\.lr changed"):
        run(shown, data, finished[0], "optimizer.lr=0.5")


def test_the_views_of_several_scales_are_no_smaller_than_the_window():
    windows = InferenceConfig(mode="slide", resize=(2048, 512), crop_size=(512, 512), stride=(341, 341))  # fmt: skip
    found = several_scales(windows)
    assert (found.scales, found.flip, found.min_short) == (SCALES, True, 512)
    assert found.input_size((300, 400), 0.5) == (512, 683)
    whole = several_scales(InferenceConfig(resize=(2048, 512)))
    assert whole.min_short is None
    assert whole.input_size((300, 400), 0.5) == (256, 341)


def test_a_row_is_put_beside_what_there_is():
    assert reference_of(find_shipped("ade20k/segvit-vit_large_patch16_384")[0]) == "published"
    assert reference_of(find_shipped("camvid/segvit-vit_tiny")[0]) == "recorded here"
    assert reference_of(find_shipped("folder/small-vit_tiny")[0]) is None
