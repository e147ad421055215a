"""The one place where text of files becomes values: JSON, YAML and tables, within a budget, with errors in our words.

Files come from anywhere, and the parsers of the standard library and of PyYAML raise what they like for some of them:
RecursionError for deep nesting, ValueError for a number of 5,000 digits, KeyError and AttributeError for odd YAML. Here
all of it becomes `UnreadableError`, and what would break the code behind (numbers beyond 64 bits, text that is no text,
keys that come twice) is refused as well. Nothing else in the package calls these parsers.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml

MOST_BYTES = 64 << 20
"""Bytes of a file that is read as JSON, text or a table, unless its reader allows more."""

MOST_ANNOTATION_BYTES = 4 << 30
"""The same for annotations of a whole data set in one JSON file; those of COCO-Stuff have 1 GB."""

MOST_YAML_BYTES = 2 << 20
"""The same for YAML, whose parser needs about 4 seconds for as much."""

MOST_YAML_NODES = 500_000
"""Values of a YAML document, with those that its aliases repeat."""

DEEPEST = 64
"""Levels of lists and mappings within each other."""

MOST_CELL = 131_072
"""Characters in one cell of a table."""

_WIDEST = 1 << 63  # integers are kept in 64 bits by all that come behind


class UnreadableError(ValueError):
    """Why a file cannot be read, as the end of a sentence without its full stop."""


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a file.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        UnreadableError: It cannot be opened, fails to be read, or is larger.
    """
    try:
        if path.exists() and not (
            path.is_file() or path.is_dir()
        ):  # a pipe without a writer would keep it waiting
            raise UnreadableError("it is no ordinary file")
        with path.open("rb") as file:
            # Not most + 1 at once: as much memory would be taken before anything is read.
            held = os.fstat(file.fileno()).st_size
            data = file.read(min(held, most) + 1) if held else file.read(min(most, MOST_BYTES) + 1)
    except UnreadableError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise UnreadableError(getattr(error, "strerror", None) or str(error)) from error
    if len(data) > most:
        raise UnreadableError(f"it has more than {most:,} bytes, which are read at most")
    return data


