"""The whole SegViT model, its start, its optimiser and its schedule against the reference implementation."""

from __future__ import annotations

import ast
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.golden.reference import Golden, load_golden
from tests.golden.toy_vit import our_labels, toy_vit
from tests.shapes_alone import shapes_alone
from vitseg.backbones import BackboneConfig
from vitseg.checkpoint.segvit_names import segvit_name
from vitseg.checkpoint.segvit_reference import convert_segvit
from vitseg.classes import IGNORE_INDEX
from vitseg.decoders.atm import AtmConfig, AtmDecoder
from vitseg.inference.config import InferenceConfig
from vitseg.inference.modes import image_scores
from vitseg.inference.scores import full_scores, label_map, resized
from vitseg.inference.window_scores import slide
from vitseg.layers.grid import resample_grid
from vitseg.losses.atm import AtmLoss, AtmLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.segvit import SegVitConfig
from vitseg.metrics.confusion import ConfusionMatrix
from vitseg.training.optimizer import OptimizerConfig, parameter_groups, rates
from vitseg.training.schedule import ScheduleConfig, lr_at

pytestmark = pytest.mark.golden

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def golden(shared) -> Golden:
    return load_golden(shared, "segvit_tiny_e2e")


@pytest.fixture(scope="module")
def model(golden) -> SegmentationModel:
    """The reference's toy ViT, loaded through the importer."""
    decoder = AtmDecoder((64,) * 3, 10, AtmConfig(num_heads=4, dropout=0.0))
    model = SegmentationModel(toy_vit((1, 3, 5)), decoder)
    model.load_state_dict(convert_segvit(golden.state_dict()))
    return model


def test_features_prediction_and_losses(golden, model):
    features = model.backbone(golden["img"])
    for ours, reference in zip(features.maps, golden.series("feats"), strict=True):
        torch.testing.assert_close(ours, reference, **TOLERANCE)
    labels = our_labels(golden["labels"])
    terms = AtmLoss(AtmLossConfig())(model.train()(golden["img"]), labels)
    for name, value in terms.items():
        torch.testing.assert_close(value, golden[f"losses/decode.{name}"], **TOLERANCE)
    torch.testing.assert_close(sum(terms.values()), golden["total"], **TOLERANCE)
    prediction = model.eval()(golden["img"]).scores()
    torch.testing.assert_close(prediction[..., ::3, ::3], golden["pred[::3,::3]"], **TOLERANCE)


@torch.inference_mode()
def test_sliding_window(golden, model):
    scores = slide(model.eval(), golden["big"], (128, 128), (85, 85))
    window = full_scores(scores)[None, :, ::3, ::3]
    torch.testing.assert_close(window, golden["slide[::3,::3]"], **TOLERANCE)
    rescaled = resized(scores, (120, 161))
    whole = full_scores(rescaled)[None]
    torch.testing.assert_close(whole[..., ::3, ::3], golden["slide_rescaled[::3,::3]"], **TOLERANCE)
    softmaxed = whole.softmax(1)[..., ::3, ::3]
    torch.testing.assert_close(softmaxed, golden["softmaxed[::3,::3]"], **TOLERANCE)
    np.testing.assert_array_equal(label_map(rescaled), golden["argmax/0"].numpy())


@torch.inference_mode()
def test_average_of_views(golden, model):
    """The golden's four views are two scales (150 x 200 and 188 x 250), each plain and mirrored."""
    config = InferenceConfig(
        mode="slide", crop_size=(128, 128), stride=(85, 85), scales=(1.0, 1.25), flip=True
    )
    assert golden.scalars["aug_inputs"][2] == "interp(188,250)"
    images = [
        golden["big"],
        F.interpolate(golden["big"], (188, 250), mode="bilinear", align_corners=False),
    ]
    scores = image_scores(model.eval(), images, config, (120, 161))
    np.testing.assert_array_equal(label_map(scores), golden["aug_argmax/0"].numpy())


@pytest.mark.parametrize("side", [30, 32, 40])
def test_position_embedding_resize(shared, side):
    golden = load_golden(shared, "segvit_posembed_resize")
    source, expected = golden["src"], golden[f"to{side}"]
    ours = resample_grid(source[:, 1:], (24, 24), (side, side), "bicubic")
    torch.testing.assert_close(torch.cat([source[:, :1], ours], dim=1), expected, **TOLERANCE)


