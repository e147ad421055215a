"""The folder that `vitseg predict` writes: what it was made with, what is finished, and its list, a line at a time.

Nothing here imports torch, so that a folder that cannot be taken is refused before the model is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from vitseg import parsing
from vitseg.changes import changed_fields
from vitseg.claims import claim_folder, claim_predictions
from vitseg.errors import ConfigError, first_names
from vitseg.files import remove_leftovers, write_json, write_whole
from vitseg.inference.leftovers import remove_files, remove_partials
from vitseg.inference.record import PredictionRecord, read_records
from vitseg.inference.targets import FileTarget, Target
from vitseg.runs import MASKS, OVERLAYS, POLYGONS, PREDICT_SETTINGS, PREDICTIONS

EXTRA_IMAGES = "extra images"
"""Among the settings: names of the folders of a model's extra images, where it has some."""

_OVERWRITING = "overwriting"
"""Beside the settings: true until a command with --overwrite has come to its end."""

MASK_SUFFIXES = (".png", ".tif")
"""Suffixes of masks: of images that are run whole, and in tiles."""


class PredictionFolder:
    """A folder of predictions, claimed for a command. Nothing is written before `with`.

    A folder that the same command, or one with more images, began is gone on with: an image is finished where its line
    has no error, its files are there, and it has not changed since. Files of earlier lines that are not finished are
    deleted on entry, so that no mask is there without its line. With `overwrite` nothing is finished, but what a
    command with the same settings has made that was to overwrite, too, and did not come to its end.

    Args:
        out: The folder.
        settings: All that the predictions depend on, but for the images.
        targets: The images.
        overwrite: Whether earlier predictions may be replaced.

    Raises:
        ConfigError: The path is a file; or the folder holds masks that are no predictions, or, without `overwrite`,
            predictions with other settings or of other images, or those of all images already.

    Attributes:
        out: The folder.
        settings: As given.
        finished: Records of what need not be done again, by image.
        is_overwriting: Whether earlier predictions are replaced, since this command or until its end.
    """

    def __init__(
        self, out: Path, settings: Mapping[str, Any], targets: Sequence[Target], overwrite: bool
    ):
        self.out = out
        self.settings = dict(settings)
        self._targets = targets
        self._by_image = {target.image: target for target in targets}
        claim_folder(out, may_hold=None)
        earlier = _read_settings(out)
        begun = earlier is not None and earlier.pop(_OVERWRITING, False) is True
        self._earlier = {} if earlier is None and not overwrite else read_records(out)
        self._is_same = earlier is not None and not changed_fields(earlier, self.settings)
        self.finished: dict[str, PredictionRecord] = {}
        if earlier is None:
            claim_predictions(out, overwrite)
        elif not overwrite:
            self._require_same(earlier)
            self.finished = self._still_valid(self._earlier)
            if len(self.finished) == len(targets):
                self._refuse("of all these images")
        elif begun and self._is_same:
            self.finished = self._valid(self._earlier)
        self.is_overwriting = overwrite or begun
        self._file: int | None = None

    def _require_same(self, earlier: Mapping[str, Any]) -> None:
        changed = sorted(changed_fields(dict(earlier), self.settings))
        if changed:
            self._refuse(f"with another {first_names(changed, most=6)}")

    def _still_valid(self, records: Mapping[str, PredictionRecord]) -> dict[str, PredictionRecord]:
        done = {image: record for image, record in records.items() if record.mask is not None}
        others = [image for image in done if image not in self._by_image]
        if others:
            self._refuse(f"of other images, too ({first_names(others)})")
        return self._valid(done)

    def _valid(self, records: Mapping[str, PredictionRecord]) -> dict[str, PredictionRecord]:
        return {image: record for image, record in records.items() if self._is_whole(record)}

    def _is_whole(self, record: PredictionRecord) -> bool:
        named = [file for file in (record.mask, record.overlay, record.polygons) if file]
        target = self._by_image.get(record.image)
        return (
            target is not None
            and record.mask in [f"{MASKS}/{target.name}{suffix}" for suffix in MASK_SUFFIXES]
            and record.run == run_hash(self.settings, target)
            and all((self.out / file).is_file() for file in named)
        )

    def _refuse(self, what: str) -> None:
        raise ConfigError(
            f"--out {self.out} holds predictions already ({PREDICTIONS}), {what}: give a new folder, or pass "
            "--overwrite. Nothing was changed."
        )

    def __enter__(self) -> PredictionFolder:
        """Write the settings and the lines of what is finished."""
        self.out.mkdir(parents=True, exist_ok=True)
        self._clear()
        self._remove_stale()
        write_whole(self.out / PREDICTIONS, self._lines(self.finished))
        mark = {_OVERWRITING: True} if self.is_overwriting else {}
        write_json(self.out / PREDICT_SETTINGS, {**self.settings, **mark})
        self._file = os.open(self.out / PREDICTIONS, os.O_WRONLY | os.O_APPEND)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._clear()  # what workers left that were lost
            if error is not None and not self._holds_any():
                self._give_back()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def add(self, record: PredictionRecord) -> None:
        """Append the line of an image; a line that cannot be written whole is taken back.

        Raises:
            OSError: It cannot be written.
        """
        assert self._file is not None
        end = os.fstat(self._file).st_size
        rest = record.to_line().encode("utf-8")
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            error.filename = str(self.out / PREDICTIONS)  # the system names none on writing
            os.ftruncate(self._file, end)
            raise

    def _holds_any(self) -> bool:
        names = [name for name in (MASKS, OVERLAYS) if (self.out / name).exists()]
        return bool(names or (self.out / PREDICTIONS).stat().st_size)

    def _give_back(self) -> None:
        """Claim nothing: there was an error before the first image, and the next command may be another."""
        for name in (PREDICTIONS, PREDICT_SETTINGS):
            (self.out / name).unlink()

    def _clear(self) -> None:
        for folder in (MASKS, OVERLAYS, POLYGONS):
            remove_leftovers(self.out / folder)

    def _remove_stale(self) -> None:
        """Delete what earlier lines name and is not finished, and labels in tiles that nobody will go on with."""
        remove_files(self.out, self._earlier.values(), self.finished.values())
        left = [target for target in self._targets if target.image not in self.finished]
        unfinished = [
            self.out / MASKS / f"{target.name}{suffix}"
            for target in left
            for suffix in MASK_SUFFIXES
        ]
        remove_partials(self.out, unfinished if self._is_same else ())

    def in_order(self) -> None:
        """Bring the lines into the order of the images, where an earlier run did later ones."""
        records = read_records(self.out)
        if list(records) != [image for image in self._by_image if image in records]:
            write_whole(self.out / PREDICTIONS, self._lines(records))

    def complete(self) -> None:
        """All images were tried: what is overwritten from now on is what was made now."""
        if self.is_overwriting:
            write_json(self.out / PREDICT_SETTINGS, self.settings)
            self.is_overwriting = False

    def _lines(self, records: Mapping[str, PredictionRecord]) -> str:
        return "".join(records[image].to_line() for image in self._by_image if image in records)


def without_predictions(targets: Sequence[Target], out: Path) -> list[Target]:
    """The images less those that the command itself wrote, where its folder lies among them."""
    own = [(out / folder).resolve() for folder in (MASKS, OVERLAYS)]
    return [
        target
        for target in targets
        if not (
            isinstance(target, FileTarget)
            and any(target.path.resolve().is_relative_to(folder) for folder in own)
        )
    ]


def run_hash(settings: Mapping[str, Any], target: Target) -> str:
    """Hash of the settings and of what identifies an image's state; "" where it cannot be looked at."""
    stamp = target.stamp(settings.get(EXTRA_IMAGES, ()))
    if stamp is None:
        return ""
    facts = [settings, target.image, *stamp]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read_settings(out: Path) -> dict[str, Any] | None:
    """What the predictions of a folder were made with; None where that is not told."""
    try:
        settings: Any = parsing.read_json(out / PREDICT_SETTINGS)
    except parsing.UnreadableError:
        return None
    return cast("dict[str, Any]", settings) if isinstance(settings, dict) else None
