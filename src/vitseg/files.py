"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place to write to, beside `path`, that gets its name when the block ends without an error.

    So that no half-written file is ever seen under the name, and a full disk leaves an earlier file as it was. The
    parent folder is created.

    Args:
        path: The file; an existing one is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it appears whole or not at all; see `whole_file`."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, indented by two, so that it appears whole or not at all; see `whole_file`."""
    write_whole(path, json.dumps(content, indent=2) + "\n")
