"""Saving where a run stands: in one file by the first process, or of a sharded training in parts by all.

Either way all processes know afterwards that the state is there, or end because it is not; the state of before stays.
"""

from __future__ import annotations

from pathlib import Path

from vitseg.training.processes import together
from vitseg.training.run_parts import RunParts, scaler_of
from vitseg.training.sharded_state import ShardedSave
from vitseg.training.sharding import same_statistics
from vitseg.training.state import RunIdentity, facts_of, save_state, shards_named, write_state


def save(out: Path, parts: RunParts, identity: RunIdentity) -> None:
    """Save the state of a run; all processes call it.

    Args:
        out: Folder of the run.
        parts: What is saved.
        identity: What the run is told by.

    Raises:
        OSError: It cannot be written.
        SaidElsewhereError: Another process could not write.
    """
    if parts.sharding is not None:
        _save_parts(out, parts, identity)
        return
    with together(parts.fabric):
        if parts.fabric.is_global_zero:
            scaler = scaler_of(parts.fabric)
            state = None if scaler is None else scaler.state_dict()
            save_state(out, parts.model, parts.optimizer, parts.progress, identity, state)


def _save_parts(out: Path, parts: RunParts, identity: RunIdentity) -> None:
    fabric, progress = parts.fabric, parts.progress
    is_first = fabric.is_global_zero
    saved = ShardedSave(out, progress.iteration)
    same_statistics(parts.model)
    try:
        with together(fabric):
            if is_first:
                saved.begin(shards_named(out))
        with together(fabric):
            saved.write(fabric.global_rank, parts.model, parts.optimizer.optimizer)
        with together(fabric):
            if is_first:
                saved.finish()
                write_state(out, {**facts_of(progress, identity), "shards": saved.name})
                saved.clean()
    except Exception:
        if is_first:
            saved.undo()
        raise
