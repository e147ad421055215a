"""SETR and Segmenter as functions of a reference's state dict: just enough to run their golden tensors.

Sources: SETR (CVPR 2021), sections 3.2 and 3.3; Segmenter (ICCV 2021), section 3. `state` has the references' own
parameter names; everything runs in evaluation mode.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vitseg.types import SegOutput, spatial_size

State = dict[str, Tensor]

HEADS = 3
PATCH = 16
SETR_EPS = 1e-6
SEGMENTER_EPS = 1e-5


# ----- parts


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[name + ".weight"], state.get(name + ".bias"))


def layer_norm(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    weight = state[name + ".weight"]
    return F.layer_norm(x, weight.shape, weight, state[name + ".bias"], eps)


def conv(state: State, name: str, x: Tensor) -> Tensor:
    """Convolution at the same size."""
    weight = state[name + ".weight"]
    return F.conv2d(x, weight, state.get(name + ".bias"), padding=weight.shape[-1] // 2)


def conv_bn_relu(state: State, conv_name: str, bn: str, x: Tensor) -> Tensor:
    mean, var = state[bn + ".running_mean"], state[bn + ".running_var"]
    x = conv(state, conv_name, x)
    return F.batch_norm(x, mean, var, state[bn + ".weight"], state[bn + ".bias"]).relu()


def upsample(x: Tensor, factor: int, align_corners: bool = False) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=align_corners)


def to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(b, n, c) to (b, c, h, w)."""
    return tokens.mT.unflatten(2, grid)


def embed_patches(state: State, name: str, images: Tensor) -> Tensor:
    """Linear embeddings of the patches as (b, c, h, w)."""
    return F.conv2d(images, state[name + ".weight"], state[name + ".bias"], stride=PATCH)


