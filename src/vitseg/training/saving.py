"""Saving where a sharded training stands, in parts by all processes; others save by the first one, see `StateWriter`.

All processes know afterwards that the state is there, or end because it is not; the state of before stays.
"""

from __future__ import annotations

from pathlib import Path

from vitseg.training.processes import as_in_the_first, together
from vitseg.training.run_parts import RunParts
from vitseg.training.sharded_state import ShardedSave
from vitseg.training.state import RunIdentity, facts_of, shards_named, write_state


def save_parts(out: Path, parts: RunParts, identity: RunIdentity) -> None:
    """Save the state of a run; all processes call it.

    Args:
        out: Folder of the run.
        parts: What is saved.
        identity: What the run is told by.

    Raises:
        OSError: It cannot be written.
        SaidElsewhereError: Another process could not write.
    """
    fabric, progress = parts.fabric, parts.progress
    is_first = fabric.is_global_zero
    saved = ShardedSave(out, progress.iteration)
    as_in_the_first(fabric, parts.model)
    try:
        with together(fabric):
            if is_first:
                saved.begin(shards_named(out))
        with together(fabric):
            saved.write(fabric.global_rank, parts.model, parts.optimizer.optimizer)
        with together(fabric):
            if is_first:
                write_state(out, {**facts_of(progress, identity), **saved.finish()})
                saved.clean()
    except Exception:
        if is_first:
            saved.undo()
        raise
