"""A state goes on with the same recipe and the same data, and with nothing else; damage is named."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.checks.trees import (
    NAMES,
    bands,
    picture,
    save_image,
    save_mask,
    write_classes,
    write_tree,
)
from vitseg.data.catalog import open_dataset
from vitseg.errors import CheckpointError
from vitseg.runs import STATE
from vitseg.training.data_stamp import stamp_of
from vitseg.training.sharded_state import ShardedSave
from vitseg.training.state import (
    Progress,
    RunIdentity,
    SavedState,
    facts_of,
    snapshot,
    write_state,
)

RECIPE = {
    "method": "segvit",
    "data": {"source": "index:data", "num_workers": 2},
    "training": {"val_interval": 10, "save_interval": 5, "seed": 0},
    "optimizer": {"lr": 0.1},
    "backbone": {"name": "x", "gradient_checkpointing": False},
}


@pytest.fixture
def root(tmp_path):
    return write_tree(tmp_path / "data")


def identity(root: Path, recipe: dict | None = None, kind: str = "index") -> RunIdentity:
    train_set, val_set = (open_dataset(f"{kind}:{root}", split) for split in ("train", "val"))
    return RunIdentity(recipe or RECIPE, train_set, val_set, stamp_of(train_set, val_set))


@pytest.fixture
def out(root, tmp_path):
    """A folder with a state of a tiny model."""
    folder = tmp_path / "run"
    folder.mkdir()
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    write_state(folder, snapshot(model, optimizer, Progress(7), identity(root)))
    return folder


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("iteration", -1),
        ("iteration", 2.5),
        ("iteration", None),
        ("iteration", True),
        ("without_better", "x"),
        ("minutes", float("nan")),
        ("best_miou", "x"),
    ],
)
def test_a_progress_that_is_none_is_damage(root, out, field, value):
    state = torch.load(out / STATE, weights_only=True)
    state["progress"][field] = value
    write_state(out, state)
    model = nn.Linear(3, 2)
    saved = SavedState(out, identity(root))
    with pytest.raises(CheckpointError, match="damaged or no training state"):
        saved.restore(torch.optim.AdamW(model.parameters()))


def test_the_same_goes_on(root, out):
    model = nn.Linear(3, 2)
    saved = SavedState(out, identity(root))
    saved.restore_model(model)
    assert saved.restore(torch.optim.AdamW(model.parameters())).iteration == 7


# recipes


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ("data", "num_workers"),
        ("data", "source"),
        ("training", "val_interval"),
        ("training", "save_interval"),
        ("backbone", "gradient_checkpointing"),
    ],
)
def test_what_moves_no_weight_may_change(root, out, section, field):
    changed = {**RECIPE, section: {**RECIPE.get(section, {}), field: 3}}
    SavedState(out, identity(root, changed))


@pytest.mark.parametrize(
    ("section", "field"), [("training", "seed"), ("optimizer", "lr"), ("data", "train_split")]
)
def test_what_moves_weights_may_not(root, out, section, field):
    changed = {**RECIPE, section: {**RECIPE[section], field: 3}}
    with pytest.raises(CheckpointError, match=rf"another recipe: {section}\.{field} changed"):
        SavedState(out, identity(root, changed))


# data


def test_data_by_another_path_or_moved_or_touched_are_the_same(root, out, tmp_path):
    os.symlink(root, tmp_path / "link")
    SavedState(out, identity(tmp_path / "link"))
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    for path in (tmp_path / "copy").rglob("*.png"):
        os.utime(path, (1, 1))
    shutil.rmtree(root)
    SavedState(out, identity(tmp_path / "copy"))
    SavedState(out, identity(tmp_path / "copy", kind="folder"))


def swap_values(path: Path) -> None:
    """Other pixels in a file of the same size and time."""
    before = path.stat()
    pixels = np.asarray(Image.open(path)).copy()
    pixels[20, 30] = pixels[20, 30] ^ 1
    Image.fromarray(pixels).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "added": (lambda root: add(root, "train/new"), r"images were added: .*new \(training, split"),
    "added to val": (lambda root: add(root, "val/new"), r"added: .*new \(validation, split val\)"),
    "removed": (lambda root: remove(root, "train/t1"), "1 image of before missing"),
    "replaced": (lambda root: (remove(root, "train/t1"), add(root, "train/t9")), "added: .*t9"),
    "mask": (lambda root: swap_values(root / "masks/train/t1.png"), r"mask changed: .*t1 \("),
    "image": (lambda root: swap_values(root / "images/val/v1.png"), r"changed: .*v1 \(validation"),
    "renamed": (
        lambda root: write_classes(root, classes=["sky", "road", "bush"]),
        "class 2 was 'tree' and is 'bush'",
    ),
    "order": (
        lambda root: write_classes(root, classes=["road", "sky", "tree"]),
        "class 0 was 'sky' and is 'road'",
    ),
    "fewer": (lambda root: write_classes(root, ignore_index=1), "number of classes was 3 and is 2"),
    "ids": (
        lambda root: write_classes(root, classes=dict(zip("120", NAMES, strict=True))),
        "values of the masks mean other|class 0 was",
    ),
    "palette": (
        lambda root: write_classes(root, palette=[[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        "colours of the classes are others",
    ),
}


def add(root: Path, key: str) -> None:
    save_image(root, key, picture(99))
    save_mask(root, key, bands(1))


def remove(root: Path, key: str) -> None:
    for kind in ("images", "masks"):
        (root / kind / f"{key}.png").unlink()


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_are_refused_and_named(root, out, change):
    do, words = CHANGES[change]
    do(root)
    with pytest.raises(CheckpointError, match=f"started with other data: .*(?:{words})") as raised:
        SavedState(out, identity(root))
    assert "\n" not in str(raised.value)


def test_large_images_are_told_apart_by_their_pieces(tmp_path):
    root = write_tree(tmp_path / "data")
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    save_image(root, "train/t0", Image.fromarray(noise))
    save_mask(root, "train/t0", bands(0, (300, 300)))
    before = identity(root).stamp["training"]["files"]
    noise[150, 150] ^= 1
    save_image(root, "train/t0", Image.fromarray(noise))
    other = (identity(root).stamp["training"]["files"] != before).any(1)
    assert other.tolist() == [True, False, False, False]


def test_without_validation(root, out):
    whole = identity(root)
    alone = RunIdentity(RECIPE, whole.train_set, None, stamp_of(whole.train_set, None))
    with pytest.raises(CheckpointError, match="it was with validation"):
        SavedState(out, alone)


# damage


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize("look_only", [False, True])
def test_a_state_cut_short(root, out, share, look_only):
    path = out / STATE
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(out, root, "is damaged or no training state", look_only)


def refused(out: Path, root: Path, words: str, look_only: bool = False) -> None:
    with pytest.raises(CheckpointError, match=words) as raised:
        SavedState(out, identity(root), look_only)
    assert str(out / STATE) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content", [b"\0" * 5000, b"text\n" * 99, b"\x80\x02}q\x00.", b"PK\x03\x04"]
)
def test_other_files(root, out, content):
    (out / STATE).write_bytes(content)
    refused(out, root, "damaged or no training state|not a training state")


@pytest.mark.parametrize("value", [{}, [], torch.zeros(3), {"model": {}}])
def test_other_files_of_torch(root, out, value):
    torch.save(value, out / STATE)
    refused(out, root, "is not a training state of this version")


@pytest.mark.parametrize("key", ["recipe", "data", "progress", "optimizer", "model"])
def test_a_state_of_other_content(root, out, key):
    path = out / STATE
    state = torch.load(path, weights_only=True)
    torch.save({**state, key: {"x": torch.zeros(2)}}, path)
    with pytest.raises(CheckpointError):
        restore_all(out, root)


def restore_all(out: Path, root: Path) -> None:
    model, saved = nn.Linear(3, 2), SavedState(out, identity(root))
    saved.restore_model(model)
    saved.restore(torch.optim.AdamW(model.parameters()))


@pytest.fixture
def in_parts(root, tmp_path):
    """A folder with a state whose tensors are in parts, by one process."""
    folder = tmp_path / "run in parts"
    folder.mkdir()
    model = nn.Linear(300, 20)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    saved = ShardedSave(folder, 7)
    saved.begin(None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is")
        saved.write(0, model, optimizer)
    write_state(folder, {**facts_of(Progress(7), identity(root)), **saved.finish()})
    return folder


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != STATE)


def test_a_state_in_parts_goes_on(root, in_parts):
    saved = SavedState(in_parts, identity(root))
    saved.require_sound()
    model = nn.Linear(300, 20)
    saved.restore_model(model)
    assert model.weight.abs().sum() > 0
    assert saved.restore(torch.optim.AdamW(model.parameters())).iteration == 7


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 0.97])
@pytest.mark.parametrize("number", [0, 1])
def test_bytes_that_changed_within_a_part(root, in_parts, number, share):
    """The contents, and what a process wrote, at any place and of the full length."""
    changes_within(files_of(in_parts)[number], share)
    with pytest.raises(CheckpointError, match="damaged or no training state"):
        SavedState(in_parts, identity(root)).require_sound()


def changes_within(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    at = int(share * len(content))
    content[at : at + 9] = bytes(value ^ 0x5A for value in content[at : at + 9])
    path.write_bytes(content)


def test_processes_share_the_reading_of_parts(root, in_parts):
    """Each piece is looked at by one of them."""
    contents, part = files_of(in_parts)
    assert contents.name == ".metadata"
    changes_within(part, 0.5)
    found = 0
    for rank in range(3):
        try:
            SavedState(in_parts, identity(root)).require_sound(rank, 3)
        except CheckpointError:
            found += 1
    assert found == 1


def test_weights_that_changed_within_a_state(root, tmp_path):
    """Such bytes are weights, too, for all that torch says."""
    model = nn.Linear(3000, 20)
    optimizer = torch.optim.AdamW(model.parameters())
    write_state(tmp_path, snapshot(model, optimizer, Progress(7), identity(root)))
    SavedState(tmp_path, identity(root)).require_sound()
    changes_within(tmp_path / STATE, 0.5)
    saved = SavedState(tmp_path, identity(root))
    saved.require_sound(rank=1, world_size=2)  # the first one reads it
    with pytest.raises(CheckpointError, match="damaged or no training state"):
        saved.require_sound(rank=0, world_size=2)


def test_a_state_of_another_model(root, out):
    with pytest.raises(CheckpointError, match="damaged or no training state"):
        SavedState(out, identity(root)).restore_model(nn.Linear(4, 2))


def test_masks_that_lie_otherwise_are_other_data(root, out):
    write_classes(root, masks="stored")
    with pytest.raises(
        CheckpointError, match="the masks were read as upright and are read as stored"
    ):
        SavedState(out, identity(root))
    write_classes(root, masks="upright")
    SavedState(out, identity(root))
