"""Every mode works in strips of rows: equal to the score map of the whole image, which is never made."""

from __future__ import annotations

import errno
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vitseg.inference import scores as module
from vitseg.inference import shelf
from vitseg.inference.blending import window_weights
from vitseg.inference.config import InferenceConfig
from vitseg.inference.modes import image_scores
from vitseg.inference.operations import LiveTensors
from vitseg.inference.scores import OutputScores, full_scores, label_map, labels_and_confidence
from vitseg.inference.window_scores import slide, window_starts
from vitseg.outputs import (
    CellPresence,
    ClassLogits,
    Joined,
    MixedMasks,
    PresenceMasks,
    SegOutput,
)
from vitseg.types import spatial_size

SIZE = (90, 130)
SLIDE = {"mode": "slide", "crop_size": (48, 48), "stride": (32, 29)}
MODES = [
    {**way, "scales": scales, "flip": flip}
    for way, scales, flip in product(
        ({}, SLIDE, {**SLIDE, "blend": "cosine"}), ((1.0,), (0.5, 1.0, 1.7)), (False, True)
    )
]


class Model:
    """Masks that depend on the pixels, on cells of `patch` pixels; counts the windows that it ran."""

    def __init__(self, patch: int, num_classes: int = 5):
        self.patch, self.num_classes, self.num_runs = patch, num_classes, 0
        generator = torch.Generator().manual_seed(0)
        self.mix = 3 * torch.randn(num_classes, 3, generator=generator)
        self.class_logits = torch.randn(1, num_classes, num_classes + 1, generator=generator)

    def __call__(self, images: torch.Tensor) -> SegOutput:
        self.num_runs += 1
        size = spatial_size(images)
        grid = tuple(-(-side // self.patch) for side in size)
        cells = F.adaptive_avg_pool2d(images, grid)
        masks = torch.einsum("kc,bchw->bkhw", self.mix, cells)
        padded = (grid[0] * self.patch, grid[1] * self.patch)
        if self.patch == 1:
            return ClassLogits(masks, size, padded)
        return MixedMasks(masks, size, padded, class_logits=self.class_logits)


@pytest.fixture
def image() -> torch.Tensor:
    coarse = torch.randn(1, 3, 9, 13, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, SIZE, mode="bilinear")


def views(image: torch.Tensor, config: InferenceConfig) -> list[torch.Tensor]:
    size = spatial_size(image)
    return [
        F.interpolate(image, config.input_size(size, s), mode="bilinear") for s in config.scales
    ]


def whole_maps(
    model: Model, image: torch.Tensor, config: InferenceConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and probabilities by the definition: full maps, one after the other."""

    def one(view: torch.Tensor) -> torch.Tensor:
        if config.mode == "whole":
            return model(view).scores()[0]
        crop, stride = config.crop_size, config.stride
        size = spatial_size(view)
        window = min(size[0], crop[0]), min(size[1], crop[1])
        weights = window_weights(window, config.blend)
        total, sums = torch.zeros(model.num_classes, *size), torch.zeros(size)
        for top in window_starts(size[0], crop[0], stride[0]):
            for left in window_starts(size[1], crop[1], stride[1]):
                part = (slice(top, top + window[0]), slice(left, left + window[1]))
                total[:, *part] += model(view[..., *part]).scores()[0] * weights
                sums[part] += weights
        return total / sums

    def resize(scores: torch.Tensor) -> torch.Tensor:
        return F.interpolate(scores[None], spatial_size(image), mode="bilinear")[0]

    def probs(scores: torch.Tensor) -> torch.Tensor:
        return scores.softmax(0) if model.patch == 1 else scores / scores.sum(0)

    if len(config.scales) == 1 and not config.flip:
        scores = resize(one(image))
        return scores, probs(scores)
    maps = []
    for view in views(image, config):
        maps.append(resize(one(view)))
        if config.flip:
            maps.append(resize(one(view.flip(3))).flip(2))
    softmaxes = [scores.softmax(0) for scores in maps]
    return torch.stack(softmaxes).mean(0), torch.stack([probs(each) for each in maps]).mean(0)


@torch.inference_mode()
@pytest.mark.parametrize("room", [10**9, 150_000, 0], ids=["memory", "both", "files"])
@pytest.mark.parametrize("patch", [16, 1], ids=["cells", "pixels"])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_strips_are_rows_of_the_whole_map(monkeypatch, image, mode, patch, room):
    monkeypatch.setattr(shelf, "ROOM", room)
    config = InferenceConfig(**mode)
    model = Model(patch)
    expected, probs = whole_maps(model, image, config)
    scores = image_scores(model, views(image, config), config, SIZE)
    torch.testing.assert_close(full_scores(scores), expected, atol=1e-5, rtol=1e-4)
    for height in (1, 7, 64):
        rows = [scores.rows(top, min(top + height, SIZE[0])) for top in range(0, SIZE[0], height)]
        torch.testing.assert_close(torch.cat(rows, 1), expected, atol=1e-5, rtol=1e-4)
    monkeypatch.setattr(module, "STRIP_ELEMENTS", 5 * SIZE[1] * 3)
    labels, confidence = labels_and_confidence(scores)
    chosen = torch.from_numpy(labels.astype(np.int64))[None]
    assert (expected.max(0).values - expected.gather(0, chosen)[0]).max() < 1e-5
    np.testing.assert_allclose(confidence, probs.gather(0, chosen)[0].numpy(), atol=1e-5)


class Largest(TorchDispatchMode):
    """The most elements that a tensor had which an operator gave."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.untyped_storage().nbytes() // 4)
        return result


@torch.inference_mode()
@pytest.mark.parametrize(
    "run", [label_map, pytest.param(labels_and_confidence, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "mode", [MODES[0], *(pytest.param(mode, marks=pytest.mark.slow) for mode in MODES[1:])], ids=str
)
def test_no_tensor_is_as_large_as_the_score_map(monkeypatch, mode, run):
    """Of 60 classes and 600 x 800 pixels, 29 million scores. The image of a larger view has 4 million values."""
    monkeypatch.setattr(module, "STRIP_ELEMENTS", 60 * 800 * 4)
    size, num_classes = (600, 800), 60
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(2))
    window = {"crop_size": (200, 200), "stride": (140, 140)} if "crop_size" in mode else {}
    config = InferenceConfig(**(mode | window))
    inputs = views(image, config)
    with Largest() as largest:
        run(image_scores(Model(16, num_classes), inputs, config, size))
    assert 0 < largest.elements < num_classes * size[0] * size[1] / 6


@torch.inference_mode()
@pytest.mark.parametrize("room", [1_500_000, 0])
def test_windows_that_do_not_fit_are_held_a_row_at_a_time(monkeypatch, room):
    """Of a decoder that gives a mask per pixel: less than half of the map, and every window is run once."""
    monkeypatch.setattr(module, "STRIP_ELEMENTS", 20 * 100 * 30)
    monkeypatch.setattr(module, "BAND_ELEMENTS", 20 * 100 * 60)
    monkeypatch.setattr(shelf, "ROOM", room)
    model = Model(1, num_classes=20)
    image = torch.randn(1, 3, 800, 100, generator=torch.Generator().manual_seed(2))
    with LiveTensors() as live:
        scores = slide(model, image, (100, 64), (70, 40))
        assert not scores.is_kept
        labels = label_map(scores)
    starts = window_starts(800, 100, 70), window_starts(100, 64, 40)
    assert model.num_runs == len(starts[0]) * len(starts[1])
    assert live.peak < 4 * 20 * 800 * 100 / 2
    np.testing.assert_array_equal(label_map(scores), labels)  # from the top again


@torch.inference_mode()
@pytest.mark.parametrize(("patch", "crop"), [(16, (48, 48)), (1, (300, 300))])
def test_windows_that_fit_keep_their_outputs(image, patch, crop):
    model = Model(patch)
    scores = slide(model, image, crop, (32, 29))
    assert scores.is_kept
    num_runs = model.num_runs
    label_map(scores)
    assert model.num_runs == num_runs


@torch.inference_mode()
@pytest.mark.parametrize(
    ("mode", "all_of_them"),
    [({}, 39_000_000), pytest.param(SLIDE, 62_000_000, marks=pytest.mark.slow)],
    ids=["whole", "slide"],
)
def test_twelve_views_of_fine_masks_are_not_all_in_memory(monkeypatch, mode, all_of_them):
    """Of the bytes of all views together a third at most, those of the largest view's forward pass among them."""
    monkeypatch.setattr(module, "STRIP_ELEMENTS", 20 * 260 * 8)
    monkeypatch.setattr(module, "BAND_ELEMENTS", 20 * 260 * 8)
    size = (180, 260)
    window = {"crop_size": (80, 80), "stride": (60, 60)} if mode else {}
    scales = (0.25, 0.5, 0.75, 1.0, 1.0, 1.25)
    config = InferenceConfig(**(mode | window), scales=scales, flip=True)
    generator = torch.Generator().manual_seed(4)
    inputs = views(torch.randn(1, 3, *size, generator=generator), config)
    peaks = {}
    for room in (2_000_000, 10**9):
        monkeypatch.setattr(shelf, "ROOM", room)
        with LiveTensors() as live:
            label_map(image_scores(Model(1, num_classes=20), inputs, config, size))
        peaks[room] = live.peak
    assert peaks[10**9] > all_of_them
    assert peaks[2_000_000] < 0.37 * all_of_them


@torch.inference_mode()
@pytest.mark.parametrize("reading", [ClassLogits, MixedMasks, PresenceMasks, CellPresence, Joined])
@pytest.mark.parametrize("grid", [(3, 4), (37, 51), (48, 64)])
def test_outputs_in_files_give_the_same_bits(monkeypatch, reading, grid):
    output = an_output(reading, grid).of_image(0)
    monkeypatch.setattr(shelf, "ROOM", 0)
    other = an_output(MixedMasks, (2, 2)).of_image(0)
    _, filed = shelf.Shelf(torch.device("cpu")).put([other, output]).scores
    assert isinstance(filed, shelf.FileScores)
    kept = OutputScores(output)
    assert (filed.size, filed.num_classes) == (kept.size, kept.num_classes)
    for start, stop in ((0, 1), (5, 12), (36, 37), (0, 36), (20, 21)):
        assert torch.equal(filed.rows(start, stop), kept.rows(start, stop))
    torch.testing.assert_close(filed.rows(0, 37), kept.rows(0, 37))


def an_output(reading: type[SegOutput], grid: tuple[int, int]) -> SegOutput:
    """Random masks of an image of 37 x 51 pixels, padded to 48 x 64 where the grid is of patches."""
    generator = torch.Generator().manual_seed(grid[0])
    if reading is Joined:
        return Joined.of([an_output(kind, grid) for kind in (MixedMasks, PresenceMasks)])
    size = (37, 51)
    masks = 2 * torch.randn(1, 5, *grid, generator=generator)
    sizes = size, size if grid == size else (48, 64)
    if reading is ClassLogits:
        return ClassLogits(masks, *sizes)
    num_logits = 6 if reading is MixedMasks else 2
    logits = torch.randn(1, 5, num_logits, generator=generator)
    return reading(masks, *sizes, class_logits=logits)


def test_on_a_gpu_half_of_its_free_memory_is_room(monkeypatch):
    for name, value in (
        ("memory_reserved", 5 * 10**9), ("memory_allocated", 10**9), ("mem_get_info", (10**9, 2 * 10**10)),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert shelf.Shelf(torch.device("cuda")).room == (10**9 + 4 * 10**9) // 2
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 5 * 10**9)
    assert shelf.Shelf(torch.device("cuda")).room == shelf.ROOM


@torch.inference_mode()
def test_without_room_for_files_outputs_stay_in_memory(monkeypatch, image):
    config = InferenceConfig(**SLIDE, flip=True)
    expected = full_scores(image_scores(Model(1), [image], config, SIZE))
    monkeypatch.setattr(shelf, "ROOM", 0)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shelf.tempfile, "TemporaryFile", full)
    found = full_scores(image_scores(Model(1), [image], config, SIZE))
    torch.testing.assert_close(found, expected)


@torch.inference_mode()
def test_a_small_image_that_is_run_large_is_bounded(monkeypatch):
    """Of 64 x 64 pixels, run at 512 x 512: its few rows take all of the view's, which are not held at once."""
    monkeypatch.setattr(module, "BAND_ELEMENTS", 100_000)
    size, config = (64, 64), InferenceConfig(resize=(2048, 512), flip=True)
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(1, 3, *config.input_size(size), generator=generator)
    model = Model(16, 60)
    scores = image_scores(model, [image], config, size)
    with Largest() as largest:
        label_map(scores)
    assert largest.elements <= 60 * 64 * 64
    torch.testing.assert_close(full_scores(scores).sum(0), torch.ones(size))


@torch.inference_mode()
@pytest.mark.parametrize("num_classes", [2, 150])
def test_a_strip_of_a_very_wide_image_is_bounded(num_classes):
    """Far more columns than the model saw: one row at a time, whatever the resize would like."""
    size, config = (40, 60_000), InferenceConfig(resize=(2048, 64))
    image = torch.randn(1, 3, *config.input_size(size), generator=torch.Generator().manual_seed(3))
    scores = image_scores(Model(16, num_classes), [image], config, size)
    with Largest() as largest:
        label_map(scores)
    assert largest.elements <= max(2 * module.BAND_ELEMENTS, 2 * num_classes * size[1])
