"""The stream of samples depends on the seed and nothing else."""

from __future__ import annotations

import numpy as np
import torch

from vitseg.classes import ClassTable
from vitseg.data.augment import AugmentConfig, TrainTransform
from vitseg.data.sample import Sample
from vitseg.images.preprocess import Preprocessing
from vitseg.training.sampler import StreamSampler, TrainSamples


def batches(**changes) -> list[list[tuple[int, int]]]:
    options = {"num_samples": 7, "batch_size": 4, "iterations": (0, 12), "seed": 3, **changes}
    return list(StreamSampler(**options))


def test_every_pass_visits_every_sample_once():
    stream = [index for batch in batches() for index, _ in batch]
    passes = [stream[start : start + 7] for start in range(0, 42, 7)]
    assert all(sorted(each) == list(range(7)) for each in passes)
    assert len({tuple(each) for each in passes}) > 1


def test_a_continued_run_sees_what_it_would_have_seen():
    assert batches(iterations=(5, 12)) == batches()[5:]


def test_devices_share_the_stream():
    alone = batches()
    first, second = (batches(batch_size=2, rank=rank, world_size=2) for rank in (0, 1))
    assert [a + b for a, b in zip(first, second, strict=True)] == alone


def test_another_seed_is_another_order():
    assert batches(seed=4) != batches()


def test_repeated_samples_come_as_often_as_their_factor():
    repeats = np.array([1.0, 1.5, 3.25, 1.0])
    stream = StreamSampler(4, 4, (0, 700), 0, repeats=repeats)
    assert stream.pass_length == 7  # round(6.75)
    indices = [index for batch in stream for index, _ in batch]
    passes = np.array([np.bincount(indices[at : at + 7], minlength=4) for at in range(0, 2800, 7)])
    exact = repeats * 7 / 6.75
    assert (passes >= np.floor(exact)).all()
    assert (passes <= np.ceil(exact)).all()
    np.testing.assert_allclose(passes.mean(0), exact, atol=0.08)
    later = StreamSampler(4, 4, (600, 700), 0, repeats=repeats)
    assert list(later) == list(stream)[600:]


class Noise:
    """A data set of noise."""

    def __init__(self) -> None:
        self.name, self.split, self.ids = "noise", "train", ("a", "b")
        self.classes = ClassTable.from_names(["x", "y"])
        self.label_mapping = {0: 0, 1: 1}

    def __len__(self) -> int:
        return 2

    def sample(self, index: int, at_least=None) -> Sample:
        if at_least is not None:
            at_least((40, 60))
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        return Sample(self.ids[index], image, rng.integers(0, 2, (40, 60)))


def test_augmentation_depends_on_the_position_in_the_stream():
    transform = TrainTransform(
        AugmentConfig(crop_size=(32, 32)), Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3)
    )
    samples = TrainSamples(Noise(), transform, seed=0)
    (image, labels), (again, same_labels) = samples[1, 9], samples[1, 9]
    assert torch.equal(image, again)
    assert torch.equal(labels, same_labels)
    assert not torch.equal(image, samples[1, 10][0])
    assert not torch.equal(image, TrainSamples(Noise(), transform, seed=1)[1, 9][0])
