"""How the baselines start, what they leave alone, and what their steps compute."""

from __future__ import annotations

import math

import pytest
import torch

from tests.tiny import ARCHITECTURE, CROP
from vitseg.classes import IGNORE_INDEX
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.linear import LinearProbeConfig
from vitseg.studies.continual.approaches import frozen_rows
from vitseg.studies.continual.growing import freeze_all_but_classifier, grow, num_classes
from vitseg.studies.continual.steps import LinearRowsLoss, MibConfig, MibLoss, PlopConfig, PlopLoss
from vitseg.studies.continual.thresholds import BINS, entropy_histograms, medians
from vitseg.training.optimizer import build_optimizer
from vitseg.training.recipe import parse_recipe


def make(classes: int, seed: int):
    torch.manual_seed(seed)
    config = LinearProbeConfig.model_validate({"backbone": ARCHITECTURE["backbone"]})
    model = config.build(classes, CROP)
    torch.nn.init.normal_(model.decoder.classifier.weight, std=0.3)
    torch.nn.init.normal_(model.decoder.classifier.bias)
    model.decoder.norm.running_mean.normal_()
    return model.eval()


@pytest.fixture
def images():
    torch.manual_seed(5)
    return torch.randn(2, 3, *CROP)


@pytest.fixture
def labels():
    torch.manual_seed(6)
    labels = torch.randint(0, 2, (2, *CROP)) * 3  # background and class 3
    labels[0, :9] = IGNORE_INDEX
    return labels


def criterion():
    return PixelLoss(PixelLossConfig(mean_over="labelled"))


@torch.no_grad()
def probs(model, images):
    return model(images).scores().softmax(1)


def test_new_rows_share_the_backgrounds_probability(images):
    """MiB, equations 10 and 11: where logits are resized, at the positions of the tokens."""
    old, model = make(3, 0), make(5, 1)
    grow(model, old, "background")
    with torch.no_grad():
        before, after = (one(images).mask_logits.softmax(1) for one in (old, model))
    torch.testing.assert_close(after[:, 1:3], before[:, 1:3])
    torch.testing.assert_close(after[:, :1], before[:, :1] / 3)
    torch.testing.assert_close(after[:, 3:], (before[:, :1] / 3).expand(-1, 2, -1, -1))


def test_fresh_rows_leave_the_others_logits(images):
    old, model = make(3, 0), make(5, 1)
    fresh = model.decoder.classifier.weight[3:].clone()
    grow(model, old, "fresh")
    with torch.no_grad():
        ours, theirs = model(images).mask_logits[:, :3], old(images).mask_logits
    torch.testing.assert_close(ours, theirs)  # the last bits depend on the number of rows
    assert torch.equal(model.decoder.classifier.weight[:3], old.decoder.classifier.weight)
    assert torch.equal(model.decoder.classifier.bias[:3], old.decoder.classifier.bias)
    assert torch.equal(model.decoder.classifier.weight[3:], fresh)


def recipe():
    return parse_recipe(
        {
            "method": "linear",
            "backbone": ARCHITECTURE["backbone"],
            "data": {"augment": {"crop_size": list(CROP)}},
            "optimizer": {"lr": 0.1, "weight_decay": 0.5},
            "training": {"iterations": 2000, "batch_size": 2},
        }
    )


def take_steps(step, optimizer, images, labels, count=3):
    step.train()
    for _ in range(count):
        sum(step(images, labels).values()).backward()
        optimizer.step()
        optimizer.zero_grad()


def test_rows_of_earlier_classes_stay_bit_by_bit(images, labels):
    old, model = make(3, 0), make(4, 1)
    grow(model, old, "fresh")
    freeze_all_but_classifier(model)
    step = LinearRowsLoss(model, criterion(), True, num_old=num_classes(old))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = build_optimizer(model, frozen_rows(recipe()).optimizer, fused=True)
    take_steps(step, optimizer, images, labels)
    changed = [
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    ]
    assert changed == ["decoder.classifier.weight", "decoder.classifier.bias"]
    for name in changed:
        assert torch.equal(model.state_dict()[name][:3], before[name][:3])
        assert not torch.equal(model.state_dict()[name][3:], before[name][3:])
    model.eval()
    with torch.no_grad():
        ours, theirs = model(images).mask_logits[:, :3], old(images).mask_logits
    torch.testing.assert_close(ours, theirs)  # the last bits depend on the number of rows


