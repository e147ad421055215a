"""Starting from a trained model."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.tiny import ARCHITECTURE, CROP, NAMES, make_record
from vitseg.backbones.steps.exit import pruning_of
from vitseg.checkpoint.model_dir import save_model
from vitseg.classes import ClassTable
from vitseg.errors import CheckpointError, ConfigError
from vitseg.images.bands import Bands
from vitseg.images.preprocess import Preprocessing
from vitseg.methods.dtop import DtopConfig
from vitseg.methods.model import SegmentationModel
from vitseg.methods.segvit import SegVitConfig
from vitseg.training.start import start_from

CLASSES = ClassTable.from_names(NAMES)
HALF = make_record().preprocessing


def build(seed: int = 0, **sections) -> tuple[SegmentationModel, DtopConfig]:
    config = DtopConfig.model_validate({"backbone": ARCHITECTURE["backbone"], **sections})
    torch.manual_seed(seed)
    return config.build(3, CROP), config


def dtop_from(path, model, config, method="dtop", classes=CLASSES) -> str | None:
    return start_from(path, model, method, classes, config=config, preprocessing=HALF)


@pytest.fixture
def trained(tmp_path):
    model, config = build(pruning={"threshold": 1.0})
    record = make_record(method="dtop", architecture=config.model_dump(mode="json"))
    save_model(tmp_path / "run" / "best", model, record)
    return tmp_path / "run", model


def test_all_weights_are_taken(trained):
    path, model = trained
    fresh, config = build(seed=1, pruning={"threshold": 0.9})
    assert dtop_from(path, fresh, config) is None
    for name, value in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name
    assert pruning_of(fresh.backbone).config.threshold == 0.9


def test_what_is_new_starts_afresh_and_is_named(trained):
    path, model = trained
    fresh, config = build(seed=1, pruning={"rule": "conv"})
    before = fresh.backbone.halve.weight.clone()
    warning = dtop_from(path, fresh, config)
    assert warning is not None
    assert "lacks backbone.halve.weight, backbone.halve.bias: they start afresh" in warning
    assert torch.equal(fresh.backbone.halve.weight, before)
    assert torch.equal(fresh.decoder.head.query_embed.weight, model.decoder.head.query_embed.weight)


def test_what_does_not_fit_is_refused(trained):
    path = trained[0]
    model, config = build()
    with pytest.raises(ConfigError, match="method dtop, but this recipe trains segvit"):
        dtop_from(path, model, config, "segvit")
    with pytest.raises(ConfigError, match="knows the classes sky, road, tree, but the data set"):
        dtop_from(path, model, config, classes=ClassTable.from_names(["road", "sky", "tree"]))
    with pytest.raises(CheckpointError, match="does not exist"):
        dtop_from(path / "nowhere", model, config)
    with pytest.raises(CheckpointError, match="does not fit the recipe"):
        dtop_from(path, *build(decoder={"kind": "fcn"}))


def segvit(**backbone) -> SegVitConfig:
    """A SegViT on other settings of a backbone."""
    architecture = copy.deepcopy(ARCHITECTURE)
    architecture["backbone"] |= backbone
    return SegVitConfig.model_validate(architecture)


def of_segvit(path, config: SegVitConfig | None = None, **fields):
    """A model directory of a SegViT."""
    config = config or segvit()
    model = config.build(3, CROP)
    record = make_record(architecture=config.model_dump(mode="json"), **fields)
    save_model(path, model, record)
    return path


def started(path, config=None, preprocessing: Preprocessing = HALF) -> str | None:
    config = config or segvit()
    model = config.build(3, CROP)
    return start_from(path, model, "segvit", CLASSES, config=config, preprocessing=preprocessing)


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
RANGE = (0.0, 4000.0)


def banded(*bands: dict) -> Preprocessing:
    return HALF.model_copy(update={"bands": Bands.model_validate({"chosen": list(bands)})})


RGB = [{"number": n, "color": color} for n, color in enumerate(("red", "green", "blue"), 1)]
OTHER_PIXELS = {
    "mean": (
        IMAGENET,
        HALF,
        r"by mean \[0.485,0.456,0.406\], but this recipe by \[0.5,0.5,0.5\]: set backbone.mean=\[0.485,0.456,0.406\] "
        r"backbone.std=\[0.229,0.224,0.225\]",
    ),
    "std": (
        {"mean": HALF.mean, "std": IMAGENET["std"]},
        HALF,
        r"by std \[0.229,0.224,0.225\].* backbone.std=\[0.229,0.224,0.225\]",
    ),
    "range": (
        HALF.model_copy(update={"value_range": RANGE}),
        HALF.model_copy(update={"value_range": (0.0, 255.0)}),
        r"the values \[0.0, 4000.0\] .* this recipe \[0.0, 255.0\]: set data.value_range=\[0.0,4000.0\]",
    ),
    "no range": (
        HALF.model_copy(update={"value_range": RANGE}),
        HALF,
        r"this recipe states none: set data.value_range=\[0.0,4000.0\]",
    ),
    "colours": (
        HALF,
        banded({"number": 4}, *RGB[1:]),
        "sees red, green and blue, but this recipe the bands 4, 2 and 3: leave data.bands out",
    ),
    "bands": (
        banded({"number": 1}, {"number": 2}, {"number": 4}),
        banded({"number": 1}, {"number": 2}, {"number": 3}),
        "the bands 1, 2 and 4, but this recipe the bands 1, 2 and 3: choose the model's in data.bands",
    ),
    "range of a band": (
        banded({**RGB[0], "value_range": RANGE}, *RGB[1:]),
        banded(*RGB),
        r"the values \[0.0,4000.0\] of band 1 .* this recipe none: give it as a table in data.bands",
    ),
    "mean of bands": (
        banded(*RGB).model_copy(update=IMAGENET),
        banded(*RGB),
        "give the bands in data.bands as tables, with mean",
    ),
}


@pytest.mark.parametrize("case", OTHER_PIXELS)
def test_a_model_that_saw_other_pixels_is_refused(tmp_path, case):
    theirs, ours, words = OTHER_PIXELS[case]
    path = of_segvit(tmp_path / "model", preprocessing=theirs)
    with pytest.raises(ConfigError, match=words):
        started(path, preprocessing=ours)


def test_pixels_that_are_the_same_are_taken(tmp_path):
    """Rounded figures, colours as bands, and a range where the model has seen images of 8 bits alone."""
    rounded = {"mean": (0.4851, 0.456, 0.406), "std": (0.2289, 0.224, 0.225)}
    path = of_segvit(tmp_path / "imagenet", preprocessing=rounded)
    assert started(path, preprocessing=Preprocessing(**IMAGENET)) is None
    path = of_segvit(tmp_path / "half")
    assert started(path, preprocessing=banded(*RGB)) is None
    assert started(path, preprocessing=HALF.model_copy(update={"value_range": RANGE})) is None


OTHER_FIELDS = {
    "taps": (
        {"taps": [2, 3]},
        r"has backbone.taps \[2,3\], but this recipe \[1,3\]: set backbone.taps=\[2,3\]",
    ),
    "norm_eps": ({"norm_eps": 1e-3}, r"set backbone.norm_eps=0.001"),
    "prefix_tokens": ({"prefix_tokens": "keep"}, "set backbone.prefix_tokens=keep"),
    "positions": ({"pos_embed_interpolation": "bilinear"}, "pos_embed_interpolation=bilinear"),
}


@pytest.mark.parametrize("case", OTHER_FIELDS)
def test_a_model_that_computes_otherwise_is_refused(tmp_path, case):
    """No parameter tells: names and shapes are the same."""
    backbone, words = OTHER_FIELDS[case]
    path = of_segvit(tmp_path / "model", segvit(**backbone))
    with pytest.raises(ConfigError, match=words):
        started(path)


def test_a_decoder_that_computes_otherwise_is_refused(tmp_path):
    architecture = {**ARCHITECTURE, "decoder": {**ARCHITECTURE["decoder"], "num_heads": 2}}
    theirs = SegVitConfig.model_validate(architecture)
    path = of_segvit(tmp_path / "model", theirs)
    decoder = theirs.decoder.model_copy(update={"num_heads": 4})
    with pytest.raises(ConfigError, match=r"decoder.num_heads 2, but this recipe 4: set decoder"):
        started(path, segvit().model_copy(update={"decoder": decoder}))
    told = started(path)  # null: as the width says
    assert told is not None
    assert "decoder.num_heads (2 in the model, null here): it is trained on as this" in told


def test_what_acts_in_training_alone_is_free(tmp_path):
    path = of_segvit(tmp_path / "model", segvit(drop_path=0.3, gradient_checkpointing=True))
    decoder = segvit().decoder.model_copy(update={"dropout": 0.2, "init": "xavier"})
    loss = segvit().loss.model_copy(update={"dice_weight": 3.0})
    assert started(path, segvit().model_copy(update={"decoder": decoder, "loss": loss})) is None
    assert started(path, segvit(norm_eps=1e-6)) is None  # the model's own, said


def test_an_exit_may_be_moved_and_a_step_be_new(trained):
    """The thesis' symmetric rows, and Shrunk's step in a model that was trained without."""
    path, _ = trained
    model, config = build(
        pruning={"rule": "conv"}, backbone={**ARCHITECTURE["backbone"], "taps": [2, 3]}
    )
    warning = dtop_from(path, model, config)
    assert warning is not None
    assert "lacks backbone.halve.weight" in warning
    assert "differs in backbone.taps ([1,3] in the model, [2,3] here)" in warning
    model, config = build(shrink={"block": 1})
    warning = dtop_from(path, model, config)
    assert warning is not None
    assert "shrink.block" in warning
