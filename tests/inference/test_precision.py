"""bf16: products in bfloat16 by every way of running a model, scores in float32."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vitseg
from tests import tiny
from vitseg.errors import ConfigError
from vitseg.inference import precision, predictor
from vitseg.inference.precision import narrowed
from vitseg.inference.tiles import predict_large, run_id

PROTOCOLS = [(), ("flip=true",), ("mode=slide", "crop_size=[64,64]", "stride=[48,48]")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.write_model(tmp_path_factory.mktemp("model") / "model")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_products_are_rounded_and_labels_stay(model, protocol):
    photo = tiny.photo(90, 130)
    whole, rounded = (vitseg.load(model, "cpu", protocol, dtype=kind) for kind in ("fp32", "bf16"))
    first, second = (one.scores(photo).rows(0, 90) for one in (whole, rounded))
    assert second.dtype == torch.float32
    difference = (first - second).abs().max()
    assert difference > 0
    # of random weights and logits of tens: many a label changes
    assert (whole(photo).label_map != rounded(photo).label_map).mean() < 0.2


def test_a_model_that_was_given_keeps_its_numbers(model):
    whole = vitseg.load(model, "cpu")
    predictor.Predictor(whole.network, whole.record, "cpu", "bf16")
    assert {value.dtype for value in whole.network.parameters()} == {torch.float32}


def test_weights_of_products_alone_are_narrowed():
    layers = narrowed(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Embedding(3, 4)))
    assert [next(layer.parameters()).dtype for layer in layers] == [
        torch.bfloat16,
        torch.float32,
        torch.float32,
    ]


def test_narrowed_weights_compute_what_autocast_computes(model):
    whole = vitseg.load(model, "cpu").network
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected, found = whole(images), narrowed(whole)(images)
    assert torch.equal(expected.scores(), found.scores())


def test_tiles_are_run_so_and_are_another_run(model, tmp_path):
    source = tmp_path / "photo.png"
    Image.fromarray(tiny.photo(90, 130)).save(source)
    slide = PROTOCOLS[-1]
    whole, rounded = (vitseg.load(model, "cpu", slide, dtype=kind) for kind in ("fp32", "bf16"))
    assert run_id(whole, source, "mean") != run_id(rounded, source, "mean")
    predict_large(rounded, source, tmp_path / "labels.png", blend="mean")
    with Image.open(tmp_path / "labels.png") as picture:
        found = np.array(picture)
    assert (found != rounded(source).label_map).mean() < 0.01
    assert (found != whole(source).label_map).any()


def test_a_device_without_instructions_is_told_of(model, monkeypatch, caplog):
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    with caplog.at_level(logging.WARNING):
        vitseg.load(model, "cpu", dtype="bf16")
    assert "has no instructions for bfloat16" in caplog.text


def test_unknown_numbers_are_refused(model):
    with pytest.raises(ConfigError, match="fp32 or bf16"):
        predictor.load.__wrapped__(model, "cpu", dtype="fp16")


def test_whether_a_processor_has_them_is_asked_of_torch(monkeypatch):
    for held in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda held=held: held)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert precision.has_bf16(torch.device("cpu")) is held
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert precision.has_bf16(torch.device("cpu")) is False
    assert precision.has_bf16(torch.device("mps")) is False
