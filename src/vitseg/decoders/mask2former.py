"""Mask2Former's decoders: pixels by deformable attention, queries by masked attention.

Source: Mask2Former (CVPR 2022), section 3. The layers are the transformers library's, in pure PyTorch; they are wired
to our features here, and start as in DETR and Deformable DETR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vitseg.decoders.semantic_fpn import full_size_semantic
from vitseg.features import Features
from vitseg.layers.feature_alignment import AlignedStep
from vitseg.layers.transformer_init import (
    init_attention,
    init_convolutions,
    init_deformable,
    init_transformer,
)
from vitseg.layers.transformers_library import transformers_needed
from vitseg.outputs import MixedMasks
from vitseg.types import Size

if TYPE_CHECKING:  # an optional dependency, imported where such a decoder is built
    from transformers.models.mask2former.configuration_mask2former import (
        Mask2FormerConfig as LibraryConfig,
    )
    from transformers.models.mask2former.modeling_mask2former import (
        Mask2FormerMaskedAttentionDecoderLayer as DecoderLayer,
    )
    from transformers.models.mask2former.modeling_mask2former import (
        Mask2FormerPixelDecoder,
    )
    from transformers.models.mask2former.modeling_mask2former import (
        Mask2FormerPixelDecoderEncoderLayer as PixelLayer,
    )

NUM_HEADS = 8
NUM_LEVELS = 3
"""Maps that deformable attention and queries read: strides 8, 16 and 32."""

STRIDES = (4, 8, 16, 32)


class Mask2FormerDecoderConfig(BaseModel):
    """Configuration of `Mask2FormerDecoder`. The defaults are those of the paper's semantic segmentation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embed_dim: int = Field(
        default=256,
        ge=64,
        multiple_of=64,
        description="width of pixels and queries: 8 heads, and two channels or more in each of 32 normalised groups",
    )
    num_queries: int = Field(
        default=100, ge=1, description="learned queries (the paper: 100 for semantic segmentation)"
    )
    num_layers: int = Field(
        default=9,
        ge=1,
        description="layers of masked attention, three rounds over strides 32, 16 and 8; predictions are one more",
    )
    feedforward_dim: int = Field(default=2048, ge=1, description="width within their MLPs")
    num_pixel_layers: int = Field(
        default=6, ge=1, description="layers of deformable attention over strides 8, 16 and 32"
    )
    pixel_feedforward_dim: int = Field(default=1024, ge=1, description="width within their MLPs")
    align_features: bool = Field(
        default=False,
        description="FaPN's selection and alignment of features on the way from stride 8 to 4 (deformable convolution)",
    )


class Mask2FormerDecoder(nn.Module):
    """Class and mask of every query.

    In training the output's `stages` are the predictions in front of the layers, named "layer_0", ..., and that of the
    backbone's semantic maps, if it makes any, is the extra "semantic".

    Args:
        in_channels: Width of the maps of strides 4, 8, 16 and 32.
        num_classes: Classes.
        config: See `Mask2FormerDecoderConfig`.

    Raises:
        ConfigError: The transformers library is not there.
    """

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, config: Mask2FormerDecoderConfig
    ):
        super().__init__()
        with transformers_needed("Mask2Former"):
            from transformers.models.mask2former import modeling_mask2former as library
        assert len(in_channels) == len(STRIDES)
        settings = library_config(config)
        pixel_decoder = library.Mask2FormerPixelDecoder(
            settings, feature_channels=list(in_channels)
        )
        init_pixel_decoder(pixel_decoder)
        pixel_decoder.encoder.get_reference_points = reference_points  # a static method's place
        self.pixel_decoder = (
            AlignedPixelDecoder(pixel_decoder, in_channels[0], config.embed_dim)
            if config.align_features
            else pixel_decoder
        )
        self.transformer = library.Mask2FormerTransformerModule(config.embed_dim, settings)
        self.class_embed = nn.Linear(config.embed_dim, num_classes + 1)
        for layer in cast("Sequence[DecoderLayer]", self.transformer.decoder.layers):
            init_transformer(layer)
            attention = layer.self_attn
            init_attention(attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)

    def forward(self, features: Features) -> MixedMasks:
        """Classes, and masks at the size of the shallowest map."""
        pixels = self.pixel_decoder(features.maps)
        found = self.transformer(list(pixels.multi_scale_features), pixels.mask_features)
        every = list(zip(found.intermediate_hidden_states, found.masks_queries_logits, strict=True))
        *early, last = [
            MixedMasks(
                masks,
                *features.sizes,
                class_logits=self.class_embed(queries.transpose(0, 1)),
                name=f"layer_{index}",
            )
            for index, (queries, masks) in enumerate(every if self.training else every[-1:])
        ]
        extras = full_size_semantic(features) if self.training else {}
        return replace(last, name="", stages=tuple(early), extras=extras)


