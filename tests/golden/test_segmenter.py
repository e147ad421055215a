"""Segmenter through the importer against the reference implementation: whole, padded, by windows, mirrored."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from tests.golden.reference import Golden, load_golden
from vitseg.backbones import BackboneConfig, PlainViT
from vitseg.backbones.families.vision_transformer import VISION_TRANSFORMER
from vitseg.checkpoint.segmenter_reference import NORM_EPS, convert_segmenter
from vitseg.decoders.segmenter import SegmenterDecoderConfig
from vitseg.inference.config import InferenceConfig
from vitseg.inference.modes import image_scores
from vitseg.inference.scores import full_scores, labels_and_confidence
from vitseg.methods.model import SegmentationModel
from vitseg.methods.segmenter import SegmenterConfig

pytestmark = pytest.mark.golden

assert_logits = partial(torch.testing.assert_close, atol=5e-5, rtol=1e-5)
assert_probabilities = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)

WIDTH, DEPTH, HEADS, CROP, NUM_CLASSES = 96, 3, 3, 64, 7
MIRRORED = InferenceConfig(mode="slide", crop_size=(64, 64), stride=(43, 43), flip=True)


@pytest.fixture(scope="module")
def golden(shared) -> Golden:
    golden = load_golden(shared, "segmenter_mask_small")
    scalars = golden.scalars
    assert (scalars["slide_cfg/window"], scalars["slide_cfg/stride"]) == (64, 43)
    return golden


def import_model(golden: Golden, norm_eps: float | None) -> SegmentationModel:
    """The reference's toy model, loaded through the importer."""
    vit = VisionTransformer(
        img_size=CROP,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=0,
        dynamic_img_size=True,
    )
    config = BackboneConfig(
        name="vit_toy",
        pretrained=False,
        taps=(DEPTH - 1,),
        tap_norm=True,
        pos_embed_interpolation="bilinear",
        norm_eps=norm_eps,
    )
    decoder = SegmenterDecoderConfig(num_heads=HEADS)
    segmenter = SegmenterConfig(backbone=config, decoder=decoder)
    backbone = PlainViT(vit, VISION_TRANSFORMER, config)
    model = segmenter.build_on(backbone, NUM_CLASSES, (CROP, CROP))
    model.load_state_dict(convert_segmenter(golden.state_dict()))
    return model.eval()


@pytest.fixture(scope="module")
def model(golden) -> SegmentationModel:
    return import_model(golden, NORM_EPS)


@torch.inference_mode()
def test_prediction(golden, model):
    assert_logits(model(golden["input"]).scores(), golden["output"])
    padded = model(golden["input_padded"])
    assert (padded.input_size, padded.padded_size) == ((90, 75), (96, 80))
    assert_logits(padded.scores(), golden["output_padded"])


@torch.inference_mode()
def test_the_epsilon_of_other_vits_gives_other_numbers(golden, model):
    """So the tests here would notice that it is not applied."""
    other = import_model(golden, None)
    images = golden["input"] * 0.01  # small variances, of which the epsilon is a larger part
    difference = other(images).scores() - model(images).scores()
    assert difference.abs().max() > 5e-5


@torch.inference_mode()
def test_sliding_window_and_mirrored_view(golden, model):
    """The golden is the mean of the softmaxes of both views."""
    height, width = golden.scalars["slide_cfg/ori_shape"]
    scores = image_scores(model, [golden["slide_input"]], MIRRORED, (height, width))
    expected = golden["slide_probs[::3,::3]"]
    assert_probabilities(full_scores(scores)[:, ::3, ::3], expected)
    labels, confidence = labels_and_confidence(scores)
    best, index = expected.max(0)
    np.testing.assert_array_equal(labels[::3, ::3], index.numpy())
    np.testing.assert_allclose(confidence[::3, ::3], best.numpy(), atol=1e-5)
