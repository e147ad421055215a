"""Which images of a data set are meant where no split is named."""

from __future__ import annotations

from pathlib import Path

from vitseg.cli import frame


def held_out_split(data: str, model: Path, split: str | None) -> str:
    """The split that a model is measured on.

    A training without a recipe splits data that are not, and keeps the lists: such data are measured on what it held
    out, and this is said.

    Args:
        data: `NAME:ROOT`.
        model: A model directory, the folder of a run, an exported file, or `hf://user/name`.
        split: As the user names it; None: `val`, else that list.
    """
    from vitseg.data.catalog import list_splits
    from vitseg.data.splits import usual_split
    from vitseg.runs import validated_on

    if split is not None:
        return split
    found = usual_split("val", list_splits(data))
    if found is not None:
        return found
    listed = validated_on(model)
    if listed is None:
        return "val"  # opening it says which splits there are
    frame.say(f"{data} has no split val: measured on {listed}, what the model's training held out.")
    return str(listed)


def training_split(data: str) -> str:
    """The split that is learnt from where none is named: `train`, else the only one.

    Args:
        data: `NAME:ROOT`.
    """
    from vitseg.data.catalog import list_splits
    from vitseg.data.splits import usual_split

    names = list_splits(data)
    return usual_split("train", names) or (names[0] if len(names) == 1 else "train")
