"""What is wrong with single shards or rows, as findings."""

from __future__ import annotations

from collections.abc import Sequence

from vitseg.data.finding import Finding
from vitseg.data.shards.place import ShardPlace
from vitseg.errors import first_names


def damaged_shards(place: ShardPlace, faults: Sequence[str]) -> Finding:
    """The finding about shards that cannot be read, or not to their end.

    Args:
        place: Where they lie.
        faults: What is wrong with each, beginning with its name; at least one.
    """
    one = len(faults) == 1
    return Finding.of(
        "damaged-shard",
        "error",
        f"{len(faults)} shard{'' if one else 's'} of {place.shown} {'is' if one else 'are'} missing or damaged: "
        f"{first_names(faults)}.",
        "Copy them again, or write the shards anew.",
        faults,
    )


def compressed(place: ShardPlace, names: Sequence[str]) -> list[Finding]:
    """The finding about shards that are compressed beside others that are not; none where there are none."""
    if not names:
        return []
    one = len(names) == 1
    return [
        Finding.of(
            "damaged-shard",
            "error",
            f"{len(names)} shard{'' if one else 's'} of {place.shown} {'is' if one else 'are'} compressed, of which no "
            f"parts can be read: {first_names(names)}.",
            "Unpack them, or move them away.",
            names,
        )
    ]


def lacking(what: str, rows: Sequence[str]) -> list[Finding]:
    """The finding about rows that have no image, or no mask; none where there are no such rows.

    Args:
        what: `image` or `mask`.
        rows: The rows, by their names.
    """
    if not rows:
        return []
    code = "image-without-mask" if what == "mask" else "id-without-image"
    return [
        Finding.of(
            code,
            "error",
            f"{len(rows)} row{' has' if len(rows) == 1 else 's have'} no {what}: {first_names(rows)}.",
            f"Remove the rows, or add the {what}s.",
            rows,
        )
    ]


def same_ids(rows: Sequence[str]) -> list[Finding]:
    """The finding about rows that have the id of another; none where there are no such rows."""
    if not rows:
        return []
    return [
        Finding.of(
            "duplicate-id",
            "error",
            f"{len(rows)} row{' has' if len(rows) == 1 else 's have'} the id of another: {first_names(rows)}.",
            "Give each sample an id of its own, or remove what comes twice.",
            rows,
        )
    ]
