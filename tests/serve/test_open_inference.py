from __future__ import annotations

import base64
import io
import json
import struct

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from tests.serve.in_thread import Running, running_models
from tests.tiny import make_model, make_record, photo, write_model
from vitseg.checkpoint.model_dir import save_model
from vitseg.inference.predictor import load

HOSTILE = [
    b"",
    b"[]",
    b"nul",
    b"\xff\xfe\x00",
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b'{"inputs": [NaN]}',
    b'{"inputs": [1e400]}',
    b'{"id": ' + b"1" * 10_000 + b"}",
    b'{"id": "a", "id": "b"}',
    b'{"id": "\\ud800"}',
    b'{"inputs": {}}',
    b'{"inputs": [1]}',
    b'{"inputs": []}',
    b'{"inputs": [{}, {}]}',
]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "tiny")
    save_model(folder / "many", make_model(300), make_record(300))
    return {"tiny": folder / "tiny", "many": folder / "many"}


@pytest.fixture(scope="module")
def server(places):
    with running_models(places, max_pixels=100_000, max_waiting_pixels=200_000) as running:
        yield running


@pytest.fixture
def client(server):
    own = triton.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=4)
    yield own
    own.close()


@pytest.fixture(scope="module")
def expected(places):
    return load(str(places["tiny"]))(photo(40, 56)).label_map


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def tensor(values: np.ndarray, datatype: str, binary: bool = True) -> triton.InferInput:
    own = triton.InferInput("image", list(values.shape), datatype)
    own.set_data_from_numpy(values, binary_data=binary)
    return own


def files(*pixels: np.ndarray) -> triton.InferInput:
    return tensor(np.array([png(each) for each in pixels], dtype=object), "BYTES")


def asked(**fields) -> dict:
    given = {"name": "image", "shape": [1], "datatype": "BYTES"}
    given["data"] = [base64.b64encode(png(photo(40, 56))).decode()]
    return {"inputs": [{**given, **fields}]}


def post(server: Running, content: bytes | dict, headers=None, model="tiny") -> httpx.Response:
    if isinstance(content, dict):
        content = json.dumps(content).encode()
    return httpx.post(f"{server.url}/v2/models/{model}/infer", content=content, headers=headers)


def error_of(answer: httpx.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    return answer.json()["error"]


def test_triton_client_reads_health_and_metadata(client, server):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("tiny", "2")
    assert not client.is_model_ready("tin")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    about = client.get_model_metadata("many", "1")
    assert (about["name"], about["versions"], about["platform"]) == (
        "many",
        ["1"],
        "vitseg_directory",
    )
    assert about["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    outputs = {each["name"]: (each["datatype"], each["shape"]) for each in about["outputs"]}
    assert outputs == {
        "label_map": ("UINT16", [-1, -1, -1]),
        "confidence": ("FP32", [-1, -1, -1]),
        "class_areas": ("FP32", [-1, 300]),
    }
    assert client.get_model_metadata("tiny")["outputs"][0]["datatype"] == "UINT8"


def test_models_and_versions_that_are_not_there_are_not_found(server):
    for path in ("models/tin", "models/tiny/versions/2", "models/tiny/versions/01/ready"):
        assert "no" in error_of(httpx.get(f"{server.url}/v2/{path}"), 404)
    assert "no model" in error_of(post(server, asked(), model="tin"), 404)
    assert "no version" in error_of(post(server, asked(), model="tiny/versions/2"), 404)


def test_a_server_that_is_not_ready_says_so_and_lives(server, client):
    server.engine.is_ready = False
    try:
        assert not client.is_server_ready()
        assert not client.is_model_ready("tiny")
        assert client.is_server_live()
        answer = httpx.get(f"{server.url}/v2/health/ready")
        assert "loaded" in error_of(answer, 503)
        assert answer.headers["retry-after"]
    finally:
        server.engine.is_ready = True


def test_a_server_that_has_to_be_started_anew_does_not_live(server, client, monkeypatch):
    monkeypatch.setattr(server.engine, "fault", "the models were exchanged")
    assert not client.is_server_live()
    assert not client.is_server_ready()
    for path in ("health/live", "health/ready", "models/tiny/ready"):
        assert error_of(httpx.get(f"{server.url}/v2/{path}"), 503) == "the models were exchanged"


def test_triton_client_gets_the_labels_of_an_image_file(client, expected):
    found = client.infer("tiny", [files(photo(40, 56))], request_id="a-7")
    assert np.array_equal(found.as_numpy("label_map"), expected[None])
    assert found.as_numpy("label_map").dtype == np.uint8
    answer = found.get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a-7", "tiny", "1")
    assert [each["name"] for each in answer["outputs"]] == [
        "label_map",
        "confidence",
        "class_areas",
    ]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_triton_client_gets_all_outputs_of_pixels(client, server, expected, binary_in, binary_out):
    names = ("class_areas", "confidence", "label_map")
    found = client.infer(
        "tiny",
        [tensor(photo(40, 56)[None], "UINT8", binary_in)],
        outputs=[triton.InferRequestedOutput(name, binary_data=binary_out) for name in names],
    )
    assert [each["name"] for each in found.get_response()["outputs"]] == list(names)
    assert np.array_equal(found.as_numpy("label_map"), expected[None])
    counts = np.bincount(expected.reshape(-1), minlength=3)
    np.testing.assert_allclose(found.as_numpy("class_areas"), [counts / expected.size], rtol=1e-6)
    sure = found.as_numpy("confidence")
    own = httpx.post(
        f"{server.url}/v1/segment", params={"confidence": True}, content=png(photo(40, 56))
    )
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(own.json()["confidence"]))))
    np.testing.assert_allclose(sure, shown[None] / 255, rtol=1e-6)
    assert sure.dtype == np.float32


