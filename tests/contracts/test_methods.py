"""What every method must do, whatever its paper: one test class over the table of methods."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from vitseg.backbones import PyramidConfig
from vitseg.checkpoint.model_dir import ModelRecord, load_model, save_model
from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.images.preprocess import Preprocessing
from vitseg.inference.scores import OutputScores, label_map
from vitseg.methods import METHODS
from vitseg.methods.model import SegmentationModel
from vitseg.outputs import QueryMasks, SegOutput
from vitseg.supervision import AtmLossConfig

NUM_CLASSES = 5
IMAGE_SIZE = (64, 96)
BACKBONE = {"name": "test_vit", "pretrained": False, "taps": [1, 3, 5]}
CONFIGS = {
    "segvit": {"backbone": BACKBONE},
    "segvit, one level": {"backbone": {**BACKBONE, "taps": [5]}},
    "segvit, presence": {
        "backbone": {**BACKBONE, "taps": [5], "prefix_tokens": "drop"},
        "decoder": {"classifier": "presence", "self_attention": False, "supervise": "layers"},
    },
}
ONE_MIXED, TWO = {"num_classes": 3, "decoder": {}}, {"num_classes": 2}
CONFIGS |= {
    "segvit_cl": {"backbone": BACKBONE, "tasks": [ONE_MIXED, TWO]},
}
SWIN = {"name": "swin_tiny_patch4_window7_224", "pretrained": False, "levels": [0, 1]}
CONFIGS |= {
    "segvit, dot product": {"backbone": BACKBONE, "decoder": {"masks": "dot_product"}},
    "segvit, Swin": {
        "backbone": SWIN,
        "decoder": {"embed_dim": 64, "projection": "conv_groupnorm"},
    },
}
SHRUNK = {"backbone": {**BACKBONE, "taps": [5]}, "shrink": {"block": 2}}
EDGES = {"edges": {"threshold": 0.5}, "shrink": {"block": 0}}
CONFIGS |= {
    "shrunk": SHRUNK,
    "shrunk, naive": {**SHRUNK, "upsample": None, "decoder": {}},
    "shrunk, convolution": {**SHRUNK, "shrink": {"block": 2, "method": "conv"}},
    "shrunk, inherited queries": {**SHRUNK, "upsample": {"queries": "inherited"}},
    "shrunk, edges": {**SHRUNK, **EDGES},
}
SETR = {"backbone": {**BACKBONE, "pos_embed_interpolation": "bilinear"}}
MLA = {"backbone": {**SETR["backbone"], "prefix_tokens": "drop"}}
CONFIGS |= {
    "setr, naive": {**SETR, "decoder": {"kind": "naive", "auxiliary": [1, 3]}},
    "setr, pup": {**SETR, "decoder": {"kind": "pup", "auxiliary": [1, 3, 5]}},
    "setr, mla": {**MLA, "decoder": {"kind": "mla", "auxiliary": [1, 3, 5]}},
}
NORMED = {**BACKBONE, "taps": [5], "tap_norm": True}
NARROW = {"embed_dim": 32}
CONFIGS |= {
    "segmenter": {"backbone": NORMED},
    "segmenter, linear": {"backbone": NORMED, "decoder": {"kind": "linear"}},
    "linear": {"backbone": {**NORMED, "taps": [2, 5]}},
    "upernet": {"backbone": {**BACKBONE, "taps": [0, 2, 3, 5]}, "decoder": NARROW},
    "upernet, Swin": {"backbone": SWIN, "decoder": {**NARROW, "auxiliary_dim": None}},
    "segformer": {"backbone": BACKBONE, "decoder": NARROW},
    "segformer, Swin": {"backbone": SWIN, "decoder": NARROW},
    "eomt": {"backbone": NORMED, "decoder": {"num_queries": 12}},
    "segvit_joint": {"backbone": NORMED},
    "segvit_joint, as fine as the tokens": {
        "backbone": NORMED,
        "decoder": {"doublings": 0, "classifier": "presence", "masked_attention": False},
        "loss": {"pixel_weight": 1.0, "pixel_step": 3, "ignored": "left_out"},
    },
}
PRUNED = {"backbone": BACKBONE, "pruning": {"threshold": 0.2}}
NEVER = {"backbone": BACKBONE, "pruning": {"threshold": 1}}
ONE_EXIT = {**BACKBONE, "taps": [1, 5]}
CONFIGS |= {
    "dtop": PRUNED,
    "dtop, never": NEVER,
    "dtop, FCN": {**PRUNED, "decoder": {"kind": "fcn", "auxiliary": "fcn"}},
    "dtop, ATM behind FCN": {**PRUNED, "decoder": {"auxiliary": "fcn"}},
    "dtop, average": {"backbone": BACKBONE, "pruning": {"rule": "average", "threshold": 0.2}},
    "dtop, convolution": {"backbone": ONE_EXIT, "pruning": {"rule": "conv"}},
    "dtop, Shrunk": {**PRUNED, "shrink": {"block": 1}},
    "dtop, Shrunk never": {**NEVER, "shrink": {"block": 1}},
    "dtop, SeMask": {**PRUNED, "semantic": {"blocks": [1, 4]}},
    "dtop, SeMask never": {**NEVER, "semantic": {"blocks": [1, 4]}},
}
RESNET = {"name": "resnet18c", "pretrained": False, "levels": [0, 1]}
SMALL_HEAD = {**NARROW, "auxiliary_dim": 8}
CONFIGS |= {
    "nrd": {"backbone": RESNET, "decoder": SMALL_HEAD},
    "nrd, dilated, no guidance": {
        "backbone": {**RESNET, "levels": [1, 2], "output_stride": 8},
        "decoder": {**SMALL_HEAD, "guidance_dim": None, "dilations": None},
    },
    "deeplab": {"backbone": RESNET, "decoder": SMALL_HEAD},
    "deeplab, v3": {"backbone": RESNET, "decoder": {**SMALL_HEAD, "kind": "v3"}},
    "deeplab, bilinear": {"backbone": RESNET, "decoder": {**SMALL_HEAD, "kind": "bilinear"}},
    "pspnet": {"backbone": RESNET, "decoder": SMALL_HEAD},
    "fcn": {"backbone": RESNET, "decoder": SMALL_HEAD},
    "carafe": {"backbone": RESNET, "decoder": SMALL_HEAD},
    "duc": {"backbone": RESNET, "decoder": {"embed_dim": 8, "auxiliary_dim": 8}},
}


CONFIGS |= {
    "fpn": {"backbone": RESNET, "decoder": {"embed_dim": 16}},
    "semaskvit": {"backbone": BACKBONE, "semantic": {"blocks": [1, 4]}},
    "semask": {"backbone": SWIN, "decoder": {"embed_dim": 16}},
    "semask, global": {
        "backbone": SWIN,
        "semantic": {"window_levels": []},
        "decoder": {"embed_dim": 16},
    },
}
ALL_LEVELS = {**SWIN, "levels": [0, 1, 2, 3]}
SMALL_QUERIES = {"embed_dim": 64, "num_queries": 12, "feedforward_dim": 32}
SMALL_PIXELS = {**SMALL_QUERIES, "num_layers": 4, "num_pixel_layers": 1}
FEW_POINTS = {"points": 256}
CONFIGS |= {
    "mask2former": {
        "backbone": {**RESNET, "levels": [0, 1, 2, 3]},
        "decoder": SMALL_PIXELS,
        "loss": FEW_POINTS,
    },
    "mask2former, SeMask": {
        "backbone": ALL_LEVELS,
        "semantic": {"window_levels": [0, 1, 2]},
        "decoder": SMALL_PIXELS,
        "loss": FEW_POINTS,
    },
    "mask2former, FaPN": {
        "backbone": {**RESNET, "levels": [0, 1, 2, 3]},
        "decoder": {**SMALL_PIXELS, "align_features": True},
        "loss": FEW_POINTS,
    },
    "maskformer": {"backbone": RESNET, "decoder": SMALL_QUERIES},
    "maskformer, SeMask": {"backbone": SWIN, "semantic": {}, "decoder": SMALL_QUERIES},
}


@cache
def build(case: str) -> tuple[str, BaseModel, SegmentationModel]:
    """Once per case: most of the time of building a Swin goes into layers that are not kept."""
    name = case.partition(",")[0]
    config = METHODS[name].model_validate(CONFIGS[case])
    torch.manual_seed(0)
    return name, config, config.build(NUM_CLASSES, IMAGE_SIZE)


@pytest.fixture(params=list(CONFIGS), ids=list(CONFIGS))
def case(request):
    name, config, model = build(request.param)
    torch.manual_seed(0)
    return name, config, copy.deepcopy(model)


def images_of(size: tuple[int, int], batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def labels_of(size: tuple[int, int], batch: int = 2) -> Tensor:
    labels = torch.randint(
        0, NUM_CLASSES, (batch, *size), generator=torch.Generator().manual_seed(2)
    )
    labels[0, : size[0] // 2] = IGNORE_INDEX
    return labels


def test_every_method_is_covered():
    assert {name.partition(",")[0] for name in CONFIGS} == set(METHODS)


FURTHER_SIZES = [pytest.param(size, marks=pytest.mark.slow) for size in [(96, 64), (16, 16)]]


@pytest.mark.parametrize("size", [(64, 96), (50, 71), (1, 40), *FURTHER_SIZES])
def test_forward_and_backward_at_any_size(case, size):
    _, config, model = case
    output = model.train()(images_of(size))
    assert isinstance(output, SegOutput)
    assert output.num_classes == NUM_CLASSES
    assert output.input_size == size
    terms = config.criterion()(output, labels_of(size))
    assert all(term.ndim == 0 for term in terms.values())
    sum(terms.values()).backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name


FIRST = {name.partition(",")[0]: name for name in reversed(CONFIGS)}
"""The first case of every method."""
FIRST_AMONG_THE_FAST = [
    name if name in FIRST.values() else pytest.param(name, marks=pytest.mark.slow)
    for name in CONFIGS
]
"""All cases, of which the fast suite has the first of every method."""


@pytest.mark.slow
def test_the_loss_falls(case):
    _, config, model = case
    images, labels = images_of((64, 64)), labels_of((4, 4)).repeat_interleave(16, 1)
    labels = labels.repeat_interleave(16, 2)
    criterion = config.criterion()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = sum(criterion(model(images), labels).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_an_image_without_labels_is_safe(case):
    _, config, model = case
    labels = torch.full((2, 64, 64), IGNORE_INDEX)
    terms = config.criterion()(model(images_of((64, 64))), labels)
    total = sum(terms.values())
    total.backward()
    assert total.isfinite()


def test_what_an_image_without_labels_teaches_is_declared(case):
    _, config, model = case
    labels = torch.full((2, *IMAGE_SIZE), IGNORE_INDEX)
    for loss in ({}, {"ignored": "left_out"}):
        if loss and not isinstance(config.loss, AtmLossConfig):
            continue
        config = config.model_copy(update={"loss": config.loss.model_copy(update=loss)})
        terms = config.criterion()(model.train()(images_of(IMAGE_SIZE)), labels)
        terms = [term for name, term in terms.items() if "edge" not in name]  # of no class
        assert bool(torch.stack(terms).sum() != 0) == config.learns_absence


def test_the_same_type_in_training_and_evaluation(case):
    _, _, model = case
    trained, evaluated = (m(images_of((64, 64))) for m in (model.train(), model.eval()))
    assert type(trained) is type(evaluated)
    # Auxiliary heads may run in training only.
    assert evaluated.extras.keys() <= trained.extras.keys()
    assert {stage.name for stage in evaluated.stages} <= {stage.name for stage in trained.stages}
    assert trained.mask_logits.shape == evaluated.mask_logits.shape


@torch.inference_mode()
def test_a_batch_equals_its_images(case):
    model = case[2].eval()
    images = images_of((48, 80), batch=3)
    together = model(images).scores()
    alone = torch.cat([model(image[None]).scores() for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


PADS_OUTSIDE = [
    name for name, config in CONFIGS.items() if not config["backbone"]["name"].startswith("swin")
]
"""A Swin pads inside, to whole windows, where a padded image's border is not zero."""


