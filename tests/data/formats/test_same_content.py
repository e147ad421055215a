"""The same pictures give the same label maps through every format, and a model trains from each."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tests.data.formats.content import FORMATS, IN_TABLES, NAMES, SPLITS, ids, photo
from tests.tiny import tiny_recipe
from vitseg.data.catalog import list_splits, open_dataset
from vitseg.training.loop import train
from vitseg.training.recipe import parse_recipe


@pytest.fixture(scope="module", params=FORMATS)
def written(request, tmp_path_factory):
    """(name of the format, its folder)."""
    name, write = FORMATS[request.param]
    if name in IN_TABLES:
        pytest.importorskip(IN_TABLES[name])
    root = tmp_path_factory.mktemp(request.param)
    write(root)
    return name, root


@pytest.mark.parametrize("detected", [False, True], ids=["named", "detected"])
def test_same_label_maps(written, detected):
    name, root = written
    spec = f"folder:{root}" if detected else f"{name}:{root}"
    assert len(list_splits(spec)) == 2
    for split, count in SPLITS.items():
        dataset = open_dataset(spec, split)
        assert dataset.classes.names == NAMES
        assert len(dataset) == count
        assert all(finding.severity == "info" for finding in dataset.findings)
        assert str(root) in dataset.source
        assert ("detected by" in dataset.source) == detected
        for number in range(count):
            sample = dataset[number]
            np.testing.assert_array_equal(sample.label_map, ids(split, number), f"{split} {number}")
            np.testing.assert_array_equal(sample.image, photo(split, number))


def test_it_survives_the_way_to_a_loader_process(written):
    name, root = written
    dataset = pickle.loads(pickle.dumps(open_dataset(f"{name}:{root}", "train")))
    np.testing.assert_array_equal(dataset[1].label_map, ids("train", 1))


def test_a_model_trains_one_epoch(written, tmp_path):
    _, root = written
    recipe = tiny_recipe(iterations=2, batch_size=2, val_interval=2)  # four images, two at a time
    recipe["data"]["source"] = f"folder:{root}"
    recipe["data"]["augment"]["crop_size"] = [32, 32]
    best = train(parse_recipe(recipe), tmp_path / "run")
    assert (best / "model.safetensors").is_file()
