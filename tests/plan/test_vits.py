from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from tests.plan.facts import CPU, GPU
from vitseg.backbones.create import outline
from vitseg.errors import CheckpointError, ConfigError
from vitseg.plan import vits
from vitseg.plan.vits import BASE, LARGE, SMALL, TELLABLE, TINY, by_device, choose_vit, recognise


@pytest.mark.parametrize(
    ("device", "minutes", "name"),
    [
        (CPU, 15, TINY),
        (CPU, None, TINY),
        (replace(GPU, memory=4 * 2**30), 60, SMALL),
        (replace(GPU, memory=16 * 2**30), 60, SMALL),
        (GPU, 60, BASE),
        (GPU, 5, SMALL),
        (GPU, 300, BASE),
        (replace(GPU, memory=80 * 2**30), 300, LARGE),
        (replace(GPU, kind="mps"), 60, SMALL),
    ],
)
def test_a_backbone_by_device_and_time(device, minutes, name):
    found, why = by_device(device, minutes)
    assert found == name
    assert why


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "vit_tiny_patch16_384.augreg_in21k_ft_in1k",
        "vit_small_patch14_reg4_dinov2.lvd142m",
        "vit_small_patch14_dinov2.lvd142m",
        "deit3_small_patch16_224.fb_in22k_ft_in1k",
    ],
)
def test_a_weight_file_tells_its_model(name):
    assert recognise(outline(name).state_dict(), TELLABLE) == name


def test_of_other_parameters_nothing_is_told():
    state = outline("vit_tiny_patch16_224").state_dict()
    assert recognise({**state, "extra.weight": state["norm.weight"]}, TELLABLE) is None
    assert recognise({}, TELLABLE) is None


def weight_file(path: Path, name: str = "test_vit") -> Path:
    save_file(timm.create_model(name, num_classes=0).state_dict(), path)
    return path


def test_a_file_is_the_backbone(tmp_path):
    vit = choose_vit(CPU, 5, weights=weight_file(tmp_path / "mine.safetensors"))
    assert (vit.name, vit.depth, vit.width, vit.patch) == ("test_vit.r160_in1k", 6, 64, 16)
    assert vit.section()["weights"] == str(tmp_path / "mine.safetensors")
    named = weight_file(tmp_path / "test_vit.r160_in1k.safetensors")
    assert choose_vit(CPU, 5, weights=named).name == "test_vit.r160_in1k"


def test_a_file_of_no_vit_is_refused(tmp_path):
    path = tmp_path / "resnet.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"of no plain ViT that can be told.*--backbone NAME"):
        choose_vit(CPU, 5, weights=path)


def test_offline_it_says_which_file_to_fetch(monkeypatch):
    monkeypatch.setattr(vits, "is_reachable", lambda: False)
    monkeypatch.setattr(vits.huggingface_hub, "try_to_load_from_cache", lambda *place: None)
    with pytest.raises(
        CheckpointError, match=f"Fetch model.safetensors of timm/{TINY} .*--weights"
    ):
        choose_vit(CPU, 5)
    assert choose_vit(CPU, 5, pretrained=False).section()["pretrained"] is False
    monkeypatch.setattr(vits, "is_reachable", lambda: True)
    assert choose_vit(CPU, 5).name == TINY


def test_larger_patches_become_sixteen(monkeypatch):
    vit = choose_vit(GPU, 60, name=SMALL, pretrained=False)
    assert vit.section()["patch_size"] == 16


def test_random_weights_and_a_file_contradict(tmp_path):
    with pytest.raises(ConfigError, match="leave one of them out"):
        choose_vit(CPU, 5, weights=tmp_path / "x.safetensors", pretrained=False)
    with pytest.raises(ConfigError, match="'vit_tinny'"):
        choose_vit(CPU, 5, name="vit_tinny", pretrained=False)
