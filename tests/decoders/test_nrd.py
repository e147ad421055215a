"""NRD's decoder: against a loop over cells and pixels, its options, its sizes, its operations and its memory."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from vitseg.decoders.nrd import (
    GuidanceMap,
    NrdDecoder,
    NrdDecoderConfig,
    cell_coordinates,
    num_parameters,
    run_cell_networks,
)
from vitseg.errors import ConfigError
from vitseg.features import Features
from vitseg.inference.operations import LiveTensors, count_operations
from vitseg.methods.model import SegmentationModel
from vitseg.types import spatial_size

CHANNELS = (6, 8, 10)
SMALL = NrdDecoderConfig(embed_dim=8, dilations=(1, 2), hidden_dim=4, guidance_dim=3, auxiliary_dim=5)  # fmt: skip
R50 = (256, 1024, 2048)


def features_of(grid=(2, 3), cell_side: int = 8, batch: int = 2, cut: int = 0) -> Features:
    """Maps at stride 4, between, and the deepest; `cut` pixels of the image are padding."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(grid[0] * times, grid[1] * times) for times in (cell_side, 2, 1)]
    maps = [
        torch.randn(batch, channels, *size, generator=generator)
        for channels, size in zip(CHANNELS, sizes, strict=True)
    ]
    height, width = (4 * side for side in sizes[0])
    return Features(tuple(maps), (height - cut, width - cut), (height, width))


def decoder_of(config=SMALL, num_classes: int = 5, cell_side: int = 8) -> NrdDecoder:
    """With parameters large enough to matter."""
    torch.manual_seed(0)
    decoder = NrdDecoder(CHANNELS, num_classes, config, cell_side)
    nn.init.normal_(decoder.controller.generate.weight)
    return decoder.eval()


def changed(**fields) -> NrdDecoderConfig:
    return NrdDecoderConfig.model_validate(SMALL.model_dump() | fields)


