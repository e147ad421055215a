"""At which scale a model sees the images: as they are, in crops and windows, or brought to one size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vitseg.plan.data_facts import DataFacts
from vitseg.plan.device_facts import DeviceFacts
from vitseg.plan.vits import PATCH
from vitseg.types import Size

FINE = 3.0
"""Pixels of the narrowest things, as the model would see them, below which images are not scaled down."""

COARSE = 8.0
"""Pixels of them from which on scaling down loses nothing that matters."""

SMALL = 128
"""Short side in pixels below which images may better be enlarged: a token has 16 pixels."""

ENLARGED = 192
_SIMILAR = 1.25  # times the size to scale to, up to which images are taken as they are
_HUGE = 6.0  # times it from which on images are scaled down, unless they show narrow things
_MIXED = (
    3.0  # the longest short side over the shortest, from which on images are of different scales
)
_WHOLE = 2.5  # crops along the longest side up to which an image is taken whole
_CROPS = {"cpu": 256, "mps": 384, "cuda": 512}
_SHORT_SIDES = {"cpu": 384, "mps": 512, "cuda": 512}


@dataclass(frozen=True)
class Scale:
    """One way.

    Attributes:
        kind: Own pixels, or all images at one short side.
        base_size: (long, short) that training images are scaled to fit; None: their own size.
        crop: (height, width) of training crops in pixels.
        inference: The inference section of the recipe.
        why: What speaks for it, in words.
    """

    kind: Literal["own", "resized"]
    base_size: tuple[int, int] | None
    crop: Size
    inference: Mapping[str, Any]
    why: str

    def words(self) -> str:
        """What it does, in words."""
        crops = f"crops of {self.crop[1]} x {self.crop[0]} pixels"
        how = "in windows" if self.inference["mode"] == "slide" else "whole"
        if self.base_size is None:
            return f"images at their own size, {crops}; in prediction {how}"
        return f"images brought to a short side of {self.base_size[1]} pixels, {crops}; in prediction {how}"


def possible_scales(data: DataFacts, device: DeviceFacts) -> list[Scale]:
    """The scales that come into question, the likelier one first; one alone where the sizes leave no question."""
    own, side = _own(data, device, ""), _SHORT_SIDES[device.kind]
    shorts = [min(size) for size in data.sizes]
    times, mixed = data.short / side, max(shorts) / max(1, min(shorts)) >= _MIXED
    narrow = data.thinnest.width if data.thinnest and data.thinnest.width else None
    if data.short < SMALL:
        scaled = _resized(data, device, ENLARGED, f"small images, of {data.short} pixels")
        return _ordered(
            own,
            scaled,
            first_own=narrow is None or narrow >= COARSE,
            told="their size leaves it open",
        )
    if times <= _SIMILAR and not mixed:
        return [
            _own(
                data,
                device,
                f"their short side of {data.short} pixels is no more than a model takes well",
            )
        ]
    scaled = _resized(data, device, side, "")
    seen = None if narrow is None else narrow / max(1.0, times)
    name = data.thinnest.name if data.thinnest else ""
    if seen is not None and seen < FINE and not mixed:
        return [
            _own(
                data,
                device,
                f"scaled down, {name} would be {seen:.0f} pixels wide, narrower than can be told",
            )
        ]
    if times > _HUGE and (seen is None or seen >= COARSE):
        return [
            _resized(
                data,
                device,
                side,
                f"the images are large, and so is what they show ({name}: the narrowest)",
            )
        ]
    are_tiles = data.distinct == 1 and data.median[0] == data.median[1]
    first_own = not mixed and (are_tiles or (seen is not None and seen < COARSE))
    told = (
        "they are of many sizes"
        if mixed
        else "square tiles of one size"
        if are_tiles
        else "their size leaves it open"
    )
    return _ordered(own, scaled, first_own, told)


def _ordered(own: Scale, scaled: Scale, first_own: bool, told: str) -> list[Scale]:
    both = [own, scaled] if first_own else [scaled, own]
    return [Scale(each.kind, each.base_size, each.crop, each.inference, told) for each in both]


def _own(data: DataFacts, device: DeviceFacts, why: str) -> Scale:
    crop = _crop(data.median, _CROPS[device.kind])
    return Scale("own", None, crop, _inference(crop, data.largest, None), why)


def _resized(data: DataFacts, device: DeviceFacts, side: int, why: str) -> Scale:
    times = side / max(1, data.short)
    size = (round(data.median[0] * times), round(data.median[1] * times))
    crop = _crop(size, _CROPS[device.kind])
    base = (4 * side, side)
    largest = max(data.sizes, key=lambda each: max(each) / min(each))
    long = min(base[0], round(side * max(largest) / min(largest)))
    return Scale("resized", base, crop, _inference(crop, (side, long), base), why)


def _crop(size: Size, side: int) -> Size:
    """Of the side that a device takes, but no larger than the images, in whole patches."""
    height, width = (min(side, -(-each // PATCH) * PATCH) for each in size)
    return max(PATCH, height), max(PATCH, width)


def _inference(crop: Size, largest: Size, base: tuple[int, int] | None) -> dict[str, Any]:
    found: dict[str, Any] = {} if base is None else {"resize": list(base)}
    if max(largest) <= _WHOLE * max(crop):
        return {"mode": "whole", **found}
    stride = [max(1, side * 2 // 3) for side in crop]
    return {"mode": "slide", "crop_size": list(crop), "stride": stride, **found}
