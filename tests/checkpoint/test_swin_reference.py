"""Files of Swin with Semantic FPN (with semantic layers, too) and with UPerNet, in the authors' and mmseg's names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor

from tests.checkpoint.swin_files import as_authors, as_mmseg
from tests.golden.reference import recipe_weight
from tests.shapes_alone import shapes_alone
from vitseg.backbones import PyramidConfig, Swin
from vitseg.backbones.semantic_swin import SemanticLayersConfig, add_semantic_layers
from vitseg.backbones.tensor_files import read_tensors
from vitseg.checkpoint.convert import convert_checkpoint, read_checkpoint
from vitseg.checkpoint.detect import recognise
from vitseg.checkpoint.model_dir import ModelRecord, fill, load_model, save_model
from vitseg.checkpoint.protocols import SEMASK, UPERNET
from vitseg.classes import ClassTable
from vitseg.config import parse
from vitseg.decoders.semantic_fpn import SemanticFpnConfig, SemanticFpnDecoder
from vitseg.decoders.upernet import UperNetDecoder, UperNetDecoderConfig
from vitseg.errors import CheckpointError, VitsegError
from vitseg.images.preprocess import Preprocessing
from vitseg.inference.config import InferenceConfig
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel

NUM_CLASSES = 5
SEMANTIC = (
    ("attention.norm.", "norm1."),
    ("attention.gamma", "class_injection.0.gamma"),
    ("attention.query.", "class_injection.0.mlp_cls_q."),
    ("attention.key.", "class_injection.0.mlp_cls_k."),
    ("attention.value.", "class_injection.0.mlp_v."),
    ("attention.proj.", "class_injection.0.mlp_res."),
)
UPERNET_HEAD = (
    ("decoder.pooling.bottleneck.", "decode_head.bottleneck."),
    ("decoder.laterals.", "decode_head.lateral_convs."),
    ("decoder.outputs.", "decode_head.fpn_convs."),
    ("decoder.fuse.", "decode_head.fpn_bottleneck."),
    ("decoder.auxiliary.classifier.", "auxiliary_head.conv_seg."),
    ("decoder.auxiliary.", "auxiliary_head."),
)


def head_name(name: str) -> str:
    """The reference's name of a parameter of ours outside the Swin."""
    if name.startswith("backbone.semantic."):
        _, _, stage, rest = name.split(".", 3)
        for ours, theirs in SEMANTIC:
            rest = rest.replace(ours, theirs)
        return f"backbone.layers.{stage}.semantic_layer.{rest}"
    name = re.sub(
        r"decoder\.levels\.(\d)\.(\d)\.",
        lambda m: f"decode_head.scale_heads.{m[1]}.{2 * int(m[2])}.",
        name,
    )
    name = re.sub(r"decoder\.pooling\.projections\.(\d)", r"decode_head.psp_modules.\1.1", name)
    for ours, theirs in UPERNET_HEAD:
        name = name.replace(ours, theirs)
    return name.replace("decoder.classifier", "decode_head.conv_seg").replace(".norm.", ".bn.")


