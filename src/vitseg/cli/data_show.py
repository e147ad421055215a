"""`vitseg data show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitseg.cli import frame, options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table


def show(
    data: options.DataArgument,
    *,
    merge: options.Merge = None,
    ignore: options.Ignore = None,
) -> None:
    """Show what a data set was found to be: its format, splits, and which mask value is which class."""
    from rich.table import Table

    from vitseg.checks.tag_counts import count_tags
    from vitseg.data.catalog import DATASETS, list_splits, open_unchecked, parse_data_spec
    from vitseg.data.left_out import LEFT_OUT

    joint = options.parse_merge(merge)
    labels, tags = None, {}
    data_format = DATASETS[parse_data_spec(data)[0]]
    splits = Table("split", "images", "what was found", title=data, caption=data_format.summary)
    left_out: dict[str, None] = {}
    for split in list_splits(data):
        dataset = open_unchecked(data, split, joint, ignore or [])
        labels = dataset.labels
        left_out |= {each.message: None for each in dataset.findings if each.code in LEFT_OUT}
        splits.add_row(split, str(len(dataset)), dataset.source)
        counts = count_tags(dataset)
        if counts.keys() - {1}:
            tags[split] = counts
    frame.show(splits)
    if tags:
        frame.show(tag_table(tags))
    assert labels is not None, "a data set has a split"
    title = f"{labels.classes.num_classes} classes"
    table = Table("mask value", "name", "class", title=title)
    table.add_column("colour")
    for raw, (text, name, to) in zip(sorted(labels.mapping), labels.rows(), strict=True):
        index = labels.mapping[raw]
        swatch = ""
        if index >= 0:
            red, green, blue = labels.classes.palette[index]
            swatch = f"[on #{red:02x}{green:02x}{blue:02x}]    [/] {red},{green},{blue}"
        table.add_row(text, name, to, swatch)
    frame.show(table)
    for message in left_out:
        frame.say(message, style="yellow")


def tag_table(tags: Mapping[str, Mapping[int, int]]) -> Table:
    """How many images of each split have which orientation tag.

    Args:
        tags: Split -> tag -> images.
    """
    from rich.table import Table

    table = Table(
        "split", "orientation tags", title="images that are turned upright by their orientation tag"
    )
    for split, counts in tags.items():
        listed = ", ".join(f"{counts[tag]} with {tag}" for tag in sorted(counts) if tag != 1)
        table.add_row(split, f"{listed}, of {sum(counts.values())} looked at")
    return table
