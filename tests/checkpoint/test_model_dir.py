from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import vitseg
from tests.tiny import content, make_model, make_record, write_model
from vitseg.checkpoint.model_dir import load_model, save_model
from vitseg.checkpoint.places import CONFIG, SUMS, WEIGHTS, find_model_dir, weights_hash
from vitseg.errors import CheckpointError


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_model(tmp_path / "model")


def renew_sums(folder: Path) -> None:
    sums = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in (CONFIG, WEIGHTS)
    ]
    (folder / SUMS).write_text("".join(sums))


def edit_config(folder: Path, **fields) -> None:
    config = json.loads((folder / CONFIG).read_text()) | fields
    (folder / CONFIG).write_text(json.dumps(config))
    renew_sums(folder)


def refusal(folder: Path) -> str:
    """The one line by which loading is refused."""
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@torch.inference_mode()
def test_a_model_comes_back_as_it_was_saved(tmp_path):
    model = make_model()
    record = make_record(
        inference={"mode": "slide", "crop_size": [64, 64], "stride": [32, 32]},
        recipe={"training": {"iterations": 3}},
        metrics={"miou": 0.5},
        license="CC0",
    )
    save_model(tmp_path / "model", model, record)
    loaded, loaded_record = load_model(tmp_path / "model")
    assert loaded_record == record
    assert not loaded.training
    images = torch.randn(2, 3, 70, 90)
    before, after = model(images), loaded(images)
    assert torch.equal(before.mask_logits, after.mask_logits)
    assert torch.equal(before.class_logits, after.class_logits)


def test_saving_creates_the_parents_and_leaves_three_files(tmp_path):
    write_model(tmp_path / "a" / "b" / "model")
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == ["model"]
    names = sorted(p.name for p in (tmp_path / "a" / "b" / "model").iterdir())
    assert names == sorted([CONFIG, WEIGHTS, SUMS])


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_reads_the_list(folder):
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{CONFIG}: OK\n{WEIGHTS}: OK\n"


def test_weights_hash_is_that_of_the_file(folder):
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert weights_hash(folder) == digest


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, SUMS])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert refusal(folder).startswith(f"{folder} lacks {name}:")


def test_a_changed_config_is_noticed(folder):
    text = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(text.replace('"road"', '"rood"'))
    message = refusal(folder)
    assert f"{folder}: {CONFIG} changed since the model was saved" in message
    assert f"sha256sum {CONFIG} {WEIGHTS} > {SUMS}" in message


def test_changed_weights_are_noticed(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    assert f"{WEIGHTS} changed" in refusal(folder)


def test_a_list_that_is_no_text_is_a_change(folder):
    (folder / SUMS).write_bytes(b"\xff\xfe\x00 nothing")
    assert f"{CONFIG}, {WEIGHTS} changed" in refusal(folder)


def test_a_changed_model_is_read_after_its_list_is_renewed(folder):
    edit_config(folder, license="mine")
    assert load_model(folder)[1].license == "mine"


def test_truncated_weights_with_a_renewed_list_are_damaged(folder):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
    renew_sums(folder)
    assert f"{folder / WEIGHTS} is damaged" in refusal(folder)


def test_weights_of_another_architecture_do_not_fit(folder):
    state = load_file(folder / WEIGHTS)
    state["decoder.extra"] = state.pop("decoder.query_embed.weight")
    save_file(state, folder / WEIGHTS)
    renew_sums(folder)
    message = refusal(folder)
    assert f"{folder / WEIGHTS} does not fit its {CONFIG}" in message
    assert "decoder.query_embed.weight" in message


def test_a_long_list_of_differences_is_cut(folder):
    state = {f"other.{index}": torch.zeros(1) for index in range(500)}
    save_file(state, folder / WEIGHTS)
    renew_sums(folder)
    assert len(refusal(folder)) < 800


def test_an_unknown_method_lists_the_known(folder):
    edit_config(folder, method="segvitt")
    message = refusal(folder)
    assert str(folder / CONFIG) in message
    assert "'segvitt' is not a known method. Did you mean 'segvit'? Known: " in message


def test_an_unknown_field_is_refused(folder):
    edit_config(folder, licence="mine")
    assert "licence is not a field of ModelRecord. Did you mean license?" in refusal(folder)


def test_a_wrong_architecture_is_named_by_its_field(folder):
    config = json.loads((folder / CONFIG).read_text())
    config["architecture"]["backbone"]["name"] = "tast_vit"
    edit_config(folder, architecture=config["architecture"])
    message = refusal(folder)
    assert str(folder / CONFIG) in message
    assert "'tast_vit'" in message
    config["architecture"]["backbone"] = {"nam": "test_vit"}
    edit_config(folder, architecture=config["architecture"])
    assert "architecture.backbone." in refusal(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "nonsense"])
