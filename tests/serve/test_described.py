from __future__ import annotations

import json

import httpx
import jsonschema
import pytest

from tests.serve.in_thread import running_models
from tests.tiny import write_model


@pytest.fixture(scope="module", params=["open", "keys"])
def server(request, tmp_path_factory):
    keys = ("secret",) if request.param == "keys" else ()
    place = write_model(tmp_path_factory.mktemp("models") / "tiny")
    with running_models({"tiny": place}, api_keys=keys) as running:
        yield running


@pytest.fixture
def about(server):
    return httpx.get(f"{server.url}/openapi.json", headers={"X-API-Key": "secret"}).json()


def operations(about):
    for path, all_of_it in about["paths"].items():
        for method, operation in all_of_it.items():
            yield f"{method} {path}", operation


def test_every_route_is_described_with_errors_of_one_form(about):
    names = dict(operations(about))
    assert {"post /v1/segment", "post /v2/models/{name}/infer", "get /metrics"} <= names.keys()
    for name, operation in names.items():
        assert operation["description"], name
        for status, answer in operation["responses"].items():
            assert answer["description"], (name, status)
            if status >= "400":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}, (name, status)


def test_all_references_are_there_and_operations_have_names_of_their_own(about):
    text = json.dumps(about)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part.split('"')[0] in about["components"]["schemas"]
    assert "HTTPValidationError" not in text
    ids = [operation["operationId"] for _, operation in operations(about)]
    assert len(ids) == len(set(ids))


def test_schemas_are_schemas(about):
    for schema in about["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for name, operation in operations(about):
        for body in operation.get("requestBody", {}).get("content", {}).values():
            jsonschema.Draft202012Validator.check_schema(body["schema"])
            if "example" in body:
                jsonschema.validate(body["example"], body["schema"])
        for answer in operation["responses"].values():
            for kind in answer.get("content", {}).values():
                if "example" in kind:
                    whole = {**kind["schema"], "components": about["components"]}
                    jsonschema.validate(kind["example"], whole), name


def test_answers_are_as_they_are_described(server, about):
    headers = {"X-API-Key": "secret"}
    for path in (
        "/v1/models",
        "/v1/models/{name}/classes",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{name}",
        "/v2/models/{name}/ready",
    ):
        answer = httpx.get(server.url + path.format(name="tiny"), headers=headers)
        schema = about["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        jsonschema.validate(answer.json(), {**schema["schema"], "components": about["components"]})


def test_keys_are_described_where_they_are_needed(server, about):
    if not server.service.settings.api_keys:
        assert "security" not in about
        return
    assert about["security"] == [{"key": []}, {"bearer": []}]
    for path, all_of_it in about["paths"].items():
        needs = httpx.get(server.url + path.format(name="tiny", version="1")).status_code == 401
        for operation in all_of_it.values():
            assert (operation.get("security") == []) != needs, path
