"""PSPNet's and FCN's decoders against plain functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.decoders.plain_functions import (
    CHANNELS,
    classifier,
    conv_norm_relu,
    features_of,
    resize,
    with_statistics,
)
from vitseg.decoders.fcn import FcnDecoder, FcnDecoderConfig
from vitseg.decoders.pspnet import PspNetDecoder, PspNetDecoderConfig


@torch.inference_mode()
def test_pspnet_is_the_papers():
    torch.manual_seed(0)
    decoder = with_statistics(
        PspNetDecoder(CHANNELS, 4, PspNetDecoderConfig(embed_dim=7, pool_sizes=(1, 2)))
    )
    features, state = features_of(), decoder.state_dict()
    deep = features.maps[-1]
    parts = [
        resize(conv_norm_relu(mean, state, f"pooling.projections.{index}"), deep)
        for index, mean in enumerate([deep.mean((2, 3), True), F.adaptive_avg_pool2d(deep, 2)])
    ]
    x = conv_norm_relu(torch.cat([deep, *parts], 1), state, "pooling.bottleneck")
    torch.testing.assert_close(decoder(features).mask_logits, classifier(x, state))


@torch.inference_mode()
def test_fcn_reads_the_map_twice():
    torch.manual_seed(0)
    decoder = with_statistics(FcnDecoder(CHANNELS, 4, FcnDecoderConfig(embed_dim=7)))
    features, state = features_of(), decoder.state_dict()
    deep = features.maps[-1]
    x = conv_norm_relu(conv_norm_relu(deep, state, "head.convs.0"), state, "head.convs.1")
    x = conv_norm_relu(torch.cat([deep, x], 1), state, "head.join")
    expected = classifier(x, state, "head.classifier")
    torch.testing.assert_close(decoder(features).mask_logits, expected)
