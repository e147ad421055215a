"""Which bands of a picture a model sees: chosen by number or name, each with its range, in an order that stays.

A picture that nobody chooses bands of is red, green and blue, see `reader`. With chosen bands, pixels have as many
channels as there are of these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vitseg.errors import ConfigError, DataError
from vitseg.images.value_range import ValueRange

BandColor = Literal["red", "green", "blue"]
COLORS: tuple[BandColor, ...] = ("red", "green", "blue")

MOST_BANDS = 64
"""Bands that a model may see."""

_COLOR_WORDS: dict[str, BandColor] = {
    "red": "red", "r": "red", "green": "green", "g": "green", "blue": "blue", "b": "blue",
}  # fmt: skip


class Band(BaseModel):
    """One band: where it is in a picture, and how its values are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int | None = Field(
        default=None,
        ge=1,
        description="its number, from 1; those of extra images follow those of the picture itself",
    )
    name: str | None = Field(
        default=None, min_length=1, description="what the file calls it: its description"
    )
    color: BandColor | None = Field(
        default=None, description="the colour that it is, if it is red, green or blue"
    )
    value_range: tuple[float, float] | None = Field(
        default=None,
        description="its values that become black and white; null: measured, where it has more than 8 bits",
    )
    mean: float | None = Field(
        default=None, description="input mean in [0, 1], of the range; null: measured"
    )
    std: float | None = Field(
        default=None, description="input standard deviation in [0, 1]; null: measured"
    )

    @field_validator("value_range")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if value is None else ValueRange.valid(*value)

    @model_validator(mode="after")
    def _is_somewhere(self) -> Band:
        if self.number is None and self.name is None:
            raise ValueError("a band has a number or a name: give one of them")
        for field, value in (("mean", self.mean), ("std", self.std)):
            if value is not None and not (math.isfinite(value) and 0 <= value <= 1):
                raise ValueError(f"{field} is {value}, but it is in [0, 1]")
        if self.std == 0:
            raise ValueError("std is 0, but it must be positive")
        return self

    @property
    def limits(self) -> ValueRange | None:
        """The value range for the readers."""
        return None if self.value_range is None else ValueRange(*self.value_range)

    @property
    def words(self) -> str:
        """As `4 (nir)`."""
        if self.number is None:
            return repr(self.name)
        return str(self.number) if self.name is None else f"{self.number} ({self.name})"


