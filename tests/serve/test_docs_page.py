from __future__ import annotations

import re

import pytest

from tests.serve.fake import running
from tests.serve.raw import request
from vitseg.serve.docs_page import docs_page


def test_the_description_is_a_page_where_it_is_asked_for():
    with running(shows_docs=True, shows_page=False) as server:
        answer = request(server.port, "GET", "/docs")
        assert answer.status == 200
        page = answer.body.decode()
        for path in ("/v1/segment", "/v1/explain", "/v2/models/{name}/infer", "/metrics"):
            assert path in page
        assert set(re.findall(r'(?:href|src)="([^"]+)"', page)) == {
            "/page/docs.css",
            "/openapi.json",
        }
        assert request(server.port, "GET", "/page/docs.css").status == 200
        assert request(server.port, "GET", "/").status == 404


def test_else_there_is_none():
    with running() as server:
        assert request(server.port, "GET", "/docs").status == 404


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x>'])
def test_what_it_shows_is_text(hostile):
    description = {
        "info": {"title": hostile, "version": "1"},
        "paths": {
            hostile: {
                "get": {
                    "description": hostile,
                    "parameters": [{"name": hostile, "in": "query", "description": hostile}],
                    "responses": {"200": {"description": hostile}},
                }
            }
        },
    }
    assert hostile not in docs_page(description)