def test_an_image_without_a_batch_axis_is_a_batch_of_one(client, expected):
    found = client.infer("tiny", [tensor(photo(40, 56), "UINT8")])
    assert np.array_equal(found.as_numpy("label_map"), expected[None])


def test_several_images_of_one_size_are_stacked(client, places):
    images = [photo(40, 56, seed) for seed in range(3)]
    one = load(str(places["tiny"]))
    wanted = np.stack([one(image).label_map for image in images])
    for given in (files(*images), tensor(np.stack(images), "UINT8")):
        found = client.infer("tiny", [given]).as_numpy("label_map")
        assert np.array_equal(found, wanted)


def test_images_of_several_sizes_are_refused_before_any_is_run(client, server):
    before = len(server.engine.tasks)
    with pytest.raises(InferenceServerException, match="56x40, 40x56") as caught:
        client.infer("tiny", [files(photo(40, 56), photo(56, 40))])
    assert caught.value.status() == "400"
    assert len(server.engine.tasks) == before


def test_labels_of_many_classes_have_two_bytes(client, places):
    found = client.infer("many", [files(photo(40, 56))], model_version="1").as_numpy("label_map")
    assert found.dtype == np.uint16
    wanted = load(str(places["many"]))(photo(40, 56)).label_map
    assert np.array_equal(found[0], wanted)


def test_answers_of_requests_at_once_have_their_ids(client, places):
    one = load(str(places["tiny"]))
    images = [photo(40, 56, seed) for seed in range(6)]
    calls = [
        client.async_infer("tiny", [files(image)], request_id=str(number))
        for number, image in enumerate(images)
    ]
    for number, call in enumerate(calls):
        found = call.get_result()
        assert found.get_response()["id"] == str(number)
        labels = one(images[number]).label_map
        assert np.array_equal(found.as_numpy("label_map")[0], labels)


def test_files_in_json_are_base64(server, expected):
    text = asked()["inputs"][0]["data"][0]
    for fields in ({}, {"data": [{"b64": text}]}, {"parameters": {"content_type": "base64"}}):
        answer = post(server, asked(**fields)).json()
        assert answer["outputs"][0] == {
            "name": "label_map",
            "shape": [1, 40, 56],
            "datatype": "UINT8",
            "data": expected.reshape(-1).tolist(),
        }
        assert "id" not in answer


