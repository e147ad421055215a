"""The plain ViT backbone: timm's parameters and names, any image size, any subset of tokens."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.hybrid_embed import HybridEmbed
from timm.layers.pos_embed_sincos import RotaryEmbeddingCat, RotaryEmbeddingDinoV3
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from torch import Tensor, nn

from vitseg.backbones.blocks import TimmViT, adopt_block
from vitseg.backbones.config import BackboneConfig
from vitseg.backbones.positions import (
    TokenPositions,
    with_unrotated_prefix,
)
from vitseg.errors import ConfigError
from vitseg.layers.checkpointing import run_block
from vitseg.layers.grid import resample_grid
from vitseg.types import Features, Size, spatial_size


class PatchEmbed(nn.Module):
    """Patches to tokens, row by row; timm's parameters and names."""

    def __init__(self, proj: nn.Module, norm: nn.Module):
        super().__init__()
        self.proj = proj
        self.norm = norm

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b n c"]:
        """Images whose sides are multiples of the patch."""
        return self._tokens(images)

    def _tokens(self, maps: Float[Tensor, "b _ H W"]) -> Float[Tensor, "b n c"]:
        tokens = self.proj(maps).flatten(2).transpose(1, 2)
        # Left as it is, every residual sum would keep the convolution's channels-first strides: 5 % slower.
        return self.norm(tokens.contiguous())


class HybridPatchEmbed(PatchEmbed):
    """Features of a CNN as patches: a token per cell of its last stage, or per patch of them; timm's names."""

    def __init__(self, embed: HybridEmbed):
        super().__init__(embed.proj, nn.Identity())
        self.backbone = embed.backbone

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b n c"]:
        """Images whose sides are multiples of the CNN's stride times the patch."""
        features = self.backbone(images)  # (b, c, h, w), or such maps of several stages
        return self._tokens(features[-1] if isinstance(features, (list, tuple)) else features)


