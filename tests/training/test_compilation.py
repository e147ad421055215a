"""The training step through torch.compile: one graph, the same numbers, few compilations, clear errors."""

from __future__ import annotations

import copy
import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.tiny import tiny_recipe, write_dataset
from tests.training.test_distributed import command, losses, run, weights
from vitseg.classes import IGNORE_INDEX
from vitseg.data.scenes import write_scenes
from vitseg.errors import ConfigError
from vitseg.losses.whole_step import micro_batches_of
from vitseg.methods import METHODS
from vitseg.training import compilation
from vitseg.training.compilation import (
    Backend,
    compile_step,
    compiled_line,
    found_breaks,
    found_graphs,
)
from vitseg.training.loop import train
from vitseg.training.recipe import parse_recipe
from vitseg.training.step import LossOfModel

CPU = torch.device("cpu")
NUM_CLASSES = 5
BACKBONE = {"name": "test_vit", "pretrained": False, "taps": [1, 3]}
NORMED = {**BACKBONE, "taps": [3], "tap_norm": True}
ATM = {"num_layers": 1, "dropout": 0.0}
LEFT_OUT = {"pixel_step": 3, "pixel_weight": 1.0, "ignored": "left_out"}
CASES: dict[str, dict[str, Any]] = {
    "segvit": {"backbone": BACKBONE, "decoder": ATM},
    "segvit, every 4th pixel": {
        "backbone": BACKBONE,
        "decoder": {**ATM, "classifier": "presence"},
        "loss": {"pixel_step": 4},
    },
    "setr, naive": {"backbone": BACKBONE, "decoder": {"kind": "naive", "auxiliary": [1]}},
    "setr, pup": {"backbone": BACKBONE, "decoder": {"kind": "pup", "auxiliary": [1]}},
    "setr, mla": {"backbone": BACKBONE, "decoder": {"kind": "mla", "auxiliary": [1]}},
    "eomt": {"backbone": NORMED, "decoder": {"num_queries": 8, "num_blocks": 2}},
    "eomt, points": {
        "backbone": NORMED,
        "decoder": {"num_queries": 8, "num_blocks": 2},
        "loss": {"points": 64},
    },
    "segvit_joint": {"backbone": NORMED, "decoder": {"num_blocks": 2}, "loss": LEFT_OUT},
}


def make_step(name: str) -> LossOfModel:
    torch.manual_seed(0)
    config = METHODS[name.partition(",")[0]].model_validate(CASES[name])
    return LossOfModel(config.build(NUM_CLASSES, (64, 96)), config.criterion()).train()


