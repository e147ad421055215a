"""Mix Transformer, SegFormer's encoder, of the transformers library's layers.

Source: SegFormer (NeurIPS 2021), section 3.1 and its table of the encoders. Parameter names are the library's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from jaxtyping import Float
from torch import Tensor, nn

from vitseg.backbones.config import PyramidConfig
from vitseg.backbones.pretrained import no_download
from vitseg.backbones.pyramid import Pyramid
from vitseg.hub import offline_if_unreachable
from vitseg.layers.checkpointing import run_block
from vitseg.layers.transformers_library import transformers_needed
from vitseg.types import Size

if TYPE_CHECKING:  # an optional dependency, imported where such a backbone is built
    from transformers.models.segformer.modeling_segformer import SegformerStage


class Variant(NamedTuple):
    """What the encoders differ in, stage by stage."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]


WIDE = (64, 128, 320, 512)
VARIANTS = {
    "mit_b0": Variant((32, 64, 160, 256), (2, 2, 2, 2)),
    "mit_b1": Variant(WIDE, (2, 2, 2, 2)),
    "mit_b2": Variant(WIDE, (3, 4, 6, 3)),
    "mit_b3": Variant(WIDE, (3, 4, 18, 3)),
    "mit_b4": Variant(WIDE, (3, 8, 27, 3)),
    "mit_b5": Variant(WIDE, (3, 6, 40, 3)),
}
STRIDES = (4, 8, 16, 32)

KEY_STRIDE = 32
"""Pixels between the cells of the shortened keys and values in every stage, so that images are padded to whole ones."""

LEAST_SIDE = 29
"""From so many pixels on, every stage has a whole cell of shortened keys without padding."""

FILES = ("model.safetensors", "pytorch_model.bin")
"""Names that published weights have, the preferred first."""


class MixTransformer(Pyramid):
    """The stages of the library's `SegformerModel`; every map is behind its stage's own LayerNorm.

    Args:
        stages: Of the whole model.
        config: Which of them are read.

    Attributes:
        pads: Whether images are padded to whole `KEY_STRIDE`s. SegFormer itself does not: its maps round up where sides
            are odd, and the shortened keys leave out the last cells; its own weights are run like that.
    """

    def __init__(self, stages: nn.ModuleList, config: PyramidConfig):
        super().__init__(config, VARIANTS[config.name].widths, STRIDES, multiple=KEY_STRIDE)
        self.pads = True
        self.stages = stages[: len(self.strides)]
        self.freeze()

    def stage_modules(self, level: int) -> Sequence[nn.Module]:
        return [self.stages[level]]

    def padding(self, size: Size) -> Size:
        """As of every pyramid; without `pads`, of sides that give no cell to the shortened keys alone."""
        if self.pads:
            return super().padding(size)
        down, right = (KEY_STRIDE - side if side < LEAST_SIDE else 0 for side in size)
        return down, right

    def is_covered(self, padded_size: Size, grid: Size, stride: int) -> bool:
        return not self.pads or super().is_covered(padded_size, grid, stride)

    def run_stage(
        self, level: int, x: Float[Tensor, "b _ _ _"], recompute: bool
    ) -> Float[Tensor, "b _ _ _"]:
        stage = cast("SegformerStage", self.stages[level])
        x, height, width = stage.patch_embeddings(x)  # (b, h*w, c)
        for block in stage.blocks:
            x = run_block(block, x, height, width, recompute=recompute)
        return stage.layer_norm(x).transpose(1, 2).unflatten(2, (height, width))  # (b, c, h, w)


def create_stages(config: PyramidConfig) -> nn.ModuleList:
    """The stages of the named encoder, with random weights.

    Raises:
        ConfigError: The transformers library is not there.
    """
    with transformers_needed(f"backbone {config.name}"):
        from transformers.models.segformer.configuration_segformer import SegformerConfig
        from transformers.models.segformer.modeling_segformer import SegformerModel, SegformerStage
    variant = VARIANTS[config.name]
    settings = SegformerConfig(
        hidden_sizes=variant.widths, depths=variant.depths, drop_path_rate=config.drop_path
    )
    stages = SegformerModel(settings).stages
    assert all(isinstance(stage, SegformerStage) for stage in stages)
    return stages


def published_place(name: str) -> str:
    """The repository on the hub that holds the published weights of an encoder."""
    return f"nvidia/{name.replace('_', '-')}"


def published_file(name: str) -> Path:
    """The published ImageNet-1k weights of an encoder, from the hub or its cache.

    Raises:
        CheckpointError: They cannot be had.
    """
    repo = published_place(name)
    errors: list[Exception] = []
    with offline_if_unreachable():
        for file in FILES:
            try:
                return Path(hf_hub_download(repo, file, library_name="vitseg"))
            except (OSError, EntryNotFoundError) as error:
                errors.append(error)
    raise no_download(name, errors[-1]) from errors[-1]
