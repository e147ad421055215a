"""The bricks of convolutional heads: separable convolutions, poolings and FCN's head."""

from __future__ import annotations

import pytest
import torch

from tests.decoders.plain_functions import conv_norm_relu, pooling, separable, with_statistics
from vitseg.errors import ConfigError
from vitseg.layers.aspp import AtrousSpatialPyramidPooling
from vitseg.layers.conv_norm import ConvBatchNormRelu, SeparableConv
from vitseg.layers.fcn_head import FcnHead
from vitseg.layers.pyramid_pooling import PyramidPooling


@torch.inference_mode()
def test_a_separable_convolution_mixes_channels_at_a_point_alone():
    torch.manual_seed(0)
    layer = SeparableConv(3, 4, dilation=2).eval()
    x = torch.randn(1, 3, 9, 9)
    changed = x.clone()
    changed[:, 0, 4, 4] += 1
    before, after = layer.depthwise(x), layer.depthwise(changed)
    assert torch.equal(before[:, 1:], after[:, 1:])
    rows, columns = (before != after)[0, 0].nonzero().T
    assert set(rows.tolist()) | set(columns.tolist()) <= {2, 4, 6}
    assert layer(x).shape == (1, 4, 9, 9)


@torch.inference_mode()
@pytest.mark.parametrize("is_separable", [False, True])
def test_atrous_pooling_is_the_papers(is_separable):
    torch.manual_seed(0)
    layer = with_statistics(AtrousSpatialPyramidPooling(3, 4, (2, 5), is_separable))
    x = torch.randn(2, 3, 6, 7)
    conv = separable if is_separable else conv_norm_relu
    expected = pooling(x, {f"p.{k}": v for k, v in layer.state_dict().items()}, "p", (2, 5), conv)
    torch.testing.assert_close(layer(x), expected)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2)])
def test_maps_smaller_than_the_pooling_grids(size):
    """A cell of the grid is the mean of what it covers, by torch's rule: of a single token, the token."""
    layer = PyramidPooling(3, 4, (1, 2, 3, 6)).eval()
    x = torch.randn(1, 3, *size)
    assert layer(x).shape == (1, 4, *size)
    if size == (1, 1):
        parts = [projection(x) for projection in layer.projections]
        torch.testing.assert_close(layer(x), layer.bottleneck(torch.cat([x, *parts], 1)))


@torch.inference_mode()
@pytest.mark.parametrize("joins_input", [False, True])
def test_fcns_head(joins_input):
    torch.manual_seed(0)
    head = with_statistics(FcnHead(3, 4, 2, dropout=0.5, num_convs=2, joins_input=joins_input))
    state, x = head.state_dict(), torch.randn(2, 3, 5, 6)
    expected = conv_norm_relu(conv_norm_relu(x, state, "convs.0"), state, "convs.1")
    if joins_input:
        expected = conv_norm_relu(torch.cat([x, expected], 1), state, "join")
    expected = torch.nn.functional.conv2d(
        expected, state["classifier.weight"], state["classifier.bias"]
    )
    torch.testing.assert_close(head(x), expected)


@pytest.mark.parametrize(
    "layer",
    [AtrousSpatialPyramidPooling(3, 4, (1,), is_separable=True), PyramidPooling(3, 4, (1, 2))],
    ids=["atrous", "grids"],
)
def test_one_image_cannot_be_pooled_in_training(layer):
    with pytest.raises(ConfigError, match="unless the head pools whole images"):
        layer.train()(torch.randn(1, 3, 4, 4))
    assert layer.train()(torch.randn(2, 3, 4, 4)).shape == (2, 4, 4, 4)
    assert layer.eval()(torch.randn(1, 3, 4, 4)).shape == (1, 4, 4, 4)


def test_one_token_has_no_variance():
    layer = ConvBatchNormRelu(3, 4, 1).train()
    with pytest.raises(ConfigError, match="one image of one token"):
        layer(torch.randn(1, 3, 1, 1))
    assert layer(torch.randn(1, 3, 1, 2)).shape == (1, 4, 1, 2)