class PlainViT(nn.Module):
    """A timm `VisionTransformer`, `Beit` or `Eva` behind the `PlainBackbone` protocol.

    Built by `create_backbone`. Parameter names are timm's. Images of any size are padded with zeros (the mean colour)
    on the bottom and right to a multiple of the patch; position embeddings are resampled to the image's grid.

    Attributes:
        embed_dim: Width of the tokens.
        patch_size: (height, width) of a patch, in pixels.
        grid: Token grid that the stored absolute position embeddings are for.
        num_prefix_tokens: Class, distillation and register tokens that run through the blocks (0 where dropped).
        blocks: Up to the deepest tap; later blocks are not built.
        norm: The final norm where `tap_norm` asks for it, else the identity.
    """

    norm_pre: nn.Module
    rope: RotaryEmbeddingCat | RotaryEmbeddingDinoV3 | None

    def __init__(self, vit: TimmViT, config: BackboneConfig):
        super().__init__()
        self.config = config
        self.embed_dim: int = vit.embed_dim
        patch_height, patch_width = cast(Size, vit.patch_embed.feat_ratio(as_scalar=False))
        self.patch_size: Size = (int(patch_height), int(patch_width))
        self.grid: Size = vit.patch_embed.grid_size
        if isinstance(vit.patch_embed, HybridEmbed):
            self.patch_embed = HybridPatchEmbed(vit.patch_embed)
        else:
            self.patch_embed = PatchEmbed(vit.patch_embed.proj, vit.patch_embed.norm)
        self._adopt_embeddings(vit)
        self._check_taps(len(vit.blocks))
        last = max(1, len(vit.blocks) - 1)
        rates = [config.drop_path * index / last for index in range(len(vit.blocks))]
        self.blocks = nn.ModuleList(
            adopt_block(block, self.grid, rate, config.name)
            for block, rate in list(zip(vit.blocks, rates, strict=True))[: config.taps[-1] + 1]
        )
        self.norm = vit.norm if config.tap_norm else nn.Identity()
        if config.norm_eps is not None:
            for module in self.modules():
                if isinstance(module, nn.LayerNorm):
                    module.eps = config.norm_eps

    @property
    def channels(self) -> tuple[int, ...]:
        """Width of each returned map."""
        return (self.embed_dim,) * len(self.config.taps)

    def _adopt_embeddings(self, vit: TimmViT) -> None:
        self.cls_token = vit.cls_token
        self.dist_token = vit.dist_token if isinstance(vit, VisionTransformerDistilled) else None
        self.reg_token = None if isinstance(vit, Beit) else vit.reg_token
        self.pos_embed = vit.pos_embed
        self.norm_pre = nn.Identity() if isinstance(vit, Beit) else cast(nn.Module, vit.norm_pre)
        self.rope = None
        if isinstance(vit, Eva) and vit.rope is not None:
            if not isinstance(vit.rope, (RotaryEmbeddingCat, RotaryEmbeddingDinoV3)):
                raise ConfigError(
                    f"backbone {self.config.name} has {type(vit.rope).__name__}, which vitseg does not run. Choose "
                    "another ViT, for example vit_base_patch16_dinov3."
                )
            self.rope = vit.rope
        if isinstance(vit, Beit) and vit.rel_pos_bias is not None:
            raise ConfigError(
                f"backbone {self.config.name} shares one relative position bias over all blocks, which vitseg does "
                "not run. Choose another ViT, for example beitv2_base_patch16_224."
            )
        # Entries of pos_embed in front of the grid (DeiT-3, DINOv2 and SigLIP have none).
        prefix_has_pos_embed = isinstance(vit, Beit) or not vit.no_embed_class
        self._num_pos_embed_prefix = vit.num_prefix_tokens if prefix_has_pos_embed else 0
        if self.config.prefix_tokens == "class" and vit.cls_token is None:
            raise ConfigError(
                f"backbone {self.config.name} has no class token: set prefix_tokens to keep or drop."
            )
        num_prefix_tokens = {"keep": vit.num_prefix_tokens, "class": 1, "drop": 0}
        self.num_prefix_tokens: int = num_prefix_tokens[self.config.prefix_tokens]
        if self.config.prefix_tokens != "keep":
            # They reach no output: without this, distributed training waits for their gradients.
            for token in self._stored_prefix_tokens()[self.num_prefix_tokens :]:
                token.requires_grad_(False)

    def _check_taps(self, depth: int) -> None:
        if self.config.taps[-1] >= depth:
            raise ConfigError(
                f"backbone.taps names block {self.config.taps[-1]}, but {self.config.name} has blocks "
                f"0-{depth - 1}."
            )

    def resample_grid(self, image_size: Size) -> None:
        """Store the absolute position embeddings for images of this size instead (as the papers do at load)."""
        grid = self.grid_of(image_size)
        if self.pos_embed is not None and grid != self.grid:
            self.pos_embed = nn.Parameter(self._pos_embed_for(grid).detach().clone())
        if self.pos_embed is not None:
            self.grid = grid

    def grid_of(self, image_size: Size) -> Size:
        """Token grid of images of this size in pixels."""
        return (-(-image_size[0] // self.patch_size[0]), -(-image_size[1] // self.patch_size[1]))

    def padded_size(self, grid: Size) -> Size:
        """Pixels that a token grid covers."""
        return grid[0] * self.patch_size[0], grid[1] * self.patch_size[1]

    def _pos_embed_for(self, grid: Size) -> Float[Tensor, "1 n c"]:
        assert self.pos_embed is not None
        prefix, spatial = self.pos_embed.split(
            [self._num_pos_embed_prefix, self.pos_embed.shape[1] - self._num_pos_embed_prefix],
            dim=1,
        )
        spatial = resample_grid(spatial, self.grid, grid, self.config.pos_embed_interpolation)
        return torch.cat([prefix, spatial], dim=1)

    def embed(
        self, images: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b n c"], TokenPositions]:
        """Pad, embed patches, add positions and prefix tokens: what block 0 receives."""
        grid = self.grid_of(spatial_size(images))
        down = grid[0] * self.patch_size[0] - images.shape[-2]
        right = grid[1] * self.patch_size[1] - images.shape[-1]
        if down or right:
            images = F.pad(images, (0, right, 0, down))
        x = self.patch_embed(images)  # (b, h*w, c)
        prefix = self._prefix_tokens(len(x))
        if self.pos_embed is not None:
            pos_embed = self._pos_embed_for(grid)
            x = x + pos_embed[:, self._num_pos_embed_prefix :]
            if prefix is not None and self._num_pos_embed_prefix:
                prefix = prefix + pos_embed[:, : prefix.shape[1]]
        if prefix is not None:
            x = torch.cat([prefix, x], dim=1)
        rotary = None
        if self.rope is not None:
            table = self.rope.get_embed(shape=list(grid)).to(x.device)
            rotary = with_unrotated_prefix(table, self.num_prefix_tokens)
        return self.norm_pre(x), TokenPositions(grid, self.num_prefix_tokens, rotary=rotary)

    def _prefix_tokens(self, batch_size: int) -> Float[Tensor, "b n c"] | None:
        if not self.num_prefix_tokens:
            return None
        stored = torch.cat(tuple(self._stored_prefix_tokens()), dim=1)
        return stored[:, : self.num_prefix_tokens].expand(batch_size, -1, -1)

    def _stored_prefix_tokens(self) -> list[nn.Parameter]:
        """The class token first, where there is one."""
        tokens = (self.cls_token, self.dist_token, self.reg_token)
        return [token for token in tokens if isinstance(token, nn.Parameter)]

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Features:
        """Tapped block outputs as maps over the padded image, prefix tokens dropped.

        Args:
            images: Normalised images of any height and width.
        """
        x, positions = self.embed(images)
        taps = []
        for index, block in enumerate(self.blocks):
            x = self.run(block, x, positions)
            if index in self.config.taps:
                taps.append(self.as_map(self.norm(x) if self.config.tap_norm else x, positions))
        return Features(tuple(taps), spatial_size(images), self.padded_size(positions.grid))

    def run(self, block: nn.Module, *args: object) -> Tensor:
        """A block's output; in training by gradient checkpointing where the configuration says so."""
        return run_block(
            block, *args, recompute=self.config.gradient_checkpointing and self.training
        )

    def as_map(
        self, x: Float[Tensor, "b n c"], positions: TokenPositions
    ) -> Float[Tensor, "b c h w"]:
        """The grid's tokens of a full sequence as a map (a view, no copy)."""
        return x[:, positions.num_prefix_tokens :].transpose(1, 2).unflatten(-1, positions.grid)
