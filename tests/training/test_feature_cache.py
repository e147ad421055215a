"""Frozen backbones and kept features."""

from __future__ import annotations

import csv
import errno
import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import content, tiny_recipe, write_dataset
from vitseg.checkpoint.model_dir import load_model
from vitseg.data.balance import Balance
from vitseg.data.catalog import open_dataset
from vitseg.data.grid_views import GridViews
from vitseg.errors import ConfigError, DataError, InterruptedRunError
from vitseg.training import feature_cache
from vitseg.training.caching import open_cache
from vitseg.training.feature_cache import FeatureCache
from vitseg.training.loop import train
from vitseg.training.optimizer import OptimizerConfig, parameter_groups
from vitseg.training.preview import preview
from vitseg.training.randomness import seed_everything
from vitseg.training.recipe import Recipe, parse_recipe
from vitseg.training.samples import training_samples
from vitseg.training.step import LossOfModel

GRID = {"views": "grid", "crop_size": [64, 64]}
CPU = torch.device("cpu")


@pytest.fixture
def root(tmp_path) -> Path:
    return write_dataset(tmp_path / "data")


def frozen(root: Path, **changes: Any) -> Recipe:
    """A recipe of 4 images of 64 x 80: two windows each, and their mirror images."""
    raw = tiny_recipe(freeze_backbone=True)
    raw["data"] |= {"source": f"folder:{root}", "augment": GRID | changes.pop("augment", {})}
    for section, values in changes.items():
        raw[section] |= values
    return parse_recipe(raw)


def cache_of(recipe: Recipe, folder: Path, seed: int = 0) -> tuple[FeatureCache, torch.nn.Module]:
    torch.manual_seed(seed)
    model = recipe.model.build(3, recipe.data.augment.crop_size)
    preprocessing = recipe.preprocessing()
    assert recipe.data.source is not None
    data = open_dataset(
        recipe.data.source, "train", recipe.data.merge or None, recipe.data.ignore or ()
    )
    drawn = training_samples(recipe, data, Balance(), preprocessing)
    cache = open_cache(folder, recipe, model, preprocessing, drawn.samples)
    return cache, model.backbone


def losses(run: Path) -> list[float]:
    with (run / "train.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.fixture
def _every_step_logged(monkeypatch):
    monkeypatch.setattr("vitseg.training.loop.LOG_INTERVAL", 1)


@pytest.mark.usefixtures("_every_step_logged")
def test_kept_features_train_as_the_frozen_backbone_does(root, tmp_path, monkeypatch):
    recipe = frozen(root, backbone={"drop_path": 0.5})
    train(recipe, tmp_path / "plain")
    train(recipe, tmp_path / "cached", cache_features=tmp_path / "cache")
    plain, cached = losses(tmp_path / "plain"), losses(tmp_path / "cached")
    assert len(plain) == 4
    assert cached == pytest.approx(plain, rel=2e-3)

    def fail(*arguments: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr(GridViews, "crops", fail)
    again = train(recipe, tmp_path / "again", cache_features=tmp_path / "cache")
    assert losses(tmp_path / "again") == cached
    monkeypatch.undo()

    seed_everything(recipe.training.seed)
    before = recipe.model.build(3, (64, 64)).backbone.state_dict()
    after = load_model(again)[0].backbone.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    result = json.loads((tmp_path / "cached" / "result.json").read_text())
    assert result["feature_minutes"] is not None
    assert json.loads((tmp_path / "plain" / "result.json").read_text())["feature_minutes"] is None


def test_a_frozen_backbone_gets_no_gradient_and_stays_in_evaluation(root):
    recipe = frozen(root, backbone={"drop_path": 0.9})
    model = recipe.model.build(3, (64, 64))
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    step = LossOfModel(model, recipe.model.criterion(), freeze_backbone=True)
    groups = parameter_groups(model, OptimizerConfig())
    assert all(name.startswith("decoder.") for group in groups for name in group["names"])
    step.train()
    assert model.decoder.training
    assert not any(part.training for part in model.backbone.modules())
    images = torch.randn(2, 3, 64, 64)
    features = model.backbone(images)
    assert not any(level.requires_grad for level in features.maps)
    assert torch.equal(features.maps[-1], model.backbone(images).maps[-1])  # no drop path
    terms = step(images, torch.zeros(2, 64, 64, dtype=torch.int64))
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert any(parameter.grad is not None for parameter in model.decoder.parameters())
    after = model.backbone.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_what_a_method_adds_to_the_backbone_is_trained(root):
    raw = tiny_recipe(freeze_backbone=True)
    raw |= {"method": "shrunk", "shrink": {"block": 1, "method": "conv"}}
    raw["backbone"]["taps"] = [3]
    raw["decoder"] |= {"supervise": "layers", "projection": "none"}
    recipe = parse_recipe(raw)
    model = recipe.model.build(3, (64, 64))
    step = LossOfModel(model, recipe.model.criterion(), freeze_backbone=True)
    trained = {name for name, value in step.named_parameters() if value.requires_grad}
    assert "model.backbone.shrink.weight" in trained
    of_backbone = {name for name in trained if name.startswith("model.backbone.")}
    assert all(name.startswith("model.backbone.shrink.") for name in of_backbone)
    with pytest.raises(ConfigError, match="method shrunk trains or drives layers within its back"):
        open_cache(Path("cache"), recipe, model, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"augment": {"crop_size": [48, 64]}}, "views.crop_size is [48, 64] here and [64, 64] th"),
        ({"augment": {"base_size": [70, 60]}}, "views.base_size"),
        ({"augment": {"flip_probability": 0}}, 'views.flips is ["plain"] here'),
        ({"backbone": {"taps": [2, 3]}}, "backbone.taps is [2, 3] here and [1, 3] there"),
        ({"backbone": {"tap_norm": True}}, "backbone.tap_norm"),
        ({"backbone": {"mean": [0, 0, 0], "std": [1, 1, 1]}}, "normalisation.mean"),
        ({"data": {"ignore": ["tree"]}}, "classes is "),
        ({"seed": 1}, "weights is "),
    ],
    ids=lambda value: value[:16] if isinstance(value, str) else "",
)
def test_a_cache_of_something_else_is_refused(root, tmp_path, changes, named):
    cache, backbone = cache_of(frozen(root), tmp_path / "cache")
    cache.fill(backbone, CPU, share=(0, 4))
    before = content(tmp_path / "cache")
    seed = changes.pop("seed", 0)
    with pytest.raises(ConfigError) as error:
        cache_of(frozen(root, **changes), tmp_path / "cache", seed)
    assert named in str(error.value)
    assert "remove that folder" in str(error.value)
    assert content(tmp_path / "cache") == before


