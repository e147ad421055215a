"""Adding classes to a trained model, as a user does, and what stays the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.shown import Lines
from tests.tiny import CROP, content, make_model, make_record, photo, write_dataset
from vitseg.checkpoint.learnt import tensor_hash
from vitseg.checkpoint.model_dir import load_model, read_record, save_model
from vitseg.checkpoint.places import weights_hash
from vitseg.classes import IGNORE_INDEX, ClassTable
from vitseg.cli.extend import recipe_of
from vitseg.data.catalog import open_dataset
from vitseg.errors import CheckpointError, ConfigError, DataError, VitsegError
from vitseg.extend.calibration import BIASES, held_out_scores
from vitseg.extend.extend import _on_backbone_of as on_backbone_of
from vitseg.extend.extend import extend_model, part_config
from vitseg.extend.guarantee import require_same_scores
from vitseg.extend.new_classes import chosen_classes, images_with_classes, only, require_pixels
from vitseg.extend.new_stages import start_part
from vitseg.extend.tasks import as_tasks, joined_classes, task_of_class, with_bias
from vitseg.images.bands import Bands
from vitseg.images.preprocess import Preprocessing
from vitseg.inference.predictor import Predictor, load
from vitseg.inference.scores import full_scores
from vitseg.methods.segvit import SegVitConfig
from vitseg.methods.segvit_cl import SegVitClConfig

SHORT = ["training.iterations=3", "training.batch_size=2", "optimizer.lr=1e-3"]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def base_model(path: Path, classifier: str = "presence", num_classes: int = 1, **fields) -> Path:
    record = make_record(num_classes, **fields)
    record.architecture["decoder"]["classifier"] = classifier
    torch.manual_seed(3)
    model = SegVitConfig.model_validate(record.architecture).build(num_classes, CROP)
    state = model.state_dict()
    lively = make_model(num_classes).state_dict()  # but for a classifier of another size
    state |= {name: value for name, value in lively.items() if value.shape == state[name].shape}
    model.load_state_dict(state)
    save_model(path, model, record)
    return path


def extend(
    model: Path, root: Path, out: Path, names: list[str], cached: bool = True, **options
) -> Path:
    """`vitseg extend`, without its command line."""
    data = f"folder:{root}"
    record = read_record(model)
    recipe = recipe_of(record, data, "train", not cached, SHORT)
    train_set = only(open_dataset(data, "train"), names)
    features = out / "features" if cached else None
    return extend_model(
        model, train_set, out, recipe, source="folder", cache_features=features, **options
    ).folder


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> dict[str, Path]:
    """A model of one class, extended twice."""
    folder = tmp_path_factory.mktemp("story")
    root = write_dataset(folder / "data")
    base = base_model(folder / "base")
    before = content(base)
    once = extend(base, root, folder / "once", ["road"])
    twice = extend(once, root, folder / "twice", ["tree"])
    assert content(base) == before
    return {"data": root, "base": base, "once": once, "twice": twice}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [(64, 64), (48, 80), (50, 71), (1, 40)])
@torch.inference_mode()
def test_old_scores_keep_every_bit(story, batch, size):
    base, once, twice = (load_model(story[name])[0] for name in ("base", "once", "twice"))
    images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(batch))
    first, second, third = (model(images).scores() for model in (base, once, twice))
    assert [scores.shape[1] for scores in (first, second, third)] == [1, 2, 3]
    assert torch.equal(first, second[:, :1])
    assert torch.equal(second, third[:, :2])


@pytest.mark.parametrize("batch", [1, 3])
@torch.inference_mode()
def test_old_scores_keep_every_bit_on_real_images(story, shared, batch):
    dataset = open_dataset(f"camvid:{shared / 'data' / 'camvid'}", "val")
    photos = np.stack([dataset.sample(index).image for index in range(batch)])
    images = torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 127.5 - 1
    first, *later = (
        load_model(story[name])[0](images).scores() for name in ("base", "once", "twice")
    )
    for number, scores in enumerate(later, start=1):
        assert torch.equal(first, scores[:, :1])
        assert scores.shape[1] == 1 + number
    assert torch.equal(later[0], later[1][:, :2])


PROTOCOLS = [
    ["mode=whole"],
    ["resize=[96,70]"],
    ["mode=slide", "crop_size=[48,48]", "stride=[32,32]"],
    ["mode=slide", "crop_size=[48,48]", "stride=[32,32]", "blend=cosine", "resize=[120,100]"],
]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: " ".join(protocol))
def test_old_scores_keep_every_bit_on_photos(story, protocol):
    image = photo(70, 93)
    before, after = (
        full_scores(load(story[name], "cpu", protocol).scores(image)) for name in ("once", "twice")
    )
    assert torch.equal(before, after[:2])


def test_labels_change_to_new_classes_alone(story):
    dataset = open_dataset(f"folder:{story['data']}", "val")
    once, twice = load(story["once"], "cpu"), load(story["twice"], "cpu")
    for index in range(len(dataset)):
        image = dataset.sample(index).image
        before, after = once(image).label_map, twice(image).label_map
        assert ((before == after) | (after == 2)).all()


@pytest.mark.parametrize("classifier", ["presence", "classes"])
def test_a_model_becomes_its_own_first_task(tmp_path, classifier):
    model, record = load_model(base_model(tmp_path / "base", classifier, 3))
    tasks, told = as_tasks(model, record)
    images = torch.randn(2, 3, 50, 71)
    with torch.inference_mode():
        assert torch.equal(model(images).scores(), tasks(images).scores())
    assert told.tasks[0].classes == record.classes.names
    assert as_tasks(tasks, told) == (tasks, told)


def test_a_model_with_mixed_queries_is_extended(tmp_path):
    """The published models have N + 1 classes, and their queries are mixed."""
    root = write_dataset(tmp_path / "data")
    base = base_model(tmp_path / "base", "classes", 2)
    out = extend(base, root, tmp_path / "out", ["tree"])
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        before, after = (load_model(path)[0](images).scores() for path in (base, out))
    assert torch.equal(before, after[:, :2])


@pytest.mark.slow
def test_a_model_on_a_swin_is_extended(tmp_path):
    """The norms of its levels, which a frozen backbone leaves to train, are read by the old classes."""
    root = write_dataset(tmp_path / "data")
    record = make_record(2)
    swin = {"name": "swin_tiny_patch4_window7_224", "pretrained": False, "levels": [0, 1]}
    architecture = {**record.architecture, "backbone": swin}
    architecture["decoder"] = {**architecture["decoder"], "num_layers": 2}
    config = SegVitConfig.model_validate(architecture)
    record = make_record(2, architecture=config.model_dump(mode="json"))
    save_model(tmp_path / "base", config.build(2, CROP), record)
    out = extend(tmp_path / "base", root, tmp_path / "out", ["tree"], cached=False)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before, after = (load_model(path)[0](images).scores() for path in (tmp_path / "base", out))
    assert torch.equal(before, after[:, :2])


def test_what_was_learnt_is_remembered(story):
    record = read_record(story["twice"])
    assert record.classes.names == ("sky", "road", "tree")
    assert [task.classes for task in record.tasks] == [("sky",), ("road",), ("tree",)]
    assert task_of_class(record) == [0, 1, 2]
    last = record.tasks[-1]
    assert (last.source, last.images, last.iterations, last.compared_images) == ("folder", 4, 3, 8)
    named = {name for task in record.tasks for name in task.tensors}
    assert named == set(load_model(story["twice"])[0].state_dict())
    result = json.loads((story["twice"].parent / "result.json").read_text())
    assert result["learnt"]["content_hash"] == last.content_hash
    assert result["new_stages"] == "first_task"


def test_only_the_new_part_differs(story):
    once, twice = (load_file(story[name] / "model.safetensors") for name in ("once", "twice"))
    assert all(torch.equal(value, twice[name]) for name, value in once.items())
    new = twice.keys() - once.keys()
    assert new
    assert all(name.startswith("decoder.tasks.2.") for name in new)


@pytest.mark.parametrize("classifier", ["presence", "classes"])
@pytest.mark.parametrize("stages", ["first_task", "fresh"])
def test_new_stages_start_as_a_copy_of_the_first_tasks(tmp_path, classifier, stages):
    """The queries are the new classes' own; so is a classifier of another kind."""
    model, record = as_tasks(*load_model(base_model(tmp_path / "base", classifier, 3)))
    part = part_config(record).build(2, CROP)
    before = {name: value.clone() for name, value in part.state_dict().items()}
    start_part(part, model, stages)
    first, after = model.decoder.tasks[0].state_dict(), part.state_dict()
    for name, value in after.items():
        if name.startswith("backbone."):
            assert torch.equal(value, model.state_dict()[name])
            continue
        own = name.removeprefix("decoder.")
        copied = own.startswith("stages.") or (classifier == "presence" and "class_embed" in own)
        expected = first[own] if copied and stages == "first_task" else before[name]
        assert torch.equal(value, expected), name
    with torch.no_grad():
        for parameter in part.decoder.parameters():
            parameter.add_(1)  # a copy: the first task's stay
    assert torch.equal(
        model.decoder.tasks[0].stages[0].input_norm.weight,
        load_model(tmp_path / "base")[0].decoder.stages[0].input_norm.weight,
    )


