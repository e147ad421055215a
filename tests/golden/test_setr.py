"""SETR against both of its reference implementations, their weights loaded through the importers."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from tests.golden.reference import Golden, load_golden
from tests.golden.toy_setr import CASES, tiny_setr, tiny_vit
from vitseg.checkpoint.setr_mmseg import convert_setr_mmseg
from vitseg.classes import IGNORE_INDEX
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel

pytestmark = pytest.mark.golden

assert_close = partial(torch.testing.assert_close, atol=5e-5, rtol=1e-5)


@pytest.fixture(scope="module", params=list(CASES))
def case(request, shared) -> tuple[Golden, SegmentationModel]:
    golden = load_golden(shared, request.param)
    return golden, tiny_setr(golden, CASES[request.param])


@torch.inference_mode()
def test_features_and_logits(case):
    golden, model = case
    maps = model.backbone(golden["input"]).maps
    features = golden.series("features")
    if len(features) == 8:  # of every block, with the class token
        features = [tokens[:, 1:].mT.unflatten(2, (4, 4)) for tokens in features[1::2]]
    for ours, reference in zip(maps, features, strict=True):
        assert_close(ours, reference)
    output = model(golden["input"])
    assert output.stages == ()
    assert output.extras == {}
    assert_close(output.scores(), golden["logits"])
    if "head_out" in golden.tensors:
        assert_close(output.mask_logits, golden["head_out"])


@torch.inference_mode()
def test_auxiliary_logits(case):
    golden, model = case
    references = golden.series("aux_logits" if "aux_logits/0" in golden.tensors else "aux_out")
    model.decoder.training = True  # of the decoder alone: the norms' statistics stay
    try:
        output = model(golden["input"])
    finally:
        model.decoder.training = False
    assert list(output.extras) == [f"block_{block}" for block in model.decoder.config.auxiliary]
    for ours, reference in zip(output.extras.values(), references, strict=True):
        assert_close(ours.scores(), reference)


@torch.inference_mode()
def test_losses_in_both_modes_of_batch_normalisation(case):
    """mmsegmentation's golden has the losses of evaluation alone."""
    golden, model = case
    references = {mode: golden.group(f"{mode}_mode_losses") for mode in ("eval", "train")}
    assert references["eval"]
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    for mode in (mode for mode, losses in references.items() if losses):
        try:
            model.train(mode == "train")
            model.decoder.training = True
            labels = golden["label"][:, 0].masked_fill(golden["label"][:, 0] == 255, IGNORE_INDEX)
            terms = PixelLoss(PixelLossConfig())(model(golden["input"]), labels)
        finally:
            model.load_state_dict(kept)  # training moves the running statistics
            model.eval()
        found = {name: term.item() for name, term in terms.items()}
        losses = {n: v.item() for n, v in references[mode].items() if "loss" in n}
        main = next(value for name, value in losses.items() if name.startswith("decode"))
        assert found.pop("loss_pixel") == pytest.approx(main, abs=2e-5)
        auxiliary = [losses[name] for name in sorted(losses) if name.startswith("aux_")]
        assert list(found.values()) == pytest.approx(auxiliary, abs=2e-5)


@torch.inference_mode()
def test_position_embeddings_are_resized_while_running(shared):
    """mmsegmentation's ViT on images of another size and shape than it was trained for."""
    golden = load_golden(shared, "setr_mmseg_vit_interp")
    state = {f"backbone.{name}": value for name, value in golden.state_dict().items()}
    renamed = convert_setr_mmseg(state)
    vit = tiny_vit("keep").eval()
    vit.load_state_dict({name.removeprefix("backbone."): v for name, v in renamed.items()})
    for ours, reference in zip(vit(golden["input"]).maps, golden.series("outputs"), strict=True):
        assert_close(ours, reference)
