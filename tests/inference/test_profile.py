from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed

from tests.tiny import make_model, photo
from vitseg.errors import ConfigError, DataError
from vitseg.images.preprocess import Preprocessing
from vitseg.inference import profile as profiling
from vitseg.inference.operations import Part
from vitseg.inference.profile import PhotoInputs, Profile, Speed, profile_model

CPU = torch.device("cpu")
PLAIN = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def noise(size=(64, 64), count=1) -> list[Tensor]:
    return list(torch.randn(count, 1, 3, *size, generator=torch.Generator().manual_seed(0)))


class BrightnessBackbone(nn.Module):
    """Runs its backbone once for a dark image and twice for a bright one, with a weight that only this one needs: work
    that depends on the data."""

    def __init__(self, backbone):
        super().__init__()
        self.inner = backbone
        self.gain = nn.Parameter(torch.ones(64))

    def forward(self, images):
        if images.mean() > 0:
            self.inner(images * self.gain)
        return self.inner(images)


def test_a_profile_is_complete():
    result = profile_model(make_model(), noise(), CPU, batch_size=2, num_runs=4)
    assert [speed.batch_size for speed in result.speeds] == [1, 2]
    assert all(len(speed.seconds) == 4 for speed in result.speeds)
    assert all(speed.peak_memory > 64 * 64 for speed in result.speeds)
    assert 0 < result.parameters < result.stored_parameters  # the class token is dropped
    assert result.total_macs("backbone", "decoder") == pytest.approx(
        result.total_macs("backbone") + result.total_macs("decoder")
    )


def test_json_has_the_promised_keys_and_units():
    speeds = (Speed(1, (0.010, 0.020, 0.030), 4_000_000), Speed(8, (0.1, 0.3), 16_000_000))
    macs: dict[Part, dict[str, float]] = {
        "backbone": {"linear": 3e9},
        "decoder": {"linear": 1e9, "attention": 0.5e9},
    }
    values = json.loads(json.dumps(Profile(2_500_000, 3_000_000, macs, speeds).to_json()))
    assert values["params_m"] == 2.5
    assert values["params_training_m"] == 3.0
    assert (values["gmacs"], values["gmacs_backbone"], values["gmacs_decoder"]) == (4.5, 3.0, 1.5)
    assert values["latency_ms"] == pytest.approx({"p50": 20.0, "p95": 29.0})
    assert values["images_per_second"] == pytest.approx(40.0)
    assert values["peak_memory_mb"] == 16.0
    assert values["operators"]["decoder"] == {"linear": 1.0, "attention": 0.5}
    assert [entry["batch"] for entry in values["batches"]] == [1, 8]


def test_work_that_depends_on_the_image_is_averaged():
    dark, bright = torch.full((1, 3, 64, 64), -1.0), torch.full((1, 3, 64, 64), 1.0)
    model = make_model()
    once = profile_model(model, [dark], CPU, num_runs=1)
    model.backbone = BrightnessBackbone(model.backbone)
    mean = profile_model(model, [dark, bright, dark, dark], CPU, num_runs=1)
    assert mean.total_macs("backbone") == pytest.approx(1.25 * once.total_macs("backbone"))
    assert mean.total_macs("decoder") == pytest.approx(once.total_macs("decoder"))
    assert mean.parameters == once.parameters + 64  # those of any image


def test_runs_take_one_image_after_another(monkeypatch):
    seen = []
    monkeypatch.setattr(
        profiling, "label_batch", lambda model, batch: seen.append(batch[:, 0, 0, 0])
    )
    images = [torch.full((1, 3, 8, 8), float(number)) for number in range(3)]
    monkeypatch.setattr(profiling, "WARMUPS", 0)
    model = make_model()
    profiling._measure(model, model, images, CPU, 2, 3)
    timed, followed = [[0, 1], [2, 0], [1, 2]], [[0, 1], [2, 0]]  # all images are followed, too
    assert [batch.tolist() for batch in seen] == timed + followed


@pytest.mark.parametrize(
    ("images", "batch_size", "runs"), [(1, 1, 20), (30, 1, 30), (30, 4, 20), (90, 4, 23)]
)
def test_every_image_is_timed_unless_runs_are_given(monkeypatch, images, batch_size, runs):
    monkeypatch.setattr(profiling, "label_batch", lambda model, batch: None)
    model, noises = make_model(), noise((8, 8), images)
    speed = profiling._measure(model, model, noises, CPU, batch_size, None)
    assert len(speed.seconds) == runs
    short = profiling._measure(model, model, noises, CPU, batch_size, 2)
    assert len(short.seconds) == 2


