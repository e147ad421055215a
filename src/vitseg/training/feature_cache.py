"""Features of a frozen backbone on disk, so that heads are trained without running it again.

A cache is a folder: `cache.json` with the fingerprint of what the features were made of, and a file per view and mirror
image in `views/`, with the feature maps in float16 and the labels. The fingerprint is written first, each other file
whole or not at all, and all of them have one size: so what lies there can be trusted whenever filling was interrupted,
and filling goes on where it stopped.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float16, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vitseg import parsing
from vitseg.changes import changed_fields
from vitseg.classes import IGNORE_INDEX
from vitseg.data.grid_views import GridViews
from vitseg.errors import ConfigError, DataError, VitsegError
from vitseg.features import Features
from vitseg.files import whole_file, write_whole
from vitseg.training.loaders import killed_loaders
from vitseg.training.sampler import GridSamples, Position
from vitseg.training.stop import ignore_interrupts

MANIFEST, VIEWS = "cache.json", "views"

Key = tuple[int, bool]
"""(number of a view, whether it is mirrored)."""


class Entry(NamedTuple):
    """What is kept of a view."""

    maps: tuple[Float16[Tensor, "c h w"], ...]
    labels: Int64[Tensor, "H W"]


class FeatureCache:
    """The features of the views of a training split.

    Args:
        folder: The cache's own folder; created if absent.
        stamp: What `feature_fingerprint` gives.
        views: The views of the training split.

    Raises:
        ConfigError: The folder holds something else, or features made of something else.
    """

    def __init__(self, folder: Path, stamp: Mapping[str, Any], views: GridViews):
        self.folder = folder
        self.views = views
        self._stamp = json.loads(json.dumps(stamp))  # as it comes back from the file
        self._facts = self._read_manifest()

    def __len__(self) -> int:
        return len(self.views) * len(self.views.config.flips)

    @property
    def minutes(self) -> float:
        """How long filling took, in all."""
        return self._facts.get("minutes", 0.0)

    def path(self, key: Key) -> Path:
        """The file of a view."""
        number, mirrored = key
        return self.folder / VIEWS / f"{number:07d}{'-mirrored' if mirrored else ''}.safetensors"

    def read(self, key: Key) -> Entry:
        """The features and labels of a view, mapped into memory rather than read.

        Raises:
            DataError: The file is missing or damaged.
        """
        path = self.path(key)
        try:
            tensors = load_file(path)
            labels = tensors.pop("labels")
        except (OSError, SafetensorError, KeyError) as error:
            raise DataError(
                f"{path} of the feature cache is missing or damaged: remove the file if it is there, and run again."
            ) from error
        self._require_labels(path, labels)
        maps = tuple(tensors[f"map_{level}"] for level in range(len(tensors)))
        return Entry(maps, labels.long())

    def _require_labels(self, path: Path, labels: Tensor) -> None:
        """Raise DataError for labels that a damaged file has: a loss would take them for places in its tables."""
        known = self.views.dataset.classes.num_classes
        wrong = labels[(labels != IGNORE_INDEX) & ((labels < 0) | (labels >= known))]
        if wrong.numel() or labels.shape != self.views.config.crop_size:
            raise DataError(
                f"{path} of the feature cache is damaged: remove the file, and run again."
            )

    def features(self, maps: Sequence[Float[Tensor, "b _ _ _"]]) -> Features:
        """What the backbone would have returned for a batch of kept maps, on their device.

        Args:
            maps: (b, c, h, w) each, as `read` gives them.
        """
        height, width = self._facts["padded_size"]
        size = self.views.config.crop_size
        return Features(tuple(level.float() for level in maps), size, (height, width))

    def missing(self) -> list[Key]:
        """Views that are not kept yet, in order. Files of another size than an entry's count as missing."""
        folder = self.folder / VIEWS
        sizes: dict[str, int] = {}
        if folder.is_dir():
            sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
        wanted = self._facts.get("entry_bytes")
        keys = ((n, flip) for n in range(len(self.views)) for flip in self.views.config.flips)
        return [key for key in keys if wanted is None or sizes.get(self.path(key).name) != wanted]

    def fill(
        self,
        backbone: nn.Module,
        device: torch.device,
        batch_size: int = 4,
        num_workers: int = 0,
        on_view: Callable[[], object] = lambda: None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """Compute and write what is missing, in float32.

        Args:
            backbone: The backbone of the fingerprint, on the device.
            device: Where to run it.
            batch_size: Views per run, at most.
            num_workers: Processes that load images.
            on_view: Called after each view that was written; what it raises ends the filling, and nothing is lost.
            share: (k, n): write the views of every n-th image from the k-th on, where n processes fill one cache.

        Raises:
            ConfigError: The backbone returns more than maps.
            DataError: The disk has too little room, an image cannot be read, or a feature is too large for float16.
        """
        keys = self.missing()
        if not keys:
            return
        start = time.monotonic()
        backbone.eval()
        self._prepare(backbone, device)
        self._require_room(len(self.missing()))
        rank, world_size = share
        groups: dict[int, list[Key]] = {}
        for key in keys:
            image = self.views.views[key[0]].image
            if image % world_size == rank:
                groups.setdefault(image, []).append(key)
        try:
            for group, crops in _load(self.views, list(groups.values()), num_workers):
                for first in range(0, len(group), batch_size):
                    part = slice(first, first + batch_size)
                    images = torch.stack([image for image, _ in crops[part]]).to(device)
                    maps = [level.half().cpu() for level in _maps(backbone, images).maps]
                    for row, (key, (_, labels)) in enumerate(
                        zip(group[part], crops[part], strict=True)
                    ):
                        self._write(key, [level[row] for level in maps], labels)
                        on_view()
        finally:
            if rank == 0:
                self._write_manifest(minutes=self.minutes + (time.monotonic() - start) / 60)

    def _prepare(self, backbone: nn.Module, device: torch.device) -> None:
        """Find the size of an entry, by a run on nothing, and write the manifest; clear what a killed run left."""
        height, width = self.views.config.crop_size
        features = _maps(
            backbone, torch.zeros(1, self.views.num_channels, height, width, device=device)
        )
        labels = torch.zeros(height, width, dtype=torch.int64)
        entry = _serialise([level[0].half().cpu() for level in features.maps], labels)
        for stale in (self.folder / VIEWS).glob(".*.partial"):
            if not _is_running(stale.name.split(".")[-2]):
                stale.unlink(missing_ok=True)
        self._write_manifest(padded_size=list(features.padded_size), entry_bytes=len(entry))

    def _write(self, key: Key, maps: Sequence[Tensor], labels: Tensor) -> None:
        for level in maps:
            if not level.isfinite().all():
                name = self.views.dataset.image_name(self.views.views[key[0]].image)
                raise DataError(
                    f"{name}: this backbone's features are beyond {torch.finfo(torch.float16).max:.0f}, the largest "
                    "number of the cache's 16 bits. Set backbone.tap_norm=true, tap other blocks, or train without "
                    "the cache."
                )
        with self._room_errors(), whole_file(self.path(key)) as partial:
            partial.write_bytes(_serialise(maps, labels))

    def _require_room(self, num_entries: int) -> None:
        need = num_entries * self._facts["entry_bytes"]
        free = shutil.disk_usage(self.folder).free
        if need > free:
            raise DataError(
                f"the features of {num_entries} views need {_gigabytes(need)}, but the disk of {self.folder} has "
                f"{_gigabytes(free)} free: give --cache-features another disk, tap fewer blocks, or train without "
                "the cache."
            )

    @contextmanager
    def _room_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DataError(
                f"the disk of {self.folder} is full, with {len(self.missing())} of {len(self)} views to come. Make "
                "room and run again: what is written is kept."
            ) from error

    def _read_manifest(self) -> dict[str, Any]:
        path = self.folder / MANIFEST
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"--cache-features {self.folder} is a file: give a folder.")
        if not path.is_file():
            if self.folder.exists() and any(self.folder.iterdir()):
                raise ConfigError(
                    f"--cache-features {self.folder} holds other files and no {MANIFEST}: give a new folder."
                )
            return {}
        try:
            facts = parsing.read_json(path)
            theirs = facts["fingerprint"]
            self._require_facts(facts)
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} cannot be read ({error}): remove {self.folder} to make the features anew."
            ) from error
        changed = sorted(changed_fields(theirs, self._stamp))
        if changed:
            told = "; ".join(
                f"{name} is {_look_up(self._stamp, name)} here and {_look_up(theirs, name)} there"
                for name in changed[:4]
            )
            raise ConfigError(
                f"{self.folder} holds features of something else: {told}. Give another --cache-features, or remove "
                "that folder to make them anew."
            )
        return facts

    def _require_facts(self, facts: Mapping[str, Any]) -> None:
        """Raise ValueError unless the facts of a manifest are what `fill` writes, as far as it came."""
        size = facts.get("padded_size")
        crop_size = self.views.config.crop_size
        if size is not None and not (
            isinstance(size, list)
            and len(size) == 2
            and all(
                type(side) is int and crop <= side < 2 * crop
                for side, crop in zip(size, crop_size, strict=True)
            )
        ):
            raise ValueError(f"padded_size is {str(size)[:40]}")
        for name in ("minutes", "entry_bytes"):
            if not isinstance(facts.get(name, 0), int | float) or facts.get(name, 0) < 0:
                raise ValueError(f"{name} is {str(facts[name])[:40]}")
        if (size is None) != ("entry_bytes" not in facts):
            raise ValueError("one of padded_size and entry_bytes is missing")

    def _write_manifest(self, **facts: Any) -> None:
        self._facts |= facts
        content = {**self._facts, "fingerprint": self._stamp}
        with self._room_errors():
            write_whole(self.folder / MANIFEST, json.dumps(content, indent=2) + "\n")


