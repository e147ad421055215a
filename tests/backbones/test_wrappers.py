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


@pytest.mark.parametrize(
    "entries",
    [
        ["state", "model"], ["checkpoint", "state_dict"], ["payload", "net", "params"], ["trainer", "model"],
        ["data", "state", "model", "state_dict"], ["MODEL_STATE"], ["run", "best", "weights"],
    ],
    ids=".".join,
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "module.", "model.module."])
def test_weights_within_entries_of_any_name(tmp_path, entries, prefix):
    content: Any = state(1, prefix)
    for entry in entries[::-1]:
        content = {"optimizer": OPTIMISER, "metrics": {"loss": torch.ones(())}, entry: content}
    weights = read(tmp_path, content)
    assert value_of(weights) == 1
    assert weights.line.startswith(f"entry {'.'.join(entries)}")


def test_of_entries_of_any_name_the_fullest(tmp_path):
    content = {
        "extra": {"center": torch.zeros(3)},
        "payload": state(1),
        "more": {"x": torch.ones(2)},
    }
    assert value_of(read(tmp_path, content)) == 1


@pytest.mark.parametrize(
    "part", ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"]
)  # fmt: skip
@pytest.mark.parametrize("place", ["in front", "inside", "both"])
def test_what_a_training_puts_between_the_names(tmp_path, part, place):
    wrapped = {}
    for name, value in state(1).items():
        if place != "in front":
            name = name.replace("backbone.", f"backbone.{part}.")
        wrapped[name if place == "inside" else f"{part}.{name}"] = value
    weights = read(tmp_path, {"model": wrapped})
    assert value_of(weights) == 1
    assert weights.line == f"entry model, without {part}."


def test_names_that_would_become_one_stay(tmp_path):
    both = {"module.a": torch.zeros(1), "a": torch.ones(1)}
    assert set(read(tmp_path, both).tensors) == {"module.a", "a"}


@pytest.mark.parametrize("prefix", ["model.", "net.", "module.model.", "_orig_mod."])
@pytest.mark.parametrize("teacher", ["teacher.", "mean_teacher.", "teacher_model."])
def test_teacher_and_student_within_a_frame(tmp_path, prefix, teacher):
    content = {"state_dict": state(1, f"{prefix}student.") | state(2, prefix + teacher)}
    assert value_of(read(tmp_path, content)) == 2
    assert value_of(read(tmp_path, content, "student")) == 1


def test_parts_of_a_teacher(tmp_path):
    """As lightly names them: teacher_backbone, student_head."""
    content = {
        f"{who}_{name}": value for who in ("teacher", "student") for name, value in state(1).items()
    }
    weights = read(tmp_path, {"state_dict": content})
    assert value_of(weights) == 1
    assert weights.set == "teacher"


def test_an_average_that_a_callback_keeps(tmp_path):
    kept = {"EMA": {"ema_state_dict": state(2, "model."), "decay": 0.9}, "Timer": {"time": 3}}
    content = {"state_dict": state(1, "model."), "callbacks": kept}
    assert value_of(read(tmp_path, content)) == 1
    assert value_of(read(tmp_path, content, "ema")) == 2


def test_a_shadow(tmp_path):
    content = {"model": state(1), "ema": {"decay": 0.9, "shadow": state(2)}}
    assert value_of(read(tmp_path, content, "ema")) == 2


def exchanged(frame: str) -> dict[str, Any]:
    """A file whose state_dict is the average, as these frames write it: of the values 2; what was moved has 1."""
    if frame == "mmengine":
        raw = state(1, "module.") | {"steps": torch.tensor(4)}
        meta = {"mmengine_version": "0.10.7", "epoch": 0}
        return {"meta": meta, "state_dict": state(2), "ema_state_dict": raw}
    averaging = {"n_averaged": torch.tensor(5)}
    raw = state(1, "model.")
    return {
        "state_dict": state(2, "model."),
        "current_model_state": raw,
        "averaging_state": averaging,
    }


@pytest.mark.parametrize("frame", ["mmengine", "Lightning"])
def test_frames_that_save_the_average_as_the_weights(tmp_path, frame):
    """mmengine 0.10 and Lightning 2.6 were run for this: a file is meant to be used by its state_dict."""
    content = exchanged(frame)
    weights = read(tmp_path, content)
    assert (weights.set, value_of(weights)) == ("ema", 2)
    assert (
        f"{frame} saves the average as state_dict, and what the optimiser moved as" in weights.line
    )
    assert "--weights-of model" in weights.line
    assert value_of(read(tmp_path, content, "ema")) == 2
    assert value_of(read(tmp_path, content, "model")) == 1


@pytest.mark.slow
def test_what_lightning_writes(tmp_path):
    pl = pytest.importorskip("lightning.pytorch")
    from lightning.pytorch.callbacks import EMAWeightAveraging

    class Net(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(1, 1, bias=False)
            nn.init.ones_(self.model.weight)

        def training_step(self, batch, index):
            return self.model(batch).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1.0)

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 3:  # at the end of the training, the average becomes the weights
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[EMAWeightAveraging(decay=0.5), Save()],
    )  # fmt: skip
    trainer.fit(Net(), torch.utils.data.DataLoader(torch.ones(4, 1)))
    average = read_weight_file(tmp_path / "a.ckpt", "ema").weights.tensors["weight"]
    raw = read_weight_file(tmp_path / "a.ckpt", "model").weights.tensors["weight"]
    assert raw.item() == -3
    assert raw.item() < average.item() < 1


def test_mmcv_leaves_open_which_is_the_average(tmp_path):
    averaged = {"ema_" + name.replace(".", "_"): tensor for name, tensor in state(2).items()}
    weights = read(tmp_path, {"meta": {}, "state_dict": state(1) | averaged})
    assert "mmcv exchanges the two at the end of an epoch" in weights.line


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.complex64])
def test_numbers_that_are_no_weights(tmp_path, dtype):
    with pytest.raises(CheckpointError, match=r"a\.weight \((u?int8|complex64)\).*quantised"):
        read(tmp_path, {"a.weight": torch.ones(2, 2).to(dtype)})


def test_counts_and_tables_are_integers(tmp_path):
    table = {"a.weight": torch.ones(2), "index": torch.ones(2, dtype=torch.int8)}
    assert set(read(tmp_path, table).tensors) == set(table)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]
)
def test_weights_that_are_no_numbers(tmp_path, dtype):
    broken = {"a.weight": torch.tensor([1.0, float("nan")]).to(dtype), "b.weight": torch.ones(2)}
    with pytest.raises(CheckpointError, match=r"a\.weight holds values that are no numbers"):
        read(tmp_path, broken)


def test_infinite_weights_and_masks(tmp_path):
    mask = {"attn_mask": torch.full((2,), float("-inf")), "a.weight": torch.ones(2)}
    assert set(read(tmp_path, mask).tensors) == set(mask)
    with pytest.raises(CheckpointError, match=r"a\.weight holds values that are no numbers"):
        read(tmp_path, {"a.weight": torch.tensor([float("inf")])})
