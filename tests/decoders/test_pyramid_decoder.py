"""What all convolutional decoders of a pyramid must do."""

from __future__ import annotations

import pytest
import torch

from tests.decoders.plain_functions import CHANNELS, GRIDS, features_of
from vitseg.decoders.carafe import CarafeDecoder, CarafeDecoderConfig
from vitseg.decoders.deeplab import DeepLabDecoder, DeepLabDecoderConfig
from vitseg.decoders.duc import DucDecoder, DucDecoderConfig
from vitseg.decoders.fcn import FcnDecoder, FcnDecoderConfig
from vitseg.decoders.pspnet import PspNetDecoder, PspNetDecoderConfig
from vitseg.decoders.pyramid_decoder import PyramidDecoder
from vitseg.errors import ConfigError
from vitseg.outputs import ClassLogits
from vitseg.types import spatial_size

CASES = {
    "v3": (DeepLabDecoder, DeepLabDecoderConfig, {"kind": "v3"}),
    "v3plus": (DeepLabDecoder, DeepLabDecoderConfig, {}),
    "bilinear": (DeepLabDecoder, DeepLabDecoderConfig, {"kind": "bilinear"}),
    "pspnet": (PspNetDecoder, PspNetDecoderConfig, {}),
    "fcn": (FcnDecoder, FcnDecoderConfig, {}),
    "carafe": (CarafeDecoder, CarafeDecoderConfig, {}),
    "carafe, pooled logits": (
        CarafeDecoder,
        CarafeDecoderConfig,
        {"context": "aspp", "reassemble": "logits", "factors": (8,)},
    ),
    "duc": (DucDecoder, DucDecoderConfig, {}),
    "duc, classes": (DucDecoder, DucDecoderConfig, {"embed_dim": None}),
}
POOLED = ["v3", "v3plus", "bilinear", "pspnet", "carafe, pooled logits"]


def decoder_of(
    case: str, num_classes: int = 4, auxiliary_dim: int | None = 5, dropout: float = 0.1
) -> PyramidDecoder:
    make, config, fields = CASES[case]
    torch.manual_seed(0)
    fields = {"embed_dim": 7, "auxiliary_dim": auxiliary_dim, "dropout": dropout, **fields}
    return make(CHANNELS, num_classes, config(**fields))


@pytest.mark.parametrize("case", CASES)
def test_the_auxiliary_head_reads_the_second_deepest_level_in_training(case):
    decoder, features = decoder_of(case).train(), features_of()
    output = decoder(features)
    assert (type(output), output.num_classes) == (ClassLogits, 4)
    assert list(output.extras) == ["auxiliary"]
    assert output.stages == ()
    assert spatial_size(output.extras["auxiliary"].mask_logits) == GRIDS[1]
    assert type(output.extras["auxiliary"]) is ClassLogits
    total = output.mask_logits.sum() + output.extras["auxiliary"].mask_logits.sum()
    total.backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())
    output = decoder.eval()(features)
    assert (output.stages, output.extras) == ((), {})
    without = decoder_of(case, auxiliary_dim=None).train()
    output = without(features)
    assert (output.stages, output.extras) == ((), {})
    assert not any(name.startswith("auxiliary") for name in without.state_dict())


@torch.inference_mode()
@pytest.mark.parametrize("num_classes", [1, 300])
@pytest.mark.parametrize("case", CASES)
def test_any_number_of_classes(case, num_classes):
    logits = decoder_of(case, num_classes).eval()(features_of()).mask_logits
    assert logits.shape[:2] == (2, num_classes)
    assert logits.isfinite().all()


@pytest.mark.parametrize("case", POOLED)
def test_pooling_cannot_be_trained_on_one_image(case):
    with pytest.raises(ConfigError, match=r"use a training\.batch_size of 2 or more"):
        decoder_of(case).train()(features_of(batch=1))


@pytest.mark.parametrize("case", sorted(CASES.keys() - set(POOLED)))
def test_other_decoders_can_be_trained_on_one_image(case):
    decoder_of(case).train()(features_of(batch=1))


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_an_image_of_one_cell(case):
    features = features_of(((8, 8), (2, 2), (1, 1)), batch=1, padded_size=(32, 32))
    assert decoder_of(case).eval()(features).mask_logits.isfinite().all()


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_dropout_is_for_training_alone(case):
    decoder, features = decoder_of(case, dropout=0.5), features_of()
    first, second = decoder.train()(features).mask_logits, decoder(features).mask_logits
    assert not torch.equal(first, second)
    first, second = decoder.eval()(features).mask_logits, decoder(features).mask_logits
    assert torch.equal(first, second)