class Pixels(NamedTuple):
    """What `Mask2FormerDecoder` reads of a pixel decoder, by the library's names.

    Attributes:
        multi_scale_features: Maps for the queries to attend to, deep to shallow.
        mask_features: What masks are products with.
    """

    multi_scale_features: Sequence[Float[Tensor, "b c _ _"]]
    mask_features: Float[Tensor, "b c h w"]


class AlignedPixelDecoder(nn.Module):
    """The library's pixel decoder up to stride 8, and FaPN's step to stride 4.

    Args:
        decoder: The library's, which ends at stride 8.
        in_channels: Width of the map of stride 4.
        width: Of all others.
    """

    def __init__(self, decoder: Mask2FormerPixelDecoder, in_channels: int, width: int):
        super().__init__()
        self.decoder = decoder
        self.decoder.mask_projection = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        self.align = AlignedStep(in_channels, width)
        self.mask_projection = nn.Conv2d(width, width, 1)
        init_convolutions(self.mask_projection)

    def forward(self, maps: tuple[Float[Tensor, "b _ _ _"], ...]) -> Pixels:
        """Of the backbone's maps, shallow to deep."""
        found = self.decoder(maps)
        finest = self.align(maps[0], found.mask_features)
        return Pixels(found.multi_scale_features, self.mask_projection(finest))


def reference_points(
    spatial_shapes_list: Sequence[Size],
    valid_ratios: Float[Tensor, "b levels 2"],
    device: torch.device,
) -> Float[Tensor, "b n levels 2"]:
    """Where the cells of all levels are, as (x, y) in [0, 1] of every level: what the library has, in float32.

    Its `linspace` has the example's size in a graph that is traced for any.

    Args:
        spatial_shapes_list: (height, width) of each level.
        valid_ratios: Share of (width, height) that is no padding.
        device: Where.
    """
    levels = []
    for level, (height, width) in enumerate(spatial_shapes_list):
        y, x = (
            (torch.arange(cells, device=device) + 0.5).to(valid_ratios.dtype)
            / (valid_ratios[:, level, axis, None] * cells)
            for axis, cells in ((1, height), (0, width))
        )  # (b, h) and (b, w)
        grid = torch.broadcast_tensors(x[:, None, :], y[:, :, None])
        levels.append(torch.stack(grid, -1).flatten(1, 2))
    return torch.cat(levels, 1)[:, :, None] * valid_ratios[:, None]


def init_pixel_decoder(decoder: Mask2FormerPixelDecoder) -> None:
    """Convolutions as a feature pyramid's, the rest as a transformer's."""
    init_convolutions(decoder)
    for projection in cast(Sequence[nn.Sequential], decoder.input_projections):
        nn.init.xavier_uniform_(cast(nn.Conv2d, projection[0]).weight)
    # The library's own is made on the CPU whatever the default device, and not initialised.
    decoder.level_embed = nn.Parameter(torch.randn(decoder.level_embed.shape))
    init_transformer(decoder.encoder)
    for layer in cast("Sequence[PixelLayer]", decoder.encoder.layers):
        attention = layer.self_attn
        init_attention(attention.value_proj, attention.output_proj)
        init_deformable(
            attention.sampling_offsets, attention.attention_weights, NUM_HEADS, NUM_LEVELS
        )


def library_config(config: Mask2FormerDecoderConfig) -> LibraryConfig:
    """What the library calls our settings; its backbone is not built."""
    from transformers.models.mask2former.configuration_mask2former import (
        Mask2FormerConfig as LibraryConfig,
    )

    return LibraryConfig(
        feature_size=config.embed_dim,
        mask_feature_size=config.embed_dim,
        hidden_dim=config.embed_dim,
        encoder_feedforward_dim=config.pixel_feedforward_dim,
        encoder_layers=config.num_pixel_layers,
        decoder_layers=config.num_layers + 1,  # counts predictions
        num_attention_heads=NUM_HEADS,
        dim_feedforward=config.feedforward_dim,
        dropout=0.0,
        num_queries=config.num_queries,
        common_stride=STRIDES[1 if config.align_features else 0],  # where its masks would be
        feature_strides=STRIDES,
    )
