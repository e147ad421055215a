"""mmsegmentation's SETR: its heads written out here once more, by its own parameter names, against converted files.

The functions follow the table of differences between the two code bases; only its Naive head has golden tensors.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.checkpoint.test_setr_reference import DECODERS, tiny_setr
from tests.golden.reference import recipe_weight
from vitseg.checkpoint.convert import convert_checkpoint, read_checkpoint
from vitseg.checkpoint.protocols import SETR_MMSEG
from vitseg.classes import ClassTable
from vitseg.errors import CheckpointError
from vitseg.methods.model import SegmentationModel

pytestmark = pytest.mark.slow

State = dict[str, Tensor]

WIDTH, CROP = 192, 64
CLASSES = ClassTable.from_names(["sky", "road", "tree", "car", "sign"])
BLOCKS = {
    "backbone.patch_embed.proj.": "backbone.patch_embed.projection.",
    "backbone.blocks.": "backbone.layers.",
    ".norm1.": ".ln1.",
    ".norm2.": ".ln2.",
    ".attn.qkv.": ".attn.attn.in_proj_",
    ".attn.proj.": ".attn.attn.out_proj.",
    ".mlp.fc1.": ".ffn.layers.0.0.",
    ".mlp.fc2.": ".ffn.layers.1.",
}


def backbone_state() -> State:
    """A ViT-Ti without a bias in the patch embedding, as version 1 has it."""
    vit = tiny_setr("naive").backbone
    state = {f"backbone.{n}": v for n, v in vit.state_dict().items()}
    for ours, theirs in BLOCKS.items():
        state = {n.replace(ours, theirs): v for n, v in state.items()}
    return {n: v for n, v in state.items() if n != "backbone.patch_embed.projection.bias"}


def conv_module(name: str, inputs: int, outputs: int, kernel_size: int) -> State:
    """A convolution without bias and its batch normalisation."""
    shapes = {f"{name}.conv.weight": [outputs, inputs, kernel_size, kernel_size]}
    shapes |= {
        f"{name}.bn.{part}": [outputs] for part in ("weight", "bias", "running_mean", "running_var")
    }
    shapes[f"{name}.bn.num_batches_tracked"] = []
    return {n: recipe_weight(n, shape) for n, shape in shapes.items()}


def layer(name: str, *shape: int) -> State:
    return {
        f"{name}.{part}": recipe_weight(f"{name}.{part}", list(size))
        for part, size in (("weight", shape), ("bias", shape[:1]))
    }


def upsampling_head(name: str, num_convs: int, kernel_size: int) -> State:
    state = layer(f"{name}.norm", WIDTH) | layer(f"{name}.conv_seg", 5, 256, 1, 1)
    for index in range(num_convs):
        state |= conv_module(
            f"{name}.up_convs.{index}.0", 256 if index else WIDTH, 256, kernel_size
        )
    return state


def mla() -> State:
    state = layer("decode_head.conv_seg", 5, 512, 1, 1)
    for level in range(4):
        state |= layer(f"neck.norm.{level}", WIDTH)
        state |= conv_module(f"neck.mla.channel_proj.{level}", WIDTH, 256, 1)
        state |= conv_module(f"neck.mla.feat_extract.{level}", 256, 256, 3)
        state |= conv_module(f"decode_head.up_convs.{level}.0", 256, 128, 3)
        state |= conv_module(f"decode_head.up_convs.{level}.1", 128, 128, 3)
        state |= layer(f"auxiliary_head.{level}.conv_seg", 5, 256, 1, 1)
    return state


def run_conv(state: State, name: str, x: Tensor) -> Tensor:
    weight = state[name + ".conv.weight"]
    x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    mean, var, scale, shift = (
        state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, var, scale, shift).relu()


def run_norm(state: State, name: str, x: Tensor) -> Tensor:
    x = x.permute(0, 2, 3, 1)
    x = F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)
    return x.permute(0, 3, 1, 2)


def run_classifier(state: State, name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])


def resize(x: Tensor, scale: int) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def run_upsampling_head(state: State, name: str, x: Tensor, scales: tuple[int, ...]) -> Tensor:
    x = run_norm(state, f"{name}.norm", x)
    for index, scale in enumerate(scales):
        x = resize(run_conv(state, f"{name}.up_convs.{index}.0", x), scale)
    return run_classifier(state, f"{name}.conv_seg", x)


def run_mla(state: State, maps: tuple[Tensor, ...]) -> list[Tensor]:
    """Logits of the head and then of the auxiliary heads, which are from deep to shallow."""
    levels = [
        run_conv(state, f"neck.mla.channel_proj.{i}", run_norm(state, f"neck.norm.{i}", x))
        for i, x in enumerate(maps)
    ]
    sums = torch.stack(levels[::-1]).cumsum(0)  # deep to shallow
    outs = [run_conv(state, f"neck.mla.feat_extract.{i}", x) for i, x in enumerate(sums)]
    branches = []
    for i, x in enumerate(outs):
        x = run_conv(state, f"decode_head.up_convs.{i}.0", x)
        branches.append(resize(run_conv(state, f"decode_head.up_convs.{i}.1", x), 4))
    main = run_classifier(state, "decode_head.conv_seg", torch.cat(branches, 1))
    return [
        main,
        *(run_classifier(state, f"auxiliary_head.{i}.conv_seg", x) for i, x in enumerate(outs)),
    ]


def convert(path: Path, state: State) -> SegmentationModel:
    torch.save({"meta": {}, "state_dict": state}, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.dialect.name == "mmsegmentation's SETR"
    return convert_checkpoint(checkpoint, CLASSES)[0]


def all_logits(model: SegmentationModel, images: Tensor) -> list[Tensor]:
    """At pixel size, of the head and the auxiliary heads."""
    model.decoder.training = True  # of the decoder alone: the norms' statistics stay
    output = model(images)
    model.decoder.training = False
    return [each.scores() for each in (output, *output.extras.values())]


@torch.inference_mode()
@pytest.mark.parametrize(
    ("main", "auxiliary", "kernel_size"),
    [((4,), (4,), 1), ((4,), (4, 4), 1), ((2, 2, 2, 2), (4, 4), 3)],
    ids=["naive", "naive of ADE20K", "pup"],
)
def test_naive_and_pup(tmp_path, main, auxiliary, kernel_size):
    state = backbone_state() | upsampling_head("decode_head", len(main), kernel_size)
    for index in range(3):
        state |= upsampling_head(f"auxiliary_head.{index}", len(auxiliary), kernel_size)
    model = convert(tmp_path / "setr.pth", state)
    images = torch.randn(1, 3, 64, 96)
    maps = model.backbone(images).maps
    expected = [run_upsampling_head(state, "decode_head", maps[-1], main)]
    for index in range(3):
        expected.append(
            run_upsampling_head(state, f"auxiliary_head.{index}", maps[index], auxiliary)
        )
    for ours, theirs in zip(all_logits(model, images), expected, strict=True):
        theirs = F.interpolate(theirs, (64, 96), mode="bilinear", align_corners=False)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_mla(tmp_path):
    state = backbone_state() | mla()
    model = convert(tmp_path / "setr.pth", state)
    images = torch.randn(1, 3, 64, 96)
    main, *auxiliary = run_mla(state, model.backbone.vit(images).maps)
    expected = [main, *reversed(auxiliary)]  # ours are from shallow to deep
    for ours, theirs in zip(all_logits(model, images), expected, strict=True):
        theirs = F.interpolate(theirs, (64, 96), mode="bilinear", align_corners=False)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert model.backbone.vit.config.taps == DECODERS["mla"]["taps"]


def test_the_bias_of_the_patches_is_kept_where_there_is_one(tmp_path):
    state = backbone_state() | upsampling_head("decode_head", 1, 1)
    path = tmp_path / "setr.pth"
    assert not convert(path, state).backbone.patch_embed.proj.bias.any()
    bias = torch.randn(WIDTH)
    state["backbone.patch_embed.projection.bias"] = bias
    torch.testing.assert_close(convert(path, state).backbone.patch_embed.proj.bias, bias)
    without = {n: v for n, v in (backbone_state() | mla()).items() if "auxiliary" not in n}
    assert not convert(path, without).backbone.vit.patch_embed.proj.bias.any()


def refusal(path: Path, state: State) -> str:
    with pytest.raises(CheckpointError) as caught:
        convert(path, state)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_heads_are_refused(tmp_path):
    path, backbone = tmp_path / "setr.pth", backbone_state()
    assert "the head has 2 convolutions" in refusal(
        path, backbone | upsampling_head("decode_head", 2, 1)
    )
    naive = backbone | upsampling_head("decode_head", 1, 1)
    three = naive | upsampling_head("auxiliary_head.0", 3, 1)
    assert "auxiliary heads have 3 convolutions" in refusal(path, three)
    one = naive | upsampling_head("auxiliary_head.0", 1, 1)
    assert "has 1 auxiliary heads, but SETR-NAIVE of 12 blocks has 3" in refusal(path, one)
    assert "also holds neck.norm.0.weight" in refusal(path, naive | layer("neck.norm.0", WIDTH))
    wide = naive | upsampling_head("decode_head", 1, 3)
    assert "does not fit mmsegmentation's SETR" in refusal(path, wide)
    bare = naive | {"decode_head.up_convs.0.0.conv.weight": torch.tensor(0.0)}
    assert "does not fit" in refusal(path, bare)
    flat = backbone | mla() | {"neck.mla.channel_proj.0.conv.weight": torch.zeros(3)}
    assert "does not fit" in refusal(path, flat)


def test_the_protocol_on_cityscapes():
    protocol = SETR_MMSEG.protocol(768, "cityscapes")
    assert (protocol["resize"], protocol["stride"]) == ((2048, 1024), (512, 512))
    assert "open-mmlab/mmsegmentation" in SETR_MMSEG.license
