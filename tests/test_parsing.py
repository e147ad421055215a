from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitseg import parsing
from vitseg.parsing import UnreadableError, parse_csv, parse_json, parse_yaml

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i}\n  <<: [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply: more than 64"),
        ("[" * 70 + "]" * 70, "nested too deeply: more than 64"),
        ('{"a":' * 2000 + "1" + "}" * 2000, "nested too deeply: more than 64"),
        ("9" * 5000, "beyond 64 bits"),
        ("[1, " + "9" * 400 + "]", "beyond 64 bits"),
        (str(2**63), "beyond 64 bits"),
        ("[NaN]", "NaN where a number"),
        ("[-Infinity]", "-Infinity where a number"),
        ('["x", 1e999, true]', "not finite"),
        ('{"a": 1, "a": 2}', "'a' comes twice"),
        (r'["\ud800"]', "half a character"),
        (r'{"\ud800": 1}', "half a character"),
        (r'["a\u0000"]', "zero byte"),
        (b"[1]\0", "zero bytes"),
        (b'["\xe9"]', "not in UTF-8"),
        ("", "is no JSON"),
        ("{", "is no JSON"),
    ],
)
def test_json_that_is_refused(text, reason):
    with pytest.raises(UnreadableError, match=reason) as error:
        parse_json(text)
    assert "\n" not in str(error.value)


def test_json_in_the_encodings_of_editors():
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert parse_json('{"é": [1, 2.5, null]}'.encode(encoding)) == {"é": [1, 2.5, None]}
    assert parse_json("[" * 64 + "]" * 64)
    assert parse_json(str(2**63 - 1)) == 2**63 - 1


def test_numbers_that_are_not_finite_where_they_are_allowed():
    assert str(parse_json("[NaN, 1, Infinity]", finite=False)) == "[nan, 1, inf]"
    assert parse_json(f"[{2**70}]", finite=False) == [2**70]
    with pytest.raises(UnreadableError, match="64 bits"):
        parse_json("9" * 5000, finite=False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply: more than 64"),
        ("- " * 5000 + "a", "nested too deeply: more than 64"),
        (LAUGHS, "aliases repeat"),
        (MERGED, "aliases repeat"),
        ("a: &a [*a]", "repeats what it stands in"),
        ("a: &a {b: *a}", "repeats what it stands in"),
        ("a: " + "9" * 5000, "beyond 64 bits"),
        ("a: 0x_", "none of its kind"),
        ("a: 0b_", "none of its kind"),
        ("a: !!int abc", "none of its kind"),
        ("a: !!bool x", "none of its kind"),
        ("a: !!timestamp x", "none of its kind"),
        ("a: !!set {b, c}", "no text, number, list or mapping"),
        ("a: !!binary aGk=", "no text, number, list or mapping"),
        ("a: !!python/object:os.system x", "is no YAML"),
        ("a: .inf", "not finite"),
        ("a: [1, .nan]", "not finite"),
        ("a: 1\nb: 2\na: 3", r"'a' comes twice \(line 3\)"),
        ("? [a]\n: 1", "a key is a list"),
        ("<<: 3", "is no YAML"),
        ("a: 1\n---\nb: 2", "is no YAML"),
        ("a: \0", "is no YAML"),
        ("a: b: c", "is no YAML"),
    ],
)
def test_yaml_that_is_refused(text, reason):
    with pytest.raises(UnreadableError, match=reason) as error:
        parse_yaml(text)
    assert "\n" not in str(error.value)


def test_yaml_without_surprises():
    assert parse_yaml("a: =\nb: <<\nc: 2024-13-45\nd: 2024-01-01") == {
        "a": "=",
        "b": "<<",
        "c": "2024-13-45",
        "d": "2024-01-01",
    }
    assert parse_yaml("1: x\nno: y\nnull: z\n=: w") == {"1": "x", "no": "y", "null": "z", "=": "w"}
    assert parse_yaml("base: &b {x: 1, y: 2}\nmine: {<<: *b, x: 3}")["mine"] == {"x": 3, "y": 2}
    assert parse_yaml("[no, 1, 1.5, ~]") == [False, 1, 1.5, None]
    assert parse_yaml("[no, 1, 1.5, ~]", as_text=True) == ["no", "1", "1.5", "~"]


def test_tables():
    assert parse_csv('a, b\n\n c ,"d ""e"""') == [["a", "b"], ["c", 'd "e"']]
    with pytest.raises(UnreadableError, match="a cell of more than 131,072 characters"):
        parse_csv('a,"' + "x" * 200_000)


def test_files(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(UnreadableError, match="No such file"):
        parsing.read_json(path)
    with pytest.raises(UnreadableError, match="directory"):
        parsing.read_json(tmp_path)
    path.write_text(json.dumps(list(range(100))))
    assert parsing.read_json(path) == list(range(100))
    with pytest.raises(UnreadableError, match="more than 50 bytes, which are read at most"):
        parsing.read_json(path, most=50)
    path.write_bytes(b" " * (parsing.MOST_YAML_BYTES + 1))
    with pytest.raises(UnreadableError, match="more than 2,097,152 bytes"):
        parsing.read_yaml(path)


def test_nothing_else_calls_the_parsers():
    """Their errors become ours in one place."""
    source = Path(parsing.__file__).parent
    allowed = {"parsing.py", "data/official/tables.py", "cli/demo.py", "training/log.py"}
    for path in source.rglob("*.py"):
        name, text = path.relative_to(source).as_posix(), path.read_text(encoding="utf-8")
        calls = ("yaml.safe_load", "yaml.load(", "json.load(", "csv.reader(", "csv.DictReader(")
        if name not in allowed:
            assert not [call for call in calls if call in text], name
            assert text.count("json.loads(") == text.count("json.loads(json.dumps("), name
