"""DToP against the reference implementation: who leaves at each exit, and what every head says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.golden.reference import Golden, load_golden
from tests.golden.toy_vit import our_labels, toy_vit
from tests.tiny_dtop import exit_map
from vitseg.backbones.steps.exit_rules import PruningConfig
from vitseg.checkpoint.dtop_reference import convert_dtop
from vitseg.decoders.token_heads import TokenHeadsConfig
from vitseg.inference.scores import full_scores, label_map, resized
from vitseg.inference.window_scores import slide
from vitseg.layers.ragged import RaggedTokens
from vitseg.methods.dtop import DtopConfig
from vitseg.methods.model import SegmentationModel

pytestmark = pytest.mark.golden

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
CELLS = 256


@pytest.fixture(scope="module")
def golden(shared) -> Golden:
    return load_golden(shared, "segvit_dtop_tiny_t0.7")


@pytest.fixture(scope="module")
def config() -> DtopConfig:
    return DtopConfig(
        backbone=toy_vit((1, 3, 5), 256).config,
        pruning=PruningConfig(threshold=0.7),
        decoder=TokenHeadsConfig(embed_dim=48, num_heads=6, num_layers=2, dropout=0.0),
    )


@pytest.fixture(scope="module")
def model(golden, config) -> SegmentationModel:
    """The reference's toy model, loaded through the importer."""
    model = config.build_on(toy_vit((1, 3, 5), 256), 10, (256, 256))
    model.load_state_dict(convert_dtop(golden.state_dict()))
    return model


@torch.no_grad()
def test_every_stage(golden, model):
    stages: list[RaggedTokens] = []
    heads = [*model.decoder.exits, model.decoder.head]
    hooks = [
        head.register_forward_pre_hook(lambda _, args: stages.append(args[0])) for head in heads
    ]
    try:
        output = model.eval()(golden["img"])
    finally:
        for hook in hooks:
            hook.remove()
    outputs = [*output.stages, output]
    assert len(stages) == len(outputs) == 3
    for number, (alive, stage) in enumerate(zip(stages, outputs, strict=True)):
        prefix = f"stages/{number}/"
        before = golden[prefix + "batch_idx_before"].bool()
        rows = alive.rows(CELLS)
        is_alive = torch.zeros(2 * CELLS, dtype=torch.bool)
        is_alive[rows] = True
        torch.testing.assert_close(is_alive.view(2, CELLS), ~before)
        tokens = golden[prefix + "x_in"].flatten(0, 1)[rows]
        torch.testing.assert_close(alive.tokens, tokens, **TOLERANCE)
        canvas = stage.mask_logits.flatten(2)
        torch.testing.assert_close(canvas, golden[prefix + "canvas"], **TOLERANCE)
        logits = golden[prefix + "pred_logits"]
        torch.testing.assert_close(stage.class_logits, logits, **TOLERANCE)
        probs = stage.class_logits.softmax(-1)[..., :1] * canvas.sigmoid()
        torch.testing.assert_close(probs, golden[prefix + "pred_tokens"], **TOLERANCE)


@torch.no_grad()
def test_where_tokens_left(golden, model):
    exits = exit_map(model.eval(), golden["img"]).flatten(1)
    for number in (0, 1):
        left = golden[f"stages/{number}/batch_idx_after"].bool()
        torch.testing.assert_close(exits <= number, left)
    assert (exits == 0).any()
    assert (exits == 2).any()


def test_prediction_and_losses(golden, model, config):
    terms = config.criterion()(model.train()(golden["img"]), our_labels(golden["labels"]))
    heads = {"": "decode.", "_exit_1": "aux_0.", "_exit_3": "aux_1."}
    expected = {
        name + suffix: golden[f"losses/{head}{name}"]
        for suffix, head in heads.items()
        for name in ("loss_ce", "loss_mask", "loss_dice")
    }
    assert set(terms) == set(expected)
    for name, value in terms.items():
        torch.testing.assert_close(value, expected[name], **TOLERANCE)
    torch.testing.assert_close(sum(terms.values()), golden["total"], **TOLERANCE)
    prediction = model.eval()(golden["img"]).scores()[..., ::3, ::3]
    torch.testing.assert_close(prediction, golden["pred[::3,::3]"], **TOLERANCE)


@torch.inference_mode()
def test_sliding_window(golden, model):
    scores = slide(model.eval(), golden["big"], (256, 256), (171, 171))
    window = full_scores(scores)[None, :, ::3, ::3]
    torch.testing.assert_close(window, golden["slide[::3,::3]"], **TOLERANCE)
    whole = resized(scores, (200, 235))
    original = full_scores(whole)[:, ::3, ::3]
    torch.testing.assert_close(original, golden["seg_logits_ori[::3,::3]"], **TOLERANCE)
    np.testing.assert_array_equal(label_map(whole), golden["argmax_ori"][0].numpy())
