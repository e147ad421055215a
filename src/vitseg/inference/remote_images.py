"""Images behind addresses, as `s3://bucket/photos/*.jpg`: whatever fsspec has a file system for."""

from __future__ import annotations

import importlib
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

from vitseg.errors import ConfigError, DataError, VitsegError, first_line
from vitseg.images.suffixes import is_image_name
from vitseg.inference.targets import RemoteTarget

MOST_BYTES = 1_000_000_000
"""Of an encoded image that is held in memory."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_WEB = ("http://", "https://")
_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "mtime", "updated")  # fmt: skip
"""What the stores call what changes with an object."""


class Listed(NamedTuple):
    """An object of a store.

    Attributes:
        address: With which it is read.
        below: Its path below the fixed part of the address or pattern that it was found by.
        version: What changes with its content, as far as the store says it.
        num_bytes: Its size; None where that is not said.
    """

    address: str
    below: str
    version: str
    num_bytes: int | None


def is_address(text: object) -> bool:
    """Whether a text is an address; also as a path, in which the second slash is lost. A letter of a drive is none."""
    return _ADDRESS.match(str(text)) is not None


def list_objects(address: str) -> list[Listed]:
    """The objects that an address means: one, those that match a pattern, or the images below a folder.

    Raises:
        ConfigError: The package for such addresses is missing, or nobody knows such addresses.
        DataError: There is nothing, or the store does not answer.
    """
    with _told(address):
        system, path = _system(address)
        is_pattern = re.search(r"[*\[]" if address.startswith(_WEB) else r"[*?\[]", path)
        if is_pattern:
            fixed = path[: is_pattern.start()].rpartition("/")[0]
            found: dict[str, Any] = system.glob(path, detail=True)
        elif system.isdir(path):
            fixed = path.rstrip("/")
            listed = system.find(path, detail=True)
            found = {each: facts for each, facts in listed.items() if is_image_name(each)}
        else:
            fixed = path.rpartition("/")[0]
            found = {path: system.info(path)}
    files = {each: facts for each, facts in found.items() if facts.get("type") != "directory"}
    if not files:
        what = "matches no file" if is_pattern else "holds no image"
        raise DataError(f"{address} {what}.")
    return [
        Listed(
            each if each.startswith(_WEB) else system.unstrip_protocol(each),
            each.removeprefix(fixed).lstrip("/"),
            next((str(facts[name]) for name in _VERSIONS if facts.get(name)), ""),
            facts.get("size"),
        )
        for each, facts in sorted(files.items())
    ]


def read_object(target: RemoteTarget) -> bytes:
    """The bytes of an image.

    Raises:
        DataError: It has too many, or cannot be read.
        ConfigError: The package for such addresses is missing.
    """
    if (target.num_bytes or 0) > MOST_BYTES:
        raise DataError(
            f"{target.image} has {target.num_bytes:,} bytes, but at most {MOST_BYTES:,} are read from an address: "
            "download it, and give the file."
        )
    with _told(target.image):
        system, path = _system(target.image)
        return system.cat_file(path)


@contextmanager
def open_object(address: str) -> Generator[BinaryIO, None, None]:
    """An object, open for reading at any place of it.

    Raises:
        DataError: It cannot be read.
        ConfigError: The package for such addresses is missing.
    """
    with _told(address):
        system, path = _system(address)
        file = system.open(path)
    with file:
        yield file


def _system(address: str) -> tuple[Any, str]:
    if "::" in address:
        raise ConfigError(f"{address} is a chain of addresses: unpack the archive, and give that.")
    core: Any = importlib.import_module("fsspec.core")  # which states no types
    try:
        return core.url_to_fs(address)
    except (ImportError, ValueError) as error:  # whose words name the package, or the protocol
        raise ConfigError(f"{address} cannot be read here: {first_line(error)}.") from error


@contextmanager
def _told(address: str) -> Generator[None, None, None]:
    """Within it, an error of a store is one about an address; each store's client has errors of its own."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{address} does not exist.") from error
    except VitsegError:
        raise
    except Exception as error:
        raise DataError(
            f"{address} cannot be read: {type(error).__name__}, {first_line(error)}."
        ) from error
