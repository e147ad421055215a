from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from PIL import Image

from tests.tiny import photo, write_dataset
from vitseg.data.augment import AugmentConfig, TrainTransform
from vitseg.data.catalog import open_dataset, open_unchecked
from vitseg.errors import ConfigError, DataError
from vitseg.images import pillow_reader
from vitseg.images.preprocess import Preprocessing
from vitseg.training.sampler import TrainSamples


@pytest.fixture
def root(tmp_path):
    return write_dataset(tmp_path / "data")


def test_merging_and_ignoring_at_the_door(root):
    dataset = open_dataset(f"folder:{root}", "train", {"ground": ["road", "tree"]}, ["sky"])
    assert dataset.classes.names == ("ground",)
    assert set(np.unique(dataset.label_map(0))) == {-1, 0}
    with pytest.raises(ConfigError, match="'roof' is not a known class"):
        open_dataset(f"folder:{root}", "train", {"ground": ["roof"]})


def test_what_lacks_its_partner_is_refused_or_left_out(root):
    (root / "masks" / "train_1.png").unlink()
    with pytest.raises(DataError, match="1 of 4 ids have no mask file"):
        open_dataset(f"folder:{root}", "train")
    dataset = open_unchecked(f"folder:{root}", "train")
    assert dataset.ids == ("train_0", "train_2", "train_3")
    assert [(f.code, f.severity, f.count) for f in dataset.findings] == [
        ("image-without-mask", "error", 1)
    ]


def test_a_data_set_is_not_renamed_from_outside(root):
    dataset = open_dataset(f"folder:{root}", "train")
    with pytest.raises(FrozenInstanceError):
        dataset.name = "another"
    renamed = dataset.with_name("another", "elsewhere")
    assert (renamed.name, renamed.source, len(renamed)) == ("another", "elsewhere", len(dataset))
    assert dataset.name == "folder"


def test_a_data_set_can_be_sent_to_another_process(root):
    dataset = open_dataset(f"folder:{root}", "train")
    expected = dataset[2].label_map
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again[2].label_map, expected)


def test_training_reads_a_large_jpeg_at_a_reduced_size(tmp_path, monkeypatch):
    """Scaled to 100 x 125, a 1600 x 2000 photo is read at an eighth; its labels stay exact."""
    root = write_dataset(tmp_path / "data", num_train=1)
    (root / "images" / "train_0.png").unlink()
    Image.fromarray(photo(1600, 2000)).save(root / "images" / "train_0.jpg", quality=95)
    labels = np.zeros((1600, 2000), np.uint8)
    labels[800:] = 1
    Image.fromarray(labels).save(root / "masks" / "train_0.png")
    dataset = open_dataset(f"folder:{root}", "train")
    sizes = []
    original = pillow_reader.rgb_of

    def spy(image, name):
        sizes.append(image.size)
        return original(image, name)

    monkeypatch.setattr(pillow_reader, "rgb_of", spy)
    config = AugmentConfig(
        crop_size=(100, 125), base_size=(125, 100), scale_range=(1, 1), photometric_distortion=False,
        flip_probability=0,
    )  # fmt: skip
    plain = Preprocessing(mean=(0, 0, 0), std=(1 / 255,) * 3)
    image, label_map = TrainSamples(dataset, TrainTransform(config, plain), 0)[0, 0]
    assert sizes == [(250, 200)]
    whole, _ = TrainTransform(config, plain)(dataset[0], np.random.default_rng(0))
    assert (image - whole).abs().max() <= 4
    assert label_map.tolist() == [[0] * 125] * 50 + [[1] * 125] * 50
