"""SETR against both of its reference implementations, their weights loaded through the importers."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from tests.golden.reference import Golden, load_golden
from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.checkpoint.setr_mmseg import convert_setr_mmseg
from vitseg.checkpoint.setr_reference import convert_setr
from vitseg.classes import IGNORE_INDEX
from vitseg.decoders.setr import SetrHeadConfig
from vitseg.inference.scores import pixel_scores
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods import SegmentationModel
from vitseg.methods.setr import with_head

pytestmark = pytest.mark.golden

assert_close = partial(torch.testing.assert_close, atol=5e-5, rtol=1e-5)

NUM_CLASSES = 7
CASES = {
    "setr_naive_tiny": {"kind": "naive", "auxiliary": (1, 3, 5)},
    "setr_pup_tiny": {"kind": "pup", "auxiliary": (1, 3, 5, 7)},
    "setr_mla_tiny": {"kind": "mla", "auxiliary": (1, 3, 5, 7)},
    "setr_mmseg_naive": {
        "kind": "naive",
        "form": "mmsegmentation",
        "auxiliary": (1, 3, 5),
        "auxiliary_convs": 2,
    },
}


def tiny_vit(prefix_tokens: str) -> PlainViT:
    """The references' toy ViT: width 96, 8 blocks, 3 heads, images of 64."""
    vit = VisionTransformer(
        img_size=64, embed_dim=96, depth=8, num_heads=3, num_classes=0, dynamic_img_size=True
    )
    config = BackboneConfig(
        name="vit_toy",
        pretrained=False,
        taps=(1, 3, 5, 7),
        prefix_tokens=prefix_tokens,
        pos_embed_interpolation="bilinear",
    )
    return PlainViT(vit, config)


def tiny_setr(golden: Golden, config: SetrHeadConfig) -> SegmentationModel:
    model = with_head(tiny_vit("drop" if config.kind == "mla" else "keep"), config, NUM_CLASSES)
    state = golden.state_dict()
    is_mmseg = "backbone.layers.0.ln1.weight" in state
    model.load_state_dict((convert_setr_mmseg if is_mmseg else convert_setr)(state))
    return model.eval()


@pytest.fixture(scope="module", params=list(CASES))
def case(request, shared) -> tuple[Golden, SegmentationModel]:
    golden = load_golden(shared, request.param)
    return golden, tiny_setr(golden, SetrHeadConfig(**CASES[request.param]))


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
    assert output.aux == {}
    assert_close(pixel_scores(output), golden["logits"])
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
    assert list(output.aux) == [f"block_{block}" for block in model.decoder.config.auxiliary]
    for ours, reference in zip(output.aux.values(), references, strict=True):
        assert_close(pixel_scores(ours), reference)


@torch.inference_mode()
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_losses_in_both_modes_of_batch_normalisation(case, mode):
    golden, model = case
    reference = {
        name: value.item()
        for name, value in golden.group(f"{mode}_mode_losses").items()
        if "loss" in name
    }
    if not reference:
        pytest.skip("the golden file has this mode only")
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        model.train(mode == "train")
        model.decoder.training = True
        labels = golden["label"][:, 0].masked_fill(golden["label"][:, 0] == 255, IGNORE_INDEX)
        terms = PixelLoss(PixelLossConfig())(model(golden["input"]), labels)
    finally:
        model.load_state_dict(kept)  # training moves the running statistics
        model.eval()
    found = dict(zip(terms, (term.item() for term in terms.values()), strict=True))
    main = found.pop("loss_pixel")
    assert main == pytest.approx(
        next(value for name, value in reference.items() if name.startswith("decode")), abs=2e-5
    )
    auxiliary = [reference[name] for name in sorted(reference) if name.startswith("aux_")]
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