def test_a_config_that_is_no_json_object_is_refused(folder, text):
    (folder / CONFIG).write_text(text)
    renew_sums(folder)
    assert str(folder / CONFIG) in refusal(folder)


def test_a_run_folder_means_its_best_then_its_last_model(tmp_path, folder):
    run = tmp_path / "run"
    shutil.copytree(folder, run / "last")
    assert find_model_dir(run) == run / "last"
    shutil.copytree(folder, run / "best")
    assert find_model_dir(run) == run / "best"
    assert find_model_dir(run / "last") == run / "last"
    assert vitseg.load(run, "cpu").classes.names == ("sky", "road", "tree")


def test_a_best_model_that_lacks_a_file_is_not_passed_over(tmp_path, folder):
    run = tmp_path / "run"
    shutil.copytree(folder, run / "last")
    shutil.copytree(folder, run / "best")
    (run / "best" / WEIGHTS).unlink()
    assert f"{run / 'best'} lacks {WEIGHTS}" in refusal(run)


def test_a_folder_without_model_says_what_a_model_is(tmp_path):
    assert "holds no model" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "none")
    (tmp_path / "file.txt").write_text("text")
    assert "holds no model" in refusal(tmp_path / "file.txt")


def test_saving_replaces_the_whole_directory(tmp_path, folder):
    (folder / "notes.txt").write_text("of the old model")
    save_model(folder, make_model(seed=1), make_record(license="new"))
    assert sorted(p.name for p in folder.iterdir()) == sorted([CONFIG, WEIGHTS, SUMS])
    model, record = load_model(folder)
    assert record.license == "new"
    expected = make_model(seed=1).decoder.query_embed.weight
    assert torch.equal(model.decoder.query_embed.weight, expected)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_folder_without_a_model_is_filled_from_within(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("{}")
    (out / ".model.writing").mkdir()  # of a killed process
    number = out.stat().st_ino
    monkeypatch.chdir(out)
    save_model(Path(), make_model(), make_record())
    assert out.stat().st_ino == number, "it is the same folder, as where a disk is mounted"
    assert sorted(p.name for p in out.iterdir()) == sorted([CONFIG, WEIGHTS, SUMS, "report.json"])
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    load_model(out)


def test_a_failing_save_leaves_the_old_model(monkeypatch, tmp_path, folder):
    before = content(folder)

    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr("vitseg.checkpoint.model_dir.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        save_model(folder, make_model(seed=1), make_record())
    assert content(folder) == before
    monkeypatch.undo()
    save_model(folder, make_model(seed=1), make_record())
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool])
def test_integers_are_no_weights(folder, dtype):
    state = {name: value.to(dtype) for name, value in load_file(folder / WEIGHTS).items()}
    save_file(state, folder / WEIGHTS)
    renew_sums(folder)
    assert "in the file" in refusal(folder)
    assert "where the model has floating-point numbers" in refusal(folder)


@pytest.mark.parametrize("renewed", [True, False])
def test_a_clone_without_its_large_files(folder, renewed):
    """The usual state of a repository from a hub, which the list of sums would call a change."""
    (folder / WEIGHTS).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n")
    if renewed:
        renew_sums(folder)
    assert "is a pointer of Git LFS" in refusal(folder)


@pytest.mark.parametrize("field", ["mean", "std"])
def test_a_normalisation_that_is_no_number(folder, field):
    config = json.loads((folder / CONFIG).read_text())
    config["preprocessing"][field] = [float("nan")] * 3
    edit_config(folder, preprocessing=config["preprocessing"])
    assert "every value is a finite number" in refusal(folder)


def test_a_path_that_is_too_long():
    assert "does not exist" in refusal(Path("x" * 5000))
