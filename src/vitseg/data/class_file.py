"""What the file says that names the classes of somebody's own masks, in the spellings that labelling tools write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vitseg.classes import Color, generated_palette
from vitseg.data.class_spellings import BY_SUFFIX, CLASS_FILES, NOTHING, as_color
from vitseg.data.labels import MAX_ID
from vitseg.data.mask_pose import KEY, MaskPose, parse_pose
from vitseg.errors import DataError, unknown_name
from vitseg.images.bands import Bands
from vitseg.images.value_range import ValueRange


class ClassFile(BaseModel):
    """Content of `classes.json` or `classes.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: dict[int, str] = Field(
        default={},
        description="raw mask id -> class name; a list of names stands for the ids 0, 1, ...",
    )
    palette: dict[int, Color] | None = Field(
        default=None,
        description="RGB in [0, 255] of every class, as a list in the order of `classes` or by raw id; "
        "generated if absent. It says what the colours of colour masks mean",
    )
    ignore_index: int | None = Field(
        default=None,
        ge=0,
        le=MAX_ID,
        description="raw mask id of pixels that are ignored; a class listed at this id is no class of the model",
    )
    merge: dict[str, tuple[str, ...]] = Field(
        default={}, description="name of a joint class -> names of the classes that it joins"
    )
    ignore: tuple[str, ...] = Field(
        default=(), description="names of classes whose pixels are ignored"
    )
    masks: MaskPose = Field(
        default="upright",
        description="how masks lie where an image has an orientation tag: upright, as it is shown, or stored, as its "
        "pixels are stored",
    )
    value_range: tuple[float, float] | None = Field(
        default=None,
        description="values that are black and white in images of more than 8 bits, as [0, 3060]; a recipe may state "
        "others",
    )

    bands: Bands | None = Field(
        default=None,
        description="the bands that a model sees: all, numbers as [4, 3, 2, 8], names, or tables with value_range",
    )
    extra_images: tuple[str, ...] = Field(
        default=(), description="folders beside that of the images, with further bands of each"
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _numbered(cls, value: Any) -> Any:
        return dict(enumerate(value)) if isinstance(value, list | tuple) else value

    @field_validator("classes")
    @classmethod
    def _ids_in_range(cls, value: dict[int, str]) -> dict[int, str]:
        wrong = [raw for raw in value if not 0 <= raw <= MAX_ID]
        if wrong:
            raise ValueError(f"ids must be from 0 to {MAX_ID}, but {wrong[0]} came")
        return dict(sorted(value.items()))

    @field_validator("palette", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return dict(enumerate(value)) if isinstance(value, list | tuple) else value

    @field_validator("value_range")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if value is None else ValueRange.valid(*value)

    def colors(self) -> dict[int, Color]:
        """Colour of every raw id.

        Raises:
            ValueError: There is not one colour for each class.
        """
        if self.palette is None:
            return dict(zip(self.classes, generated_palette(len(self.classes)), strict=True))
        if len(self.palette) != len(self.classes):
            raise ValueError(
                f"classes has {len(self.classes)} entries but palette has {len(self.palette)}: "
                "give one colour per class"
            )
        if set(self.palette) == set(self.classes):
            return dict(self.palette)
        if set(self.palette) == set(range(len(self.classes))):  # a list beside ids with gaps
            return {raw: self.palette[place] for place, raw in enumerate(self.classes)}
        raise ValueError("palette must be a list, or have the ids of classes")


def read_class_file(path: Path, needs_classes: bool = True) -> ClassFile:
    """The content of a class file of any known name.

    Args:
        path: The file.
        needs_classes: Whether it has to name classes.

    Raises:
        DataError: It is missing or malformed, or names no classes.
    """
    reader = CLASS_FILES.get(path.name.lower()) or BY_SUFFIX.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is no class file. Known: {', '.join(CLASS_FILES)}.")
    if not path.exists():
        raise DataError(f"{path} does not exist.")
    try:
        content = reader(path)
    except ValueError as error:
        kind = "JSON " if path.suffix == ".json" else ""
        raise DataError(f"{path} is not a readable {kind}file: {error}.") from error
    try:
        return ClassFile.model_validate(_checked(content, needs_classes))
    except ValidationError as error:
        raise DataError(f"{path} is malformed: {in_words(error)}.") from error
    except ValueError as error:
        raise DataError(f"{path} is malformed: {error}.") from error


def _checked(content: Any, needs_classes: bool) -> dict[str, Any]:
    """The content with names as text and colours as numbers.

    Raises:
        ValueError: A value is not what its field allows; the message quotes it.
    """
    if not isinstance(content, dict):
        raise ValueError(
            f'{str(content)[:80]!r} came, but a class file lists the classes: {{"classes": ["road", "sky"]}}'
        )
    fields = ClassFile.model_fields
    unknown = [str(key) for key in content if key not in fields]
    if unknown:
        raise ValueError(unknown_name("field of a class file", unknown[0], fields).rstrip("."))
    checked = dict(content)
    if needs_classes or "classes" in content:
        checked["classes"] = _names(content.get("classes"))
    palette = content.get("palette")
    if isinstance(palette, list | tuple | dict):
        numbered = palette if isinstance(palette, dict) else dict(enumerate(palette))
        checked["palette"] = {
            _number(raw, "palette"): as_color(color, f"palette.{raw}")
            for raw, color in numbered.items()
        }
    elif palette in NOTHING:
        checked.pop("palette", None)
    else:
        raise ValueError(
            f"palette: {palette!r} came, but it is a list with one colour per class, [[128, 64, 128], ...]"
        )
    ignored = content.get("ignore_index")
    if ignored in NOTHING:
        checked.pop("ignore_index", None)
    else:
        checked["ignore_index"] = _ignore_index(ignored)
    if KEY in content:
        checked[KEY] = parse_pose(content[KEY])
    for field in ("merge", "ignore", "value_range", "bands", "extra_images"):
        if content.get(field) in NOTHING:
            checked.pop(field, None)
    for field in ("ignore", "extra_images"):
        if isinstance(checked.get(field), str):
            checked[field] = [checked[field]]
    return checked


def _names(classes: Any) -> dict[int, str]:
    if not classes or not isinstance(classes, list | tuple | dict):
        what = "nothing" if classes is None else repr(classes)
        raise ValueError(
            f'classes: {what} came, but it is the list of names in the order of ids, ["road", "sky"], or ids with '
            'names, {"1": "road"}'
        )
    numbered = classes if isinstance(classes, dict) else dict(enumerate(classes))
    names: dict[int, str] = {}
    for key, value in numbered.items():
        raw = _number(key, "classes")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(
                f"classes.{key}: {value!r} came, but a name is text: put it into quotation marks"
            )
        name = str(value).strip()
        if not name:
            raise ValueError(f"classes.{key}: the name is empty, but each class needs one")
        if raw in names:
            raise ValueError(f"classes: the id {raw} comes twice, but each class has its own")
        names[raw] = name
    return names


def _number(value: Any, place: str) -> int:
    try:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError
        return int(value)
    except ValueError:
        raise ValueError(
            f"{place}: {str(value)[:40]!r} came as an id, but ids are whole numbers"
        ) from None


def _ignore_index(value: Any) -> int:
    try:
        number = _number(value, "ignore_index")
    except ValueError:
        raise ValueError(
            f"ignore_index: {value!r} came, but it is the mask value of pixels that count nowhere, from 0 to {MAX_ID}; "
            "names of classes that count nowhere are listed as ignore"
        ) from None
    if not 0 <= number <= MAX_ID:
        raise ValueError(
            f"ignore_index: {number} came, but a mask value is from 0 to {MAX_ID}; without ignore_index, 255 is ignored"
        )
    return number


def in_words(error: ValidationError) -> str:
    """What a validator found, in words of our own: our validators' sentence, or what came where."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "value_error":
        text = fault["msg"].removeprefix("Value error, ")
        return f"{place}: {text}" if place else text
    field = ClassFile.model_fields.get(place.partition(".")[0])
    about = "" if field is None else f", but it is the {field.description}"
    return f"{place}: {str(fault['input'])[:80]!r} came{about}"
