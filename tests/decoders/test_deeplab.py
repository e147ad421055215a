"""DeepLab's decoders against plain functions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.decoders.plain_functions import (
    CHANNELS,
    classifier,
    conv_norm_relu,
    features_of,
    pooling,
    resize,
    separable,
    with_statistics,
)
from vitseg.config import parse
from vitseg.decoders.deeplab import DeepLabDecoder, DeepLabDecoderConfig, default_dilations
from vitseg.errors import ConfigError

DILATIONS = (1, 2)


def decoder_of(**fields) -> DeepLabDecoder:
    torch.manual_seed(0)
    config = DeepLabDecoderConfig(embed_dim=7, auxiliary_dim=5, dilations=DILATIONS, **fields)
    decoder = with_statistics(DeepLabDecoder(CHANNELS, 4, config))
    assert isinstance(decoder, DeepLabDecoder)
    return decoder


@torch.inference_mode()
def test_v3_is_the_papers():
    decoder, features = decoder_of(kind="v3"), features_of()
    state = decoder.state_dict()
    x = pooling(features.maps[-1], state, "context", DILATIONS, conv_norm_relu)
    torch.testing.assert_close(decoder(features).mask_logits, classifier(x, state))


@torch.inference_mode()
def test_v3plus_is_the_papers():
    decoder, features = decoder_of(low_level_dim=3), features_of()
    state = decoder.state_dict()
    shallow, _, deep = features.maps
    x = resize(pooling(deep, state, "context", DILATIONS, separable), shallow)
    x = torch.cat([x, conv_norm_relu(shallow, state, "low_level")], 1)
    assert x.shape == (2, 7 + 3, 16, 24)
    x = separable(separable(x, state, "refine.0"), state, "refine.1")
    torch.testing.assert_close(decoder(features).mask_logits, classifier(x, state))


@torch.inference_mode()
def test_the_bilinear_decoder_is_a_classifier_on_separable_pooling():
    decoder, features = decoder_of(kind="bilinear"), features_of()
    state = decoder.state_dict()
    x = pooling(features.maps[-1], state, "context", DILATIONS, separable)
    torch.testing.assert_close(decoder(features).mask_logits, classifier(x, state))
    enlarged = resize(x, torch.empty(1, 1, 16, 24))
    behind = classifier(enlarged, state)  # where the thesis counts it
    torch.testing.assert_close(resize(decoder(features).mask_logits, enlarged), behind)


@pytest.mark.parametrize(
    ("stride", "expected"), [(32, (3, 6, 9)), (16, (6, 12, 18)), (8, (12, 24, 36))]
)
def test_dilations_follow_the_stride(stride, expected):
    assert default_dilations(stride) == expected
    decoder = DeepLabDecoder(CHANNELS, 4, DeepLabDecoderConfig(embed_dim=7, kind="v3"), stride)
    convs = [layer for layer in decoder.context.dilated.modules() if isinstance(layer, nn.Conv2d)]
    assert tuple(conv.dilation[0] for conv in convs) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"kind": "v3", "low_level_dim": 32}, 'low_level_dim belongs to kind "v3plus"'),
        ({"dilations": [0, 3]}, r"dilations must be 1 or more, got \[0, 3\]"),
        ({"kind": "v4"}, "kind is 'v4'"),
    ],
)
def test_mistakes_are_named(raw, expected):
    with pytest.raises(ConfigError, match=expected):
        parse(DeepLabDecoderConfig, raw)
