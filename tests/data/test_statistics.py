from __future__ import annotations

import numpy as np
import pytest

from tests.checks.trees import SIZE, bands, picture, save_image, save_mask, write_tree
from vitseg.data.catalog import open_dataset
from vitseg.data.parallel import map_in_order
from vitseg.data.statistics import class_statistics
from vitseg.errors import DataError


@pytest.fixture
def dataset(tmp_path):
    root = write_tree(tmp_path)
    mask = bands(0)
    mask[mask == 2] = 255
    save_mask(root, "train/t0", mask)
    return open_dataset(f"index:{root}", "train")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_counts_are_those_of_the_label_maps(dataset, num_workers):
    seen = []
    statistics = class_statistics(dataset, num_workers, lambda: seen.append(1))
    maps = [dataset.label_map(index) for index in range(len(dataset))]
    expected = [[int((label_map == k).sum()) for k in range(3)] for label_map in maps]
    assert statistics.pixels.tolist() == np.sum(expected, axis=0).tolist()
    assert statistics.present.tolist() == [[count > 0 for count in row] for row in expected]
    assert statistics.present[0].tolist() == [True, True, False]
    assert statistics.images.tolist() == [4, 4, 3]
    assert statistics.num_images == len(seen) == 4
    ignored = int((maps[0] < 0).sum())
    assert statistics.labelled_pixels == 4 * SIZE[0] * SIZE[1] - ignored
    assert statistics.pixels.dtype == np.int64


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unknown_ids_are_refused(tmp_path, num_workers):
    root = write_tree(tmp_path)
    path = save_mask(root, "train/t2", bands(0) + 9)
    dataset = open_dataset(f"index:{root}", "train")
    with pytest.raises(DataError, match=r"t2\.png has ids outside the class table"):
        class_statistics(dataset, num_workers)
    assert path.exists()


def test_more_images_than_chunks_come_in_order():
    assert list(map_in_order(abs, range(-100, 0), 2)) == list(range(100, 0, -1))


def test_tasks_are_drawn_only_a_little_ahead():
    drawn = []

    def tasks():
        for number in range(10_000):
            drawn.append(number)
            yield number

    results = map_in_order(abs, tasks(), 1)
    assert next(results) == 0
    assert len(drawn) < 100
    results.close()


def _leave(_: int) -> None:
    import os

    os._exit(1)


def test_a_killed_worker_is_a_clear_error():
    with pytest.raises(DataError, match="worker process was killed"):
        list(map_in_order(_leave, [1], 1))


def test_pictures_of_the_trees_differ(tmp_path):
    save_image(tmp_path, "a", picture(0))
    assert np.abs(np.asarray(picture(0)).astype(int) - np.asarray(picture(1))).mean() > 20