def test_only_rows_are_trained_on_a_pyramid():
    """Whose levels have norms that a frozen backbone leaves to train."""
    swin = {"name": "swin_tiny_patch4_window7_224", "pretrained": False, "levels": [0]}
    model = LinearProbeConfig.model_validate({"backbone": swin}).build(3, (32, 32))
    freeze_all_but_classifier(model)
    step = LinearRowsLoss(model, criterion(), True, num_old=2)
    learning = {name for name, value in step.named_parameters() if value.requires_grad}
    assert learning == {"model.decoder.classifier.weight", "model.decoder.classifier.bias"}


def taught(kind, model, old):
    if kind == "mib":
        return MibLoss(model, criterion(), False, teacher=old, config=MibConfig())
    thresholds = torch.full((3,), 0.9)
    return PlopLoss(model, criterion(), False, old, PlopConfig(), thresholds)


@pytest.mark.parametrize("kind", ["mib", "plop"])
def test_the_teacher_stays_and_the_model_learns(kind, images, labels):
    old, model = make(3, 0), make(4, 1)
    grow(model, old, "background")
    teacher = make(3, 0)
    step = taught(kind, model, teacher)
    step.train()
    assert model.training
    assert not any(module.training for module in teacher.modules())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = sum(step(images, labels).values()).item()
    take_steps(step, optimizer, images, labels, count=5)
    assert sum(step(images, labels).values()).item() < before
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, old.state_dict()[name]), name


def test_the_first_losses_of_mib_by_definition(images, labels):
    """At the start the folded model is the teacher, so the distillation is the teacher's entropy."""
    old, model = make(3, 0), make(4, 1)
    grow(model, old, "background")
    terms = taught("mib", model, old)(images, labels)
    teacher = probs(old, images)
    counted = labels != IGNORE_INDEX
    entropy = -(teacher * teacher.log()).sum(1)[counted].mean()
    assert terms["loss_distillation"].item() == pytest.approx(entropy.item(), rel=1e-3)
    student = probs(model, images)
    right = torch.where(labels == 3, student[:, 3], student[:, :3].sum(1))
    assert terms["loss_pixel"].item() == pytest.approx(
        -right[counted].log().mean().item(), rel=1e-4
    )


def test_plop_distils_nothing_at_the_start_but_the_logit_of_the_background(images, labels):
    old, model = make(3, 0), make(4, 1)
    grow(model, old, "fresh")
    step = taught("plop", model, old)
    terms = step(images, labels)
    assert terms["loss_pod"].item() == pytest.approx(0, abs=1e-6)
    assert terms["loss_pod_logits"].item() == pytest.approx(0, abs=1e-6)
    assert step.growth == pytest.approx(math.sqrt(3 / 1))  # three classes seen, one of them new
    with torch.no_grad():
        model.decoder.classifier.bias[0] += 2.0
    moved = step(images, labels)["loss_pod_logits"].item()
    height, width = CROP[0] // 16, CROP[1] // 16
    pooled = sum(scale * (height + width) for scale in (1, 2, 4))
    assert moved == pytest.approx(0.0005 * math.sqrt(3) * math.sqrt(pooled) * 2.0, rel=1e-4)


def test_medians_of_entropies():
    entropies = torch.tensor([0.1, 0.2, 0.9, 0.5, math.log(3)])
    counts = entropy_histograms(entropies, torch.tensor([0, 0, 0, 2, 2]), 3)
    assert counts.sum() == 5
    width = math.log(3) / BINS
    assert medians(counts).tolist() == pytest.approx([0.2, 0.0, 0.5], abs=width)