class CachedSamples(Dataset[Entry | VitsegError]):
    """`GridSamples` whose images are kept features: the same views in the same order, mirrored alike."""

    def __init__(self, samples: GridSamples, cache: FeatureCache):
        self.samples = samples
        self.cache = cache

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Position) -> Entry | VitsegError:
        index, position = key
        try:
            return self.cache.read((index, self.samples.is_mirrored(position)))
        except VitsegError as error:
            return error


class _Images(Dataset[tuple[list[Key], list[tuple[Tensor, Tensor]] | VitsegError]]):
    """The views of an image that are to be computed."""

    def __init__(self, views: GridViews, groups: Sequence[list[Key]]):
        self.views = views
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(
        self, index: int
    ) -> tuple[list[Key], list[tuple[Tensor, Tensor]] | VitsegError]:
        try:
            return self.groups[index], self.views.crops(self.groups[index])
        except VitsegError as error:
            return self.groups[index], error


def _load(
    views: GridViews, groups: Sequence[list[Key]], num_workers: int
) -> Iterator[tuple[list[Key], list[tuple[Tensor, Tensor]]]]:
    loader = DataLoader(
        _Images(views, groups),
        batch_size=None,
        num_workers=num_workers,
        worker_init_fn=ignore_interrupts,
        generator=torch.Generator(),  # the loader draws a number that must not shift dropout
    )
    with killed_loaders(num_workers, is_loading=True):
        for group, crops in loader:
            if isinstance(crops, VitsegError):
                raise crops
            yield group, crops


def _maps(backbone: nn.Module, images: Tensor) -> Features:
    with torch.no_grad():
        features: Features = backbone(images)
    if features.ragged or features.semantic or features.stages or features.extras:
        raise ConfigError(
            "this backbone returns more than feature maps, which no cache keeps: train without --cache-features."
        )
    return features


def _serialise(maps: Sequence[Tensor], labels: Tensor) -> bytes:
    tensors = {f"map_{level}": values.contiguous() for level, values in enumerate(maps)}
    return save({**tensors, "labels": labels.to(torch.int16)})


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def _look_up(values: Mapping[str, Any], name: str) -> str:
    found: Any = values
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    text = json.dumps(found)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"