def pixel_by_pixel(x: Tensor, parameters: Tensor, widths: tuple[int, ...], side: int) -> Tensor:
    """The network of each cell on each of its pixels, one after the other."""
    batch, _, height, width = x.shape
    result = torch.empty(batch, widths[-1], height, width)
    for image in range(batch):
        for row in range(height):
            for column in range(width):
                value = x[image, :, row, column]
                rest = parameters[image, :, row // side, column // side]
                for layer, (inputs, outputs) in enumerate(pairwise(widths)):
                    weight, rest = rest[: inputs * outputs], rest[inputs * outputs :]
                    bias, rest = rest[:outputs], rest[outputs:]
                    value = value.relu() if layer else value
                    value = weight.reshape(outputs, inputs) @ value + bias
                assert len(rest) == 0
                result[image, :, row, column] = value
    return result


@pytest.mark.parametrize(("size", "side"), [((4, 6), 2), ((3, 5), 2), ((4, 4), 4)])
def test_every_cell_has_a_network_of_its_own(size, side):
    """Also where the cells reach further than the map, as those of a Swin do."""
    torch.manual_seed(0)
    widths = (3, 4, 4, 5)
    grid = tuple(-(-length // side) for length in size)
    x, parameters = torch.randn(2, 3, *size), torch.randn(2, num_parameters(widths), *grid)
    found = run_cell_networks(x, parameters, widths, side)
    torch.testing.assert_close(found, pixel_by_pixel(x, parameters, widths, side))


@pytest.mark.parametrize(
    ("widths", "expected"),
    [  # of the thesis: 19, 60, 59 and 150 classes; without guidance
        ((18, 16, 16, 19), 899),
        ((18, 16, 16, 60), 1596),
        ((18, 16, 16, 59), 1579),
        ((18, 16, 16, 150), 3126),
        ((2, 16, 16, 19), 643),
    ],
)
def test_generated_parameters_of_a_cell(widths, expected):
    assert num_parameters(widths) == expected
    guidance = None if widths[0] == 2 else 16
    assert NrdDecoderConfig(guidance_dim=guidance).widths(widths[-1]) == widths


def test_coordinates_count_from_the_corner_of_each_cell():
    x, y = cell_coordinates((8, 6), 4)[0]
    quarters = [0, 0.25, 0.5, 0.75]
    assert x.tolist() == [[*quarters, 0, 0.25]] * 8
    assert y.T.tolist() == [quarters * 2] * 6


def test_the_controller_starts_close_to_zero():
    """Xavier's normal distribution over the number of parameters; no bias."""
    torch.manual_seed(0)
    generate = NrdDecoder((4, 8, 64), 19, NrdDecoderConfig(embed_dim=256)).controller.generate
    assert generate.weight.shape == (899, 256, 1, 1)
    expected = (2 / (899 + 256)) ** 0.5 / 899
    assert generate.weight.std().item() == pytest.approx(expected, rel=0.02)
    assert generate.bias is not None
    assert generate.bias.count_nonzero() == 0


@torch.inference_mode()
@pytest.mark.parametrize("cell_side", [8, 4, 2])
def test_the_result_is_four_times_enlarged(cell_side):
    """Pixels are bilinear, without aligned corners, and padding is cut off behind that."""
    features = features_of(cell_side=cell_side, cut=5)
    output = decoder_of(cell_side=cell_side)(features)
    assert output.mask_logits.shape == (2, 5, 2 * cell_side, 3 * cell_side)
    assert (output.stages, output.extras) == ((), {})
    height, width = features.input_size
    larger = F.interpolate(output.mask_logits, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(output.scores(), larger[..., :height, :width])


@torch.inference_mode()
@pytest.mark.parametrize(
    ("config", "read"),
    [
        (SMALL, [True, False, True]),
        (changed(guidance_dim=None), [False, False, True]),
        (changed(use_coordinates=False), [True, False, True]),
        (changed(dilations=None), [True, False, True]),
    ],
    ids=["all", "no guidance", "no coordinates", "no pooling"],
)
def test_inputs_can_be_left_out(config, read):
    decoder, features = decoder_of(config), features_of()
    before = decoder(features).mask_logits
    assert before.shape == (2, 5, 16, 24)
    for index, expected in enumerate(read):
        maps = [m.flip(1) if i == index else m for i, m in enumerate(features.maps)]
        after = decoder(Features(tuple(maps), features.input_size, features.padded_size))
        assert torch.equal(after.mask_logits, before) != expected
    coordinates, guidance = decoder.cell_inputs(features)
    assert (coordinates is not None) == config.use_coordinates
    assert (guidance is not None) == (config.guidance_dim is not None)
    inputs = [part for part in (coordinates, guidance) if part is not None]
    assert sum(part.shape[1] for part in inputs) == decoder.widths[0]
    assert all(part.shape[2:] == (16, 24) for part in inputs)
    is_varied = (before[..., :8, :8].flatten(2).std(2) > 1e-4).any()
    assert is_varied  # within one cell


def test_the_controller_can_be_reduced():
    decoder = decoder_of(changed(controller_reduction=4, dilations=None))
    assert decoder.controller.conv.conv.weight.shape == (2, 10, 3, 3)


def test_the_auxiliary_head_reads_the_second_deepest_level_in_training():
    decoder, features = decoder_of().train(), features_of()
    output = decoder(features)
    extras = output.extras
    assert output.stages == ()
    assert spatial_size(extras["auxiliary"].mask_logits) == spatial_size(features.maps[1])
    without = decoder_of(changed(auxiliary_dim=None))
    output = without.train()(features)
    assert (output.stages, output.extras) == ((), {})


@pytest.mark.parametrize("num_classes", [1, 300])
def test_one_class_and_many(num_classes):
    decoder = decoder_of(num_classes=num_classes).train()
    logits = decoder(features_of(grid=(1, 1))).mask_logits
    assert logits.shape == (2, num_classes, 8, 8)
    logits.square().mean().backward()
    assert all(p.grad is not None for n, p in decoder.named_parameters() if "auxiliary" not in n)


def test_one_image_cannot_be_trained_on():
    with pytest.raises(ConfigError, match=r"use a training\.batch_size of 2 or more"):
        decoder_of().train()(features_of(batch=1))
    decoder_of(changed(dilations=None)).train()(features_of(batch=1))  # has nothing of one value


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"guidance_dim": None, "use_coordinates": False}, "leaves the cells' networks no input"),
        ({"guidance_dim": None, "guidance_hidden_dim": 8}, "leave one of them out"),
        ({"controller_reduction": 3}, "controller_reduction 3 must divide embed_dim 8"),
        ({"dilations": (3, 0)}, r"dilations must be 1 or more, got \[3, 0\]"),
    ],
)
def test_contradictions_are_named(fields, expected):
    with pytest.raises(ValidationError, match=expected):
        changed(**fields)


