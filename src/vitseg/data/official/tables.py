"""The class tables of the published data sets: one CSV file each, every raw id in its own row."""

from __future__ import annotations

import csv
from importlib.resources import files

from vitseg.classes import IGNORE_INDEX, ClassTable, Color
from vitseg.data.labels import LabelTable

COLUMNS = ("raw", "index", "name", "red", "green", "blue")
"""Raw mask id, class index (empty: such pixels count nowhere), name, colour in [0, 255]."""


def read_table(name: str, hint: str) -> LabelTable:
    """The label table of `tables/NAME.csv`.

    Args:
        name: Name of the file, without suffix.
        hint: Advice for the error about a raw id that the table lacks.
    """
    text = (files("vitseg.data.official") / "tables" / f"{name}.csv").read_text(encoding="utf-8")
    mapping: dict[int, int] = {}
    raw_names: dict[int, str] = {}
    classes: dict[int, tuple[str, Color]] = {}
    for row in csv.DictReader(text.splitlines()):
        assert tuple(row) == COLUMNS, f"{name}.csv has the columns {tuple(row)}"
        raw, index = int(row["raw"]), int(row["index"] or IGNORE_INDEX)
        assert raw not in mapping, f"{name}.csv has two rows for the id {raw}"
        mapping[raw], raw_names[raw] = index, row["name"]
        if index != IGNORE_INDEX:
            assert index not in classes, f"{name}.csv has two rows for the class {index}"
            color = (int(row["red"]), int(row["green"]), int(row["blue"]))
            classes[index] = (row["name"], color)
    assert sorted(classes) == list(range(len(classes))), f"{name}.csv leaves out a class index"
    in_order = [classes[index] for index in sorted(classes)]
    table = ClassTable(
        names=tuple(class_name for class_name, _ in in_order),
        palette=tuple(color for _, color in in_order),
    )
    return LabelTable(table, mapping, raw_names, hint=hint)