class Bands(BaseModel):
    """The bands that a model sees, in their order; recipes, class files and models hold this."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chosen: tuple[Band, ...] = Field(
        default=(),
        max_length=MOST_BANDS,
        description="bands in the order of the model's channels: numbers, names, or tables of what is known of "
        "each; none: all that the first picture has",
    )
    extra_images: tuple[str, ...] = Field(
        default=(),
        description="folders beside that of the images, with a further picture of the same name for each image, whose "
        "bands follow",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_listed(cls, value: Any) -> Any:
        """A list, a text with commas, or `all`, stands for the chosen bands."""
        if value == "all":
            return {}
        if isinstance(value, str | list | tuple | int):
            value = {"chosen": value}
        if isinstance(value, Mapping) and "chosen" in value:
            return {**value, "chosen": _listed(value["chosen"])}
        return value

    @field_validator("extra_images", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("extra_images")
    @classmethod
    def _are_folder_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [
            name for name in value if not name or name in (".", "..") or set(name) & set("/\\")
        ]
        if wrong:
            raise ValueError(
                f"{wrong[0]!r} came as a folder of extra images, but it is the name of one that lies beside the folder "
                "of images, such as nir"
            )
        return value

    @model_validator(mode="after")
    def _each_once(self) -> Bands:
        places = [band.number if band.number is not None else band.name for band in self.chosen]
        twice = [place for place in places if places.count(place) > 1]
        if twice:
            raise ValueError(f"band {twice[0]} is chosen twice: name each band once")
        colors = [band.color for band in self.chosen if band.color is not None]
        if len(set(colors)) < len(colors):
            raise ValueError(
                f"two bands are the same colour, of {', '.join(colors)}: leave one out"
            )
        return self

    @property
    def num_channels(self) -> int:
        return len(self.chosen)

    @property
    def words(self) -> str:
        """As `4, 3, 2 and 8 (nir)`."""
        *others, last = [band.words for band in self.chosen]
        return f"{', '.join(others)} and {last}" if others else last

    def read_by(self, limits: ValueRange | None) -> Bands:
        """The same, with a range for all bands that have none of their own."""
        if limits is None:
            return self
        pair = (float(limits.low), float(limits.high))
        chosen = [
            band if band.value_range else band.model_copy(update={"value_range": pair})
            for band in self.chosen
        ]
        return self.model_copy(update={"chosen": tuple(chosen)})

    def color_places(self) -> tuple[int, int, int] | None:
        """The channels that stand for red, green and blue: those that are these colours, else the first three.

        None where there are fewer than three.
        """
        places = {band.color: place for place, band in enumerate(self.chosen) if band.color}
        if len(places) == 3:
            return places["red"], places["green"], places["blue"]
        return (0, 1, 2) if len(self.chosen) >= 3 else None


class FileBands(NamedTuple):
    """The bands that a file has.

    Attributes:
        names: What the file calls each of them, if it does.
        colors: What it says each of them is: "red", "green", "blue", "alpha", or nothing of these.
        types: The type of the values of each: `uint16`.
    """

    names: tuple[str | None, ...]
    colors: tuple[str | None, ...]
    types: tuple[str, ...]

    @property
    def in_words(self) -> str:
        """As `3 bands (red, green, blue)`."""
        known = [name or color for name, color in zip(self.names, self.colors, strict=True)]
        named = ", ".join(each or "?" for each in known) if any(known) else ""
        number = f"{len(known)} band{'' if len(known) == 1 else 's'}"
        return f"{number} ({named})" if named else number

    def joined(self, others: Sequence[FileBands]) -> FileBands:
        """Its bands and then those of extra images; colours are those of the first file."""
        names, colors, types = list(self.names), list(self.colors), list(self.types)
        for other in others:
            names += other.names
            types += other.types
            colors += ["alpha" if color == "alpha" else None for color in other.colors]
        return FileBands(tuple(names), tuple(colors), tuple(types))


def parse_bands(value: object, place: str) -> Bands:
    """The choice of bands that a user has written.

    Args:
        value: A list, a text with commas, or what `Bands` takes.
        place: Where it was written, for the error.

    Raises:
        ConfigError: It is none.
    """
    from pydantic import ValidationError

    try:
        return Bands.model_validate(value)
    except ValidationError as error:
        fault = error.errors()[0]
        reason = fault["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"{place}: {reason}. Bands are numbers from 1, or the names that the files give: 4,3,2,8."
        ) from error


def numbers_in(bands: Bands, found: FileBands, picture: str) -> list[int]:
    """Where the chosen bands are in a picture, from 0.

    A band is found by its name where the picture names one so, else by its number.

    Args:
        bands: The choice.
        found: All bands of the picture, extra images included.
        picture: What the error calls it.

    Raises:
        DataError: There are too few bands, none of such a name, or a chosen one is alpha.
    """
    by_name = {name.casefold(): place for place, name in enumerate(found.names) if name}
    by_color = {color: place for place, color in enumerate(found.colors) if color in COLORS}
    places = []
    for band in bands.chosen:
        place = None if band.name is None else by_name.get(band.name.casefold())
        if place is None and band.number is None and band.name is not None:
            place = by_color.get(band.name.casefold())
        if place is None and band.number is None:
            raise DataError(
                f"{picture} has {found.in_words}, but band {band.words} is needed: its file names none so. Name the "
                "bands in the file, or choose them by number."
            )
        place = place if place is not None else (band.number or 1) - 1
        if place >= len(found.names):
            raise DataError(
                f"{picture} has {found.in_words}, but band {band.words} is needed (of {bands.words}).{_way(bands)}"
            )
        if found.colors[place] == "alpha":
            raise DataError(
                f"{picture}: band {band.words} is alpha, which says where data are and is no value: choose others."
            )
        places.append(place)
    if len(set(places)) < len(places):
        raise DataError(f"{picture}: {bands.words} lead to the same band twice ({found.in_words}).")
    return places


def resolved(bands: Bands, found: FileBands, picture: str) -> Bands:
    """The choice as a picture has it: numbers, names and colours filled in.

    Args:
        bands: The choice; of all bands where it is empty.
        found: All bands of the picture.
        picture: What the error calls it.

    Raises:
        DataError: As for `numbers_in`; or the picture has no or too many bands.
    """
    if not bands.chosen:
        numbers = [n for n, color in enumerate(found.colors, 1) if color != "alpha"]
        if not 1 <= len(numbers) <= MOST_BANDS:
            raise DataError(
                f"{picture} has {len(numbers)} bands, but a model sees 1 to {MOST_BANDS}: choose some by number."
            )
        chosen = tuple(Band(number=number) for number in numbers)
        bands = bands.model_copy(update={"chosen": chosen})
    places = numbers_in(bands, found, picture)
    stated = [band.color for band in bands.chosen]
    colors = stated if any(stated) else _colors(bands, found, places)
    chosen = [
        band.model_copy(
            update={"number": place + 1, "name": found.names[place] or band.name, "color": color}
        )
        for band, place, color in zip(bands.chosen, places, colors, strict=True)
    ]
    return bands.model_copy(update={"chosen": tuple(chosen)})


def to_rgb(pixels: UInt8[np.ndarray, "H W c"], bands: Bands | None) -> UInt8[np.ndarray, "H W 3"]:
    """Pixels as they are shown: the bands that stand for red, green and blue; of one or two bands the first, in grey.

    Args:
        pixels: One channel for each chosen band.
        bands: The choice; None: they are RGB already.
    """
    if bands is None:
        return pixels
    places = bands.color_places() or (0, 0, 0)
    return np.ascontiguousarray(pixels[..., list(places)])


def _colors(bands: Bands, found: FileBands, places: Sequence[int]) -> list[BandColor | None]:
    """The colours of bands by the names of all, else by what the file says, if all three are among them."""
    names = [
        (found.names[place] or band.name or "")
        for band, place in zip(bands.chosen, places, strict=True)
    ]
    ways: tuple[list[BandColor | None], ...] = (
        [_COLOR_WORDS.get(name.casefold()) for name in names],
        [next((c for c in COLORS if c == found.colors[place]), None) for place in places],
    )
    for colors in ways:
        if sorted(filter(None, colors)) == sorted(COLORS):
            return colors
    return [None] * len(places)


def _listed(value: Any) -> Any:
    """Numbers and names as tables."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if isinstance(value, int):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    if not value:
        raise ValueError("no band is chosen: name at least one, or write all")
    return [_table(each) for each in value]


def _table(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{value} came as a band, but bands are numbers from 1 or names")
    if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
        return {"number": int(value)}
    return {"name": value} if isinstance(value, str) else value


def _way(bands: Bands) -> str:
    """How a picture gets more bands."""
    if bands.extra_images:
        return ""
    return (
        " Give a file that has all of them; pictures of further bands in folders of their own are read where the data "
        "set names these (extra_images)."
    )
