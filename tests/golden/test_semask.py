"""SeMask and its baseline against the reference implementation, its weights loaded through the importer.

The golden files' weight recipe adds 1 to every gamma.
"""

from __future__ import annotations

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer

from tests.golden.reference import Golden, load_golden
from vitseg.backbones import PyramidConfig, Swin
from vitseg.backbones.semantic_swin import SemanticLayersConfig, add_semantic_layers
from vitseg.checkpoint.semask_reference import convert_swin_fpn
from vitseg.classes import IGNORE_INDEX
from vitseg.decoders.semantic_fpn import SemanticFpnConfig, SemanticFpnDecoder
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel

pytestmark = pytest.mark.golden

NUM_CLASSES = 23


def toy_model(golden: Golden) -> SegmentationModel:
    """The references' toy: two blocks per stage."""
    net = SwinTransformer(
        img_size=224, embed_dim=96, depths=(2, 2, 2, 2), num_heads=(3, 6, 12, 24), num_classes=0
    )
    config = PyramidConfig(name="toy", pretrained=False, levels=(0, 1, 2, 3))
    swin = Swin(net, config)
    if "semantic_maps/0" in golden.tensors:
        add_semantic_layers(swin, SemanticLayersConfig(), NUM_CLASSES, name="toy", otherwise="")
    decoder = SemanticFpnDecoder(swin.channels, NUM_CLASSES, SemanticFpnConfig())
    model = SegmentationModel(swin, decoder)
    state = golden.state_dict()
    state |= {name: 1 + value for name, value in state.items() if name.endswith(".gamma")}
    model.load_state_dict(convert_swin_fpn(state))
    return model.eval()


@pytest.fixture(scope="module", params=["semask_small_global", "swin_fpn_baseline"])
def case(request, shared) -> tuple[Golden, SegmentationModel]:
    golden = load_golden(shared, request.param)
    return golden, toy_model(golden)


@torch.inference_mode()
def test_features_and_logits(case):
    golden, model = case
    features = model.backbone(golden["input"])
    references = golden.series("features")  # without the shallowest
    for ours, reference in zip(features.maps[1:], references, strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-4)
    for ours, reference in zip(
        features.semantic, golden.group("semantic_maps").values(), strict=True
    ):
        torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-4)
    output = model(golden["input"])
    assert output.stages == ()
    assert output.extras == {}
    torch.testing.assert_close(output.mask_logits, golden["head_seg"], atol=1e-4, rtol=1e-4)
    scores = output.scores()
    assert (scores.argmax(1) == golden["argmax"]).float().mean() > 0.9999
    subset = golden["logits_sub[::3,::3]"]
    torch.testing.assert_close(scores[:, :, ::6, ::6], subset, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_losses(case):
    golden, model = case
    model.decoder.training = True  # of the decoder alone: normalisations and drop path stay
    try:
        output = model(golden["input"])
    finally:
        model.decoder.training = False
    labels = golden["label"][:, 0].masked_fill(golden["label"][:, 0] == 255, IGNORE_INDEX)
    terms = PixelLoss(PixelLossConfig())(output, labels)
    losses = {name: value.item() for name, value in golden.group("eval_mode_losses").items()}
    if "semantic" in output.extras:
        reference = golden["head_cate"]
        ours = output.extras["semantic"].mask_logits
        torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-4)
        assert terms["loss_pixel"].item() == pytest.approx(losses["decode.loss_ce"], abs=2e-5)
        found = terms["loss_pixel_semantic"].item()
        assert found == pytest.approx(losses["decode.loss_cate"], abs=2e-5)
    else:
        assert terms["loss_pixel"].item() == pytest.approx(losses["decode.loss_seg"], abs=2e-5)