def batch(
    size: tuple[int, int] = (64, 96), number: int = 2, seed: int = 1
) -> tuple[Tensor, Tensor]:
    """Images, and blocks of some of the classes with a border that is ignored."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(number, 3, *size, generator=generator)
    blocks = torch.randint(NUM_CLASSES, (number, size[0] // 32, size[1] // 32), generator=generator)
    labels = blocks.repeat_interleave(32, 1).repeat_interleave(32, 2)
    labels[:, :5] = IGNORE_INDEX
    return images, labels


def terms_and_gradients(
    step: nn.Module, images: Tensor, labels: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(2)
    step.zero_grad()
    terms = step(images, labels)
    torch.stack(list(terms.values())).sum().backward()
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in step.named_parameters()
        if parameter.grad is not None
    }
    return {name: term.detach() for name, term in terms.items()}, gradients


@pytest.fixture(autouse=True)
def forget():
    """What one test has compiled is nothing to the next."""
    yield
    torch._dynamo.reset()


def same_as_eager(name: str, backend: Backend) -> None:
    step = make_step(name)
    expected, expected_gradients = terms_and_gradients(copy.deepcopy(step), *batch())
    names = list(step.state_dict())
    compile_step(step, CPU, backend, whole=True)
    found, gradients = terms_and_gradients(step, *batch())
    assert (found_graphs(), found_breaks()) == (1, {})
    assert compiled_line() == "compiled: the training step is one graph"
    assert list(step.state_dict()) == names
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-4, rtol=1e-4)


QUICK = {"segvit", "setr, naive", "eomt"}
"""The others are of the same code in the main, and take minutes."""
BY_TIME = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.long, id=name) for name in CASES
]


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_TIME)
def test_the_step_is_one_graph_with_the_losses_and_gradients_of_the_uncompiled(name):
    same_as_eager(name, "aot_eager")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_micro_batches_are_one_graph_with_the_losses_and_gradients_of_the_uncompiled(name):
    step = make_step(name)
    eager = copy.deepcopy(step)
    compile_step(step, CPU, "aot_eager", whole=True)
    images, labels = batch(number=4)
    for whole in (labels, labels.flip(0)):
        with micro_batches_of(whole):
            for part in (slice(0, 2), slice(2, 4)):
                expected, expected_gradients = terms_and_gradients(eager, images[part], whole[part])
                found, gradients = terms_and_gradients(step, images[part], whole[part])
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(gradients, expected_gradients, atol=1e-4, rtol=1e-4)
    assert (found_graphs(), found_breaks()) == (1, {})


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", ["segvit", "segvit_joint", "eomt", "eomt, points"])
def test_code_that_is_made_of_it_computes_the_same(name):
    """But for random numbers: those that compiled code draws are others."""
    with torch._inductor.config.patch(fallback_random=True):
        same_as_eager(name, "inductor")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["segvit", "setr, pup", "setr, mla", "eomt", "segvit_joint"])
@torch.inference_mode()
def test_inference_is_one_graph(name):
    model = make_step(name).model.eval()
    images, _ = batch((50, 71))
    expected = model(images).scores()
    compiled = torch.compile(lambda x: model(x).scores(), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), expected)


@pytest.mark.slow
@pytest.mark.long
def test_other_labels_numbers_and_sizes_are_not_compiled_again_and_again():
    """A second size makes a graph of any size; a batch of one is always one of its own."""
    step = make_step("segvit, every 4th pixel")
    compile_step(step, CPU, "eager", whole=True)
    for seed in range(4):
        terms_and_gradients(step, *batch(seed=seed))
    assert found_graphs() == 1
    for number in (4, 3, 5):
        terms_and_gradients(step, *batch(number=number))
    for size in ((96, 64), (96, 128), (128, 96), (160, 64)):
        terms_and_gradients(step, *batch(size))
    before = found_graphs()
    assert before <= 5
    for size in ((192, 64), (64, 192), (128, 128)):
        terms_and_gradients(step, *batch(size, number=6))
    assert found_graphs() == before


@pytest.mark.slow
@pytest.mark.long
def test_masks_that_fade_out_are_compiled_once_for_every_block_that_loses_them():
    step = make_step("eomt")
    compile_step(step, CPU, "eager", whole=True)
    for iteration in range(12):
        step.model.set_progress(iteration / 12)
        terms_and_gradients(step, *batch())
    assert found_graphs() == 3  # masks in two blocks, in one, in none


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("dtop", {"pruning": {"threshold": 0.2}}),
        ("shrunk", {"backbone": {**BACKBONE, "taps": [3]}, "edges": {}, "shrink": {"block": 2}}),
    ],
)
def test_a_method_that_breaks_graphs_is_trained_and_told_of(method, fields):
    config = METHODS[method].model_validate({"backbone": BACKBONE, **fields})
    step = LossOfModel(config.build(NUM_CLASSES, (64, 96)), config.criterion()).train()
    expected, _ = terms_and_gradients(copy.deepcopy(step), *batch())
    compile_step(step, CPU, "eager")
    found, _ = terms_and_gradients(step, *batch())
    assert found.keys() == expected.keys()
    assert found_breaks()
    assert "breaks between them" in compiled_line()


# training


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("compiled") / "data")


def recipe(root: Path, **training: Any):
    raw = tiny_recipe(**training)
    raw["data"]["source"] = f"folder:{root}"
    raw["decoder"]["dropout"] = 0.0
    return parse_recipe(raw)


@pytest.mark.slow
@pytest.mark.long
def test_a_compiled_training_gives_an_ordinary_model_and_goes_on(root, tmp_path, monkeypatch):
    real = compilation.compile_step
    monkeypatch.setattr(
        "vitseg.training.run_parts.compile_step",
        lambda step, device: real(step, device, "aot_eager"),
    )
    train(recipe(root), tmp_path / "eager")
    train(recipe(root, compile=True), tmp_path / "compiled")
    expected, found = (
        load_file(tmp_path / name / "last" / "model.safetensors") for name in ("eager", "compiled")
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    rows = [
        [float(row["loss"]) for row in csv.DictReader((tmp_path / name / "train.csv").open())]
        for name in ("eager", "compiled")
    ]
    assert rows[1] == pytest.approx(rows[0], rel=1e-5)


@pytest.mark.slow
@pytest.mark.long
def test_one_and_two_compiled_processes_have_the_same_losses(tmp_path):
    scenes = tmp_path / "scenes"
    write_scenes(scenes, 8, 3, (64, 64), seed=0)
    for devices in (1, 2):
        given = {
            "training__iterations": 4,
            "training__devices": devices,
            "training__compile": "true",
            "decoder__dropout": 0,
            "backbone__drop_path": 0,
        }
        run(command(scenes, tmp_path / str(devices), **given))
    one, two = tmp_path / "1", tmp_path / "2"
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    for name, values in weights(one).items():
        assert weights(two)[name] == pytest.approx(values, abs=2e-5), name


# errors


def test_without_a_compiler_there_is_one_line(monkeypatch):
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def none() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    step = nn.Linear(1, 1)
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler, .* or leave training.compile"):
        compile_step(step, CPU)
    assert step._compiled_call_impl is None


def test_without_triton_there_is_one_line(monkeypatch):
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: False)
    with pytest.raises(ConfigError, match="needs Triton and a C compiler"):
        compile_step(nn.Linear(1, 1), torch.device("cuda"))


def test_a_compiler_that_fails_is_one_line():
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch._dynamo.graph_break()
            return x

    step = Odd()
    compile_step(step, CPU, "eager", whole=True)
    with pytest.raises(
        ConfigError, match=r"cannot compile this training \(.*leave training.compile"
    ):
        step(torch.zeros(1))


@pytest.mark.slow
def test_the_command_says_so_before_it_trains(root, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe(compile=True)))
    found = subprocess.run(
        [
            *(sys.executable, "-m", "vitseg", "train", str(path)),
            *("--data", f"folder:{root}", "--out", str(tmp_path / "run")),
        ],
        env={**os.environ, "PATH": str(tmp_path), "CXX": "no-such-compiler"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert "training.compile needs a C++ compiler" in found.stderr.splitlines()[-1]