def test_pixels_in_json_are_nested_or_flat(server, expected):
    pixels = photo(40, 56)
    for shape, data in (
        ([40, 56, 3], pixels.tolist()),
        ([1, 40, 56, 3], pixels[None].tolist()),
        ([1, 40, 56, 3], pixels.reshape(-1).tolist()),
    ):
        answer = post(server, asked(shape=shape, datatype="UINT8", data=data)).json()
        assert answer["outputs"][0]["data"] == expected.reshape(-1).tolist()


@pytest.mark.parametrize("content", HOSTILE, ids=lambda content: content[:20].decode("latin-1"))
def test_hostile_json_is_refused(server, content):
    assert error_of(post(server, content))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "images"}, "no input 'images'"),
        ({"name": 3}, "name is a whole number"),
        ({"datatype": "FP32"}, "datatype 'FP32'"),
        ({"datatype": None}, "datatype"),
        ({"shape": [-1]}, "no usable shape"),
        ({"shape": [True]}, "no usable shape"),
        ({"shape": [1.0]}, "no usable shape"),
        ({"shape": []}, "no usable shape"),
        ({"shape": [1] * 9}, "no usable shape"),
        ({"shape": [1, 1]}, r"it is \[n\]"),
        ({"shape": [5]}, "at most 4"),
        ({"shape": [2]}, "has 1 values, but its shape has 2"),
        ({"data": None}, "no data"),
        ({"data": [3]}, "a whole number in its data"),
        ({"data": ["no base64!"]}, "no base64"),
        ({"data": ["ü"]}, "no base64"),
        ({"parameters": []}, "parameters is a list"),
        ({"parameters": {"content_type": "str"}}, "base64 alone"),
        ({"parameters": {"binary_data_size": 5}}, "0 bytes lie behind"),
        ({"parameters": {"binary_data_size": -5}}, "binary_data_size -5"),
        ({"parameters": {"shared_memory_region": "a"}}, "shared memory"),
        ({"datatype": "UINT8", "shape": [1, 2, 2, 4]}, r"\[n, H, W, 3\]"),
        ({"datatype": "UINT8", "shape": [9, 2, 2, 3]}, "at most 4"),
        ({"datatype": "UINT8", "shape": [3]}, r"\[n, H, W, 3\]"),
        ({"datatype": "UINT8", "shape": [1, 1, 3], "data": [1, 2]}, "has 2 values"),
        ({"datatype": "UINT8", "shape": [1, 1, 3], "data": [1, 2, 256]}, "0 to 255"),
        ({"datatype": "UINT8", "shape": [1, 1, 3], "data": [1, 2, -1]}, "0 to 255"),
        ({"datatype": "UINT8", "shape": [1, 1, 3], "data": [1, 2, 2.0]}, "0 to 255"),
        ({"datatype": "UINT8", "shape": [1, 1, 3], "data": ["a", "b", "c"]}, "0 to 255"),
        ({"datatype": "UINT8", "shape": [1, 1, 3], "data": [[[1, 2], 3]]}, "not nested"),
        ({"datatype": "UINT8", "shape": [1, 1, 3], "data": [[1, 2, 3]]}, "not nested"),
        ({"datatype": "UINT8", "shape": [1, 1, 3], "data": [[[1, 2, [3]]]]}, "0 to 255"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_refused(server, fields, words):
    import re

    assert re.search(words, error_of(post(server, asked(**fields))))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"id": 7}, "id is a whole number"),
        ({"parameters": {"timeout": -1}}, "timeout is -1"),
        ({"parameters": {"timeout": 0.5}}, "timeout is a number"),
        ({"parameters": {"timeout": True}}, "timeout is true or false"),
        ({"parameters": {"binary_data_output": 1}}, "binary_data_output"),
        ({"outputs": {}}, "outputs is an object"),
        ({"outputs": [1]}, "an output is an object"),
        ({"outputs": [{"name": "labels"}]}, "no output 'labels'"),
        ({"outputs": [{"name": "label_map"}] * 2}, "twice"),
        ({"outputs": [{"name": "label_map", "parameters": {"classification": 3}}]}, "classification"),
        ({"outputs": [{"name": "label_map", "parameters": {"binary_data": 0}}]}, "binary_data"),
    ],
)  # fmt: skip
def test_wrong_wishes_are_refused(server, fields, words):
    assert words in error_of(post(server, {**asked(), **fields}))


