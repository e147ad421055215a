"""ResNets and ConvNeXt: dilation, stems, files, and the published parameter list and operations of NRD's ResNet."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.backbones.test_pyramids import ALL, build, images_of, randomise
from tests.shapes_alone import shapes_alone
from vitseg.backbones import PyramidConfig, create_backbone
from vitseg.backbones.pyramid_weights import rename_resnet
from vitseg.errors import CheckpointError, ConfigError
from vitseg.inference.operations import count_operations


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "output_stride"), [("resnet18c", 16), ("resnet18c", 8), ("convnext_atto", 16)]
)
def test_a_dilated_backbone_computes_the_same_at_more_places(name, output_stride):
    """Every second (fourth) cell of a dilated map is a cell of the undilated one, if dilation starts a block late."""
    plain, dilated = build(name), build(name, output_stride=output_stride)
    dilated.load_state_dict(plain.state_dict())
    images = images_of(64, 96)
    ours, theirs = dilated(images), plain(images)
    assert ours.padded_size == (64, 96)
    for level, (finer, coarser) in enumerate(zip(ours.maps, theirs.maps, strict=True)):
        stride = 4 * 2**level
        step = max(stride // output_stride, 1)
        assert finer.shape[2:] == (64 * step // stride, 96 * step // stride)
        torch.testing.assert_close(finer[..., ::step, ::step], coarser, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_dilated_backbone_pads_to_its_own_stride():
    features = build("resnet18c", output_stride=8)(images_of(37, 65))
    assert features.padded_size == (40, 72)
    assert [tuple(m.shape[2:]) for m in features.maps] == [(10, 18), (5, 9), (5, 9), (5, 9)]


def test_contracted_dilation_of_bottlenecks():
    with shapes_alone():
        config = PyramidConfig(name="resnet50c", pretrained=False, levels=ALL, output_stride=8)
        backbone = create_backbone(config, (64, 64))
    rates = {
        layer: [block.conv2.dilation[0] for block in backbone.get_submodule(layer)]
        for layer in ("layer2", "layer3", "layer4")
    }
    assert rates == {"layer2": [1] * 4, "layer3": [1, 2, 2, 2, 2, 2], "layer4": [2, 4, 4]}


@pytest.mark.parametrize("name", ["resnet18c", "resnet34c", "resnet50c", "resnet101c"])
def test_v1c_stem(name):
    with shapes_alone():
        backbone = create_backbone(
            PyramidConfig(name=name, pretrained=False, levels=(1,)), (64, 64)
        )
    convolutions = [m for m in backbone.conv1 if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [32, 32, 64]
    assert [m.kernel_size for m in convolutions] == [(3, 3)] * 3
    assert not any(isinstance(m, nn.AvgPool2d) for m in backbone.modules())


def test_the_published_parameter_list_of_nrd_is_ours(shared):
    lines = (shared / "golden/keys_nrd_r101_ade20k.txt").read_text().splitlines()
    entries = [line.split("\t")[:2] for line in lines if line.startswith("backbone.")]
    assert len(entries) > 500
    state = {
        name.removeprefix("backbone."): torch.empty(
            [int(side) for side in shape.strip("(),").split(",") if side], device="meta"
        )
        for name, shape in entries
    }
    with shapes_alone():
        config = PyramidConfig(name="resnet101c", pretrained=False, levels=ALL)
        expected = create_backbone(config, (512, 512)).state_dict()
    renamed = rename_resnet(state)
    assert {n: v.shape for n, v in renamed.items()} == {n: v.shape for n, v in expected.items()}


class Whole(nn.Module):
    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor):
        return self.backbone(images)


@pytest.mark.parametrize(
    ("name", "size", "published", "norms"),
    [("resnet101c", (512, 512), 42.18, 0.18), ("resnet50c", (1024, 2048), 181.84, 1.05)],
)
def test_multiply_adds_are_the_references(name, size, published, norms):
    """The reference's counter adds 5 FLOPs per element of a normalisation, which ours does not count."""
    with shapes_alone():
        config = PyramidConfig(name=name, pretrained=False, levels=ALL)
        model = Whole(create_backbone(config, size).eval())
        images = torch.empty(1, 3, *size)
    macs = count_operations(model, lambda: model(images)).macs["backbone"]
    assert macs["convolution"] / 1e9 == pytest.approx(published - norms, rel=1e-3)


