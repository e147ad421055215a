"""CARAFE against loops over the cells."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from tests.decoders.plain_functions import CHANNELS, features_of, with_statistics
from vitseg.config import parse
from vitseg.decoders.carafe import (
    CarafeDecoder,
    CarafeDecoderConfig,
    ContentAwareReassembly,
    doublings,
    reassemble,
)
from vitseg.errors import ConfigError


def reassemble_by_loops(x: Tensor, weights: Tensor, factor: int, side: int) -> Tensor:
    """Equation 2 of the paper, cell by cell."""
    batch, channels, height, width = x.shape
    result = x.new_zeros(batch, channels, height * factor, width * factor)
    reach = side // 2
    for row, column in itertools.product(range(height * factor), range(width * factor)):
        for n, m in itertools.product(range(-reach, reach + 1), repeat=2):
            i, j = row // factor + n, column // factor + m
            if 0 <= i < height and 0 <= j < width:
                weight = weights[:, (n + reach) * side + m + reach, row, column]
                result[..., row, column] += weight[:, None] * x[..., i, j]
    return result


@pytest.mark.parametrize(
    ("factor", "side", "size"), [(2, 5, (3, 4)), (3, 3, (2, 5)), (2, 5, (1, 1))]
)
def test_reassembly_is_the_papers(factor, side, size):
    torch.manual_seed(0)
    height, width = size
    x = torch.randn(2, 3, height, width)
    weights = torch.randn(2, side**2, height * factor, width * factor)
    expected = reassemble_by_loops(x, weights, factor, side)
    torch.testing.assert_close(reassemble(x, weights, factor), expected)


def test_gradients_of_the_reassembly():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 9, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weights: reassemble(x, weights, 2), (x, weights))


@torch.inference_mode()
def test_the_weights_of_a_new_cell_are_positive_and_sum_to_1():
    """A map of ones stays one, but near its border, where neighbours are zero."""
    torch.manual_seed(0)
    layer = ContentAwareReassembly(3, 2, compressed_dim=4, neighbourhood=3)
    larger = layer(torch.ones(1, 3, 5, 6))
    assert larger.shape == (1, 3, 10, 12)
    torch.testing.assert_close(larger[..., 2:-2, 2:-2], torch.ones(1, 3, 6, 8))
    assert (larger > 0).all()
    assert (larger[..., 0, :] < 0.99).all()


@torch.inference_mode()
def test_the_weights_are_predicted_from_a_side_of_2_less():
    """Channel k f^2 + i f + j of the encoder is the weight of neighbour k for the cell at row i, column j."""
    torch.manual_seed(0)
    layer, x = ContentAwareReassembly(3, 2, 4, 5), torch.randn(1, 3, 4, 3)
    assert layer.encode.kernel_size == (3, 3)
    encoded = layer.encode(layer.compress(x))
    scores = torch.empty(1, 25, 8, 6)
    for k, i, j in itertools.product(range(25), range(2), range(2)):
        scores[:, k, i::2, j::2] = encoded[:, 4 * k + 2 * i + j]
    expected = reassemble_by_loops(x, scores.softmax(1), 2, 5)
    torch.testing.assert_close(layer(x), expected)


def decoder_of(stride: int = 32, **fields) -> CarafeDecoder:
    torch.manual_seed(0)
    config = CarafeDecoderConfig(embed_dim=7, compressed_dim=4, neighbourhood=3, **fields)
    decoder = with_statistics(CarafeDecoder(CHANNELS, 4, config, stride))
    assert isinstance(decoder, CarafeDecoder)
    return decoder


@torch.inference_mode()
@pytest.mark.parametrize(
    "fields", [{}, {"factors": (8,)}, {"context": "aspp"}, {"factors": (2, 2)}]
)
def test_features_or_logits_are_enlarged(fields):
    features = features_of()
    times = 4 if fields.get("factors") == (2, 2) else 8
    decoder = decoder_of(**fields)
    context = decoder.context(features.maps[-1])
    output = decoder(features).mask_logits
    assert output.shape == (2, 4, 2 * times, 3 * times)
    torch.testing.assert_close(output, decoder.classifier(decoder.enlarge(context)))
    decoder = decoder_of(reassemble="logits", **fields)
    context = decoder.context(features.maps[-1])
    expected = decoder.enlarge(decoder.classifier(context))
    torch.testing.assert_close(decoder(features).mask_logits, expected)


def test_doublings_lead_to_stride_4():
    assert [doublings(stride) for stride in (4, 8, 16, 32)] == [(), (2,), (2, 2), (2, 2, 2)]


@torch.inference_mode()
def test_cells_beyond_the_padded_image_are_cut_off():
    """As the deeper maps of a Swin have."""
    decoder = decoder_of()
    cut = decoder(features_of(padded_size=(60, 84))).mask_logits
    whole = decoder(features_of()).mask_logits
    torch.testing.assert_close(cut, whole[..., :15, :21])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"neighbourhood": 4}, "neighbourhood 4 must be odd"),
        ({"factors": [2, 1]}, r"factors must be 2 or more, got \[2, 1\]"),
        ({"context": "psp"}, "context is 'psp'"),
    ],
)
def test_mistakes_are_named(raw, expected):
    with pytest.raises(ConfigError, match=expected):
        parse(CarafeDecoderConfig, raw)
