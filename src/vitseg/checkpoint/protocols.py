"""What is published beside the weights of a method: the inference protocol and the licence."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple


class Published(NamedTuple):
    """How the models of one repository are tested, and under which terms they stand.

    Attributes:
        license: One line on the licence of the weights.
        strides: Stride of the sliding window by crop (pixels); two thirds of any other crop.
        resizes: Fields of the inference protocol by data set; any other has those of "", else ADE20K's, (2048, crop).
        mode: Whether images are run by windows or whole.
        long_sides: Long side of ADE20K's `resize` by crop, where it is not 2048.
    """

    license: str
    strides: Mapping[int, int]
    resizes: Mapping[str, Mapping[str, Any]]
    mode: Literal["slide", "whole"] = "slide"
    long_sides: Mapping[int, int] = MappingProxyType({})

    def protocol(self, crop: int, dataset: str | None) -> dict[str, Any]:
        """The inference protocol of a model.

        Args:
            crop: Side of its crops in pixels.
            dataset: Name of the data set that it was trained on, if that is a published one.
        """
        others = self.resizes.get("", {"resize": (self.long_sides.get(crop, 2048), crop)})
        resize = self.resizes.get(dataset or "", others)
        if self.mode == "whole":
            return {"mode": "whole", **resize}
        stride = self.strides.get(crop, max(1, 2 * crop // 3))
        window = {"crop_size": (crop, crop), "stride": (stride, stride)}
        return {"mode": "slide", **window, **resize}


_PASCAL_CONTEXT = {"resize": (520, 520), "min_short": 480}
"""Short side 520, the long one free: a box of 520 x 520 would make images smaller than the crop."""

_RESIZES: dict[str, dict[str, Any]] = {
    "cityscapes": {"resize": (2048, 1024)},  # the images' own size
    "coco_stuff_10k": {"resize": (2048, 512), "min_short": 512},
    "pascal_context_59": _PASCAL_CONTEXT,
    "pascal_context_60": _PASCAL_CONTEXT,
}

SEGVIT = Published(
    "SegViT's published weights: non-commercial use only (licence of the SegViT repository)",
    {640: 608, 512: 341, 480: 320},
    _RESIZES,
)
DTOP = Published(
    "DToP's weights: BSD-2-Clause, by its README for academic use; for another, ask its authors",
    {640: 320, 512: 341, 480: 320},
    _RESIZES | {"ade20k": {"resize": (2560, 640)}},
)
SETR = Published(
    "SETR's published weights: see the licence of its repository (fudan-zvg/SETR)",
    {768: 512, 512: 341, 480: 320},
    _RESIZES | {"cityscapes": {"resize": (2049, 1025)}},
)
SETR_MMSEG = Published(
    "weights published by mmsegmentation: see the licence of its repository (open-mmlab/mmsegmentation)",
    {768: 512, 512: 341, 480: 320},
    _RESIZES,
)
SEGMENTER = Published(
    "Segmenter's published weights: see the licence of its repository (rstrudel/segmenter)",
    # The window of its own crop, without overlap, on ADE20K; the stride of 640 is not published beside the others.
    {768: 512, 640: 640, 512: 512, 480: 320},
    _RESIZES,
)
SEMASK = Published(
    "SeMask's published weights: see the licence of its repository (Picsart-AI-Research/SeMask-Segmentation)",
    {},
    {"cityscapes": {"resize": (2048, 1024)}},
    mode="whole",
    long_sides={640: 2560},
)
UPERNET = Published(
    "weights published by mmsegmentation or the Swin authors: see the licence of the repository they are from",
    {},
    {"cityscapes": {"resize": (2048, 1024)}},
    mode="whole",
)
NRD = Published(
    "NRD's weights: Apache-2.0 (licence of the NRD repository)",
    {},
    {
        "cityscapes": {"resize": (2048, 1024)},  # the images' own size
        # Both sides within 520, without a least side: no window has to fit.
        "pascal_context_59": {"resize": (520, 520)},
        "pascal_context_60": {"resize": (520, 520)},
    },
    mode="whole",
)
SEGFORMER = Published(
    "NVIDIA's published SegFormer weights: non-commercial use only (licence of the SegFormer repository)",
    {},
    {
        "": {"resize": None},  # the library runs images as they come
        "ade20k": {"resize": (2048, 512)},
        "cityscapes": {"resize": (2048, 1024)},
    },
    mode="whole",
)
SEGMENTER_MMSEG = Published(
    "weights published by mmsegmentation: see the licence of its repository (open-mmlab/mmsegmentation)",
    {},  # the file's own configuration says it, else two thirds of the crop
    _RESIZES,
)
