"""What the page shows beside the labels."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from tests.serve.in_thread import running_models
from tests.serve.octants import encoded
from tests.serve.raw import request
from tests.tiny import CROP, make_model, make_predictor, make_record, photo, write_model
from tests.tiny_dtop import make_dtop
from vitseg.checkpoint.model_dir import save_model
from vitseg.errors import ConfigError
from vitseg.explain.exits import read_exits
from vitseg.explain.stages import read_stages
from vitseg.explain.tasks import read_tasks
from vitseg.extend.tasks import as_tasks
from vitseg.inference.config import InferenceConfig
from vitseg.inference.predictor import Predictor
from vitseg.methods.segvit_cl import SegVitClConfig
from vitseg.runtimes.graph_model import GraphModel
from vitseg.serve.jobs import STAYED, View
from vitseg.serve.views import compute_view, views_of

SIZE = (60, 90)


def pruned(**pruning) -> Predictor:
    model, config = make_dtop(pruning=pruning)
    record = make_record(method="dtop", architecture=config.model_dump(mode="json"))
    return Predictor(model, record, "cpu")


def of_tasks() -> Predictor:
    """A model of two tasks, of two classes and of one, whose weights are random."""
    import torch

    model, record = as_tasks(make_model(2), make_record(2))
    (first,) = record.architecture["tasks"]
    architecture = record.architecture | {"tasks": [first, first | {"num_classes": 1}]}
    config = SegVitClConfig.model_validate(architecture)
    torch.manual_seed(1)
    joined = config.build(3, CROP)
    joined.load_state_dict(model.state_dict(), strict=False)
    new = joined.decoder.tasks[1]
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    made = make_record(method="segvit_cl", architecture=config.model_dump(mode="json"))
    return Predictor(joined.eval(), made, "cpu")


def graph() -> Predictor:
    """An exported SegViT: its record names the method still."""
    model = GraphModel.__new__(GraphModel)
    super(GraphModel, model).__init__()
    return Predictor(model, make_record(), "cpu")


def test_a_model_has_the_views_that_its_method_declares():
    assert views_of(make_predictor()) == ("stages",)
    assert views_of(pruned(rule="share", share=0.5)) == ("exits",)
    assert views_of(of_tasks()) == ("tasks",)
    assert views_of(Predictor(make_model(), make_record(method="linear"), "cpu")) == ()
    assert views_of(Predictor(make_model(), make_record(method="nrd"), "cpu")) == ()


def test_a_model_that_no_token_can_leave_has_no_view():
    assert views_of(pruned(threshold=1.0)) == ()


def test_an_exported_graph_has_no_view():
    assert views_of(graph()) == ()


def test_stages_are_the_masks_of_explain():
    predictor, image = make_predictor(), photo(*SIZE)
    view = compute_view(predictor, image, "stages", 1)
    found = read_stages(predictor, image)
    assert view.view == "stages"
    assert view.names == ("stage 1", "stage 2", "sum = the mask")
    assert view.class_index == 1
    assert view.probability == found.probabilities[1]
    for picture, column in zip(view.pictures, found.columns, strict=True):
        assert picture.shape == SIZE
        assert picture.dtype == np.uint8
        assert np.abs(picture / 255 - found.mask(column, 1)).max() <= 0.5 / 255 + 1e-6
    assert not np.array_equal(view.pictures[0], view.pictures[1])


def test_stages_have_the_size_of_the_image_at_whatever_size_it_is_run():
    predictor = make_predictor(resize=(64, 32))
    assert predictor.inference == InferenceConfig(resize=(64, 32))
    found = read_stages(predictor, photo(100, 150))
    assert found.input_size == (32, 48)
    view = compute_view(predictor, photo(100, 150), "stages", 0)
    assert {picture.shape for picture in view.pictures} == {(100, 150)}
    small = found.mask(found.columns[-1], 0)
    corners = view.pictures[-1][[0, 0, -1, -1], [0, -1, 0, -1]] / 255
    assert np.abs(corners - small[[0, 0, -1, -1], [0, -1, 0, -1]]).max() < 0.01


@pytest.mark.parametrize("exits", [(0,), (1,), (0, 1)])
def test_exits_tell_where_each_token_left(exits):
    predictor, image = pruned(rule="share", share=0.5, exits=exits), photo(*SIZE)
    view = compute_view(predictor, image, "exits")
    *before, _ = read_exits(predictor, image).stages
    (picture,) = view.pictures
    assert view.names == tuple(f"exit behind block {(1, 3)[number]}" for number in exits)
    assert picture.shape == SIZE
    assert picture.dtype == np.uint8
    assert set(np.unique(picture)) == {*range(len(exits)), STAYED}
    for number, stage in enumerate(before):
        assert np.array_equal(picture <= number, stage.left)


def test_tasks_tell_who_claims_a_pixel():
    predictor, image = of_tasks(), photo(*SIZE)
    view = compute_view(predictor, image, "tasks")
    (picture,) = view.pictures
    assert view.names == ("task 0: sky, road", "task 1: tree")
    labels = predictor(image).label_map
    assert np.array_equal(picture, labels == 2)
    assert 0 < picture.mean() < 1, "this image cannot tell"
    claims = read_tasks(predictor, image).claims
    assert all(
        np.array_equal(picture == number, claim.claimed) for number, claim in enumerate(claims)
    )


@pytest.mark.parametrize(
    ("predictor", "view", "chosen"),
    [
        (make_predictor, "stages", 0),
        (lambda: pruned(rule="share", share=0.5), "exits", None),
        (of_tasks, "tasks", None),
    ],
)
def test_views_cross_a_process_boundary(predictor, view, chosen):
    made = compute_view(predictor(), photo(*SIZE), view, chosen)
    found = pickle.loads(pickle.dumps(made))
    assert isinstance(found, View)
    assert (found.names, found.probability) == (made.names, made.probability)
    assert type(found.probability) in (float, type(None))
    assert all(map(np.array_equal, found.pictures, made.pictures))


@pytest.mark.parametrize("view", ["stages", "exits", "tasks"])
def test_views_of_a_model_in_bfloat16(view):
    made = {
        "stages": make_predictor,
        "exits": lambda: pruned(rule="share", share=0.5),
        "tasks": of_tasks,
    }
    whole = made[view]()
    narrow = Predictor(whole.network, whole.record, "cpu", dtype="bf16")
    chosen = 0 if view == "stages" else None
    image = photo(*SIZE)
    found, exact = (compute_view(one, image, view, chosen) for one in (narrow, whole))
    assert found.names == exact.names
    apart = np.abs(found.pictures[-1].astype(int) - exact.pictures[-1])
    assert (apart <= 8).mean() > 0.8


@pytest.mark.parametrize(
    ("make", "view", "chosen", "message"),
    [
        (make_predictor, "exits", None, r"segvit\) has no view 'exits'. It has stages."),
        (make_predictor, "cells", None, "has no view 'cells'"),
        (graph, "stages", 0, "It has none: ask for its labels alone."),
        (make_predictor, "stages", None, "give class, a name or an index"),
        (make_predictor, "stages", 3, "class 3 is not in the model, whose classes are 0 to 2"),
        (make_predictor, "stages", -1, "class -1 is not in the model"),
        (lambda: pruned(threshold=1.0), "exits", None, "has no view 'exits'"),
        (lambda: pruned(rule="share", share=0.5), "exits", 1, "Leave class out"),
        (of_tasks, "tasks", 0, "Leave class out"),
    ],
)
def test_what_cannot_be_shown(make, view, chosen, message):
    with pytest.raises(ConfigError, match=message):
        compute_view(make(), photo(*SIZE), view, chosen)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    model, config = make_dtop(pruning={"rule": "share", "share": 0.5})
    record = make_record(method="dtop", architecture=config.model_dump(mode="json"))
    save_model(folder / "pruned", model, record)
    with running_models({"tiny": write_model(folder / "tiny"), "pruned": folder / "pruned"}) as one:
        yield one


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("view=stages", "give class, a name or an index"),
        ("view=stages&class=sea", "there is no class 'sea'"),
        ("view=stages&class=sky,road", "class names one class"),
        ("view=stages&class=", "there is no class ''"),
        ("view=exits", "tiny has no view 'exits'. It has: stages."),
        ("model=pruned&view=exits&class=sky", "a view of exits shows all classes at once"),
        ("model=pruned&view=stages&class=sky", "pruned has no view 'stages'"),
    ],
)
def test_wishes_are_looked_at_before_an_image_is_decoded(server, query, words):
    answer = request(server.port, "POST", f"/v1/explain?{query}", b"no image")
    assert answer.status == 422
    assert words in answer.error
    assert "retry-after" not in answer.headers
    assert server.engine.tasks == []


def test_views_are_answered(server):
    content = encoded(Image.fromarray(photo(*SIZE)))
    for query in ("view=stages&class=sky", "model=pruned&view=exits"):
        answer = request(server.port, "POST", f"/v1/explain?{query}", content)
        assert answer.status == 200
        assert (answer.json["height"], answer.json["width"]) == SIZE
    server.engine.tasks.clear()