def test_images_without_a_new_class_are_no_mistake(tmp_path):
    """They are negatives: training on nothing but them would be one, and is refused."""
    root = write_dataset(tmp_path / "data")
    first = root / "masks" / "train_0.png"
    labels = np.array(Image.open(first))
    Image.fromarray(np.where(labels == 2, 1, labels).astype(np.uint8)).save(first)
    heard = Lines()
    extend(base_model(tmp_path / "base"), root, tmp_path / "out", ["tree"], display=heard)
    assert heard.lines
    assert not [line for line in heard.lines if "warning" in line]


def test_a_changed_frozen_part_is_found(story, tmp_path):
    """The files' own hashes can be renewed by hand; those of the parameters tell all the same."""
    model, record = load_model(story["twice"])
    state = model.state_dict()
    state[next(iter(state))] += 1e-3
    save_model(tmp_path / "changed", model, record)
    with pytest.raises(CheckpointError, match=r"differ from what was learnt.* with sky"):
        load_model(tmp_path / "changed")


def recipe_trained(path: Path, sizes: tuple[int, ...] = (2, 1)) -> Path:
    """A model of several tasks that were trained at once, as `vitseg train` leaves it: nothing says what was learnt."""
    recipe = {"data": {"source": "folder"}, "training": {"iterations": 7, "seed": 1}}
    classes = ClassTable.from_names(["sky", "road", "fence"])
    record = make_record(3, method="segvit_cl", recipe=recipe, classes=classes)
    decoder = record.architecture.pop("decoder")
    record.architecture["tasks"] = [{"num_classes": n, "decoder": decoder} for n in sizes]
    torch.manual_seed(3)
    model = SegVitClConfig.model_validate(record.architecture).build(3, CROP)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    save_model(path, model, record)
    return path


