"""SegFormer of the transformers library, small and random: converted, it gives the library's scores at every size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.backbones.test_mix_transformer import author_names, published_names
from vitseg.backbones import PyramidConfig, create_backbone
from vitseg.checkpoint.convert import convert_checkpoint, read_checkpoint
from vitseg.classes import ClassTable
from vitseg.errors import CheckpointError
from vitseg.methods.nrd import NrdConfig
from vitseg.methods.segformer import SegFormerConfig

CLASSES = ClassTable.from_names(["a", "b", "c", "d", "e"])
SIZES = [(100, 132), (64, 96), (101, 133), (33, 47), (29, 31), (30, 250)]


@pytest.fixture(scope="module")
def source():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(num_labels=5)
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # the library's start gives one label everywhere
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        norm = model.decode_head.batch_norm
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 2)
    return model


def old_names(state):
    """As the library's published files have them."""
    inner = {n.removeprefix("segformer."): v for n, v in state.items() if n.startswith("segformer")}
    renamed = published_names(inner)
    del renamed["classifier.weight"]
    for name, value in state.items():
        if name.startswith("decode_head."):
            renamed[name.replace("linear_projections", "linear_c")] = value
    return renamed


def of_authors(state):
    inner = {n.removeprefix("segformer."): v for n, v in state.items() if n.startswith("segformer")}
    renamed = {f"backbone.{n.removeprefix('backbone.')}": v for n, v in author_names(inner).items()}
    for name, value in state.items():
        if name.startswith("decode_head."):
            for level in range(4):
                name = name.replace(f"linear_projections.{level}.", f"linear_c{level + 1}.")
            name = name.replace("linear_fuse.", "linear_fuse.conv.")
            name = name.replace("batch_norm.", "linear_fuse.bn.").replace(
                "classifier", "linear_pred"
            )
            renamed[name] = value
    return {n: v for n, v in renamed.items() if not n.startswith("backbone.head")}


def converted(path: Path, state):
    torch.save({"state_dict": state}, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.dialect.name == "SegFormer"
    return convert_checkpoint(checkpoint, CLASSES)


@pytest.mark.parametrize("naming", [dict, old_names, of_authors])
@torch.inference_mode()
def test_scores_are_the_librarys_at_every_size(tmp_path, source, naming):
    model, record = converted(tmp_path / "model.pth", naming(source.state_dict()))
    for size in SIZES:
        images = torch.randn(2, 3, *size)
        theirs = F.interpolate(source(images).logits, size, mode="bilinear", align_corners=False)
        ours = model(images).scores()
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        assert (ours.argmax(1) == theirs.argmax(1)).float().mean() > 0.999
    assert theirs.argmax(1).unique().numel() > 1
    assert record.architecture["backbone"]["name"] == "mit_b0"
    assert record.inference == {"mode": "whole", "resize": None}
    assert record.license is None


@torch.inference_mode()
def test_sides_that_are_too_short_for_the_library_are_padded(source, tmp_path):
    model, _ = converted(tmp_path / "model.pth", source.state_dict())
    assert model(torch.randn(1, 3, 7, 90)).scores().shape == (1, 5, 7, 90)


def test_only_segformers_own_pair_is_not_padded():
    """Other heads on the same encoder, and this head on others, are as they were."""
    backbone = {"name": "mit_b0", "pretrained": False, "levels": [0, 1, 2, 3]}
    images = torch.randn(1, 3, 100, 132)
    for config, expected in (
        (NrdConfig.model_validate({"backbone": {**backbone, "levels": [0, 3]}}), (128, 160)),
        (SegFormerConfig.model_validate({"backbone": backbone}), (100, 132)),
    ):
        model = config.build(3, (64, 64)).eval()
        with torch.inference_mode():
            assert model.backbone(images).padded_size == expected
    plain = create_backbone(PyramidConfig(**backbone), (64, 64)).eval()
    with torch.inference_mode():
        assert plain(images).padded_size == (128, 160)


def test_names_of_the_classes_lie_beside(tmp_path, source):
    source.save_pretrained(tmp_path)
    assert read_checkpoint(tmp_path / "model.safetensors").facts.names is None  # LABEL_0, ...
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {str(index): name for index, name in enumerate("vwxyz")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_checkpoint(tmp_path / "model.safetensors").facts.names == tuple("vwxyz")


def test_other_encoders_are_refused(tmp_path, source):
    state = source.state_dict()
    del state["segformer.stages.0.patch_embeddings.proj.weight"]
    with pytest.raises(
        CheckpointError, match=r"stages\.0\.patch_embeddings\.proj\.weight is missing"
    ):
        converted(tmp_path / "model.pth", state)