def test_a_cache_of_other_data_is_refused(root, tmp_path):
    cache, backbone = cache_of(frozen(root), tmp_path / "cache")
    cache.fill(backbone, CPU, share=(0, 4))
    mask = root / "masks" / "train_1.png"
    mask.write_bytes((root / "masks" / "train_2.png").read_bytes())
    with pytest.raises(ConfigError, match="data is "):
        cache_of(frozen(root), tmp_path / "cache")


def test_what_changes_no_feature_does_not_matter(root, tmp_path):
    cache, backbone = cache_of(frozen(root), tmp_path / "cache")
    cache.fill(backbone, CPU)
    changes = {"drop_path": 0.3, "gradient_checkpointing": True}
    other = frozen(root, backbone=changes, augment={"flip_probability": 0.1})
    assert cache_of(other, tmp_path / "cache")[0].missing() == []


def test_an_interrupted_filling_goes_on(root, tmp_path):
    cache, backbone = cache_of(frozen(root), tmp_path / "cache")
    assert len(cache.missing()) == len(cache) == 16
    written = []

    def stop() -> None:
        written.append(None)
        if len(written) == 5:
            raise InterruptedRunError("", signal.SIGINT)

    with pytest.raises(InterruptedRunError):
        cache.fill(backbone, CPU, batch_size=3, on_view=stop)
    half = content(tmp_path / "cache" / "views")
    assert len(half) == 5
    damaged = cache.path((0, True))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (damaged.parent / ".x.safetensors.999999999.partial").write_bytes(b"left by a killed run")

    later, _ = cache_of(frozen(root), tmp_path / "cache")
    assert len(later.missing()) == 12
    later.fill(backbone, CPU, share=(1, 2))
    assert {later.views.views[number].image for number, _ in later.missing()} == {0, 2}
    later.fill(backbone, CPU)
    assert later.missing() == []
    whole = content(tmp_path / "cache" / "views")
    assert len(whole) == 16
    assert {name: whole[name] for name in half} == half
    entry = later.read((1, True))
    assert [level.dtype for level in entry.maps] == [torch.float16] * 2
    ((image, labels),) = later.views.crops([(1, True)])
    assert torch.equal(entry.labels, labels)
    features = backbone(image[None])
    restored = later.features([level[None] for level in entry.maps])
    assert restored.padded_size == features.padded_size
    assert restored.input_size == features.input_size
    for kept, level in zip(restored.maps, features.maps, strict=True):
        torch.testing.assert_close(kept, level, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing_that_is_trusted(root, tmp_path, monkeypatch, number):
    cache, backbone = cache_of(frozen(root), tmp_path / "cache")
    write, count = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        count.append(path)
        if len(count) < 4:
            return write(path, data)
        write(path, data[: len(data) // 2])
        raise OSError(number, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"is full, with 13 of 16 views to come\. Make room and"):
        cache.fill(backbone, CPU)
    assert len(content(tmp_path / "cache" / "views")) == 3
    monkeypatch.undo()
    later, _ = cache_of(frozen(root), tmp_path / "cache")
    assert len(later.missing()) == 13


def test_too_small_a_disk_is_known_before(root, tmp_path, monkeypatch):
    cache, backbone = cache_of(frozen(root), tmp_path / "cache")
    free = SimpleNamespace(free=123_000)
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda _: free)
    with pytest.raises(DataError, match=r"features of 16 views need 0\.00 GB, but .* has 0\.00 GB"):
        cache.fill(backbone, CPU)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["cache.json"]


def test_features_beyond_16_bits_are_refused(root, tmp_path):
    cache, backbone = cache_of(frozen(root), tmp_path / "cache")
    with torch.no_grad():
        backbone.get_parameter("blocks.0.mlp.fc2.bias").add_(1e6)
    with pytest.raises(DataError, match=r"train_0\.png: this backbone's features are beyond 65504"):
        cache.fill(backbone, CPU)


def test_folders_that_hold_something_else_are_refused(root, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.png").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds other files and no cache\.json"):
        cache_of(frozen(root), tmp_path / "full")
    with pytest.raises(ConfigError, match="is a file: give a folder"):
        cache_of(frozen(root), tmp_path / "full" / "photo.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "cache.json").write_text("{")
    with pytest.raises(ConfigError, match=r"cache\.json cannot be read"):
        cache_of(frozen(root), tmp_path / "broken")


@pytest.mark.parametrize(
    "facts",
    [{"padded_size": [64]}, {"padded_size": [64, 4096]}, {"minutes": None}, {"entry_bytes": "x"}],
)
def test_damaged_facts_are_named(root, tmp_path, facts):
    cache, backbone = cache_of(frozen(root), tmp_path / "cache")
    cache.fill(backbone, CPU)
    path = tmp_path / "cache" / "cache.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    with pytest.raises(ConfigError, match=r"cannot be read .*to make the features anew"):
        cache_of(frozen(root), tmp_path / "cache")


def test_damaged_labels_are_named(root, tmp_path):
    cache, backbone = cache_of(frozen(root), tmp_path / "cache")
    cache.fill(backbone, CPU)
    tensors = load_file(cache.path((0, False)))
    tensors["labels"][3, 4] = 77
    save_file(tensors, cache.path((0, False)))
    with pytest.raises(DataError, match=r"0000000\.safetensors of the feature cache is damaged"):
        cache.read((0, False))


def test_a_missing_view_is_named(root, tmp_path):
    cache, _ = cache_of(frozen(root), tmp_path / "cache")
    with pytest.raises(DataError, match=r"0000003\.safetensors of the feature cache is missing"):
        cache.read((3, False))


def test_only_fixed_views_of_a_frozen_backbone_are_kept(root, tmp_path):
    recipe = parse_recipe(tiny_recipe() | {"data": {**tiny_recipe()["data"], "source": "folder:x"}})
    with pytest.raises(ConfigError) as error:
        train(recipe, tmp_path / "run", cache_features=tmp_path / "cache")
    line = str(error.value)
    fixed = '"data.augment={views: grid, crop_size: [64, 64]}"'
    assert f"add training.freeze_backbone=true {fixed}, or" in line
    assert not (tmp_path / "cache").exists()


def test_fixed_views_can_be_looked_at(root):
    recipe = frozen(root)
    assert recipe.data.source is not None
    shown = preview(recipe, open_dataset(recipe.data.source, "train"), 6)
    assert all(each.crop.shape == (64, 64, 3) for each in shown)
    for each in shown:
        windows = [each.sample.image[:, left : left + 64] for left in (0, 16)]
        parts = [part[:, ::step] for part in windows for step in (1, -1)]
        assert any(np.abs(each.crop.astype(int) - part).max() <= 1 for part in parts)
