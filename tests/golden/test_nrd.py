"""NRD's head against the reference implementation, its weights renamed by the importer."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.golden.reference import Golden, load_golden
from vitseg.checkpoint.nrd_reference import convert_nrd
from vitseg.classes import IGNORE_INDEX
from vitseg.decoders.nrd import NrdDecoder, NrdDecoderConfig, num_parameters
from vitseg.features import Features
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig

pytestmark = pytest.mark.golden

assert_close = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)

IMAGE = (128, 256)


@pytest.fixture
def golden(shared) -> Golden:
    return load_golden(shared, "segvit_nrd_head")


@pytest.fixture
def decoder(golden) -> NrdDecoder:
    config = NrdDecoderConfig(
        embed_dim=golden.scalars["cfg/channels"],
        dilations=tuple(golden.scalars["cfg/dilations"][1:]),  # the first is the 1 x 1 branch
        hidden_dim=golden.scalars["cfg/dyn_branch_ch"],
        guidance_dim=golden.scalars["cfg/mask_head_ch"],
        guidance_hidden_dim=golden.scalars["cfg/c1_channels"],
        auxiliary_dim=None,
    )
    channels = (golden.scalars["cfg/c1_in_channels"], 4, 4, golden.scalars["cfg/in_channels"])
    decoder = NrdDecoder(channels, golden.scalars["cfg/num_classes"], config)
    decoder.load_state_dict(renamed(golden.state_dict()))
    return decoder.eval()


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a head alone in our names."""
    converted = convert_nrd({f"decode_head.{name}": value for name, value in state.items()})
    return {name.removeprefix("decoder."): value for name, value in converted.items()}


def features_of(golden: Golden) -> Features:
    return Features(tuple(golden.series("feats")), IMAGE, IMAGE)


def loss_of(golden: Golden, decoder: NrdDecoder, features: Features) -> Tensor:
    labels = golden["labels"].masked_fill(golden["labels"] == 255, IGNORE_INDEX)
    (term,) = PixelLoss(PixelLossConfig())(decoder(features), labels).values()
    return term


@torch.inference_mode()
def test_evaluation(golden, decoder):
    features = features_of(golden)
    assert num_parameters(decoder.widths) == 899
    assert_close(decoder(features).mask_logits, golden["eval_logits"])
    assert_close(loss_of(golden, decoder, features), golden["eval_losses/loss_seg"])
    coordinates, guidance = decoder.cell_inputs(features)
    assert coordinates is not None
    assert guidance is not None
    assert_close(coordinates[:1, :, 8:16, 24:32], golden["coord"], atol=0, rtol=0)
    assert guidance.shape == (2, 16, 32, 64)


@torch.inference_mode()
def test_training_and_the_statistics_that_it_leaves(golden, decoder):
    """The loss includes unlabelled pixels in its mean, and the statistics move by torch's tenth.

    The pooled branch normalises two values per channel and logits reach 265, so that rounding grows: in float32 the
    reference is 4e-4 away from our function in double precision, and so are we.
    """
    features = features_of(golden)
    kept = {name: value.clone() for name, value in decoder.state_dict().items()}
    double = Features(tuple(x.double() for x in features.maps), IMAGE, IMAGE)
    logits = decoder.double().train()(double).mask_logits
    assert_close(logits.float(), golden["train_logits"], atol=5e-4)
    decoder.float().load_state_dict(kept)
    decoder(features)
    after = renamed(golden.group("bn_buffers_after"))
    statistics = {n for n, v in decoder.named_buffers() if v.is_floating_point()}
    assert set(after) == statistics
    for name, value in after.items():
        assert_close(decoder.get_buffer(name), value, msg=name)
    decoder.load_state_dict(kept)
    assert_close(loss_of(golden, decoder, features), golden["train_losses/loss_seg"])


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_gradients_of_the_controller_by_finite_differences(golden, decoder, training):
    """In double precision, of entries that generate each of the three layers, and of the controller's convolution."""
    decoder.double().train(training)
    maps = tuple(x.double() for x in features_of(golden).maps)
    features = Features(maps, IMAGE, IMAGE)
    generate, conv = decoder.controller.generate, decoder.controller.conv.conv
    assert generate.bias is not None
    # Of 899: 18 x 16 weights, 16 biases; 16 x 16, 16; 16 x 19, 19.
    rows = (5, 290, 320, 565, 600, 890)
    entries = [(generate.weight, (row, 7, 0, 0)) for row in rows]
    entries += [(generate.bias, (row,)) for row in rows[::2]]
    entries += [(conv.weight, (3, 11, 1, 2)), (conv.weight, (20, 0, 0, 0))]
    labels = golden["labels"].masked_fill(golden["labels"] == 255, IGNORE_INDEX)

    def loss() -> Tensor:
        """`PixelLoss` would round to float32."""
        logits = F.interpolate(decoder(features).mask_logits, IMAGE, mode="bilinear")
        return F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX)

    loss().backward()
    step = 1e-6
    for parameter, index in entries:
        assert parameter.grad is not None
        with torch.no_grad():
            losses = []
            for sign in (1, -1):
                parameter[index] += sign * step
                losses.append(loss().item())
                parameter[index] -= sign * step
        found = parameter.grad[index].item()
        assert found != 0
        assert found == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-4, abs=1e-8)