@pytest.mark.parametrize("part", ["backbone.", "decoder.tasks.0.", "decoder.tasks.1."])
def test_tasks_of_a_recipe_are_verified_once_extended(tmp_path, part):
    """They were learnt at once, without an entry of their own: extending writes one for each."""
    root = write_dataset(tmp_path / "data")
    base = recipe_trained(tmp_path / "base")
    out = extend(base, root, tmp_path / "out", ["tree"])
    model, record = load_model(out)
    learnt = [task.classes for task in record.tasks]
    assert learnt == [("sky", "road"), ("fence",), ("tree",)]
    assert [(task.source, task.iterations) for task in record.tasks] == [
        ("folder", 7),
        ("folder", 7),
        ("folder", 3),
    ]
    named = [name for task in record.tasks for name in task.tensors]
    assert sorted(named) == sorted(model.state_dict())
    state = model.state_dict()
    state[next(name for name in state if name.startswith(part))] += 1e-3
    save_model(tmp_path / "changed", model, record)
    with pytest.raises(CheckpointError, match=r"differ from what was learnt"):
        load_model(tmp_path / "changed")


def test_an_extension_that_left_out_entries_gets_them(tmp_path):
    """What was extended before entries were written for every task has one of the last task alone."""
    model, record = as_tasks(*load_model(recipe_trained(tmp_path / "base", (1, 1, 1))))
    first, second, third = record.tasks
    assert not [name for name in second.tensors if not name.startswith("decoder.tasks.1.")]
    later = record.model_copy(update={"tasks": (third.model_copy(update={"source": "later"}),)})
    told = as_tasks(model, later)[1].tasks
    assert told[:2] == (first, second)
    assert (told[2].source, told[2].tensors) == ("later", third.tensors)


def test_a_hash_depends_on_type_shape_and_content():
    value = torch.zeros(2, 3)
    others = [
        torch.zeros(3, 2),
        torch.zeros(2, 3, dtype=torch.float64),
        torch.tensor([[0, 0, 0], [0, 0, -0.0]]),
    ]
    assert len({tensor_hash(tensor) for tensor in (value, *others)}) == 4
    assert tensor_hash(value) == tensor_hash(value.clone())


