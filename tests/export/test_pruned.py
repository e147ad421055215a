"""Files of models that drop tokens by what is in an image: one image at a time, with sizes that depend on values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import vitseg
from tests import tiny, tiny_dtop
from tests.export.test_files import export
from vitseg.backbones import PlainViT
from vitseg.checkpoint.model_dir import read_record, save_model
from vitseg.methods import METHODS

pytestmark = pytest.mark.slow
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

ENDINGS = {"onnx": "onnx", "torch-export": "pt2"}
SIZES = [(64, 64), (75, 118), (33, 250), (1, 40)]
FLIPPED = ("flip=true",)


def predicts_alike(model, exported):
    """At several sizes; mirrored views go in together, the file takes one at a time."""
    for protocol in ((), FLIPPED):
        ours, theirs = (vitseg.load(path, "cpu", protocol) for path in (model, exported))
        for size in SIZES:
            photo = tiny.photo(*size)
            assert (ours(photo).label_map != theirs(photo).label_map).mean() <= 0.001, size


@pytest.mark.parametrize("format", ENDINGS)
@pytest.mark.parametrize("rule", ["top_k", pytest.param("average", marks=pytest.mark.long)])
def test_exits_within_a_file(tmp_path, rule, format):
    pruning = {"rule": rule, "threshold": 0.5}
    model = tiny_dtop.write_dtop(tmp_path / "model", pruning=pruning)
    network, _ = tiny_dtop.make_dtop(pruning=pruning)
    left = tiny_dtop.exit_map(network, torch.randn(1, 3, 90, 118))
    assert len(left.unique()) > 1  # some tokens leave, some stay
    out = tmp_path / f"dtop.{ENDINGS[format]}"
    export(model, "--out", out, "--format", format)
    predicts_alike(model, out)


def test_the_graph_computes_less_of_an_easy_image(tmp_path):
    """What the file computes depends on the image: tokens that have left are in no product."""
    model = tiny_dtop.write_dtop(tmp_path / "model", pruning={"rule": "remove", "threshold": 0.5})
    pruned, whole = tmp_path / "pruned.onnx", tmp_path / "whole.onnx"
    export(model, "--out", pruned)
    export(model, "--out", whole, "--unpruned")
    images = np.random.default_rng(0).uniform(0, 255, (1, 3, 256, 256)).astype(np.float32)
    assert computed(pruned, images, tmp_path) < 0.6 * computed(whole, images, tmp_path)


def computed(path, images, folder) -> int:
    """Numbers that products of a graph give, by ONNX Runtime's own record of a run."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / path.stem)
    session = onnxruntime.InferenceSession(path, options)
    session.run(None, {"images": images})
    events = json.loads(Path(session.end_profiling()).read_text())
    products = (
        event["args"]
        for event in events
        if event.get("args", {}).get("op_name", "") in ("MatMul", "Gemm", "FusedMatMul")
    )
    return sum(int(one["output_size"]) for one in products)


def test_edges_within_a_file(tmp_path):
    config = METHODS["shrunk"].model_validate(
        {
            "backbone": {"name": "test_vit", "pretrained": False, "taps": [5]},
            "shrink": {"block": 0},
            "edges": {"threshold": 0.5},
        }
    )
    torch.manual_seed(0)
    network = config.build(len(tiny.NAMES), tiny.CROP).eval()
    assert isinstance(network.backbone, PlainViT)
    for name, weight in network.backbone.edge_head.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(weight, std=0.5)
    (tokens,) = network.backbone(torch.randn(1, 3, 90, 118)).ragged
    assert 12 < len(tokens.cells) < 48
    architecture = config.model_dump(mode="json")
    save_model(
        tmp_path / "model",
        network,
        tiny.make_record(method="shrunk", architecture=architecture),
    )
    export(tmp_path / "model", "--out", tmp_path / "edges.onnx")
    predicts_alike(tmp_path / "model", tmp_path / "edges.onnx")
    told = export(tmp_path / "model", "--out", tmp_path / "whole.onnx", "--unpruned", code=2)
    assert "has no form that keeps all tokens" in told


def test_what_does_not_hold_them_is_refused(tmp_path):
    model = tiny_dtop.write_dtop(tmp_path / "model", pruning={"rule": "top_k", "threshold": 0.5})
    out = tmp_path / "dtop.xml"
    told = export(model, "--out", out, "--format", "openvino", code=2)
    assert "OpenVINO orders equal values anyhow" in told
    assert "--unpruned" in told
    told = export(model, "--out", tmp_path / "dtop.onnx", "--batch", "2", code=2)
    assert "a graph takes one at a time" in told
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.mark.long
def test_the_unpruned_form_says_so_and_takes_a_number_of_images(tmp_path):
    model = tiny_dtop.write_dtop(tmp_path / "model", pruning={"rule": "top_k", "threshold": 0.5})
    out = tmp_path / "whole.onnx"
    export(model, "--out", out, "--unpruned", "--batch", "3")
    theirs = vitseg.load(out, "cpu", FLIPPED)  # two views, where three images go in
    assert theirs.record.architecture["pruning"]["threshold"] == 1
    assert read_record(model).architecture["pruning"]["threshold"] == 0.5
    ours = vitseg.load(model, "cpu", FLIPPED)
    tiny_dtop.prune(
        ours.network, METHODS["dtop"].model_validate(theirs.record.architecture).pruning
    )
    photo = tiny.photo(75, 118)
    assert (ours(photo).label_map != theirs(photo).label_map).mean() <= 0.001