def published(
    state: dict[str, Tensor], naming: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """A model's parameters under the reference's names."""
    is_swin = {n: n.startswith("backbone.") and ".semantic." not in n for n in state}
    swin = {n.removeprefix("backbone."): v for n, v in state.items() if is_swin[n]}
    rest = {head_name(n): v for n, v in state.items() if not is_swin[n]}
    return {f"backbone.{n}": v for n, v in naming(swin).items()} | rest


def toy(kind: str) -> SegmentationModel:
    """Narrow, with two blocks a stage, and weights of which every one matters."""
    torch.manual_seed(0)
    shape = {"depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "window_size": 4, "img_size": 128}
    net = SwinTransformer(embed_dim=16, num_classes=0, **shape)
    swin = Swin(net, PyramidConfig(name="toy", pretrained=False, levels=(0, 1, 2, 3)))
    if kind == "SeMask":
        add_semantic_layers(swin, SemanticLayersConfig(), NUM_CLASSES, name="toy", otherwise="")
    if kind == "Swin with UPerNet":
        config = UperNetDecoderConfig(embed_dim=12, auxiliary_dim=8)
        decoder = UperNetDecoder(swin.channels, NUM_CLASSES, config)
    else:
        decoder = SemanticFpnDecoder(swin.channels, NUM_CLASSES, SemanticFpnConfig(embed_dim=12))
    model = SegmentationModel(swin, decoder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


FILES = [
    ("SeMask", as_authors),
    ("Swin with Semantic FPN", as_authors),
    ("Swin with Semantic FPN", as_mmseg),
    ("Swin with UPerNet", as_authors),
    ("Swin with UPerNet", as_mmseg),
]


@torch.inference_mode()
@pytest.mark.parametrize(("kind", "naming"), FILES)
def test_a_written_file_gives_the_same_model(kind, naming, tmp_path: Path):
    model = toy(kind)
    state = published(model.state_dict(), naming)
    torch.save({"meta": {"epoch": 1}, "state_dict": state}, tmp_path / "model.pth")
    read = read_tensors(tmp_path / "model.pth")
    dialect = recognise(read)
    assert dialect.name == kind
    other = toy(kind)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    fill(other, dialect.convert(read), "it does not fit")
    images = torch.randn(1, 3, 50, 71)
    assert torch.equal(other(images).mask_logits, model(images).mask_logits)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def shapes_of(
    kind: str,
    naming: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    backbone: str,
    num_classes: int,
    **decoder: int | None,
) -> dict[str, Tensor]:
    """What a published file of full size holds, without values."""
    method = {"SeMask": "semask", "Swin with Semantic FPN": "fpn"}.get(kind, "upernet")
    sections = {"backbone": {"name": backbone, "pretrained": False, "levels": [0, 1, 2, 3]}}
    config = parse(METHODS[method], {**sections, "decoder": decoder})
    with shapes_alone():
        model = config.build(num_classes, (512, 512), False)
    return published(model.state_dict(), naming)


@pytest.mark.parametrize(
    ("kind", "naming", "backbone", "num_classes", "crop"),
    [
        ("SeMask", as_authors, "swin_tiny_patch4_window7_224", 19, 768),
        ("SeMask", as_authors, "swin_large_patch4_window12_384", 171, 640),
        ("Swin with Semantic FPN", as_mmseg, "swin_base_patch4_window12_384", 150, 512),
        ("Swin with UPerNet", as_mmseg, "swin_tiny_patch4_window7_224", 150, 512),
        ("Swin with UPerNet", as_authors, "swin_small_patch4_window7_224", 150, 512),
    ],
)
def test_the_architecture_is_read_from_the_shapes(kind, naming, backbone, num_classes, crop):
    state = shapes_of(kind, naming, backbone, num_classes)
    architecture = recognise(state).architecture(state)
    assert (architecture.num_classes, architecture.crop) == (num_classes, crop)
    expected = {"name": backbone, "pretrained": False, "levels": (0, 1, 2, 3)}
    assert architecture.config["backbone"] == expected
    config = parse(METHODS[recognise(state).method], architecture.config)
    assert config == parse(type(config), {"backbone": expected})  # all else are our defaults


def test_without_an_auxiliary_head():
    state = shapes_of(
        "UPerNet", as_mmseg, "swin_tiny_patch4_window7_224", 3, embed_dim=8, auxiliary_dim=None
    )
    config = recognise(state).architecture(state).config
    assert config["decoder"] == {"embed_dim": 8, "auxiliary_dim": None}


def test_a_swin_of_no_published_size_is_refused():
    state = published(toy("Swin with UPerNet").state_dict(), as_mmseg)
    with pytest.raises(CheckpointError, match=r"no known Swin has width 16, \(2, 2, 2, 2\) blocks"):
        recognise(state).architecture(state)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Swin with Semantic FPN", "neck.lateral_convs.0.conv.weight"),
        ("Swin with Semantic FPN", "decode_head.fpn_convs.0.conv.weight"),
        ("Swin with UPerNet", "auxiliary_head.convs.1.conv.weight"),
        ("SeMask", "backbone.layers.0.semantic_layer.class_injection.1.gamma"),
        ("SeMask", "backbone.absolute_pos_embed"),
    ],
)
def test_a_parameter_of_another_model_is_refused(kind, name):
    state = published(toy(kind).state_dict(), as_authors) | {name: torch.zeros(1)}
    with pytest.raises(CheckpointError, match=re.escape(name)):
        recognise(state).convert(state)


def trap(stage: int, part: str) -> str:
    return f"backbone.layers.{stage}.semantic_layer.class_injection.0.mlp_cls_{part}.weight"


@pytest.mark.parametrize(("stage", "part"), [(0, "q"), (3, "q"), (2, "k")])
def test_semantic_layers_of_another_data_set_are_refused(stage, part):
    """The published configurations of COCO-Stuff leave the backbone at ADE20K's 150 classes."""
    state = shapes_of("SeMask", as_authors, "swin_tiny_patch4_window7_224", 171)
    name = trap(stage, part)
    state[name] = torch.empty(150, state[name].shape[1], device="meta")
    with pytest.raises(
        CheckpointError, match=r"know 150 classes, but its head knows 171 \(.*mlp_cls"
    ):
        recognise(state).architecture(state)


def test_a_model_directory_whose_parts_know_other_classes_is_refused(tmp_path):
    """Of the head's classes record and class list agree, of the semantic layers' they do not."""
    sections = {
        "backbone": {"name": "swin_tiny_patch4_window7_224", "pretrained": False, "levels": [0, 1]},
        "decoder": {"embed_dim": 8},
    }
    config = parse(METHODS["semask"], sections)
    model = config.build(3, (64, 64), False)
    record = ModelRecord(
        method="semask",
        architecture=config.model_dump(mode="json"),
        image_size=(64, 64),
        classes=ClassTable.from_names(["a", "b", "c"]),
        preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    )
    layer = model.backbone.semantic[1].attention
    layer.query, layer.key = torch.nn.Linear(192, 4), torch.nn.Linear(192, 4)
    save_model(tmp_path / "model", model, record)
    with pytest.raises(VitsegError, match=r"semantic\.1\.attention\.query"):
        load_model(tmp_path / "model")


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize(
    ("kind", "naming"), [("SeMask", as_authors), ("Swin with UPerNet", as_mmseg)]
)
def test_a_file_of_full_size_is_converted(kind, naming, tmp_path):
    shapes = shapes_of(kind, naming, "swin_tiny_patch4_window7_224", 3, embed_dim=8)
    state = {n: recipe_weight(n, list(v.shape)) for n, v in shapes.items()}
    torch.save({"state_dict": state}, tmp_path / "model.pth")
    checkpoint = read_checkpoint(tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="has 3 classes, but the class list has 2"):
        convert_checkpoint(checkpoint, ClassTable.from_names(["a", "b"]))
    model, record = convert_checkpoint(checkpoint, ClassTable.from_names(["a", "b", "c"]))
    assert record.inference == {"mode": "whole", "resize": (2048, 512)}
    save_model(tmp_path / "model", model, record)
    loaded, _ = load_model(tmp_path / "model")
    images = torch.randn(1, 3, 50, 71)
    assert torch.equal(loaded(images).mask_logits, model(images).mask_logits)
    assert loaded(images).mask_logits.isfinite().all()


@pytest.mark.parametrize(
    ("published_by", "crop", "dataset", "resize"),
    [
        (SEMASK, 512, "ade20k", (2048, 512)),
        (SEMASK, 640, "ade20k", (2560, 640)),
        (SEMASK, 512, "coco_stuff_10k", (2048, 512)),
        (SEMASK, 640, "coco_stuff_10k", (2560, 640)),
        (SEMASK, 768, "cityscapes", (2048, 1024)),
        (UPERNET, 512, "ade20k", (2048, 512)),
    ],
)
def test_whole_images_are_predicted(published_by, crop, dataset, resize):
    protocol = published_by.protocol(crop, dataset)
    assert protocol == {"mode": "whole", "resize": resize}
    InferenceConfig.model_validate(protocol)
