"""Swin against the segmentation Swin's golden maps, against timm's, and against its rules by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.swin_transformer import PatchMerging, SwinTransformer
from torch import Tensor

from tests.golden.reference import load_golden
from tests.shapes_alone import shapes_alone
from vitseg.backbones import PyramidConfig, Swin, create_backbone
from vitseg.backbones.create import pretrained_mean_std
from vitseg.backbones.pyramid_weights import load_swin_file
from vitseg.backbones.swin import MASKED, merge_patches, shift_mask
from vitseg.checkpoint.swin_reference import convert_swin
from vitseg.config import parse
from vitseg.errors import CheckpointError, ConfigError
from vitseg.layers.windows import to_windows
from vitseg.methods.method import Encoder
from vitseg.methods.segvit import SegVitConfig

NAME = "swin_tiny_patch4_window7_224"


def tiny_timm(seed: int = 0, **options) -> SwinTransformer:
    """A narrow Swin in whose output every term matters; a window of 4 is whole at 128 pixels in all stages."""
    torch.manual_seed(seed)
    shape = {"depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "window_size": 4, "img_size": 128}
    swin = SwinTransformer(embed_dim=16, num_classes=0, **shape | options).eval()
    with torch.no_grad():
        for parameter in swin.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return swin


def build(swin: SwinTransformer | None = None, levels=(0, 1, 2, 3), **options) -> Swin:
    config = PyramidConfig(name=NAME, pretrained=False, levels=levels, **options)
    return Swin(swin or tiny_timm(), config).eval()


def images_of(*size: int) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_maps_equal_the_segmentation_swins_with_all_paddings(shared, tmp_path):
    """100 x 132: windows of 7 fit no map, two maps are odd, and the last ones are smaller than a window."""
    golden = load_golden(shared, "swin_fpn_baseline")
    state = {
        name.removeprefix("backbone."): value
        for name, value in golden.state_dict().items()
        if name.startswith("backbone.")
    }
    outer = {
        f"norms.{level}.{kind}": state.pop(f"norm{level}.{kind}")
        for level in range(4)
        for kind in ("weight", "bias")
    }
    save_file(state, tmp_path / "swin.safetensors")
    swin = SwinTransformer(num_classes=0, depths=(2, 2, 2, 2))
    load_swin_file(swin, tmp_path / "swin.safetensors")
    backbone = build(swin)
    backbone.load_state_dict({**backbone.state_dict(), **outer})
    features = backbone(golden["input"])
    for level in (1, 2, 3):
        expected = golden[f"features/{level - 1}"]
        torch.testing.assert_close(features.maps[level], expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_stages_equal_timms_where_nothing_is_padded():
    swin = tiny_timm()
    images = images_of(128, 128)
    expected = swin.forward_intermediates(images, intermediates_only=True)
    features = build(tiny_timm())(images)
    assert features.input_size == features.padded_size == (128, 128)
    for ours, theirs in zip(features.maps[:3], expected[:3], strict=True):
        normalised = F.layer_norm(theirs.permute(0, 2, 3, 1), theirs.shape[1:2])
        torch.testing.assert_close(ours.permute(0, 2, 3, 1), normalised, atol=1e-5, rtol=1e-5)
    # timm's classifier does not shift where a map is one window; the segmentation Swin does
    last = F.layer_norm(expected[3].permute(0, 2, 3, 1), expected[3].shape[1:2])
    assert not torch.allclose(features.maps[3].permute(0, 2, 3, 1), last, atol=1e-3)


def test_parameter_names_are_timms_but_for_the_norms_of_the_levels():
    ours = build().state_dict().keys()
    theirs = tiny_timm().state_dict().keys()
    added = {f"norms.{level}.{kind}" for level in range(4) for kind in ("weight", "bias")}
    assert ours == theirs - {"norm.weight", "norm.bias"} | added


@torch.inference_mode()
@pytest.mark.parametrize("size", [(128, 96), (50, 71), (1, 40), (4, 4)])
def test_any_size(size):
    features = build()(images_of(*size))
    assert [m.shape[1] for m in features.maps] == [16, 32, 64, 128]
    side = [-(-s // 4) for s in size]
    for feature_map in features.maps:
        assert list(feature_map.shape[-2:]) == side
        side = [-(-s // 2) for s in side]
    assert features.input_size == size
    assert features.padded_size == tuple(-(-s // 4) * 4 for s in size)


@torch.inference_mode()
def test_the_shallowest_level_says_what_is_covered():
    features = build(levels=(1, 2))(images_of(50, 71))
    assert [tuple(m.shape[-2:]) for m in features.maps] == [(7, 9), (4, 5)]
    assert features.padded_size == (56, 72)


def test_stages_below_the_deepest_level_are_not_built():
    backbone = build(levels=(0, 2))
    assert len(backbone.layers) == 3
    assert backbone.channels == (16, 64)
    assert list(backbone.norms) == ["0", "2"]
    assert isinstance(backbone, Encoder)


@pytest.mark.parametrize("size", [(1, 1), (6, 7), (5, 8)])
@torch.inference_mode()
def test_patches_are_merged_as_timm_merges_them(size):
    torch.manual_seed(0)
    merging, x = PatchMerging(8), torch.randn(2, *size, 8)
    assert torch.equal(merge_patches(x, merging), merging(x))


def test_shift_mask_by_hand():
    """A row of 5 cells, padded to 6 and rolled by 1: cells 1 2 | 3 4 | 5 0, of which 5 and 0 are no neighbours."""
    mask = shift_mask((1, 5), (1, 2), (0, 1), torch.zeros(()))
    joined = torch.tensor([[0.0, MASKED], [MASKED, 0.0]])
    assert mask.tolist() == [[[0, 0], [0, 0]], [[0, 0], [0, 0]], joined.tolist()]


def test_shift_mask_against_the_cells_own_coordinates():
    size, window, shift = (9, 10), (4, 4), (2, 2)
    mask = shift_mask(size, window, shift, torch.zeros(()))
    cells = torch.arange(12 * 12).reshape(1, 12, 12, 1).roll((-2, -2), (1, 2))
    cells = to_windows(cells.float(), window)[0, :, :, 0].long()  # (w, n)
    rows, columns = cells // 12, cells % 12
    apart = (rows[:, :, None] - rows[:, None]).abs() >= 4
    apart |= (columns[:, :, None] - columns[:, None]).abs() >= 4
    assert torch.equal(mask == MASKED, apart)


@torch.inference_mode()
def test_padding_is_zero_after_the_norm_and_is_attended_to():
    """A map of 3 x 3 in a window of 4 equals attention over its tokens and seven whose input is zero."""
    backbone = build()
    block = backbone.layers[0].blocks[0]
    x = torch.randn(1, 3, 3, 16, generator=torch.Generator().manual_seed(2))
    padded = torch.zeros(1, 4, 4, 16)
    padded[:, :3, :3] = block.norm1(x)
    q, k, v = block.attn.qkv(padded.flatten(1, 2)).chunk(3, -1)  # one head
    bias = block.attn.relative_position_bias_table[:, 0]
    scores = q @ k.transpose(1, 2) / 4
    for i in range(16):
        for j in range(16):
            scores[0, i, j] += bias[(i // 4 - j // 4 + 3) * 7 + i % 4 - j % 4 + 3]
    attended = block.attn.proj(scores.softmax(-1) @ v).unflatten(1, (4, 4))[:, :3, :3]
    expected = x + attended
    expected = expected + block.mlp(block.norm2(expected))
    torch.testing.assert_close(block(x, None), expected, atol=1e-5, rtol=1e-5)


def test_drop_path_rises_over_all_blocks_and_drops_both_branches():
    backbone = build(drop_path=0.7)
    rates = [block.drop_path.drop_prob for stage in backbone.layers for block in stage.blocks]
    assert rates == pytest.approx([0.7 * index / 7 for index in range(8)])
    last = backbone.layers[3].blocks[1].train()
    last.drop_path.drop_prob = 1 - 1e-6
    x = torch.randn(1, 4, 4, 128)
    torch.testing.assert_close(last(x, None), x)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        backbone = build(tiny_timm(), gradient_checkpointing=checkpointing).train()
        sum(m.square().sum() for m in backbone(images_of(40, 64)).maps).backward()
        gradients.append([p.grad for p in backbone.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def reference_merging(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Patch merging in unfold's order of channels, on (1, h, w, c) with even sides."""
    _, height, width, _ = x.shape
    columns = F.unfold(x.permute(0, 3, 1, 2), 2, stride=2).transpose(1, 2)
    weight, bias = (state[f"stages.0.downsample.norm.{kind}"] for kind in ("weight", "bias"))
    columns = F.layer_norm(columns, columns.shape[-1:], weight, bias)
    merged = columns @ state["stages.0.downsample.reduction.weight"].T
    return merged.unflatten(1, (height // 2, width // 2))


def test_converted_patch_merging_computes_what_the_reference_does():
    torch.manual_seed(0)
    shapes = {"reduction.weight": (10, 20), "norm.weight": (20,), "norm.bias": (20,)}
    state = {f"stages.0.downsample.{name}": torch.randn(shape) for name, shape in shapes.items()}
    x = torch.randn(1, 4, 6, 5)
    merging = PatchMerging(5)
    prefix = "layers.1.downsample."
    converted = convert_swin(state)
    merging.load_state_dict({name.removeprefix(prefix): v for name, v in converted.items()})
    torch.testing.assert_close(merging(x), reference_merging(x, state))


def test_the_published_parameter_list_converts_to_ours(shared):
    lines = (shared / "golden/keys_segvit_swint_noneck3_ade20k.txt").read_text().splitlines()
    entries = [line.split("\t")[:2] for line in lines if line.startswith("backbone.")]
    state = {
        name.removeprefix("backbone."): torch.empty(
            [int(side) for side in shape.strip("(),").split(",") if side], device="meta"
        )
        for name, shape in entries
    }
    converted = convert_swin(state)
    with shapes_alone():
        config = PyramidConfig(name=NAME, pretrained=False, levels=(1, 2, 3))
        expected = create_backbone(config, (512, 512)).state_dict()
    assert {n: v.shape for n, v in converted.items()} == {n: v.shape for n, v in expected.items()}


def test_what_is_no_swin_is_refused():
    with pytest.raises(CheckpointError, match=r"backbone\.cls_token is no parameter of a Swin"):
        convert_swin({"cls_token": torch.zeros(1)})


def test_a_weight_file_loads_and_one_of_another_model_is_refused(tmp_path: Path):
    swin = tiny_timm()
    path = tmp_path / "swin.safetensors"
    state = swin.state_dict()
    save_file({n: v for n, v in state.items() if not n.startswith("norm.")}, path)
    other = tiny_timm(seed=1)
    load_swin_file(other, path)
    for name, value in other.named_parameters():
        if not name.startswith("norm."):
            assert torch.equal(value, state[name]), name
    with pytest.raises(CheckpointError, match=r"does not fit this Swin: .* \(\d+ problems\)"):
        load_swin_file(tiny_timm(depths=(2, 2, 4, 2)), path)


@pytest.mark.parametrize(
    ("name", "levels", "message"),
    [
        ("swin_tiny_patch4_window7", (1,), r"not a known pyramid\. Did you mean .*swin_"),
        ("test_vit", (1,), r"no pyramid\. Allowed with backbone\.levels are .*swin_\*"),
        (NAME + ".none", (1,), "weight tag"),
        (NAME, (4,), r"backbone\.levels names stage 4, but swin_tiny.* has stages 0-3"),
    ],
)
def test_wrong_names_and_levels_are_refused(name, levels, message):
    config = PyramidConfig(name=name, pretrained=False, levels=levels)
    with pytest.raises(ConfigError, match=message), shapes_alone():
        create_backbone(config, (64, 64))


@pytest.mark.parametrize(("field", "value"), [("output_stride", 16), ("frozen_stages", 1)])
def test_fields_of_other_pyramids_are_refused(field, value):
    config = PyramidConfig(name=NAME, pretrained=False, levels=(1,), **{field: value})
    with pytest.raises(ConfigError, match=rf"^backbone\.{field} is {value}, but .*leave|take"):
        create_backbone(config, (64, 64))


def test_mean_and_std_are_the_weights_own():
    config = PyramidConfig(name=NAME, levels=(3,))
    assert pretrained_mean_std(config)[0] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"levels": [1]}, r"^backbone\.name is missing"),
        ({"name": NAME, "levels": [2, 1]}, r"^backbone: levels must be increasing"),
        ({"name": NAME, "levels": [1], "taps": [3]}, r"^backbone: taps are for plain ViTs"),
        ({"name": NAME, "levels": [1], "nme": 1}, r"^backbone\.nme is not a field of"),
        ({"name": "test_vit", "tap": [1]}, r"^backbone\.taps is missing"),
    ],
)
def test_errors_name_the_field_of_the_kind_that_is_meant(backbone, message):
    with pytest.raises(ConfigError, match=message):
        parse(SegVitConfig, {"backbone": backbone})


def test_the_kind_survives_a_file():
    config = SegVitConfig.model_validate({"backbone": {"name": NAME, "levels": [1, 2]}})
    assert isinstance(config.backbone, PyramidConfig)
    assert SegVitConfig.model_validate_json(config.model_dump_json()) == config
    assert SegVitConfig(backbone=config.backbone) == config