def test_weights_start_as_the_reference(shared):
    """Mean, spread and largest value of every parameter of a fresh ViT-B head."""
    torch.manual_seed(0)
    decoder = AtmDecoder((768,) * 3, 150, AtmConfig())
    seen = 0
    for line in (shared / "golden/segvit_init_stats.txt").read_text().splitlines():
        name, _, text = line.partition("\t")
        if "empty_weight" in name:
            continue
        shape, mean, std, largest = ast.literal_eval(text)
        renamed = segvit_name(f"decode_head.{name}")
        assert renamed is not None
        value = decoder.get_parameter(renamed.removeprefix("decoder."))
        assert value.shape == shape, name
        assert value.mean().item() == pytest.approx(mean, abs=5 * std / value.numel() ** 0.5 + 1e-5)
        assert value.std(unbiased=False).item() == pytest.approx(std, rel=0.05, abs=1e-6), name
        assert value.abs().max().item() == pytest.approx(largest, rel=0.5, abs=1e-6), name
        seen += 1
    assert seen == len(list(decoder.parameters()))
    for stage in decoder.stages:
        first = stage.layers[0].self_attn.in_proj.weight
        assert all(torch.equal(first, layer.self_attn.in_proj.weight) for layer in stage.layers)
    in_projs = [stage.layers[0].self_attn.in_proj.weight for stage in decoder.stages]
    assert not torch.equal(in_projs[0], in_projs[1])


def test_parameter_groups(shared):
    """Learning rate and decay of every parameter of SegViT-L on ADE20K."""
    config = SegVitConfig(
        backbone=BackboneConfig(
            name="vit_large_patch16_384", pretrained=False, taps=(7, 15, 23), prefix_tokens="drop"
        )
    )
    with shapes_alone():
        model = config.build(150, (384, 384))
    optimizer = OptimizerConfig(lr=2e-5, weight_decay=0.01)
    groups = parameter_groups(model, optimizer)
    ours = {name: (g["lr"], g["weight_decay"]) for g in groups for name in g["names"]}
    # Dropped before block 0, the class token gets no gradient and is not optimised; its rule is the backbone's.
    assert "backbone.cls_token" not in ours
    ours["backbone.cls_token"] = rates("backbone.cls_token", False, optimizer, model.fresh_parts)
    expected = {}
    for line in (shared / "golden/segvit_paramgroups_vitl_ade20k.txt").read_text().splitlines():
        name, lr, decay = line.split("\t")
        renamed = segvit_name(name)
        assert renamed is not None, name
        expected[renamed] = (float(lr.removeprefix("lr=")), float(decay.removeprefix("wd=")))
    assert ours.keys() == expected.keys()
    for name, (lr, decay) in expected.items():
        assert ours[name] == (pytest.approx(lr), decay), name


@pytest.mark.parametrize(
    ("key", "iterations", "power"),
    [("ade_160k_p1", 160_000, 1.0), ("coco_80k_p2", 80_000, 2.0), ("pc_80k_p1", 80_000, 1.0)],
)
def test_learning_rate_schedule(shared, key, iterations, power):
    expected = json.loads((shared / "golden/segvit_lr_schedule.json").read_text())[key]
    config = ScheduleConfig(power=power, warmup_iterations=1500, warmup_ratio=1e-6)
    for iteration, lr in expected.items():
        assert lr_at(int(iteration), 2e-5, iterations, config) == pytest.approx(
            lr, rel=1e-9, abs=1e-18
        )


def test_iou_metric(shared):
    golden = load_golden(shared, "mmseg_iou_metric")
    confusion = ConfusionMatrix(golden.scalars["num_classes"])
    for prediction, label in zip(golden["pred"].numpy(), golden["label"].numpy(), strict=True):
        confusion.update(prediction, np.where(label == 255, IGNORE_INDEX, label))
    counts, scores = confusion.counts, confusion.scores()
    np.testing.assert_array_equal(np.diag(counts), golden["areas_total/intersect"].numpy())
    np.testing.assert_array_equal(counts.sum(0), golden["areas_total/pred"].numpy())
    np.testing.assert_array_equal(counts.sum(1), golden["areas_total/label"].numpy())
    raw = golden.group("results/mIoU/raw")
    np.testing.assert_allclose(scores.iou, raw["IoU"].numpy(), rtol=1e-5)
    np.testing.assert_allclose(scores.accuracy, raw["Acc"].numpy(), rtol=1e-5)
    summary = {"mIoU": scores.mean_iou, "mAcc": scores.mean_accuracy, "aAcc": scores.pixel_accuracy}
    for name, value in summary.items():
        assert round(100 * value, 2) == pytest.approx(
            golden.scalars[f"results/mIoU/summary/{name}"], abs=1e-4
        )


def test_full_parameter_list_imports(shared):
    """Every name and shape of the published ViT-B file, and nothing else."""
    config = SegVitConfig(
        backbone=BackboneConfig(
            name="vit_base_patch16_384", pretrained=False, taps=(5, 7, 11), prefix_tokens="drop"
        )
    )
    with shapes_alone():
        model = config.build(150, (512, 512))
    ours = model.state_dict()
    reference = {}
    header, *lines = (shared / "golden/keys_segvit_vitb_ade20k.txt").read_text().splitlines()
    for line in lines:
        name, shape, _ = line.split("\t")
        if "empty_weight" not in name:
            reference[segvit_name(name)] = ast.literal_eval(shape)
    assert {name: tuple(value.shape) for name, value in ours.items()} == reference
    assert f"params={sum(p.numel() for p in model.parameters())}" in header
