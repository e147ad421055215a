"""Mask2Former's and MaskFormer's decoders against the transformers library's whole models, and how they start."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import Tensor, nn

from vitseg.decoders.mask2former import (
    Mask2FormerDecoder,
    Mask2FormerDecoderConfig,
    reference_points,
)
from vitseg.decoders.maskformer import MaskFormerDecoder, MaskFormerDecoderConfig
from vitseg.decoders.semantic_fpn import full_size_semantic
from vitseg.errors import ConfigError
from vitseg.features import Features
from vitseg.layers.feature_alignment import AlignedStep, FeatureAlignment
from vitseg.layers.transformer_init import init_deformable
from vitseg.outputs import ClassLogits, MixedMasks

NUM_CLASSES, WIDTHS = 5, (16, 32, 64, 128)
SMALL = {"embed_dim": 64, "num_queries": 7, "feedforward_dim": 32, "num_layers": 3}
DECODERS = {
    "mask2former": (Mask2FormerDecoder, Mask2FormerDecoderConfig(**SMALL, num_pixel_layers=2)),
    "FaPN": (
        Mask2FormerDecoder,
        Mask2FormerDecoderConfig(**SMALL, num_pixel_layers=1, align_features=True),
    ),
    "maskformer": (MaskFormerDecoder, MaskFormerDecoderConfig(**SMALL)),
}


@pytest.fixture(autouse=True)
def _library():
    pytest.importorskip("transformers")


def decoder_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    decoder, config = DECODERS[kind]
    return decoder(WIDTHS, NUM_CLASSES, config)


def features_of(height: int, width: int, batch: int = 2) -> Features:
    torch.manual_seed(1)
    maps = [
        torch.randn(batch, channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip(WIDTHS, (4, 8, 16, 32), strict=True)
    ]
    padded = 4 * maps[0].shape[2], 4 * maps[0].shape[3]
    return Features(tuple(maps), (height, width), padded)


class Maps(nn.Module):
    """A backbone of the library's kind, that returns what it is given."""

    def __init__(self, features: Features):
        super().__init__()
        self.channels = list(WIDTHS)
        self.features = features

    def forward(self, images: Tensor):
        from transformers.modeling_outputs import BackboneOutput

        return BackboneOutput(feature_maps=self.features.maps)


@torch.inference_mode()
def test_mask2former_is_the_librarys(monkeypatch):
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation
    from transformers.models.mask2former import modeling_mask2former as library

    features = features_of(64, 96)
    monkeypatch.setattr(library, "load_backbone", lambda config: Maps(features))
    settings = Mask2FormerConfig(
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_feedforward_dim=1024,
        encoder_layers=2,
        decoder_layers=4,
        dim_feedforward=32,
        num_queries=7,
        num_labels=NUM_CLASSES,
        output_auxiliary_logits=True,
    )
    model = Mask2FormerForUniversalSegmentation(settings).eval()
    decoder = decoder_of("mask2former").train()
    decoder.pixel_decoder.load_state_dict(model.model.pixel_level_module.decoder.state_dict())
    decoder.transformer.load_state_dict(model.model.transformer_module.state_dict())
    decoder.class_embed.load_state_dict(model.class_predictor.state_dict())
    theirs, ours = model(torch.zeros(2, 3, 64, 96)), decoder(features)
    torch.testing.assert_close(ours.mask_logits, theirs.masks_queries_logits)
    torch.testing.assert_close(ours.class_logits, theirs.class_queries_logits)
    assert [early.name for early in ours.stages] == ["layer_0", "layer_1", "layer_2"]
    assert ours.extras == {}
    for early, expected in zip(ours.stages, theirs.auxiliary_logits, strict=True):
        torch.testing.assert_close(early.mask_logits, expected["masks_queries_logits"])
        torch.testing.assert_close(early.class_logits, expected["class_queries_logits"])


@torch.inference_mode()
def test_maskformer_is_the_librarys():
    from transformers.models.maskformer.configuration_maskformer import (
        MaskFormerConfig,
        MaskFormerDetrConfig,
    )
    from transformers.models.maskformer.modeling_maskformer import MaskFormerTransformerModule

    features = features_of(64, 96)
    layers = MaskFormerDetrConfig(
        d_model=64, decoder_layers=3, decoder_ffn_dim=32, num_queries=7, dropout=0.1
    )
    module = MaskFormerTransformerModule(WIDTHS[-1], MaskFormerConfig(decoder_config=layers)).eval()
    decoder = decoder_of("maskformer").eval()
    decoder.input_proj.load_state_dict(module.input_projection.state_dict())
    decoder.query_embed.load_state_dict(module.queries_embedder.state_dict())
    decoder.layers.load_state_dict(module.decoder.layers.state_dict())
    decoder.norm.load_state_dict(module.decoder.layernorm.state_dict())
    queries = module(features.maps[-1]).last_hidden_state
    output = decoder(features)
    torch.testing.assert_close(output.class_logits, decoder.class_embed(queries))
    pixels = decoder.pixel_decoder(list(features.maps)).last_hidden_state
    masks = torch.einsum("bqc,bchw->bqhw", decoder.mask_embed(queries), pixels)
    torch.testing.assert_close(output.mask_logits, masks)


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 100)])
def test_maps_of_any_size(kind, size):
    features = features_of(*size, batch=1)
    for decoder in (decoder_of(kind).train(), decoder_of(kind).eval()):
        output = decoder(features)
        assert output.mask_logits.shape == (1, 7, *features.maps[0].shape[2:])
        assert output.class_logits.shape == (1, 7, NUM_CLASSES + 1)
        assert output.mask_logits.isfinite().all()
        assert bool(output.stages) == decoder.training
        assert output.extras == {}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("mask2former", ["layer_0", "layer_1", "layer_2"]),
        ("maskformer", ["layer_1", "layer_2"]),  # queries are all 0 in front of its first layer
    ],
)
def test_every_layer_is_supervised(kind, names):
    output = decoder_of(kind).train()(features_of(32, 32))
    assert [early.name for early in output.stages] == names
    assert output.extras == {}
    for early in output.stages:
        assert type(early) is MixedMasks
        assert early.mask_logits.shape == output.mask_logits.shape