def test_the_peak_is_that_of_the_image_that_takes_most(monkeypatch):
    def take(model, batch):
        torch.empty(int(batch[0, 0, 0, 0]))

    monkeypatch.setattr(profiling, "label_batch", take)
    images = [torch.full((1, 3, 8, 8), float(number)) for number in (10, 500, 20)]
    model = make_model()
    speed = profiling._measure(model, model, images, CPU, 1, None)
    assert speed.peak_memory == 4 * 500


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)]
)
def test_the_model_runs_in_the_precision_and_its_labels_in_fp32(monkeypatch, precision, dtype):
    model, of_model, of_scores = make_model(), [], []
    model.decoder.register_forward_hook(lambda *call: of_model.append(call[2].class_logits.dtype))

    def note(scores):
        assert not torch.is_autocast_enabled("cpu")
        of_scores.append(scores.rows(0, 1).dtype)

    monkeypatch.setattr(profiling, "label_map", note)
    profile_model(model, noise(), CPU, precision=precision, num_runs=1)
    assert set(of_scores) == {torch.float32}
    assert of_model[-1] == dtype
    assert of_model[0] == torch.float32  # the count


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_only_the_timed_model_is_compiled(monkeypatch, precision):
    calls = []
    outputs = {n: make_model()(torch.zeros(n, 3, 64, 64)) for n in (1, 2)}

    def compile_(model, dynamic):
        assert dynamic is False  # one size, so the fastest code
        return lambda batch: calls.append(len(batch)) or outputs[len(batch)]

    monkeypatch.setattr(torch, "compile", compile_)
    options = {"batch_size": 2, "precision": precision}
    result = profile_model(make_model(), noise(), CPU, compiled=True, num_runs=4, **options)
    assert calls == [1] * 7 + [2] * 7  # three of each to warm up
    eager = profile_model(make_model(), noise(), CPU, num_runs=1, **options)
    assert replace(result, speeds=()) == replace(eager, speeds=())
    assert [s.peak_memory for s in result.speeds] == [s.peak_memory for s in eager.speeds]


def test_photos_are_compiled_for_any_size_and_all_before_the_clock_runs(monkeypatch):
    calls = []

    def compile_(model, dynamic):
        assert dynamic is None  # fixed sizes would be compiled anew for every number of tokens
        return lambda batch: calls.append(float(batch[0, 0, 0, 0])) or model(batch)

    def note(model, batch):
        calls.append("timed")
        return 0.1

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(profiling, "_seconds", note)
    images = [torch.full((1, 3, 32, 32), float(number)) for number in range(5)]
    profile_model(make_model(), images, CPU, compiled=True, num_runs=1)
    assert calls == [0, 1, 2, 3, 4, "timed"]


def test_a_machine_without_a_compiler_is_an_error(monkeypatch):
    def fail(model, batch):
        raise BackendCompilerFailed("inductor", RuntimeError("no g++"), None)

    monkeypatch.setattr(profiling, "label_batch", fail)
    with pytest.raises(
        ConfigError, match=r"torch.compile cannot be used here .*leave --compile out"
    ):
        profile_model(make_model(), noise(), CPU)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_batch_beyond_the_memory_is_an_error(monkeypatch, error):
    def fail(model, batch):
        raise error

    monkeypatch.setattr(profiling, "label_batch", fail)
    with pytest.raises(ConfigError, match="batch 4 of 64x96 does not fit the memory of cpu"):
        profile_model(make_model(), noise((64, 96)), CPU, batch_size=4)


def test_other_errors_of_a_model_stay_what_they_are(monkeypatch):
    def fail(model, batch):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(profiling, "label_batch", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        profile_model(make_model(), noise(), CPU)


def test_photos_cover_the_size_and_lose_their_borders(tmp_path):
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 200  # the middle third stays
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(photo(33, 20)).save(tmp_path / "tall.png")
    inputs = PhotoInputs([tmp_path / "wide.png", tmp_path / "tall.png"], (80, 80), PLAIN)
    assert [tuple(image.shape) for image in inputs] == [(1, 3, 80, 80)] * 2
    assert torch.allclose(inputs[0][..., 10:70], torch.tensor(200 / 255))


def test_a_damaged_photo_is_named(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png"):
        PhotoInputs([tmp_path / "bad.png"], (64, 64), PLAIN)[0]
