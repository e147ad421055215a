"""Whatever a training wraps around its weights, they come out by rule, and a line says which they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from vitseg.backbones.tensor_files import read_tensors, read_weight_file
from vitseg.backbones.wrappers import Unwrapped, WeightsOf
from vitseg.errors import CheckpointError

NAMES = ("backbone.cls_token", "backbone.layers.0.ln1.weight", "decode_head.conv_seg.bias")


def state(value: float, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: torch.full((2, 3), value) for name in NAMES}


def read(tmp_path, content: Any, weights_of: WeightsOf | None = None) -> Unwrapped:
    torch.save(content, tmp_path / "weights.pth")
    return read_weight_file(tmp_path / "weights.pth", weights_of).weights


def value_of(weights: Unwrapped) -> float:
    """The one value of all parameters, whose names are the plain ones."""
    assert set(weights.tensors) == set(NAMES)
    (value,) = {float(tensor.flatten()[0]) for tensor in weights.tensors.values()}
    return value


OPTIMISER = {"state": {0: {"exp_avg": torch.zeros(2, 3)}}, "param_groups": [{"lr": 0.1}]}
BESIDE = {"optimizer": OPTIMISER, "optimizer_state_dict": OPTIMISER, "epoch": 7, "loss": 0.5}


@pytest.mark.parametrize(
    "entries",
    [
        ["state_dict"], ["model"], ["module"], ["model_state_dict"], ["model_state"], ["net"], ["network"],
        ["params"], ["weights"], ["state_dict", "model"], ["checkpoint_model", "state_dict"],
    ],
    ids=".".join,
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_one_set_of_weights(tmp_path, entries, prefix):
    content: Any = state(1, prefix)
    for entry in entries[::-1]:
        content = {**BESIDE, entry: content}
    weights = read(tmp_path, content)
    assert value_of(weights) == 1
    assert weights.line.startswith(f"entry {'.'.join(entries)}")
    for part in ("module.", "_orig_mod.", "model."):
        assert (part in weights.line.partition("without")[2]) == (part in prefix)
    assert weights.others == ()


@pytest.mark.parametrize(
    "entry",
    ["ema", "model_ema", "ema_state_dict", "state_dict_ema", "ema_model", "model_ema_state_dict", "params_ema"],
)  # fmt: skip
def test_the_average_is_taken_where_it_is_asked_for(tmp_path, entry):
    content = {"state_dict": state(1), entry: state(2, "module."), **BESIDE}
    content[entry]["n_averaged"] = torch.tensor(5)
    weights = read(tmp_path, content)
    assert value_of(weights) == 1
    assert weights.line == "entry state_dict (the file also has others: --weights-of ema)"
    average = read(tmp_path, content, "ema")
    assert value_of(average) == 2
    assert average.line.startswith(f"entry {entry}, without module. (the file also has")


@pytest.mark.parametrize("inner", ["state_dict", "module", "model"])
def test_an_average_within_an_entry(tmp_path, inner):
    content = {"model": state(1), "model_ema": {"decay": 0.99, inner: state(2)}}
    assert value_of(read(tmp_path, content, "ema")) == 2
    assert value_of(read(tmp_path, content)) == 1


def test_an_average_alone_is_taken_and_named(tmp_path):
    weights = read(tmp_path, {"model_ema": state(2), **BESIDE})
    assert value_of(weights) == 2
    assert weights.line == "entry model_ema"


def test_the_average_of_mmcv(tmp_path):
    """Its names have underscores for dots, and counts are not averaged."""
    averaged = {"ema_" + name.replace(".", "_"): tensor for name, tensor in state(2).items()}
    counted = {"backbone.bn.num_batches_tracked": torch.tensor(3)}
    content = {"meta": {}, "state_dict": {**state(1), **counted, **averaged}}
    assert set(read(tmp_path, content).tensors) == {*NAMES, *counted}
    average = read(tmp_path, content, "ema")
    assert set(average.tensors) == {*NAMES, *counted}
    assert average.tensors[NAMES[0]][0, 0] == 2
    assert "those named as ema" in average.line


@pytest.mark.parametrize("prefix", ["ema.", "ema_model.", "model_ema.", "ema_model.module."])
def test_an_average_in_the_same_table(tmp_path, prefix):
    content = {"state_dict": state(1, "model.") | state(2, prefix)}
    assert value_of(read(tmp_path, content)) == 1
    assert value_of(read(tmp_path, content, "ema")) == 2


@pytest.mark.parametrize("form", ["entries", "prefixes"])
def test_teacher_and_student(tmp_path, form):
    if form == "entries":
        content: Any = {"student": state(1, "module."), "teacher": state(2), "args": None}
    else:
        content = {"state_dict": state(1, "student.") | state(2, "teacher.")}
        content["state_dict"]["center"] = torch.zeros(1)
    weights = read(tmp_path, content)
    assert value_of(weights) == 2
    assert "teacher" in weights.line
    assert "--weights-of student" in weights.line
    assert value_of(read(tmp_path, content, "student")) == 1


def test_a_set_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"no weights of ema: it has those of model\."):
        read(tmp_path, {"state_dict": state(1)}, "ema")


def test_torchs_own_average(tmp_path):
    net = nn.Sequential(nn.Linear(2, 2))
    average = AveragedModel(net)
    weights = read(tmp_path, average.state_dict())
    assert set(weights.tensors) == set(net.state_dict())


def test_losses_beside_a_lightning_module(tmp_path):
    content = {"state_dict": state(1, "model.") | {"criterion.weight": torch.ones(3)}}
    assert value_of(read(tmp_path, content)) == 1


def test_a_plain_table_needs_no_line(tmp_path):
    weights = read(tmp_path, state(1))
    assert value_of(weights) == 1
    assert weights.line == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read(tmp_path, dtype):
    content = {"state_dict": {name: value.to(dtype) for name, value in state(1).items()}}
    assert value_of(read(tmp_path, content)) == 1


def test_prefixes_of_a_safetensors_file(tmp_path):
    save_file(state(1, "module."), tmp_path / "a.safetensors")
    assert set(read_tensors(tmp_path / "a.safetensors")) == set(NAMES)


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"optimizer": state(1)}, [1], 3])
def test_no_weights(tmp_path, content):
    with pytest.raises(CheckpointError, match="holds no table of tensors"):
        read(tmp_path, content)