@pytest.mark.parametrize("kind", DECODERS)
def test_half_precision(kind):
    decoder = decoder_of(kind).train()
    with torch.autocast("cpu", torch.bfloat16):
        output = decoder(features_of(32, 40))
    output.mask_logits.float().mean().backward()
    assert output.mask_logits.isfinite().all()


def test_heads_look_their_own_ways_at_the_start():
    offsets, weights = nn.Linear(4, 8 * 3 * 4 * 2), nn.Linear(4, 8 * 3 * 4)
    init_deformable(offsets, weights, num_heads=8, num_levels=3)
    found = offsets(torch.randn(4)).view(8, 3, 4, 2)
    steps = torch.arange(1.0, 5.0)
    for head, way in enumerate(
        [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    ):
        expected = steps[:, None] * torch.tensor(way)
        for level in found[head]:
            torch.testing.assert_close(level, expected, atol=1e-5, rtol=0)
    assert weights(torch.randn(4)).abs().max() == 0


def test_nothing_is_left_uninitialised():
    """The library's level embedding is memory as it comes, unless a whole model of it is built."""
    decoders = [decoder_of("mask2former") for _ in range(2)]
    for first, second in zip(*(decoder.parameters() for decoder in decoders), strict=True):
        assert torch.equal(first, second)
    levels = decoders[0].pixel_decoder.level_embed
    assert 0.5 < levels.std() < 1.5


def test_semantic_maps_go_up_with_aligned_corners():
    """A ramp from 0 to 1 over two cells is an even one over the image; a second stage adds its own."""
    ramp = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    features = Features((ramp,), (7, 6), (8, 8), semantic=(ramp,))
    output = full_size_semantic(features)["semantic"]
    torch.testing.assert_close(output.mask_logits[0, 0], torch.linspace(0, 1, 8).expand(8, 8))
    assert (type(output), output.input_size, output.padded_size) == (ClassLogits, (7, 6), (8, 8))
    deeper = torch.full((1, 1, 1, 1), 3.0)
    both = Features((ramp,), (7, 6), (8, 8), semantic=(ramp, deeper))
    total = full_size_semantic(both)["semantic"].mask_logits
    torch.testing.assert_close(total, output.mask_logits + 3)
    assert full_size_semantic(Features((ramp,), (7, 6), (8, 8))) == {}


def test_points_of_the_alignment_move_where_the_offsets_say():
    """A convolution that reads its middle alone returns the map itself; points moved by (1, 2), the map from there."""
    align = FeatureAlignment(8)
    coarse = torch.rand(1, 8, 6, 7) + 0.1
    with torch.no_grad():
        align.conv.weight.zero_()
        align.conv.weight[:, :, 1, 1] = torch.eye(8)
        align.conv.bias.zero_()
    found = align(torch.randn(1, 8, 6, 7), coarse)
    torch.testing.assert_close(found, coarse / 2)  # every point weighs a half at the start
    with torch.no_grad():
        align.move.bias[: 2 * 72] = torch.tensor([1.0, 2.0]).repeat(72)
        align.move.bias[2 * 72 :] = 100.0
    moved = align(torch.randn(1, 8, 6, 7), coarse)
    torch.testing.assert_close(moved[..., :5, :5], coarse[..., 1:, 2:])


def test_the_alignment_learns():
    torch.manual_seed(0)
    step = AlignedStep(16, 64)
    step(torch.randn(1, 16, 6, 7), torch.randn(1, 64, 3, 4)).sum().backward()
    assert step.align.move.weight.grad.abs().max() > 0
    assert step.select.importance.weight.grad.abs().max() > 0


@pytest.mark.parametrize("kind", ["mask2former", "maskformer"])
def test_without_the_library_the_error_says_what_to_install(kind, monkeypatch):
    for module in [n for n in sys.modules if n.startswith("transformers.models.mask")]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = r"(Mask2Former|MaskFormer) is made of layers of transformers 5\.12.*vitseg\[transf"
    with pytest.raises(ConfigError, match=message):
        decoder_of(kind)


def test_hand_number_of_the_angles():
    """An odd number of heads: the second of three looks back and down, along the larger axis by whole cells."""
    offsets, weights = nn.Linear(2, 3 * 1 * 1 * 2), nn.Linear(2, 3)
    init_deformable(offsets, weights, num_heads=3, num_levels=1)
    ways = offsets.bias.view(3, 2)
    expected = torch.tensor([[1.0, 0.0], [-0.5, 1.0], [-0.5, -1.0]])
    expected[1:, 0] = -0.5 / math.sin(2 * math.pi / 3)
    torch.testing.assert_close(ways, expected)


@pytest.mark.parametrize("sizes", [[(1, 1), (2, 3), (5, 7)], [(33, 57), (66, 113), (300, 201)]])
def test_the_places_of_cells_are_the_librarys(sizes):
    from transformers.models.mask2former.modeling_mask2former import (
        Mask2FormerPixelDecoderEncoderOnly,
    )

    ratios = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(0)) / 2 + 0.5
    found = reference_points(sizes, ratios, ratios.device)
    expected = Mask2FormerPixelDecoderEncoderOnly.get_reference_points(sizes, ratios, ratios.device)
    assert torch.equal(found, expected)
