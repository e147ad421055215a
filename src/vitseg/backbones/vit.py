"""The plain ViT backbone: timm's parameters and names, any image size, any subset of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.hybrid_embed import HybridEmbed
from torch import Tensor, nn

from vitseg.backbones.blocks import ViTBlock
from vitseg.backbones.config import BackboneConfig
from vitseg.backbones.families import Family
from vitseg.backbones.patch_embed import HybridPatchEmbed, PatchEmbed
from vitseg.backbones.positions import TokenPositions, rotary_table, with_unrotated_prefix
from vitseg.backbones.steps.block import RunBlock, Tap
from vitseg.backbones.stream import Step, TokenStream
from vitseg.errors import ConfigError
from vitseg.features import Features, GridCover
from vitseg.layers.grid import resample_grid, whole_cells
from vitseg.types import Size, spatial_size


class PlainViT(nn.Module):
    """A plain ViT of timm. Built by `create_backbone`; parameter names are timm's.

    Images of any size are padded with zeros (the mean colour) on the bottom and right to a multiple of the patch;
    position embeddings are resampled to the image's grid. What runs is a list of steps per block: the block, a tap
    where one is, and what a method puts beside them (`backbones/steps`).

    Attributes:
        embed_dim: Width of the tokens.
        patch_size: (height, width) of a patch, in pixels.
        grid: Token grid that the stored absolute position embeddings are for.
        num_prefix_tokens: Class, distillation and register tokens that run through the blocks (0 where dropped).
        blocks: Up to the deepest tap; later blocks are not built.
        norm: The final norm where `tap_norm` asks for it, else the identity.
        steps: For every block, what happens to the tokens at its depth, in order.
        added: Names of the modules that steps have brought along.
    """

    def __init__(self, vit: nn.Module, family: Family, config: BackboneConfig):
        super().__init__()
        self.config = config
        patch_embed = cast(Any, vit.patch_embed)
        self.embed_dim = cast(int, vit.embed_dim)
        patch_height, patch_width = cast(Size, patch_embed.feat_ratio(as_scalar=False))
        self.patch_size: Size = (int(patch_height), int(patch_width))
        self.grid = cast(Size, patch_embed.grid_size)
        if isinstance(patch_embed, HybridEmbed):
            self.patch_embed = HybridPatchEmbed(patch_embed)
        else:
            self.patch_embed = PatchEmbed(patch_embed.proj, patch_embed.norm)
        self._adopt_embeddings(vit, family)
        blocks = cast(nn.ModuleList, vit.blocks)
        self._check_taps(len(blocks))
        last = max(1, len(blocks) - 1)
        self.blocks = nn.ModuleList(
            self._adopted(family, block, config.drop_path * index / last)
            for index, block in enumerate(blocks[: config.taps[-1] + 1])
        )
        self.norm = cast(nn.Module, vit.norm) if config.tap_norm else nn.Identity()
        if config.norm_eps is not None:
            for module in self.modules():
                if isinstance(module, nn.LayerNorm):
                    module.eps = config.norm_eps
        self.added: set[str] = set()
        self.steps: list[list[Step]] = [[RunBlock(self, i)] for i in range(len(self.blocks))]
        for block in config.taps:
            self.steps[block].append(Tap(self))

    @property
    def channels(self) -> tuple[int, ...]:
        """Width of each returned map."""
        return (self.embed_dim,) * sum(
            isinstance(step, Tap) for steps in self.steps for step in steps
        )

    @property
    def knows_positions(self) -> bool:
        """Whether attention asks where tokens stand, by rotary positions or a relative bias."""
        has_bias = any(cast(ViTBlock, block).attn.has_bias for block in self.blocks)
        return self.rope is not None or has_bias

    def step_before(self, block: int, step: Step) -> None:
        """Put a step in front of a block (by its 0-based index), behind those that are there already."""
        place = next(
            index for index, other in enumerate(self.steps[block]) if isinstance(other, RunBlock)
        )
        self.steps[block].insert(place, step)

    def step_behind(self, block: int, step: Step) -> None:
        """Put a step behind a block and what follows it, but in front of its tap."""
        has_tap = isinstance(self.steps[block][-1], Tap)
        self.steps[block].insert(len(self.steps[block]) - has_tap, step)

    def own(self, name: str, module: nn.Module) -> None:
        """Register a module that a step runs, so that its parameters are the backbone's.

        Args:
            name: Its name, or "group.name" of a module of several alike.
            module: What the step runs.
        """
        group, _, member = name.rpartition(".")
        if not group:
            self.add_module(name, module)
        elif group in self.added:
            cast(nn.ModuleDict, self.get_submodule(group))[member] = module
        else:
            self.add_module(group, nn.ModuleDict({member: module}))
        self.added.add(group or name)

    def without_tap(self, block: int) -> None:
        """Take the tap behind a block away: what is read there is read otherwise."""
        self.steps[block] = [step for step in self.steps[block] if not isinstance(step, Tap)]

    @property
    def is_encoder(self) -> bool:
        """Whether it gives what the pretrained ViT gives, and nothing is trained or decided on the way."""
        return all(isinstance(step, (RunBlock, Tap)) for steps in self.steps for step in steps)

    def pretrained_modules(self) -> Iterator[nn.Module]:
        """Its modules but for the `added` ones; the loose parameters (tokens, positions) belong to none of them."""
        return (module for name, module in self.named_children() if name not in self.added)

    def _adopted(self, family: Family, block: nn.Module, drop_path: float) -> ViTBlock:
        adopted = family.adopt_block(block, self.grid, drop_path)
        if adopted is None:
            raise ConfigError(
                f"backbone {self.config.name} is built of {type(block).__name__} with {type(block.attn).__name__}, "
                "which vitseg does not run. Choose a pre-norm ViT: vit_*, deit*, beit*, eva02_* (DINOv2, DINOv3, "
                "SigLIP and CLIP among them)."
            )
        return adopted

    def _adopt_embeddings(self, vit: nn.Module, family: Family) -> None:
        found = family.embeddings(vit, self.config.name)
        self.cls_token = found.cls_token
        self.dist_token = found.dist_token
        self.reg_token = found.reg_token
        self.pos_embed = found.pos_embed
        self.norm_pre = found.norm_pre
        self.rope = found.rope
        num_prefix_tokens = cast(int, vit.num_prefix_tokens)
        # Entries of pos_embed in front of the grid (DeiT-3, DINOv2 and SigLIP have none).
        self._num_pos_embed_prefix = num_prefix_tokens if found.prefix_has_pos_embed else 0
        if self.config.prefix_tokens == "class" and found.cls_token is None:
            raise ConfigError(
                f"backbone {self.config.name} has no class token: set prefix_tokens to keep or drop."
            )
        kept = {"keep": num_prefix_tokens, "class": 1, "drop": 0}
        self.num_prefix_tokens: int = kept[self.config.prefix_tokens]
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
        self.store_grid(self.grid_of(image_size))

    def store_grid(self, grid: Size) -> None:
        """Store the absolute position embeddings for this token grid instead."""
        if self.pos_embed is not None and grid != self.grid:
            self.pos_embed = nn.Parameter(self._pos_embed_for(grid).detach().clone())
        if self.pos_embed is not None:
            self.grid = grid

    def grid_of(self, image_size: Size) -> Size:
        """Token grid of images of this size in pixels."""
        height, width = map(whole_cells, image_size, self.patch_size)
        return height, width

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

    def _padded(self, images: Float[Tensor, "b channels H W"]) -> Float[Tensor, "b channels _ _"]:
        """Images with zeros below and on the right, up to whole patches."""
        size = spatial_size(images)
        covered = self.padded_size(self.grid_of(size))
        if covered == size:
            return images
        return F.pad(images, (0, covered[1] - size[1], 0, covered[0] - size[0]))

    def embed(
        self, images: Float[Tensor, "b channels H W"]
    ) -> tuple[Float[Tensor, "b n c"], TokenPositions]:
        """Pad, embed patches, add positions and prefix tokens: what block 0 receives."""
        grid = self.grid_of(spatial_size(images))
        x = self.patch_embed(self._padded(images))  # (b, h*w, c)
        prefix = self._prefix_tokens(x.shape[0])
        if self.pos_embed is not None:
            pos_embed = self._pos_embed_for(grid)
            x = x + pos_embed[:, self._num_pos_embed_prefix :]
            if prefix is not None and self._num_pos_embed_prefix:
                prefix = prefix + pos_embed[:, : prefix.shape[1]]
        if prefix is not None:
            x = torch.cat([prefix, x], dim=1)
        rotary = None
        if self.rope is not None:
            table = rotary_table(self.rope, grid).to(x.device)
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

    def start(self, images: Float[Tensor, "b channels H W"]) -> TokenStream:
        """The embedded images, in front of block 0."""
        x, positions = self.embed(images)
        padded_size = self.padded_size(positions.grid)
        cover = GridCover(positions.grid, padded_size)
        return TokenStream(x, positions, spatial_size(images), padded_size, cover, self.training)

    def forward(self, images: Float[Tensor, "b channels H W"]) -> Features:
        """Taps as maps over the padded image, prefix tokens dropped, and what the steps have read.

        Args:
            images: Normalised images of any height and width.
        """
        stream = self.start(images)
        for depth in range(len(self.blocks)):
            for step in self.steps[depth]:
                stream = step(stream)
        return stream.features()