@pytest.mark.parametrize("case", PADS_OUTSIDE, ids=PADS_OUTSIDE, indirect=True)
@torch.inference_mode()
def test_padding_is_cut_off(case):
    """An image that is no multiple of the patch equals the same image padded, on its own pixels."""
    _, config, model = case
    images = images_of((50, 71))
    output = model.eval()(images)
    is_pyramid = isinstance(config.backbone, PyramidConfig)
    padded = torch.zeros(2, 3, *(output.padded_size if is_pyramid else (64, 80)))
    padded[..., :50, :71] = images
    torch.testing.assert_close(output.scores(), model(padded).scores()[..., :50, :71])


@pytest.mark.parametrize("case", FIRST_AMONG_THE_FAST, ids=list(CONFIGS), indirect=True)
def test_save_and_load(case, tmp_path: Path):
    name, config, model = case
    record = ModelRecord(
        method=name,
        architecture=config.model_dump(mode="json"),
        image_size=IMAGE_SIZE,
        classes=ClassTable.from_names([f"class {index}" for index in range(NUM_CLASSES)]),
        preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    )
    save_model(tmp_path / "model", model, record)
    loaded, read = load_model(tmp_path / "model")
    assert read == record
    images = images_of((64, 96))
    with torch.inference_mode():
        expected, found = model.eval()(images), loaded(images)
    torch.testing.assert_close(found.mask_logits, expected.mask_logits, atol=0, rtol=0)
    assert type(found) is type(expected)
    if isinstance(expected, QueryMasks):
        torch.testing.assert_close(found.class_logits, expected.class_logits, atol=0, rtol=0)
    torch.testing.assert_close(found.scores(), expected.scores(), atol=0, rtol=0)


