"""Models at work, without a process or a queue around them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.runtimes.test_graph_model import make_graph
from tests.serve.in_thread import running_models
from tests.serve.octants import encoded, pattern, picture, write_octants
from tests.serve.raw import segment
from vitseg.inference.predictor import Predictor
from vitseg.serve import running
from vitseg.serve.jobs import Failure, Result, Task
from vitseg.serve.places import ChangedError, ModelPlaces
from vitseg.serve.running import Runner


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_octants(tmp_path_factory.mktemp("model"))


def runner(model, *protocol):
    return Runner(ModelPlaces({"m": str(model)}, "cpu", protocol=protocol))


def task(size, **fields):
    return Task("m", np.zeros((*size, 3), np.uint8), **fields)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(running, "WHOLE_PIXELS", 64 * 64)
    monkeypatch.setattr(running, "MOST_WHOLE_PIXELS", 128 * 128)


def test_large_images_go_in_windows_where_the_protocol_keeps_their_size(model, small):
    (found,) = runner(model).run([task((200, 300))])
    assert isinstance(found, Result)
    assert found.labels is not None
    assert found.labels.shape == (200, 300)


def test_what_would_be_enlarged_beyond_all_bounds_is_refused(model, small):
    enlarging = runner(model, "resize=[2000,100]", "min_short=100")
    (found,) = enlarging.run([task((10, 200))])
    assert isinstance(found, Failure)
    assert found.kind == "unusable"
    assert "2000x100" in found.message
    (found,) = enlarging.run([task((100, 100))])
    assert isinstance(found, Result)


def test_a_deadline_that_is_over_and_a_client_that_left_stop_the_work(model):
    run = Runner(ModelPlaces({"m": str(model)}, "cpu"), lambda number: number == 7).run
    assert [each.kind for each in run([task((9, 9), deadline=0.0)])] == ["late"]
    assert [each.kind for each in run([task((9, 9), number=7)])] == ["gone"]
    assert isinstance(run([task((9, 9), number=8)])[0], Result)


def test_a_batch_is_shared_by_threads_and_every_image_gets_its_own_answer(model):
    threads = torch.get_num_threads()
    run = Runner(ModelPlaces({"m": str(model)}, "cpu", threads=2)).run
    try:
        pictures = [np.asarray(picture(pattern(seed, 3, 4))) for seed in range(5)]
        tasks = [
            Task("m", pixels, confidence=seed % 2 == 1) for seed, pixels in enumerate(pictures)
        ]
        together, alone = run(tasks), [run([each])[0] for each in tasks]
        for one, other in zip(together, alone, strict=True):
            assert isinstance(one, Result)
            assert isinstance(other, Result)
            assert one.batch == 5
            np.testing.assert_array_equal(one.labels, other.labels)
            assert (one.confidence is None) == (other.confidence is None)
        assert torch.get_num_threads() == 2  # what a lone image is run with
    finally:
        torch.set_num_threads(threads)


def test_a_model_is_known_again_and_another_one_is_refused(model, tmp_path):
    place = shutil.copytree(model, tmp_path / "m")
    (served,) = runner(place).served
    assert set(served.hashes) == {"weights", "configuration"}
    known = {"m": served.hashes}
    places = ModelPlaces({"m": str(place)}, "cpu")
    assert Runner(places, known=known).served == [served]
    shutil.rmtree(place)
    write_octants(place, is_mirrored=True)
    with pytest.raises(ChangedError, match="changed since the server started"):
        Runner(places, known=known)


def graph_runner(monkeypatch, model, graph):
    """Models of which a graph comes instead."""
    monkeypatch.setattr(
        running, "load", lambda *_, **__: Predictor(graph, graph.record.predicting, "cpu")
    )
    return runner(model)


def test_an_image_of_another_size_than_that_of_the_file_is_unusable(model, monkeypatch):
    run = graph_runner(monkeypatch, model, make_graph((64, 64))).run
    assert isinstance(run([task((64, 64))])[0], Result)
    for tasks in ([task((80, 90))], [task((80, 90)), task((80, 90))]):
        for found in run(tasks):
            assert isinstance(found, Failure)
            assert found.kind == "unusable"
            assert "takes images of 64x64 pixels alone" in found.message
            assert "run at 90x80" in found.message
            assert "srv" not in found.message
            assert "--" not in found.message


def test_a_place_on_the_server_is_told_to_nobody(model, monkeypatch):
    class Failing:
        name = "ONNX Runtime"

        def run(self, images):
            raise RuntimeError("/onnxruntime_src/reshape_helper.h:47 cannot be reshaped")

    (found,) = graph_runner(monkeypatch, model, make_graph(session=Failing())).run([task((64, 64))])
    assert isinstance(found, Failure)
    assert (found.kind, found.message) == ("unavailable", "the model failed on this image")
    assert "/srv/models/mine.onnx" in found.detail
    assert "reshape_helper" in found.detail


def test_a_wish_that_a_model_cannot_follow_is_unusable(model):
    (found,) = runner(model).run([task((64, 64), view="stages", class_index=0)])
    assert isinstance(found, Failure)
    assert found.kind == "unusable"
    assert "has no view 'stages'" in found.message


def test_windows_of_large_images_have_the_views_of_the_protocol(model, small):
    pixels = np.array(picture(pattern(3, 150, 200)))
    views = ["scales=[0.5,1.0]", "flip=true"]
    windows = ["mode=slide", "crop_size=[64,64]", "stride=[48,48]", "blend=cosine"]
    asked = Task("m", pixels, confidence=True)
    (found,) = runner(model, *views).run([asked])
    (expected,) = runner(model, *views, *windows).run([asked])
    (plain,) = runner(model, *windows).run([asked])
    for one in (found, expected, plain):
        assert isinstance(one, Result)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.confidence, expected.confidence)
    assert np.any(found.confidence != plain.confidence), "this image cannot tell"


def test_windows_that_the_protocol_does_not_have_are_told(model, small):
    run = runner(model).run
    assert run([task((200, 300))])[0].windows == (64, 64)
    assert run([task((60, 50))])[0].windows is None
    assert [each.windows for each in run([task((60, 50)), task((60, 50))])] == [None, None]
    own = runner(model, "mode=slide", "crop_size=[64,64]", "stride=[48,48]").run
    assert own([task((200, 300))])[0].windows is None


def test_a_client_is_told_of_windows(model, small):
    with running_models({"m": model}) as server:
        for size, told in (((200, 300), ["64x64"]), ((60, 50), [])):
            content = encoded(Image.fromarray(np.zeros((*size, 3), np.uint8)))
            notices = segment(server.port, content, "?areas=true").json["notices"]
            assert len(notices) == len(told)
            for notice, words in zip(notices, told, strict=True):
                assert f"run in windows of {words} pixels" in notice
