"""What shards say of the data set that they hold: what mask values mean, how images are read, which file holds what.

`shards.json` is written last, when all shards are there. A folder that is still being written has `unfinished.json`.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vitseg import parsing
from vitseg.classes import IGNORE_INDEX, ClassTable, Color
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.labels import MAX_COLOR, MAX_ID, LabelTable
from vitseg.data.mask_pose import MaskPose
from vitseg.data.shards.place import ShardPlace
from vitseg.errors import DataError
from vitseg.images.bands import Bands
from vitseg.images.value_range import ValueRange

MANIFEST, UNFINISHED = "shards.json", "unfinished.json"
VERSION = 1

ShardKind = Literal["parquet", "webdataset"]
"""Parquet files, or tar files as WebDataset has them."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_Model = TypeVar("_Model", bound=_Part)


class Labels(_Part):
    """A `LabelTable`."""

    classes: tuple[str, ...] = Field(description="names of the classes")
    palette: tuple[Color, ...] = Field(description="RGB in [0, 255] of each class")
    mapping: dict[int, int] = Field(description="value of a mask -> class; -1 counts nowhere")
    raw_names: dict[int, str] = Field(description="value of a mask -> its name in the source")
    colors: bool = Field(description="whether the values of masks are colours, 0xRRGGBB")
    hint: str = Field(description="advice for the error about a value that has no class")
    rest: str | None = Field(description="class of pixels without annotation, if there is one")

    @model_validator(mode="after")
    def _of_these_classes(self) -> Labels:
        try:
            count = ClassTable(names=self.classes, palette=self.palette).num_classes
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from error
        most = MAX_COLOR if self.colors else MAX_ID
        for value, label in self.mapping.items():
            if not (0 <= value <= most and IGNORE_INDEX <= label < count):
                raise ValueError(
                    f"mapping has {value}: {label}, but values are 0-{most} and classes 0-{count - 1}"
                )
        return self

    @classmethod
    def of(cls, table: LabelTable) -> Labels:
        """What is to be kept of a table."""
        return cls(
            classes=table.classes.names,
            palette=table.classes.palette,
            mapping=dict(table.mapping),
            raw_names=dict(table.raw_names),
            colors=table.colors,
            hint=table.hint,
            rest=table.rest,
        )

    def table(self) -> LabelTable:
        """The table."""
        classes = ClassTable(names=self.classes, palette=self.palette)
        return LabelTable(classes, self.mapping, self.raw_names, self.colors, self.hint, self.rest)


class About(_Part):
    """What holds for all samples of a split."""

    labels: Labels = Field(description="what the values of masks mean")
    masks: MaskPose = Field(description="how masks lie on images with an orientation tag")
    value_range: tuple[float, float] | None = Field(
        description="black and white of images of more than 8 bits, where they are stated"
    )
    bands: Bands | None = Field(description="the bands that are read, where some are chosen")
    extra_images: tuple[str, ...] = Field(description="names of the further pictures of an image")

    @classmethod
    def of(cls, dataset: SegmentationDataset, pose: MaskPose) -> About:
        """What is to be kept of a split.

        Args:
            dataset: The split.
            pose: How its masks lie in the shards.
        """
        limits, bands = dataset.value_range, dataset.bands
        return cls(
            labels=Labels.of(dataset.labels),
            masks=pose,
            value_range=None if limits is None else (float(limits.low), float(limits.high)),
            bands=bands,
            extra_images=() if bands is None else bands.extra_images,
        )

    @property
    def limits(self) -> ValueRange | None:
        return None if self.value_range is None else ValueRange(*self.value_range)


class ShardFile(_Part):
    """One shard."""

    name: str = Field(description="name of the file")
    num_samples: int = Field(ge=1, description="images in it")
    num_bytes: int = Field(ge=1, description="bytes of the file")


class SplitShards(_Part):
    """The shards of a split, in the order of its samples."""

    about: About
    shards: tuple[ShardFile, ...]


class Manifest(_Part):
    """Content of `shards.json`."""

    version: Literal[1] = VERSION
    kind: ShardKind = Field(description="what the shards are")
    splits: dict[str, SplitShards] = Field(min_length=1, description="the splits by name")


def read_manifest(place: ShardPlace, kind: ShardKind) -> Manifest | None:
    """The manifest of a folder of shards; None where there is none, as of shards that vitseg did not write.

    Raises:
        DataError: It is malformed, or says that the shards are of another kind; or the shards are not all written yet.
    """
    if place.is_local and place.path(UNFINISHED).exists():
        raise DataError(
            f"{place.shown} is not written to its end ({UNFINISHED} is there): run the same vitseg data shard again, "
            "which goes on where it was."
        )
    try:
        text = place.read(MANIFEST)
    except FileNotFoundError:
        return None
    manifest = _checked(text, Manifest, place.named(MANIFEST))
    if manifest.kind != kind:
        raise DataError(
            f"{place.shown} holds shards of the kind {manifest.kind}: write {manifest.kind}:{place.shown}."
        )
    return manifest


def about_of(text: bytes, name: str) -> About:
    """What a Parquet file says of its split.

    Raises:
        DataError: It is malformed.
    """
    return _checked(text, About, name)


def _checked(text: bytes, model: type[_Model], name: str) -> _Model:
    """The content of a JSON text.

    Raises:
        DataError: It is none of the model.
    """
    try:
        return model.model_validate(parsing.parse_json(text, halves=True))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise DataError(
            f"{name} is malformed: {place}: {fault['msg']}. Write the shards anew, or use the vitseg that wrote them."
        ) from error
    except parsing.UnreadableError as error:
        raise DataError(f"{name} cannot be read: {error}. Copy it again.") from error
