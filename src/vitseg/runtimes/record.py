"""What an exported graph is: the file beside it, which is also kept within it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vitseg.checkpoint.model_dir import ModelRecord
from vitseg.images.preprocess import Preprocessing
from vitseg.runtimes.layout import OutputLayout
from vitseg.types import Size

Form = Literal["masks", "probs", "labels"]
"""What a graph gives: masks over the token grid with class logits; class probabilities; the label map."""

Format = Literal["onnx", "openvino", "torch-export"]
Precision = Literal["fp32", "bf16", "fp16", "int8-dynamic", "int8-static"]

PLAIN_PIXELS = {"mean": (0.0,), "std": (1 / 255,)}
"""The normalisation that leaves pixels as they are, [0, 255], for each channel."""


class ExportRecord(BaseModel):
    """What `GRAPH.json` beside a graph says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    format: Format = Field(description="what runs the graph")
    form: Form = Field(description="what the graph gives")
    precision: Precision = Field(default="fp32", description="numbers it computes with")
    normalises: bool = Field(
        description="whether its input is pixels in [0, 255], normalised inside; else normalised images"
    )
    resizes: bool = Field(
        description="whether images of any size go in, which it resizes by the protocol and back"
    )
    size: Size | None = Field(
        default=None, description="(height, width) of the only images it takes; None: any"
    )
    batch: int | None = Field(default=None, description="images at a time; None: any number")
    layout: OutputLayout | None = Field(
        default=None, description="form masks: which output its tensors make up"
    )
    padding: Size = Field(
        description="(height, width) of which images are padded to a multiple, inside; masks cover the padding, too"
    )
    inputs: tuple[str, ...] = Field(description="names of its inputs")
    outputs: tuple[str, ...] = Field(description="names of its outputs")
    model: ModelRecord = Field(description="the model that was exported")
    versions: dict[str, str] = Field(description="packages that wrote it, and the operator set")
    sha256: dict[str, str] = Field(
        default_factory=dict, description="of the graph's files, by name; not within the graph"
    )

    @model_validator(mode="after")
    def _masks_have_a_layout(self) -> ExportRecord:
        if (self.form == "masks") != (self.layout is not None):
            raise ValueError("form masks, and no other, has a layout")
        return self

    @property
    def within(self) -> ExportRecord:
        """The record as the graph itself has it: without the hashes of its own files."""
        return self.model_copy(update={"sha256": {}})

    @property
    def preprocessing(self) -> Preprocessing:
        """How pixels become what the graph takes."""
        own = self.model.preprocessing
        if not self.normalises:
            return own
        plain = {name: value * own.num_channels for name, value in PLAIN_PIXELS.items()}
        return own.model_copy(update=plain)

    @property
    def predicting(self) -> ModelRecord:
        """The model's record, with pixels brought to what the graph takes."""
        return self.model.model_copy(update={"preprocessing": self.preprocessing})
