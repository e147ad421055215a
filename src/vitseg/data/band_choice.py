"""Which bands of a data set's images are read: `NAME:ROOT?bands=4,3,2,8&extra=nir`, or a class file, or a recipe."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

from vitseg.data.class_labels import declared
from vitseg.data.dataset import SegmentationDataset
from vitseg.errors import ConfigError, DataError
from vitseg.images.band_reader import picture_bands
from vitseg.images.bands import Bands, parse_bands, resolved

_BANDS, _EXTRA = "bands", "extra"
_TRIED = 20  # images that are opened until one can be read


def bands_of_spec(spec: str) -> Bands | None:
    """The choice in `NAME:ROOT?bands=...&extra=...`; None where there is none.

    `bands` is `all`, or numbers and names with commas; `extra` the folders of extra images, with commas.

    Raises:
        ConfigError: It is none that can be understood.
    """
    options, _ = _options(spec)
    if not options:
        return None
    value: dict[str, object] = {}
    bands = options.get(_BANDS, "all")
    if bands != "all":
        value["chosen"] = bands
    if _EXTRA in options:
        value["extra_images"] = options[_EXTRA]
    return parse_bands(value, spec)


def declared_bands(root: Path) -> Bands | None:
    """The bands that a class file, or one of a folder, chooses, or None; errors as for `declared`."""
    file = declared(root, "bands", "extra_images")
    if file is None or (file.bands is None and not file.extra_images):
        return None
    bands = file.bands or Bands()
    return bands.model_copy(update={"extra_images": file.extra_images or bands.extra_images})


def without_bands(spec: str) -> str:
    """`NAME:ROOT` without the choice of bands; other options stay."""
    options, rest = _options(spec)
    return rest if options else spec


def with_chosen_bands(dataset: SegmentationDataset, bands: Bands) -> SegmentationDataset:
    """The data set of whose images these bands are read, as the first image that can be read has them.

    Args:
        dataset: The data set.
        bands: The choice, which may name bands or mean all of them.

    Raises:
        DataError: The image has too few bands, or none of such a name, or no extra image.
    """
    for index in range(min(_TRIED, len(dataset))):
        source = dataset.image_source(index)
        try:
            found = picture_bands(source, Bands())
        except (DataError, OSError):  # which is told where all images are looked at
            continue
        if bands.extra_images:
            found = picture_bands(source, bands)
        return dataset.with_bands(resolved(bands, found, dataset.image_name(index)))
    return dataset


def _options(spec: str) -> tuple[dict[str, str], str]:
    """The options about bands, and the data set without them."""
    name, colon, root = spec.partition(":")
    path, mark, query = root.partition("?")
    if not mark or not ("bands=" in query or "extra=" in query) or Path(root).exists():
        return {}, spec
    own: dict[str, str] = {}
    others: list[str] = []
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in (_BANDS, _EXTRA):
            others.append(f"{key}={value}")
        elif key in own or not value:
            fault = "twice" if key in own else "without a value"
            raise ConfigError(f"{spec}: {key} is given {fault}; write {name}:{path}?bands=4,3,2,8.")
        else:
            own[key] = value
    rest = f"?{'&'.join(others)}" if others else ""
    return own, f"{name}{colon}{path}{rest}"