def test_scores_that_differ_are_refused(story):
    """The comparison itself: models whose old scores differ by one bit do not pass."""
    old, new = load(story["base"], "cpu"), load(story["once"], "cpu")
    dataset = open_dataset(f"folder:{story['data']}", "train")
    assert require_same_scores(old, new, dataset) == 8
    with torch.no_grad():
        new.model.decoder.tasks[0].query_embed.weight[0, 0] += 1e-6
    with pytest.raises(VitsegError, match="scores its old classes differently"):
        require_same_scores(old, new, dataset)


def test_the_new_part_is_trained_on_the_models_normalisation(tmp_path):
    record = make_record(preprocessing={"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)})
    assert part_config(record).backbone.mean == (0.1, 0.2, 0.3)
    assert part_config(record).backbone.std == (0.4, 0.5, 0.6)


def test_labels_of_other_classes_count_as_none(tmp_path):
    dataset = open_dataset(f"folder:{write_dataset(tmp_path / 'data')}", "train")
    part = only(dataset, ["tree"])
    whole, own = dataset.label_map(0), part.label_map(0)
    assert part.classes.names == ("tree",)
    assert (own == np.where(whole == 2, 0, IGNORE_INDEX)).all()
    assert images_with_classes(part) == {"tree": 4}


def test_classes_without_a_pixel(tmp_path):
    root = write_dataset(tmp_path / "data")
    table = {"classes": ["sky", "road", "tree", "pole"]}
    (root / "classes.json").write_text(json.dumps(table))
    part = only(open_dataset(f"folder:{root}", "train"), ["tree", "pole"])
    with pytest.raises(
        DataError, match=r"no mask of folder's split train \(4 images\) has a pixel of pole"
    ):
        require_pixels(part)


KNOWN = ClassTable.from_names(["sky", "road"])
BAD_CHOICES = [
    (["tre"], "Did you mean 'tree'"),
    (["tree", "tree"], "names tree twice"),
    (["sky"], "knows sky already"),
]


@pytest.mark.parametrize(("wanted", "message"), BAD_CHOICES)
def test_bad_choices_of_classes(tmp_path, wanted, message):
    dataset = open_dataset(f"folder:{write_dataset(tmp_path / 'data')}", "train")
    with pytest.raises(ConfigError, match=message):
        chosen_classes(dataset, KNOWN, wanted)


def test_all_unknown_classes_are_the_default(tmp_path):
    dataset = open_dataset(f"folder:{write_dataset(tmp_path / 'data')}", "train")
    assert chosen_classes(dataset, KNOWN, []) == ["tree"]
    with pytest.raises(ConfigError, match="nothing to learn"):
        chosen_classes(dataset, dataset.classes, [])


def test_colours_stay_distinct():
    old = ClassTable(names=("a", "b"), palette=((1, 2, 3), (4, 5, 6)))
    new = ClassTable(names=("c", "d"), palette=((4, 5, 6), (7, 8, 9)))
    joined = joined_classes(old, new)
    assert joined.palette[:2] == old.palette
    assert joined.palette[3] == (7, 8, 9)
    assert len(set(joined.palette)) == 4


def test_a_bias_is_chosen_and_old_scores_stay(story):
    model, record = load_model(story["twice"])
    dataset = only(open_dataset(f"folder:{story['data']}", "val"), ["tree"])
    plain = held_out_scores(Predictor(model, record, "cpu"), dataset)
    chosen = held_out_scores(Predictor(model, record, "cpu"), dataset, calibrate=True)
    assert plain.bias == 0
    assert chosen.bias in BIASES
    assert chosen.iou_without == plain.iou
    assert chosen.mean >= plain.mean
    for bias in (-2.0, 2.0):  # the claims of a biased model are those that were counted
        biased, told = with_bias(model, record, bias)
        image = photo(64, 80)
        before, after = (
            full_scores(Predictor(m, r, "cpu").scores(image))
            for m, r in ((model, record), (biased, told))
        )
        assert torch.equal(before[:2], after[:2])
        assert ((after[2] > before[2]) == (bias > 0)).all()


def test_the_bias_that_is_chosen_scores_what_it_says(story):
    model, record = load_model(story["twice"])
    dataset = only(open_dataset(f"folder:{story['data']}", "val"), ["tree"])
    chosen = held_out_scores(Predictor(model, record, "cpu"), dataset, calibrate=True)
    biased = Predictor(*with_bias(model, record, chosen.bias), "cpu")
    again = held_out_scores(biased, dataset)
    assert again.iou["tree"] == pytest.approx(chosen.iou["tree"], abs=1e-3)


def test_calibration_needs_held_out_images(story, tmp_path):
    with pytest.raises(ConfigError, match="name a split with --val-split"):
        extend(story["base"], story["data"], tmp_path / "out", ["tree"], calibrate=True)


@pytest.mark.parametrize("place", ["", "inside"])
def test_the_old_model_is_never_written_over(story, place):
    with pytest.raises(ConfigError, match="lie in each other"):
        extend(story["base"], story["data"], story["base"] / place, ["tree"])


def test_a_known_class_is_refused_before_anything_is_trained(story, tmp_path):
    with pytest.raises(ConfigError, match="knows road already"):
        extend(story["once"], story["data"], tmp_path / "out", ["road"])
    assert not (tmp_path / "out").exists()


def test_other_methods_cannot_be_extended(tmp_path):
    model, record = load_model(base_model(tmp_path / "base"))
    with pytest.raises(ConfigError, match="of method setr"):
        as_tasks(model, record.model_copy(update={"method": "setr"}))


def test_an_interrupted_extension_goes_on(story, tmp_path, monkeypatch):
    """What a killed run leaves is no model, and the old one is untouched; resuming gives the same as one go."""
    before, out = content(story["base"]), tmp_path / "out"

    def fail(*arguments: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("vitseg.extend.extend.require_same_scores", fail)
        with pytest.raises(KeyboardInterrupt):
            extend(story["base"], story["data"], out, ["road"])
    assert not (out / "best").exists()
    assert content(story["base"]) == before
    with pytest.raises(ConfigError, match=r"began with new stages first_task.* without --fresh"):
        extend(story["base"], story["data"], out, ["road"], resume=True, stages="fresh")
    folder = extend(story["base"], story["data"], out, ["road"], resume=True)
    assert weights_hash(folder) == weights_hash(story["once"])


def test_a_model_whose_ignored_pixels_were_left_out_tells_new_classes_from_all_else(story):
    record = read_record(story["base"])
    loss = {**record.architecture["loss"], "ignored": "left_out"}
    record = record.model_copy(update={"architecture": {**record.architecture, "loss": loss}})
    recipe = recipe_of(record, f"folder:{story['data']}", "train", False, SHORT)
    assert recipe.model.loss.ignored == "left_out"
    assert on_backbone_of(record, recipe).model.loss.ignored == "negatives"


def of_pixels(path: Path, num_classes: int = 2) -> Path:
    """A model that was trained by the cross-entropy of its pixels."""
    record = make_record(num_classes)
    record.architecture["loss"] = {**record.architecture["loss"], "kind": "pixels"}
    save_model(path, make_model(num_classes), record)
    return path


def test_a_model_of_pixels_learns_new_classes_with_masks(tmp_path):
    """By the pixels' cross-entropy, which leaves out the ignore label, a new class alone has no gradient at all."""
    base, heard = of_pixels(tmp_path / "base"), Lines()
    root = write_dataset(tmp_path / "data")
    folder = extend(base, root, tmp_path / "out", ["tree"], display=heard)
    assert any("learn with loss.kind masks" in line for line in heard.lines)
    part, record = load_model(tmp_path / "out" / "training" / "last")
    assert record.architecture["loss"]["kind"] == "masks"
    assert "loss_mask" in (tmp_path / "out" / "training" / "train.csv").read_text()
    first = load_model(base)[0].decoder.stages.state_dict()
    moved = part.decoder.stages.state_dict()
    assert [name for name, value in first.items() if not torch.equal(value, moved[name])]
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before, after = (load_model(path)[0](images).scores() for path in (base, folder))
    assert torch.equal(before, after[:, :2])


def test_new_classes_that_are_told_from_nothing_are_refused(tmp_path):
    record = read_record(of_pixels(tmp_path / "base"))
    given = [*SHORT, "loss.kind=pixels"]
    recipe = recipe_of(record, f"folder:{tmp_path}", "train", False, given)
    with pytest.raises(ConfigError, match=r"loss.kind is pixels, .* Leave loss.kind out"):
        on_backbone_of(record, recipe)


def test_tasks_at_once_that_are_told_from_nothing_are_refused():
    backbone = make_record().architecture["backbone"]
    fields = {"backbone": backbone, "loss": {"kind": "pixels"}}
    one = SegVitClConfig.model_validate({**fields, "tasks": [{"num_classes": 3}]})
    one.criterion()
    two = one.model_copy(update={"tasks": one.tasks * 2})
    with pytest.raises(ConfigError, match=r"loss.kind is pixels, but there are 2 tasks"):
        two.criterion()


def deep_copy(root: Path, target: Path, high: int = 4000) -> Path:
    """The data set with its images as 16-bit files that use values up to `high` of them."""
    shutil.copytree(root, target)
    for path in (target / "images").iterdir():
        grey = np.array(Image.open(path).convert("L")).astype(float)
        Image.fromarray((grey / 255 * high).astype(np.uint16)).save(path)
    return target


def test_new_classes_are_learnt_by_the_models_range(story, tmp_path):
    preprocessing = make_record().preprocessing.model_copy(update={"value_range": (0.0, 6000.0)})
    base = base_model(tmp_path / "base", preprocessing=preprocessing)
    root = deep_copy(story["data"], tmp_path / "data")
    once = extend(base, root, tmp_path / "once", ["road"])
    assert read_record(once).preprocessing == preprocessing
    assert read_record(tmp_path / "once" / "training" / "last").preprocessing == preprocessing
    with pytest.raises(ConfigError, match="leave it out"):
        on_backbone_of(
            read_record(base),
            recipe_of(
                read_record(base), f"folder:{root}", "train", False, ["data.value_range=[0,9]"]
            ),
        )


def test_a_model_without_a_range_reads_new_images_as_it_did(story, tmp_path):
    """With a range measured on them, the old classes would see other pixels than before."""
    root = deep_copy(story["data"], tmp_path / "data")
    val_set = only(open_dataset(f"folder:{root}", "val"), ["road"])
    heard = Lines()
    once = extend(story["base"], root, tmp_path / "once", ["road"], val_set=val_set, display=heard)
    assert any("are read as the model reads them" in line for line in heard.lines)
    before, after = read_record(story["base"]), read_record(once)
    assert after.preprocessing == before.preprocessing
    part = read_record(tmp_path / "once" / "training" / "last")
    assert part.preprocessing == before.preprocessing  # what is learnt is what is predicted
    image = next((root / "images").iterdir())
    old, new = load(story["base"], "cpu"), load(once, "cpu")
    pixels = old.pixels_of(image)
    assert np.array_equal(pixels, new.pixels_of(image))
    assert torch.equal(full_scores(old.scores(pixels)), full_scores(new.scores(pixels))[:1])


def test_new_images_that_need_another_reading_are_refused(story, tmp_path):
    root = deep_copy(story["data"], tmp_path / "data")
    table = json.loads((root / "classes.json").read_text())
    (root / "classes.json").write_text(json.dumps({**table, "value_range": [0, 4000]}))
    with pytest.raises(ConfigError, match=r"states the value_range \[0.0, 4000.0\], but the model"):
        extend(story["base"], root, tmp_path / "out", ["road"])
    assert not (tmp_path / "out").exists()
    record = read_record(story["base"])
    given = ["data.value_range=[0,4000]"]
    with pytest.raises(ConfigError, match=r"else by their own values: leave it out"):
        on_backbone_of(record, recipe_of(record, f"folder:{root}", "train", False, given))


def test_bands_without_a_range_are_read_as_they_were(tmp_path):
    """Bands of 8 bits; the new images have more."""
    root = deep_copy(write_dataset(tmp_path / "shallow"), tmp_path / "data")
    bands = Bands.model_validate({"chosen": [{"number": 1}]})
    preprocessing = Preprocessing(mean=(0.5,), std=(0.5,), bands=bands)
    architecture = make_record().architecture
    architecture["backbone"] |= {"channels": ["other"], "taps": [1, 3]}
    config = SegVitConfig.model_validate(architecture)
    architecture = config.model_dump(mode="json")
    record = make_record(2, architecture=architecture, preprocessing=preprocessing)
    save_model(tmp_path / "base", config.build(2, CROP), record)
    once = extend(tmp_path / "base", root, tmp_path / "once", ["tree"])
    part = read_record(tmp_path / "once" / "training" / "last")
    assert read_record(once).preprocessing == part.preprocessing == preprocessing
