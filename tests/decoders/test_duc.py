"""DUC: every channel is a pixel of its cell."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F

from tests.decoders.plain_functions import (
    CHANNELS,
    classifier,
    conv_norm_relu,
    features_of,
    with_statistics,
)
from vitseg.decoders.duc import DucDecoder, DucDecoderConfig


def spread(x: torch.Tensor, factor: int) -> torch.Tensor:
    """Channel c f^2 + i f + j to channel c of the pixel at row i, column j of its cell."""
    batch, channels, height, width = x.shape
    result = x.new_empty(batch, channels // factor**2, height * factor, width * factor)
    for i, j in itertools.product(range(factor), repeat=2):
        result[..., i::factor, j::factor] = x[:, i * factor + j :: factor**2]
    return result


@torch.inference_mode()
def test_the_papers_form_gives_classes_at_full_resolution():
    torch.manual_seed(0)
    config = DucDecoderConfig(embed_dim=None, result_stride=1)
    decoder, features = DucDecoder(CHANNELS, 4, config).eval(), features_of()
    state = decoder.state_dict()
    assert {name for name in state if not name.startswith("auxiliary.")} == {
        "expand.weight",
        "expand.bias",
    }
    expected = F.conv2d(features.maps[-1], state["expand.weight"], state["expand.bias"], padding=1)
    output = decoder(features).mask_logits
    assert output.shape == (2, 4, 64, 96)
    torch.testing.assert_close(output, spread(expected, 32))


@torch.inference_mode()
def test_the_thesis_form_classifies_at_stride_4():
    torch.manual_seed(0)
    decoder = with_statistics(DucDecoder(CHANNELS, 4, DucDecoderConfig(embed_dim=3)))
    features, state = features_of(), decoder.state_dict()
    x = spread(conv_norm_relu(features.maps[-1], state, "expand"), 8)
    torch.testing.assert_close(decoder(features).mask_logits, classifier(x, state))


@torch.inference_mode()
def test_cells_beyond_the_padded_image_are_cut_off():
    torch.manual_seed(0)
    decoder = DucDecoder(CHANNELS, 4, DucDecoderConfig(embed_dim=3)).eval()
    cut = decoder(features_of(padded_size=(60, 84))).mask_logits
    whole = decoder(features_of()).mask_logits
    torch.testing.assert_close(cut, whole[..., :15, :21])