class Scores(nn.Module):
    """What an export returns: tensors alone."""

    def __init__(self, model: SegmentationModel):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).scores()


FOLLOWED = [
    name
    for name, config in CONFIGS.items()
    if METHODS[name.partition(",")[0]].model_validate(config).has_static_tokens
]
"""An exported graph cannot follow a number of tokens that depends on the image."""


@pytest.mark.slow
@pytest.mark.parametrize("case", FOLLOWED, ids=FOLLOWED, indirect=True)
@torch.no_grad()
def test_exported_models_compute_the_same(case):
    scores = Scores(case[2].eval())
    images = images_of((64, 96))
    exported = torch.export.export(scores, (images,), strict=False).module()
    torch.testing.assert_close(exported(images), scores(images), atol=1e-5, rtol=1e-5)


COMPILED = [*FIRST.values(), "shrunk, edges"]
"""The first case of every method, since compiling takes a minute, and the one that breaks graphs."""
LARGEST_GRAPHS = ("maskformer", "mask2former")


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(name, marks=pytest.mark.long if name in LARGEST_GRAPHS else (), id=name)
        for name in COMPILED
    ],
    indirect=True,
)
@torch.no_grad()
def test_compiled_models_compute_the_same(case):
    scores = Scores(case[2].eval())
    images = images_of((64, 96))
    compiled = torch.compile(scores)
    torch.testing.assert_close(compiled(images), scores(images), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_labels_by_strips_equal_the_direct_form(case, monkeypatch):
    output = case[2].eval()(images_of((50, 71)))
    direct = output.scores()[0].argmax(0).numpy()
    monkeypatch.setattr("vitseg.inference.scores.STRIP_ELEMENTS", 3 * NUM_CLASSES * 71)
    assert (label_map(OutputScores(output)) == direct).all()
