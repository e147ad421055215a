"""How images are run through a model at test time."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vitseg.images.geometry import keep_ratio_size
from vitseg.inference.blending import Blend
from vitseg.types import Size


class InferenceConfig(BaseModel):
    """The evaluation protocol; stored with the model so that predictions follow it too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: tuple[int, int] | None = Field(
        default=None,
        description="(long, short) side limits in pixels: images are scaled, keeping their ratio, to the largest "
        "size within both; null runs images at their own size",
    )
    min_short: int | None = Field(
        default=None,
        gt=0,
        description="least short side in pixels; with it the short side becomes that of `resize`, but at least this, "
        "and the long side has no limit (SegViT's min-size rule; SETR's multi-scale rule with the crop's side)",
    )
    mode: Literal["whole", "slide"] = Field(
        default="whole", description="whole image at once, or a sliding window of the crop size"
    )
    crop_size: Size | None = Field(
        default=None, description="(height, width) of the window in pixels"
    )
    stride: Size | None = Field(
        default=None, description="(down, right) step of the window in pixels"
    )
    blend: Blend = Field(
        default="mean",
        description="weights of a window's pixels where windows overlap: all alike, as in the papers, or fading out "
        "towards its border (cosine)",
    )
    scales: tuple[float, ...] = Field(
        default=(1.0,),
        min_length=1,
        description="ratios that multiply `resize` (or the image's own size): the views whose softmaxes are averaged",
    )
    flip: bool = Field(default=False, description="average with the mirrored image as well")

    @model_validator(mode="after")
    def _window_is_complete(self) -> InferenceConfig:
        if self.mode == "slide":
            if self.crop_size is None or self.stride is None:
                raise ValueError('mode "slide" needs crop_size and stride')
            if not all(0 < s <= c for s, c in zip(self.stride, self.crop_size, strict=True)):
                raise ValueError(
                    f"stride {self.stride} must be from 1 to crop_size {self.crop_size}, or the windows leave gaps"
                )
        elif self.crop_size is not None or self.stride is not None or self.blend != "mean":
            raise ValueError(
                'crop_size, stride and blend belong to mode "slide": set it, or leave them out'
            )
        if any(scale <= 0 for scale in self.scales):
            raise ValueError(f"scales must be positive, got {self.scales}")
        if self.min_short is not None and self.resize is None:
            raise ValueError(
                "min_short changes the rule of resize: set resize too, or leave min_short out"
            )
        if self.resize is not None and not 0 < self.resize[1] <= self.resize[0]:
            raise ValueError(
                f"resize {self.resize} must be (long, short) in pixels, both positive, the long one not below the short"
            )
        return self

    def input_size(self, size: Size, scale: float = 1.0) -> Size:
        """The (height, width) at which an image is run.

        Args:
            size: (height, width) of the image as it is.
            scale: Ratio of the view, one of `scales`.
        """
        if self.resize is None:
            return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))
        long, short = (max(1, int(side * scale)) for side in self.resize)
        return keep_ratio_size(size, long, short, self.min_short)