def block(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    """A pre-norm transformer block."""
    qkv = linear(state, f"{name}.attn.qkv", layer_norm(state, f"{name}.norm1", x, eps))
    q, k, v = qkv.unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    x = x + linear(state, f"{name}.attn.proj", mixed)
    hidden = linear(state, f"{name}.mlp.fc1", layer_norm(state, f"{name}.norm2", x, eps))
    return x + linear(state, f"{name}.mlp.fc2", F.gelu(hidden))


def count_blocks(state: State, prefix: str) -> int:
    start = prefix + ".blocks."
    return 1 + max(int(n[len(start) :].split(".")[0]) for n in state if n.startswith(start))


# ----- SETR


def setr_tokens(state: State, images: Tensor, with_cls: bool) -> list[Tensor]:
    """Tokens (b, n, c) after every block; without the class token it never enters the first one."""
    tokens = embed_patches(state, "backbone.patch_embed.proj", images).flatten(2).mT
    cls_token, pos_embed = state["backbone.cls_token"], state["backbone.pos_embed"]
    tokens = tokens + pos_embed[:, 1:]
    if with_cls:
        cls_token = (cls_token + pos_embed[:, :1]).expand(len(tokens), -1, -1)
        tokens = torch.cat([cls_token, tokens], 1)
    outputs = []
    for index in range(count_blocks(state, "backbone")):
        tokens = block(state, f"backbone.blocks.{index}", tokens, SETR_EPS)
        outputs.append(tokens)
    return outputs


def setr_naive(state: State, images: Tensor) -> SegOutput:
    x = _head_input(state, images)
    x = conv_bn_relu(state, "decode_head.conv_0", "decode_head.syncbn_fc_0", x)
    return _logits(conv(state, "decode_head.conv_1", x), images)


def setr_pup(state: State, images: Tensor) -> SegOutput:
    """Progressive upsampling: a convolution before each doubling; the last doubling is the readout's."""
    x = _head_input(state, images)
    for index in range(4):
        x = conv_bn_relu(state, f"decode_head.conv_{index}", f"decode_head.syncbn_fc_{index}", x)
        x = upsample(x, 2) if index < 3 else x
    return _logits(conv(state, "decode_head.conv_4", x), images)


def setr_mla_features(state: State, images: Tensor) -> list[Tensor]:
    """Multi-level aggregation: every second of eight blocks, summed from the deepest up; shallow to deep."""
    tokens = setr_tokens(state, images, with_cls=False)
    step = len(tokens) // 4
    total: Tensor | float = 0.0
    maps = []
    for level in (3, 2, 1, 0):
        x = layer_norm(state, f"backbone.norm_{level}", tokens[step * (level + 1) - 1], SETR_EPS)
        name = f"backbone.mla.mla_p{level + 2}"
        x = to_map(x, _grid(images))
        total = total + conv_bn_relu(state, name + "_1x1.0", name + "_1x1.1", x)
        maps.append(conv_bn_relu(state, name + ".0", name + ".1", total))
    return maps[::-1]


def setr_mla(state: State, images: Tensor) -> SegOutput:
    levels = []
    for level, x in enumerate(setr_mla_features(state, images)):
        name = f"decode_head.mlahead.head{level + 2}"
        x = conv_bn_relu(state, name + ".0", name + ".1", x)
        x = conv_bn_relu(state, name + ".3", name + ".4", x)
        levels.append(upsample(x, 4, align_corners=True))
    return _logits(conv(state, "decode_head.cls", torch.cat(levels, 1)), images)


def _head_input(state: State, images: Tensor) -> Tensor:
    """The last block's patches, normalised, as a map."""
    tokens = setr_tokens(state, images, with_cls=True)[-1][:, 1:]
    return to_map(layer_norm(state, "decode_head.norm", tokens, SETR_EPS), _grid(images))


# ----- Segmenter


def segmenter(state: State, images: Tensor) -> SegOutput:
    """ViT and mask transformer: class tokens go through two blocks with the patches; a mask is their cosine."""
    height, width = spatial_size(images)
    padded = F.pad(images, (0, -width % PATCH, 0, -height % PATCH))
    grid = _grid(padded)
    patches = _segmenter_encoder(state, padded)
    tokens = linear(state, "decoder.proj_dec", patches)
    tokens = torch.cat([tokens, state["decoder.cls_emb"].expand(len(tokens), -1, -1)], 1)
    for index in range(count_blocks(state, "decoder")):
        tokens = block(state, f"decoder.blocks.{index}", tokens, SEGMENTER_EPS)
    tokens = layer_norm(state, "decoder.decoder_norm", tokens, SEGMENTER_EPS)
    num_patches = grid[0] * grid[1]
    patches = F.normalize(tokens[:, :num_patches] @ state["decoder.proj_patch"], dim=-1)
    classes = F.normalize(tokens[:, num_patches:] @ state["decoder.proj_classes"], dim=-1)
    masks = layer_norm(state, "decoder.mask_norm", patches @ classes.mT, SEGMENTER_EPS)
    return SegOutput(to_map(masks, grid), None, "logits", (height, width), spatial_size(padded))


def _segmenter_encoder(state: State, images: Tensor) -> Tensor:
    """Patch tokens of the ViT, whose position embedding is resized to the image."""
    patches = embed_patches(state, "encoder.patch_embed.proj", images)
    pos_embed = state["encoder.pos_embed"]
    side = int((pos_embed.shape[1] - 1) ** 0.5)
    grid = to_map(pos_embed[:, 1:], (side, side))
    patches = patches + F.interpolate(grid, patches.shape[-2:], mode="bilinear")
    cls_token = (state["encoder.cls_token"] + pos_embed[:, :1]).expand(len(images), -1, -1)
    tokens = torch.cat([cls_token, patches.flatten(2).mT], 1)
    for index in range(count_blocks(state, "encoder")):
        tokens = block(state, f"encoder.blocks.{index}", tokens, SEGMENTER_EPS)
    return layer_norm(state, "encoder.norm", tokens, SEGMENTER_EPS)[:, 1:]


def _grid(images: Tensor) -> tuple[int, int]:
    height, width = spatial_size(images)
    return height // PATCH, width // PATCH


def _logits(maps: Tensor, images: Tensor) -> SegOutput:
    size = spatial_size(images)
    return SegOutput(maps, None, "logits", size, size)
