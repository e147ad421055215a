"""The description of the interface as a page: plain HTML of what `/openapi.json` says, which loads nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

DOCS_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"
"""The page has a style, of the server's own, and nothing that runs."""


def docs_page(description: Mapping[str, Any]) -> str:
    """The page.

    Args:
        description: As OpenAPI has it.
    """
    title = escape(f"{description['info']['title']} {description['info']['version']}")
    parts = [
        part
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
        for part in _operation(method, path, operation)
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{title}</title>\n<link rel="stylesheet" href="/page/docs.css">\n</head>\n<body>\n<main>\n'
        f'<h1>{title}</h1>\n<p>For programs: <a href="/openapi.json">openapi.json</a></p>\n'
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section>\n<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
    for paragraph in operation.get("description", "").split("\n\n"):
        yield f"<p>{escape(paragraph)}</p>"
    parameters = operation.get("parameters", [])
    if parameters:
        rows = (_row(each["name"], each["in"], _words(each)) for each in parameters)
        yield "<table>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>"
    body = operation.get("requestBody", {})
    if body:
        kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in body.get("content", {}))
        yield f"<p>{escape(body.get('description', 'Body'))} ({kinds})</p>"
    rows = [
        _row(code, "", response.get("description", ""))
        for code, response in operation.get("responses", {}).items()
    ]
    yield "<table>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>"
    yield from _examples(operation)
    yield "</section>"


def _examples(operation: Mapping[str, Any]) -> Iterator[str]:
    response = operation.get("responses", {}).get("200", {})
    for content in response.get("content", {}).values():
        if "example" in content:
            yield f"<pre>{escape(json.dumps(content['example'], indent=2))}</pre>"


def _words(parameter: Mapping[str, Any]) -> str:
    schema = parameter.get("schema", {})
    words = parameter.get("description") or schema.get("description", "")
    if "enum" in schema:
        words += f" One of {', '.join(map(str, schema['enum']))}."
    if schema.get("default") is not None:
        words += f" Default {schema['default']}."
    return words


def _row(name: str, place: str, words: str) -> str:
    return f"<tr><th><code>{escape(name)}</code></th><td>{escape(place)}</td><td>{escape(words)}</td></tr>"