def decoded(data: bytes, cut: bool = False) -> str:
    """Text in UTF-8, or in UTF-16 or UTF-32 with its mark, as Windows' editors may write it.

    Args:
        data: The bytes.
        cut: Whether they are only the beginning of a file, whose last character may be incomplete.

    Raises:
        UnreadableError: It is in another encoding, or no text.
    """
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        encoding = "utf-32"
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")) and (cut or len(data) % 2 == 0):
        encoding = "utf-16"
    try:
        text = data.decode(encoding, "ignore" if cut else "strict")
    except UnicodeDecodeError as error:
        raise UnreadableError("it is not in UTF-8") from error
    if "\0" in text:
        raise UnreadableError("it has zero bytes, so that it is no text in UTF-8")
    return text


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a file; see `read_bytes` and `decoded`."""
    return decoded(read_bytes(path, most))


def read_json(path: Path, most: int = MOST_BYTES, finite: bool = True) -> Any:
    """The value in a JSON file; see `read_bytes` and `parse_json`."""
    return parse_json(read_bytes(path, most), finite)


def json_values(path: Path, key: str, most: int = MOST_BYTES) -> Iterator[Any]:
    """The values that stand behind a key anywhere in a JSON file in UTF-8, the last first, without parsing the rest.

    A file may have a gigabyte around the few values that are asked for. What cannot be parsed is passed over; the
    values are not checked as `parse_json` does.

    Args:
        path: The file; one that cannot be opened has no values.
        key: The key.
        most: Bytes that a value may have.
    """
    name = b'"' + key.encode() + b'"'
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            place = data.rfind(name)
            while place >= 0:
                start = place + len(name)
                text = data[start : start + most].decode("utf-8", "ignore").lstrip()
                if text[:1] == ":":
                    with contextlib.suppress(ValueError, RecursionError):
                        yield json.JSONDecoder().raw_decode(text[1:].lstrip())[0]
                place = data.rfind(name, 0, place)
    except (OSError, ValueError):  # ValueError: an empty file
        return


def parse_json(text: str | bytes, finite: bool = True, halves: bool = False) -> Any:
    """The value that a JSON text holds.

    Args:
        text: The text; bytes as for `decoded`.
        finite: Whether NaN, infinite numbers and those beyond 64 bits are refused. Annotations may have them: their
            readers leave out the shape that does, and use the others.
        halves: Whether half characters are let through, by which Python spells names of files that are no UTF-8.

    Raises:
        UnreadableError: It is no JSON, is nested too deeply, has a number beyond 64 bits, half a character, a zero
            byte in a text, or a key twice in one object.
    """
    try:
        value = json.loads(
            decoded(text) if isinstance(text, bytes) else text,
            object_pairs_hook=_object,
            parse_constant=_no_constant if finite else None,
        )
    except UnreadableError:
        raise
    except RecursionError as error:
        raise UnreadableError(_TOO_DEEP) from error
    except json.JSONDecodeError as error:
        raise UnreadableError(f"it is no JSON ({error})") from error
    except ValueError as error:  # int() of thousands of digits
        raise UnreadableError(_TOO_WIDE) from error
    _require_plain(value, finite, halves)
    return value


def read_yaml(path: Path, as_text: bool = False) -> Any:
    """The value in a YAML file; see `read_bytes` and `parse_yaml`."""
    return parse_yaml(read_text(path, MOST_YAML_BYTES), as_text)


def parse_yaml(text: str, as_text: bool = False) -> Any:
    """The value that a YAML document holds; keys are text as it is written, and dates are text, too.

    Args:
        text: The document.
        as_text: Whether every value is the text that is written: `no` is "no", and 1 is "1".

    Raises:
        UnreadableError: It is no YAML, is nested too deeply or grows too large by its aliases, has a key that is a
            list or comes twice, or a number beyond 64 bits or none.
    """
    try:
        value = yaml.load(text, _TextLoader if as_text else _Loader)
    except UnreadableError:
        raise
    except yaml.YAMLError as error:
        raise UnreadableError(f"it is no YAML ({' '.join(str(error).split())})") from error
    except RecursionError as error:
        raise UnreadableError(_TOO_DEEP) from error
    except (
        Exception
    ) as error:  # PyYAML's constructors raise anything: 0b_, !!timestamp x, 5,000 digits
        if "limit" in str(error):  # of the digits that int() takes
            raise UnreadableError(_TOO_WIDE) from error
        raise UnreadableError("it has a value that is none of its kind (0x_, !!int abc)") from error
    _require_plain(value, finite=True)
    return value


def parse_csv(text: str, delimiter: str = ",") -> list[list[str]]:
    """The rows of a table that have any text, with the blanks around each cell taken off.

    Raises:
        UnreadableError: A cell is too long, or a quotation mark does not end.
    """
    try:
        rows = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
        return [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        reason = str(error)
        if "field limit" in reason or "field larger" in reason:
            reason = (
                f"a cell of more than {MOST_CELL:,} characters: is a quotation mark not closed?"
            )
        raise UnreadableError(f"it is no table ({reason})") from error


_TOO_DEEP = f"it is nested too deeply: more than {DEEPEST} lists or mappings within each other"
_PLAIN = {
    str,
    int,
    float,
    bool,
    type(None),
    list,
    dict,
}  # not: sets, bytes and pairs of YAML's tags
_TOO_WIDE = "it has a number beyond 64 bits"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise UnreadableError(f"the key {twice[:80]!r} comes twice in one object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise UnreadableError(f"it has {name} where a number is needed")


def _require_plain(value: Any, finite: bool, halves: bool = False) -> None:
    """Refuse what breaks the code behind; level by level, since such values nest too deeply for a recursion."""
    level: list[Any] = [[value]]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for container in level:
            if isinstance(container, dict):
                _require_texts(container, halves)
                container = list(container.values())
            kinds = set(map(type, container))
            if not kinds <= _PLAIN:
                raise UnreadableError("it has a value that is no text, number, list or mapping")
            if finite and kinds & {int, float}:
                numbers = container
                if not kinds <= {int, float}:
                    numbers = [each for each in container if type(each) in (int, float)]
                _require_numbers(numbers)
            if str in kinds:
                _require_texts((each for each in container if type(each) is str), halves)
            if kinds & {list, dict}:
                below.extend(each for each in container if type(each) in (list, dict))
        if not below:
            return
        level = below
    raise UnreadableError(_TOO_DEEP)


def _require_numbers(numbers: list[Any]) -> None:
    least, most = min(numbers), max(numbers)
    if math.inf in (most, -least) or any(each != each for each in numbers):
        raise UnreadableError("it has a number that is not finite")
    if (most >= _WIDEST and type(most) is int) or (least < -_WIDEST and type(least) is int):
        raise UnreadableError(_TOO_WIDE)


def _require_texts(texts: Iterable[Any], halves: bool) -> None:
    for text in texts:
        if "\0" in text:
            raise UnreadableError("it has a text with a zero byte")
        if not halves and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise UnreadableError("it has half a character (a lone surrogate)") from error


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its surprises: dates and `=` are text, keys are what is written."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0
        self._sizes: dict[int, int] = {}  # id of a node -> values in it, once it is complete

    def compose_node(self, parent: Any, index: Any) -> Any:
        before = self._nodes
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise UnreadableError("an alias repeats what it stands in")
            self._nodes += self._sizes[id(node)]
        else:
            self._depth += 1
            if self._depth > DEEPEST:
                raise UnreadableError(_TOO_DEEP)
            node = super().compose_node(parent, index)
            self._depth -= 1
            self._nodes += 1
            self._sizes[id(node)] = self._nodes - before
        if self._nodes > MOST_YAML_NODES:
            raise UnreadableError(
                f"it has more than {MOST_YAML_NODES:,} values, with those that aliases repeat"
            )
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        if not isinstance(node, yaml.MappingNode):
            return node
        seen: set[str] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UnreadableError(
                    f"a key is a list or a mapping (line {line}), but keys are text"
                )
            if key.value in seen:
                raise UnreadableError(f"the key {key.value[:80]!r} comes twice (line {line})")
            seen.add(key.value)
            if key.tag != _MERGE:
                key.tag = "tag:yaml.org,2002:str"
        return node

    def construct_yaml_str_of_merge(self, node: Any) -> Any:
        """`<<` where it is no key."""
        return self.construct_scalar(node)


_MERGE = "tag:yaml.org,2002:merge"
_Loader.add_constructor(_MERGE, _Loader.construct_yaml_str_of_merge)


class _TextLoader(_Loader):
    """YAML in which every value is the text that was written: YAML 1.1 takes `no`, `on` and `2024-01-01` for others."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