class Fixed(nn.Module):
    """A backbone that costs nothing."""

    def __init__(self, channels: tuple[int, ...], size: tuple[int, int]):
        super().__init__()
        maps = [
            torch.empty(1, width, size[0] // stride, size[1] // stride, device="meta")
            for width, stride in zip(channels, (4, 16, 32), strict=True)
        ]
        self.features = Features(tuple(maps), size, size)

    def forward(self, _: Tensor) -> Features:
        return self.features


def full_size(
    channels: tuple[int, ...], num_classes: int, size: tuple[int, int], config: NrdDecoderConfig
) -> SegmentationModel:
    with torch.device("meta"):
        decoder = NrdDecoder(channels, num_classes, config)
    return SegmentationModel(Fixed(channels, size), decoder).eval()


@pytest.mark.parametrize(
    ("channels", "num_classes", "size", "config", "reference"),
    [  # counted on the reference, whose count has normalisations and the copies of parameters, too
        (R50, 150, (512, 512), NrdDecoderConfig(), 7.05),
        (R50, 19, (1024, 2048), NrdDecoderConfig(), 53.53),
        # of the thesis, table 3.1, which counts the pooling with the encoder
        ((256, 1024, 512), 19, (1024, 2048), NrdDecoderConfig(dilations=None), 20.4),
    ],
    ids=["ADE20K", "Cityscapes", "without pooling"],
)
def test_operations_are_the_published_ones(channels, num_classes, size, config, reference):
    model = full_size(channels, num_classes, size, config)
    images = torch.empty(1, 3, *size, device="meta")
    macs = count_operations(model, lambda: model(images)).macs
    assert macs["backbone"] == {}
    assert sum(macs["decoder"].values()) / 1e9 == pytest.approx(reference, rel=0.01)
    widths, pixels = config.widths(num_classes), size[0] * size[1] // 16
    assert macs["decoder"]["matrix product"] == pixels * sum(a * b for a, b in pairwise(widths))


@torch.inference_mode()
@pytest.mark.parametrize("height", [63, 64, 65, 66, 129, 200])
def test_guidance_by_bands_is_that_of_the_whole_map(height):
    torch.manual_seed(0)
    guidance = GuidanceMap(4, 6, 3).eval()
    x = torch.randn(2, 4, height, 5)
    torch.testing.assert_close(guidance(x), nn.Sequential(*guidance)(x))


def test_memory_stays_below_one_full_size_class_map():
    """With a copy of the parameters for every pixel it would be three times as large."""
    model = full_size(R50, 19, (1024, 2048), NrdDecoderConfig())
    with torch.no_grad(), LiveTensors() as live:
        model(torch.empty(1, 3, 1024, 2048, device="meta"))
    class_map = 19 * 1024 * 2048 * 4
    assert 0.1 * class_map < live.peak < class_map