@pytest.fixture(scope="module")
def resnet18c() -> dict[str, Tensor]:
    """Its parameters by timm's names."""
    config = PyramidConfig(name="resnet18c", pretrained=False, levels=ALL)
    return randomise(create_backbone(config, (64, 64))).state_dict()


def mmsegmentation_names(state):
    """The stem as one sequence of modules, the last normalisation included."""
    return {
        n.replace("conv1.", "stem.", 1)
        if n.startswith("conv1.")
        else n.replace("bn1.", "stem.7.")
        if n.startswith("bn1.")
        else n: v
        for n, v in state.items()
    }


@pytest.mark.parametrize("dialect", ["timm", "mmsegmentation", "segmentation model"])
def test_files_of_every_naming_load(tmp_path, resnet18c, dialect):
    state = dict(resnet18c)
    content = state if dialect == "timm" else mmsegmentation_names(state)
    assert ("stem.7.running_mean" in content) == (dialect != "timm")
    if dialect == "segmentation model":
        content = {f"backbone.{n}": v for n, v in content.items()}
        content["decode_head.conv_seg.weight"] = torch.zeros(3)
    else:
        content = {n: v for n, v in content.items() if "num_batches_tracked" not in n}  # of old
        content |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": content, "meta": {}}, path)
    config = PyramidConfig(name="resnet18c", levels=(0, 3), weights=path)
    loaded = create_backbone(config, (64, 64)).state_dict()
    assert loaded.keys() == state.keys()
    for name, value in loaded.items():
        if "num_batches_tracked" not in name:
            assert torch.equal(value, state[name]), name


def test_a_timm_file_of_a_convnext_loads(tmp_path):
    name = "convnext_atto"
    state = {n: v for n, v in build(name).state_dict().items() if not n.startswith("norms.")}
    path = tmp_path / "weights.safetensors"
    save_file({**state, "head.fc.weight": torch.zeros(2)}, path)
    config = PyramidConfig(name=name, levels=ALL, weights=path)
    loaded = create_backbone(config, (64, 64)).state_dict()
    assert state
    for parameter_name, value in state.items():
        assert torch.equal(loaded[parameter_name], value), parameter_name


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("resnet34c", {}, r"does not fit this ResNet: layer1\.2\.bn1\.bias is missing"),
        ("resnet18", {}, r"conv1\.0\.weight is unknown .*v1c names\?$"),
        ("resnet18c", {"surplus": torch.zeros(1)}, r"surplus is unknown .* \(1 problems\)"),
        (
            "resnet18c",
            {"bn1.weight": torch.zeros(7)},
            r"bn1\.weight is \(7,\) in the file, \(64,\) in the model",
        ),
    ],
)
def test_a_file_of_another_model_is_refused(tmp_path, resnet18c, name, change, message):
    path = tmp_path / "weights.safetensors"
    save_file({**resnet18c, **change}, path)
    config = PyramidConfig(name=name, levels=(3,), weights=path)
    with pytest.raises(CheckpointError, match=message):
        create_backbone(config, (64, 64))


def test_one_image_of_one_cell_has_no_variance():
    backbone = build("resnet18c").train()
    with pytest.raises(ConfigError, match=r"batch normalisation .* training\.batch_size of 2"):
        backbone(images_of(20, 32, batch=1))
    assert backbone(images_of(20, 32)).maps[3].shape == (2, 64, 1, 1)
    assert backbone(images_of(20, 33, batch=1)).maps[3].shape == (1, 64, 1, 2)
    assert backbone.eval()(images_of(20, 32, batch=1)).maps[3].shape == (1, 64, 1, 1)


def test_frozen_stages_need_no_variance():
    backbone = build("resnet18c", frozen_stages=4).train()
    assert backbone(images_of(20, 32, batch=1)).maps[3].shape == (1, 64, 1, 1)
