"""Settings of token pruning: which there are, what is measured of each, and which is taken."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.tiny import make_record, write_dataset
from tests.tiny_dtop import exit_map, make_dtop
from vitseg.backbones import BackboneConfig, create_backbone
from vitseg.backbones.patches import with_patch_size
from vitseg.backbones.steps.exit import pruning_of
from vitseg.data.catalog import open_dataset
from vitseg.data.picked import picked, spread_indices
from vitseg.errors import ConfigError, DataError
from vitseg.evaluation.evaluate import evaluate
from vitseg.inference.config import InferenceConfig
from vitseg.inference.window_scores import window_starts
from vitseg.studies.tune import tune as tuning_module
from vitseg.studies.tune.settings import make_settings, require_threshold, smaller_input
from vitseg.studies.tune.tune import Row, Tuning, planned_runs, tune

CPU = torch.device("cpu")


def settings_of(thresholds=(0.5, 0.7), inference=None, **sections):
    model, config = make_dtop(**sections)
    architecture = config.model_dump(mode="json")
    record = make_record(method="dtop", architecture=architecture, inference=inference or {})
    return make_settings(model, record, CPU, thresholds)


@pytest.fixture
def dataset(tmp_path):
    return open_dataset(f"folder:{write_dataset(tmp_path / 'data', num_val=2)}", "val")


def test_all_thresholds_at_all_sets_of_exits_and_the_plain_ways():
    settings, left_out = settings_of((0.7, 0.5, 1.0, 0.5))
    assert [setting.name for setting in settings] == [
        "unpruned",
        *(f"threshold {t} at {e}" for e in ("exit 0", "exit 1", "exits 0+1") for t in (0.5, 0.7)),
        *("input x 0.875", "input x 0.75", "input x 0.625"),
        *("patch 20", "patch 24"),
    ]
    assert not left_out
    assert (settings[0].exits, settings[0].pruning.threshold) == ((), 1)
    assert (settings[6].exits, settings[6].pruning.threshold) == ((0, 1), 0.7)
    assert [setting.vit.patch_size[0] for setting in settings[-2:]] == [20, 24]


def test_the_rule_of_the_model_stays():
    settings, _ = settings_of((0.5,), pruning={"keep_per_class": 2, "threshold": 0.9, "exits": [1]})
    assert {setting.pruning.keep_per_class for setting in settings} == {2}
    assert [setting.exits for setting in settings[:4]] == [(), (0,), (1,), (0, 1)]


def test_one_exit_is_enough():
    settings, _ = settings_of((0.5,), backbone={**make_dtop()[1].backbone.model_dump(), "taps": [1, 3]})  # fmt: skip
    assert [setting.name for setting in settings[:2]] == ["unpruned", "threshold 0.5 at exit 0"]
    assert len(settings) == 1 + 1 + 3 + 2


def test_what_has_no_larger_patch_is_left_out_with_a_reason():
    backbone = {"name": "vit_tiny_r_s16_p8_224", "pretrained": False, "taps": [0, 1]}
    settings, left_out = settings_of((0.5,), backbone=backbone)
    assert not [setting for setting in settings if setting.kind == "larger patch"]
    assert len(left_out) == 2
    assert all("cells of a CNN" in reason for reason in left_out.values())


@pytest.mark.parametrize("rule", ["share", "nearest"])
def test_a_rule_without_threshold_has_nothing_to_tune(rule):
    backbone = {**make_dtop()[1].backbone.model_dump(), "taps": [1, 3]}
    model = make_dtop(backbone=backbone, pruning={"rule": rule})[0]
    with pytest.raises(ConfigError, match=f"pruning.rule {rule} has no threshold"):
        require_threshold(pruning_of(model.backbone).config)


@pytest.mark.parametrize(
    "inference",
    [
        {},
        {"resize": (2048, 512)},
        {"resize": (2048, 512), "min_short": 512},
        {"mode": "slide", "crop_size": (512, 512), "stride": (341, 341)},
        {"resize": (2048, 512), "mode": "slide", "crop_size": (512, 512), "stride": (512, 512), "scales": (0.5, 1.0)},
    ],
)  # fmt: skip
@pytest.mark.parametrize("scale", [0.875, 0.75, 0.625])
def test_smaller_inputs_are_the_same_views_with_fewer_pixels(inference, scale):
    ours = InferenceConfig.model_validate(inference)
    smaller = smaller_input(ours, scale)
    size = (1024, 1365)
    for before, after in zip(ours.scales, smaller.scales, strict=True):
        old, new = ours.input_size(size, before), smaller.input_size(size, after)
        for axis in (0, 1):
            assert new[axis] == pytest.approx(scale * old[axis], abs=1)
            if ours.mode == "slide":
                starts = [
                    window_starts(sides[axis], one.crop_size[axis], one.stride[axis])
                    for sides, one in ((old, ours), (new, smaller))
                ]
                assert len(starts[0]) == len(starts[1])


@torch.no_grad()
def test_a_larger_patch_reads_an_enlarged_patch_as_before():
    model, config = make_dtop()
    backbone = config.backbone.model_copy(update={"patch_size": 32})
    larger = config.model_copy(update={"backbone": backbone}).build(3, (64, 64))
    old, new = model.backbone, larger.backbone
    larger.load_state_dict(with_patch_size(model.state_dict(), old, new, "backbone."))
    patch = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    enlarged = F.interpolate(patch, (32, 32), mode="bicubic", antialias=True)
    token, expected = new.patch_embed(enlarged), old.patch_embed(patch)
    torch.testing.assert_close(token, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(new.pos_embed, old._pos_embed_for((2, 2)))


def test_relative_biases_cannot_be_resampled():
    config = BackboneConfig(name="beitv2_base_patch16_224", pretrained=False, taps=(0,))
    with torch.device("meta"):
        old = create_backbone(config, (64, 64))
        new = create_backbone(config.model_copy(update={"patch_size": 20}), (64, 64))
    state = {name: torch.zeros(value.shape) for name, value in old.state_dict().items()}
    with pytest.raises(
        ConfigError, match="relative_position_bias_table of beitv2_base_patch16_224 depends on"
    ):
        with_patch_size(state, old, new)


@pytest.fixture
def _one_image(monkeypatch):
    """Times and multiply-adds of one image, once: counting is slow where shapes are checked."""
    monkeypatch.setattr(tuning_module, "TIMED_IMAGES", 1)
    monkeypatch.setattr(tuning_module, "ROUNDS", 1)


@pytest.mark.slow
@pytest.mark.usefixtures("_one_image")
@torch.no_grad()
def test_what_is_measured(dataset):
    settings, left_out = settings_of((0.5,))
    runs = []
    result = tune(settings, left_out, dataset, 0.5, runs.append)
    assert sum(runs) == planned_runs(len(settings), 2) == len(settings) * (2 + 1 + 1 + 1)
    assert [row.setting for row in result.rows] == settings
    rows = {row.setting.name: row for row in result.rows}
    assert result.unpruned.time_ratio == 1
    assert result.unpruned.alive == rows["patch 24"].alive == (1.0, 1.0)
    assert all(row.milliseconds > 0 for row in result.rows)
    image = dataset[0].image
    for exits in ("exit 0", "exit 1", "exits 0+1"):
        row = rows[f"threshold 0.5 at {exits}"]
        inputs = row.setting.activate().model_input(image, image.shape[:2])
        left_at = exit_map(row.setting.model, inputs)
        expected = [(left_at > number).float().mean().item() for number in (0, 1)]
        assert row.alive == pytest.approx(expected)
        assert row.alive[1] < 1
    for name in ("threshold 0.5 at exits 0+1", "input x 0.75", "patch 20"):
        assert rows[name].gmacs < result.unpruned.gmacs
        assert rows[name].miou == evaluate(rows[name].setting.activate(), dataset).scores.mean_iou
    assert (
        len({row.miou for row in result.rows}) > 4
    )  # that they differ is what the last line rests on


def test_a_split_without_labels_is_refused(tmp_path):
    root = write_dataset(tmp_path / "data")
    for path in (root / "masks").glob("val_*"):
        Image.fromarray(np.full((64, 80), 255, np.uint8)).save(path)
    settings, left_out = settings_of((0.5,))
    with pytest.raises(DataError, match="has no labelled pixel in its 2 images"):
        tune(settings, left_out, open_dataset(f"folder:{root}", "val"), 0.5)


def tuning(*rows, max_loss=0.5) -> Tuning:
    """Of (kind, points of mIoU, ratio of times) behind the unpruned 50 points."""
    made = []
    for kind, points, ratio in (("unpruned", 50.0, 1.0), *rows):
        setting = SimpleNamespace(kind=kind, name=f"{kind} {ratio}")
        evaluation = SimpleNamespace(scores=SimpleNamespace(mean_iou=points / 100))
        made.append(Row(setting, evaluation, 1.0, (), 1.0, ratio))
    return Tuning(made, {}, max_loss, 1)


@pytest.mark.parametrize(
    ("rows", "best", "pays", "words"),
    [
        (
            [("pruned", 49.6, 0.8), ("pruned", 40.0, 0.5), ("larger patch", 49.9, 0.9)],
            "pruned 0.8",
            True,
            "pruning pays here: pruned 0.8 (0.80 of the unpruned time, mIoU 49.60 %, -0.40 points); the best plain "
            "alternative within 0.5 points of mIoU is larger patch 0.9 (0.90",
        ),
        (
            [("pruned", 49.5, 0.97), ("larger patch", 49.4, 0.5)],
            "pruned 0.97",
            True,
            "no plain alternative stays within 0.5 points of mIoU.",
        ),
        (
            [("pruned", 50.0, 0.8), ("smaller input", 49.8, 0.7)],
            "smaller input 0.7",
            False,
            "pruning does not pay here: smaller input 0.7 (0.70 of the unpruned time, mIoU 49.80 %, -0.20 points) is "
            "better; the best pruned setting within 0.5 points of mIoU is pruned 0.8",
        ),
        (
            [("pruned", 49.4, 0.8), ("smaller input", 51.0, 0.7)],
            "smaller input 0.7",
            False,
            "no pruned setting stays within 0.5 points of mIoU.",
        ),
        (
            [("pruned", 50.0, 0.98), ("larger patch", 30.0, 0.5)],
            "unpruned 1.0",
            False,
            "pruning does not pay here: nothing within 0.5 points of mIoU takes 0.97 of the unpruned time or less; the "
            "best pruned setting within 0.5 points of mIoU is pruned 0.98",
        ),
        ([], "unpruned 1.0", False, "no pruned setting stays"),
        ([("pruned", 49.9, 0.96), ("pruned", 50.2, 0.98)], "pruned 0.96", True, "pruning pays here: pruned 0.96"),
        (
            [("pruned", 50.1, 0.61), ("larger patch", 49.6, 0.60), ("pruned", 50.1, 0.7)],
            "pruned 0.61",
            True,
            "the best plain alternative within 0.5 points of mIoU is larger patch 0.6",
        ),
    ],
)  # fmt: skip
def test_the_fastest_within_the_loss_is_taken_and_of_equals_the_best(rows, best, pays, words):
    result = tuning(*rows)
    assert result.best.setting.name == best
    assert result.pays is pays
    assert words in result.verdict


def test_no_loss_at_all_may_be_asked_for():
    assert tuning(("pruned", 49.99, 0.5), max_loss=0.0).best.setting.kind == "unpruned"
    assert tuning(("pruned", 50.0, 0.5), max_loss=0.0).pays


def test_a_few_images_are_spread_over_the_split(tmp_path):
    assert spread_indices(10, 3) == [0, 3, 6]
    assert spread_indices(2, 16) == [0, 1]
    whole = open_dataset(f"folder:{write_dataset(tmp_path / 'data', num_val=5)}", "val")
    few = picked(whole, [1, 4])
    assert few.ids == [whole.ids[1], whole.ids[4]]
    assert (few.name, few.split, few.classes) == (whole.name, whole.split, whole.classes)
    for index, original in ((0, 1), (1, 4)):
        ours, theirs = few[index], whole[original]
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.label_map, theirs.label_map)
        assert few.mask_files(index) == whole.mask_files(original)


def test_settings_are_timed_in_turn_on_every_timed_image(dataset, monkeypatch):
    order = []

    def timed(runs, rounds, warmups):
        order.append(list(runs))
        return {number: 0.5 if number == 1 else 1.0 for number in runs}

    monkeypatch.setattr(tuning_module, "alternating_medians", timed)
    monkeypatch.setattr(tuning_module, "TIMED_IMAGES", 2)
    settings, left_out = settings_of((0.5,))
    result = tune(settings[:2], left_out, dataset, 0.5)
    assert order == [[0, 1], [0, 1]]
    assert result.rows[1].time_ratio == 0.5
    assert result.timed_images == 2
