"""All that a device can run a model by, measured in one go; the fastest that loses little is kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vitseg.checkpoint.model_dir import load_model
from vitseg.errors import ConfigError, VitsegError
from vitseg.export.export import (
    ENDINGS,
    ExportOptions,
    export_model,
    files_in_order,
    unpruned,
)
from vitseg.export.parity import Parity
from vitseg.export.photos import Photos, timed_images
from vitseg.export.precision import HELD
from vitseg.export.speed import Run, milliseconds, run_of_file, run_of_model
from vitseg.inference.precision import has_bf16
from vitseg.runtimes.open_graph import open_session, read_export_record
from vitseg.runtimes.record import ExportRecord

TORCH, TORCH_BF16 = "torch, fp32", "torch, bf16"


@dataclass
class Attempt:
    """One way to run the model.

    Attributes:
        name: Format and numbers.
        options: Of the export; None: the model directory itself.
        parity: What it lost; None: nothing was compared, or it was refused.
        milliseconds: Per image, to its labels; None: it was refused.
        refused: Why it cannot be had; None: it can.
        bytes: Of its files.
    """

    name: str
    options: ExportOptions | None = None
    parity: Parity | None = None
    milliseconds: float | None = None
    refused: str | None = None
    bytes: int = 0


@dataclass
class Fastest:
    """What was tried and what was kept.

    Attributes:
        attempts: All, torch's own first.
        out: The file that was written.
        record: What it is.
        parity: What it lost.
        name: Its attempt's.
    """

    attempts: list[Attempt]
    out: Path
    record: ExportRecord
    parity: Parity
    name: str

    @property
    def times(self) -> dict[str, float]:
        """Milliseconds per image of every way that the model can be run, by name."""
        return {one.name: one.milliseconds for one in self.attempts if one.milliseconds}


def candidates(options: ExportOptions) -> Iterator[Attempt]:
    """Every format with all its numbers; bf16 where the processor has instructions for it."""
    for format, precisions in HELD.items():
        for precision in precisions:
            if precision == "bf16" and not has_bf16(torch.device("cpu")):
                continue
            chosen = replace(options, format=format, precision=precision)
            yield Attempt(f"{format}, {precision}", chosen)


def export_fastest(
    path: Path | str,
    stem: Path,
    options: ExportOptions,
    photos: Photos,
    on_attempt: Callable[[Attempt], object] = lambda attempt: None,
) -> Fastest:
    """Export in every way that this device has, and keep the file that labels fastest.

    Those that lose more than `options` allow are left out. Times are medians of rounds in which all are run in turn, on
    the CPU.

    Args:
        path: A model directory, a run folder or `hf://user/name`.
        stem: The file without its ending, which is that of the format that is kept.
        options: Form, size and limits; format and precision are chosen here.
        photos: Labelled photos.
        on_attempt: Called after each export.

    Raises:
        ConfigError: There are no photos, or nothing can be exported.
        CheckpointError: There is no such model, or it is damaged.
        OSError: The files cannot be written.
    """
    if len(photos) == 0:
        raise ConfigError(
            "--fastest measures what is lost, and calibrates int8, on images: give --data NAME:ROOT."
        )
    if stem.suffix.lower() in ENDINGS.values():
        raise ConfigError(
            f"--out {stem}: --fastest chooses the format, whose ending is added: give --out {stem.with_suffix('')}."
        )
    stem.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=stem.parent, prefix=f".{stem.name[:80]}-") as folder:
        attempts, places = [], dict[str, Path]()
        for number, attempt in enumerate(candidates(options)):
            assert attempt.options is not None
            ending = ENDINGS[attempt.options.format]
            place = Path(folder) / str(number) / f"{stem.name}{ending}"
            try:
                _, attempt.parity = export_model(path, place, attempt.options, photos)
                places[attempt.name] = place
                attempt.bytes = sum(file.stat().st_size for file in place.parent.iterdir())
            except VitsegError as error:
                attempt.refused = str(error)
            attempts.append(attempt)
            on_attempt(attempt)
        if not places:
            raise ConfigError(
                f"{path}: nothing could be exported. {attempts[0].name}: {attempts[0].refused}"
            )
        attempts, records = _timed(path, options, attempts, places, photos)
        written = [attempt for attempt in attempts if attempt.name in places]
        best = min(written, key=lambda attempt: attempt.milliseconds or float("inf"))
        place = places[best.name]
        for file in files_in_order(place.parent):
            os.replace(file, stem.parent / file.name)
    assert best.parity is not None
    return Fastest(attempts, stem.parent / place.name, records[best.name], best.parity, best.name)


def _timed(
    path: Path | str,
    options: ExportOptions,
    attempts: list[Attempt],
    places: dict[str, Path],
    photos: Photos,
) -> tuple[list[Attempt], dict[str, ExportRecord]]:
    """All attempts with their times, beside those of torch itself."""
    model, told = load_model(path)
    if options.unpruned:
        model, told = unpruned(model, told, path)
    records = {name: read_export_record(place) for name, place in places.items()}
    any_record = next(iter(records.values()))
    images = timed_images(any_record, photos)
    runs: dict[str, Run] = {TORCH: run_of_model(model, any_record, images)}
    if has_bf16(torch.device("cpu")):
        runs[TORCH_BF16] = run_of_model(model, any_record, images, "bf16")
    own = [Attempt(name) for name in runs]
    for name, place in places.items():
        session = open_session(place, records[name], torch.device("cpu"))
        runs[name] = run_of_file(session, records[name], place, images)
    found = milliseconds(runs, images)
    for attempt in (*own, *attempts):
        attempt.milliseconds = found.get(attempt.name)
    return [*own, *attempts], records


def report(found: Fastest) -> dict[str, object]:
    """What was tried, as plain values."""
    return {
        "kept": found.name,
        "threads": torch.get_num_threads(),
        "attempts": [
            {
                "name": one.name,
                "milliseconds": one.milliseconds,
                "miou_loss": None if one.parity is None else one.parity.miou_loss,
                "share_differing": None
                if one.parity is None or one.parity.photos is None
                else one.parity.photos.share,
                "bytes": one.bytes or None,
                "refused": one.refused,
            }
            for one in found.attempts
        ],
    }


def report_place(out: Path) -> Path:
    """The file beside an export that says what else was tried."""
    return out.with_name(f"{out.name}.fastest.json")
