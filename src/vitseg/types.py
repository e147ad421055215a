"""The three types at which the parts meet: backbone -> Features -> decoder -> SegOutput -> Segmentation.

Shape legend, used in every signature: `b` batch, `n` tokens, `q` queries, `c` channels, `k` classes, `k1` classes +
"no object", `H W` pixels, `h w` token grid. Sizes are (height, width).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitseg.classes import ClassTable
from vitseg.errors import ConfigError
from vitseg.layers.ragged import RaggedTokens
from vitseg.render.overlay import draw_overlay
from vitseg.render.palette import save_label_png

Size = tuple[int, int]
"""(height, width)."""

Readout = Literal["mixing", "presence", "cell_presence", "logits", "joined"]
"""How an output gives the scores of the classes; `SegOutput` says what each is."""


def spatial_size(x: Tensor) -> Size:
    """(height, width) of the last two axes."""
    return x.shape[-2], x.shape[-1]


@dataclass(frozen=True)
class Features:
    """Feature maps of a backbone, shallow to deep.

    `maps` cover `padded_size`, which is `input_size` padded on the bottom and right to a multiple of the patch; of a
    pyramid, the shallowest covers it and the deeper ones may reach further.
    A backbone that drops some of an image's tokens returns those that it kept as `ragged`, deeper than all maps.
    `aux` holds maps that the backbone itself is trained by, by name; they cover what a map of their size covers.
    """

    maps: tuple[Float[Tensor, "b _ _ _"], ...]
    input_size: Size
    padded_size: Size
    ragged: tuple[RaggedTokens, ...] = ()
    aux: Mapping[str, Float[Tensor, "b _ _ _"]] = field(default_factory=dict)


@dataclass(frozen=True)
class SegOutput:
    """What every decoder returns, in training and in evaluation.

    A query has a mask over the token grid and, but for "logits", class logits. `readout` says how they give the
    score of a class at a pixel, with M the mask logits at pixel size (bilinear, align_corners=False):

    - "mixing": Y_k = sum_q softmax(class_logits_q)_k * sigmoid(M_q); the last logit is "no object" and is dropped.
    - "presence": Y_k = softmax(class_logits_k)_0 * sigmoid(M_k); query k is class k, two logits (present, absent).
    - "cell_presence": Y_k = the resize of softmax(class_logits_k)_0 * sigmoid(mask_logits_k): as "presence", but the
      product is resized, not the logits.
    - "logits": Y_k = M_k, of any sign; query k is class k, and `class_logits` is None.
    - "joined": the scores of each of `parts`, one behind the other; `mask_logits` are those of all parts, and
      `class_logits` is None. A part's scores are computed by themselves, so that no bit of them depends on the others.

    `mask_logits` cover `padded_size`; pixels beyond `input_size` are padding. `aux` holds the outputs of earlier
    stages, by name, for deep supervision.
    """

    mask_logits: Float[Tensor, "b q h w"]
    class_logits: Float[Tensor, "b q k1"] | None
    readout: Readout
    input_size: Size
    padded_size: Size
    aux: Mapping[str, SegOutput] = field(default_factory=dict)
    parts: tuple[SegOutput, ...] = ()

    @property
    def num_classes(self) -> int:
        if self.readout == "joined":
            return sum(part.num_classes for part in self.parts)
        if self.readout != "mixing":
            return self.mask_logits.shape[1]
        assert self.class_logits is not None
        return self.class_logits.shape[2] - 1


@dataclass(frozen=True)
class Segmentation:
    """The segmentation of one image at the image's own size.

    Attributes:
        label_map: Class index of every pixel, (H, W).
        classes: Names and colours of the classes.
        image: The image itself, (H, W, 3) uint8 RGB, upright (EXIF orientation applied).
        path: Where the image came from, if it came from a file.
    """

    label_map: np.ndarray
    classes: ClassTable
    image: np.ndarray
    path: Path | None = None

    @property
    def size(self) -> Size:
        height, width = self.label_map.shape
        return height, width

    @property
    def class_areas(self) -> dict[str, float]:
        """Share of the image that each class covers, in [0, 1], largest first; absent classes are left out."""
        counts = np.bincount(self.label_map.reshape(-1), minlength=self.classes.num_classes)
        order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
        return {
            self.classes.names[index]: float(counts[index]) / self.label_map.size for index in order
        }

    def overlay(self, opacity: float = 0.55, legend: bool = True) -> Image.Image:
        """The image with the classes painted over it.

        Args:
            opacity: Weight of the class colour over the image, in [0, 1].
            legend: Whether to add a legend of the classes that occur, below the image.
        """
        return draw_overlay(
            self.image, self.label_map, self.classes, opacity=opacity, legend=legend
        )

    def save(self, path: str | Path) -> None:
        """Write the label map as an indexed PNG with the palette (16-bit grey above 256 classes).

        Raises:
            ConfigError: The name does not end in .png: other formats would change the indices.
        """
        if Path(path).suffix.lower() != ".png":
            raise ConfigError(
                f"{path}: label maps are saved as .png, since other formats would change the indices."
            )
        save_label_png(Path(path), self.label_map, self.classes)
