"""The record of a prediction: a line of `predictions.jsonl`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vitseg import parsing
from vitseg.runs import PREDICTIONS


class PredictionRecord(BaseModel):
    """What was written for one image, or why nothing was. A line has the fields that were given, in this order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(description="path of the image, as it was found")
    error: str | None = Field(default=None, description="why the image could not be segmented")
    mask: str | None = Field(default=None, description="path of the mask in the output folder")
    overlay: str | None = Field(
        default=None,
        description="path of the overlay in the output folder; none of an image in tiles",
    )
    overlay_scale: float | None = Field(
        default=None,
        description="size of the overlay's picture over the image's, where it is smaller",
    )
    polygons: str | None = Field(
        default=None,
        description="path of the GeoJSON file in the output folder, of an image in tiles",
    )
    height: int | None = Field(default=None, description="height of image and mask, in pixels")
    width: int | None = Field(default=None, description="width of image and mask, in pixels")
    areas: dict[str, float] | None = Field(
        default=None, description="share of the pixels by class, in [0, 1], with six digits"
    )
    run: str | None = Field(default=None, description="hash of model, options and image file")
    seconds: float = Field(default=0.0, description="time that the image took, with three digits")

    @field_validator("areas")
    @classmethod
    def _six_digits(cls, areas: dict[str, float] | None) -> dict[str, float] | None:
        return areas and {name: round(share, 6) for name, share in areas.items()}

    def timed(self, seconds: float) -> PredictionRecord:
        """The record with the time that the image took."""
        return self.model_copy(update={"seconds": round(seconds, 3)})

    def to_line(self) -> str:
        """The line of the list, with its end."""
        return json.dumps(self.model_dump(exclude_unset=True)) + "\n"


def read_records(out: Path) -> dict[str, PredictionRecord]:
    """The records of an output folder's list, by image; a line that was cut off or damaged is left out.

    Args:
        out: The folder of the predictions; it may be new.
    """
    path = out / PREDICTIONS
    records: dict[str, PredictionRecord] = {}
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        with contextlib.suppress(ValueError):
            record = PredictionRecord.model_validate(parsing.parse_json(line, halves=True))
            records[record.image] = record
    return records