def test_fields_that_are_null_or_unknown_are_passed_over(server):
    more = {"id": None, "outputs": [], "parameters": {"priority": 3, "timeout": 0}, "other": 1}
    assert post(server, {**asked(), **more}).status_code == 200


def test_a_time_that_is_over_is_told(server):
    answer = post(server, {**asked(), "parameters": {"timeout": 1}})
    assert "time of the request" in error_of(answer, 504)


def binary(head: dict, behind: bytes, length: str | None = None) -> tuple[bytes, dict]:
    text = json.dumps(head).encode()
    return text + behind, {"Inference-Header-Content-Length": length or str(len(text))}


@pytest.mark.parametrize(
    "behind",
    [
        b"",
        b"\0",
        b"\xff\xff\xff\xff",
        struct.pack("<I", 9) + b"short",
        struct.pack("<I", 1) + b"two",
    ],
)
def test_binary_files_that_are_cut_or_too_long_are_refused(server, behind):
    head = asked(data=None, parameters={"binary_data_size": len(behind)})
    assert "bytes" in error_of(post(server, *binary(head, behind)))


@pytest.mark.parametrize("length", ["-1", "+5", "1_0", "a", "1e3", "999999", "9" * 30, "³"])
def test_wrong_lengths_of_the_json_are_refused(server, length):
    content, _ = binary(asked(), b"")
    headers = {"Inference-Header-Content-Length": length.encode()}
    assert "Inference-Header-Content-Length" in error_of(post(server, content, headers))


def test_bytes_that_belong_to_no_input_are_refused(server):
    assert "no input has" in error_of(post(server, *binary(asked(), b"abc")))
    both = asked(parameters={"binary_data_size": 3})
    assert "give one of them" in error_of(post(server, *binary(both, b"abc")))
    pixels = asked(data=None, datatype="UINT8", shape=[1, 1, 3], parameters={"binary_data_size": 2})
    assert "has 3" in error_of(post(server, *binary(pixels, b"ab")))


def test_sizes_are_looked_at_before_anything_is_made_of_them(server):
    for shape in ([1, 2**62, 2**62, 3], [1, 400, 300, 3], [4, 200, 200, 3]):
        answer = post(server, asked(data=[], datatype="UINT8", shape=shape))
        assert "at most 100,000 are taken" in error_of(answer, 413)
    many = [base64.b64encode(png(photo(200, 200, seed))).decode() for seed in range(3)]
    assert "120,000" in error_of(post(server, asked(shape=[3], data=many)), 413)


def test_lists_of_too_many_values_are_refused_unread(server, monkeypatch):
    monkeypatch.setattr("vitseg.serve.json_body.MAX_VALUES", 1000)
    big = asked(datatype="UINT8", shape=[40, 56, 3], data=photo(40, 56).tolist())
    assert "send the tensor as binary" in error_of(post(server, big))


def test_answers_of_too_many_values_are_refused_before_the_model_runs(server, monkeypatch):
    monkeypatch.setattr("vitseg.serve.infer_answer.MAX_VALUES", 1000)
    before = len(server.engine.tasks)
    assert "ask for binary data" in error_of(post(server, asked()))
    assert len(server.engine.tasks) == before
    as_bytes = {**asked(), "parameters": {"binary_data_output": True}}
    assert post(server, as_bytes).status_code == 200


def test_compressed_requests_and_wrong_files_are_refused(server):
    answer = post(server, json.dumps(asked()).encode(), {"Content-Encoding": "gzip"})
    assert "Content-Encoding" in error_of(answer, 415)
    assert "no image" in error_of(post(server, asked(data=["AAAA"])), 415)


def test_no_request_leaves_a_place_taken(server):
    """After all others of this file."""
    assert server.service.admission.requests == 0
    assert server.service.admission.pixels == 0
