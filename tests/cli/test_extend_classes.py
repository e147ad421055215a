"""`vitseg extend` and `vitseg classes`, as a user calls them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import content, make_model, make_record, photo, write_dataset
from vitseg.checkpoint.model_dir import load_model, read_record, save_model
from vitseg.explain.tasks import read_tasks
from vitseg.inference.predictor import load
from vitseg.methods import METHODS

SHORT = ["training.iterations=2", "training.batch_size=2"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model of two classes; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "base"
    save_model(folder, make_model(2), make_record(2))
    return folder


@pytest.fixture(scope="module")
def extended(base, tmp_path_factory):
    """The model with a tree; not to be changed."""
    import sys

    from vitseg.cli import main

    folder = tmp_path_factory.mktemp("extended")
    root = write_dataset(folder / "data")
    words = [
        "vitseg",
        "extend",
        base,
        *SHORT,
        "--data",
        f"folder:{root}",
        "--out",
        folder / "out",
        "--device",
        "cpu",
    ]
    before, saved = content(base), sys.argv
    sys.argv = [str(word) for word in words]
    try:
        with pytest.raises(SystemExit) as stopped:
            main.run()
    finally:
        sys.argv = saved
    assert not stopped.value.code
    assert content(base) == before
    return folder / "out"


def test_extend_learns_what_the_model_does_not_know(extended):
    record = read_record(extended / "best")
    assert record.classes.names == ("sky", "road", "tree")
    assert {path.name for path in extended.iterdir()} >= {
        "best",
        "training",
        "features",
        "result.json",
    }
    result = json.loads((extended / "result.json").read_text())
    assert result["held_out"]["images"] == 2
    assert result["held_out"]["presence_bias"] == 0
    assert set(result["held_out"]["iou"]) == {"tree"}
    assert result["held_out"]["split"] == "val"
    assert result["device"] == "cpu"
    assert "torch" in result["versions"]


def test_the_extended_model_predicts_evaluates_and_explains(vitseg, extended, tmp_path):
    image = tmp_path / "photo.png"
    Image.fromarray(photo(60, 90)).save(image)
    assert vitseg("predict", extended, image, "--out", tmp_path / "predicted").code == 0
    root = extended.parent / "data"
    out = tmp_path / "scores.json"
    assert vitseg("evaluate", extended, "--data", f"folder:{root}", "--json", out).code == 0
    assert list(json.loads(out.read_text())["per_class"]) == ["sky", "road", "tree"]
    result = vitseg("explain", extended, image, "--out", tmp_path / "explained")
    assert result.code == 0, result.err
    assert (
        "which task claims" in (tmp_path / "explained" / "index.html").read_text()
        or "several tasks" in (tmp_path / "explained" / "index.html").read_text()
    )


def test_tasks_claim_every_pixel_once(extended, base):
    predictor, image = load(extended, "cpu"), photo(60, 90)
    explanation = read_tasks(predictor, image)
    first, second = explanation.claims
    assert (first.claimed ^ second.claimed).all()
    assert first.share + second.share == pytest.approx(1)
    assert (first.label_map == load(base, "cpu")(image).label_map).all()
    assert (second.label_map == explanation.segmentation.label_map).all()
    assert (second.claimed == (explanation.segmentation.label_map == 2)).all()
    assert (first.classes, second.classes) == (("sky", "road"), ("tree",))


def test_labels_of_an_extended_model_are_matched_by_name(vitseg, extended, tmp_path):
    """A data set in another order, with a class that the model does not know."""
    root = write_dataset(tmp_path / "data")
    table = {"classes": ["road", "sky", "tree", "pole"]}
    (root / "classes.json").write_text(json.dumps(table))
    for path in (root / "masks").iterdir():
        labels = np.array(Image.open(path))
        changed = np.array([1, 0, 2], np.uint8)[labels]
        changed[:2] = 3
        Image.fromarray(changed).save(path)
    out = tmp_path / "scores.json"
    assert vitseg("evaluate", extended, "--data", f"folder:{root}", "--json", out).code == 0
    found = json.loads(out.read_text())["per_class"]
    assert list(found) == ["sky", "road", "tree"]
    assert sum(row["pixels"] for row in found.values()) == 2 * 62 * 80


BAD = [
    (["--classes", "tre"], "'tre' is not a known class. Did you mean 'tree'"),
    (["--classes", "sky,tree"], "knows sky already"),
    (
        ["--classes", "tree", "backbone.taps=[3]"],
        "backbone.taps is (3,), but the new classes share the model's backbone",
    ),
    (["--classes", "tree", "training.freeze_backbone=false"], "freeze_backbone must stay true"),
    (["--classes", "tree", "--val-split", "test"], "test"),
]


@pytest.mark.parametrize(("options", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_input_of_extend(refused, base, data, tmp_path, options, words):
    before = content(base)
    line = refused("extend", base, "--data", f"folder:{data}", "--out", tmp_path / "out", *options)
    assert words in line
    assert content(base) == before


def test_nothing_new_to_learn(refused, model, data, tmp_path):
    line = refused("extend", model, "--data", f"folder:{data}", "--out", tmp_path / "out")
    assert "nothing to learn" in line


def test_masks_with_unknown_ids(refused, base, data, tmp_path):
    path = next((data / "masks").glob("train_0*"))
    Image.fromarray(np.full((64, 80), 9, np.uint8)).save(path)
    line = refused("extend", base, "--data", f"folder:{data}", "--out", tmp_path / "out")
    assert re.search(r"has ids outside the class table: 9 \(5120 pixels\)", line)


def test_classes_lists_what_was_learnt(vitseg, extended, tmp_path):
    out = tmp_path / "classes.json"
    assert vitseg("classes", extended, "--json", out).code == 0
    rows = json.loads(out.read_text())
    assert [(row["name"], row["task"]) for row in rows] == [("sky", 0), ("road", 0), ("tree", 1)]
    assert rows[2]["source"] == "folder"
    assert rows[2]["images"] == 4
    assert rows[2]["learnt_on"] is not None


def test_classes_of_a_plain_model(vitseg, model):
    result = vitseg("classes", model)
    assert result.code == 0
    assert all(name in result.out for name in ("sky", "road", "tree"))


@pytest.fixture
def at_once(tmp_path):
    """A model of two tasks that a recipe trained at once."""
    from vitseg.methods.segvit_cl import SegVitClConfig

    record = make_record(3, method="segvit_cl", recipe={"data": {"source": "folder"}})
    decoder = record.architecture.pop("decoder")
    record.architecture["tasks"] = [{"num_classes": n, "decoder": decoder} for n in (2, 1)]
    model = SegVitClConfig.model_validate(record.architecture).build(3, (64, 64)).eval()
    save_model(tmp_path / "at_once", model, record)
    return tmp_path / "at_once"


def test_classes_of_tasks_that_a_recipe_trained(vitseg, at_once, tmp_path):
    out = tmp_path / "classes.json"
    assert vitseg("classes", at_once, "--json", out).code == 0
    rows = json.loads(out.read_text())
    assert [(row["name"], row["task"]) for row in rows] == [("sky", 0), ("road", 0), ("tree", 1)]
    assert [row["source"] for row in rows] == ["folder"] * 3


@pytest.mark.parametrize("name", ["sky", "tree"])
def test_a_task_that_a_recipe_trained_loses_a_class(vitseg, at_once, tmp_path, name):
    out = tmp_path / "less"
    assert vitseg("classes", at_once, "--remove", name, "--out", out).code == 0
    whole, less = load_model(at_once)[0], load_model(out)[0]
    kept = [index for index, other in enumerate(("sky", "road", "tree")) if other != name]
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(less(images).scores(), whole(images).scores()[:, kept])
    assert (
        vitseg("classes", out, "--rename", "road=street", "--out", tmp_path / "renamed").code == 0
    )


def test_renaming_keeps_every_label(vitseg, extended, tmp_path):
    before = content(extended)
    out = tmp_path / "renamed"
    result = vitseg("classes", extended, "--rename", "tree=conifer", "--out", out)
    assert "conifer (was tree)" in result.out
    assert content(extended) == before
    assert load(out, "cpu").classes.names == ("sky", "road", "conifer")
    image = photo(60, 90)
    assert (load(out, "cpu")(image).label_map == load(extended, "cpu")(image).label_map).all()


@pytest.mark.parametrize("names", [["tree"], ["sky"], ["road"], ["sky", "road"], ["sky", "tree"]])
def test_a_removed_class_is_never_predicted(vitseg, extended, tmp_path, names):
    out = tmp_path / "less"
    options = [word for name in names for word in ("--remove", name)]
    assert vitseg("classes", extended, *options, "--out", out).code == 0
    whole, less = load_model(extended)[0], load_model(out)[0]
    kept = [index for index, name in enumerate(("sky", "road", "tree")) if name not in names]
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(less(images).scores(), whole(images).scores()[:, kept])
    if set(names) >= {"sky", "road"}:
        assert len(read_record(out).tasks) == 1
        assert not any("tasks.1." in name for name in less.state_dict())


def test_a_model_with_mixed_queries_loses_a_class(vitseg, tmp_path):
    from vitseg.methods.segvit import SegVitConfig

    record = make_record(3)
    record.architecture["decoder"]["classifier"] = "classes"
    torch.manual_seed(0)
    model = SegVitConfig.model_validate(record.architecture).build(3, (64, 64)).eval()
    save_model(tmp_path / "base", model, record)
    assert (
        vitseg("classes", tmp_path / "base", "--remove", "road", "--out", tmp_path / "less").code
        == 0
    )
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        less = load_model(tmp_path / "less")[0](images).scores()
        torch.testing.assert_close(less, model(images).scores()[:, [0, 2]])


BAD_EDITS = [
    (["--rename", "tre=x", "--out", "{out}"], "Did you mean 'tree'"),
    (["--rename", "tree=sky", "--out", "{out}"], "two classes the name sky"),
    (["--rename", "tree", "--out", "{out}"], "not written OLD=NEW"),
    (["--rename", "tree=a", "--rename", "tree=b", "--out", "{out}"], "twice"),
    (["--remove", "tre", "--out", "{out}"], "Did you mean 'tree'"),
    (["--remove", "sky", "--remove", "road", "--remove", "tree", "--out", "{out}"], "every class"),
    (["--remove", "tree"], "--out is the folder of a changed model"),
    (["--out", "{out}"], "--out is the folder of a changed model"),
]


@pytest.mark.parametrize(("options", "words"), BAD_EDITS, ids=[" ".join(o) for o, _ in BAD_EDITS])
def test_bad_input_of_classes(refused, extended, tmp_path, options, words):
    out = tmp_path / "out"
    line = refused("classes", extended, *(option.format(out=out) for option in options))
    assert words in line
    assert not out.exists()


@pytest.mark.parametrize("method", ["segvit_joint", "linear"])
def test_other_methods_cannot_be_extended(refused, tmp_path, method):
    backbone = {**make_record().architecture["backbone"], "taps": [3], "tap_norm": True}
    fields = {"backbone": backbone}
    if method == "segvit_joint":
        fields |= {"decoder": {"num_blocks": 1}}
    config = METHODS[method].model_validate(fields)
    record = make_record(method=method, architecture=config.model_dump(mode="json"))
    save_model(tmp_path / "model", config.build(3, (64, 64)), record)
    root = write_dataset(tmp_path / "data")
    out = tmp_path / "out"
    line = refused("extend", tmp_path / "model", "--data", f"folder:{root}", "--out", out)
    assert f"of method {method}" in line
    assert "--method segvit" in line
    assert not out.exists()


def test_classes_of_other_methods_cannot_be_removed(refused, tmp_path):
    from vitseg.methods.linear import LinearProbeConfig

    backbone = {**make_record().architecture["backbone"], "taps": [3]}
    config = LinearProbeConfig.model_validate({"backbone": backbone})
    record = make_record(method="linear", architecture=config.model_dump(mode="json"))
    save_model(tmp_path / "model", config.build(3, (64, 64)), record)
    line = refused("classes", tmp_path / "model", "--remove", "tree", "--out", tmp_path / "out")
    assert "of method linear" in line
