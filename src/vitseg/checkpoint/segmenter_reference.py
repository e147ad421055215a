"""Checkpoints of the Segmenter repository in our parameter names.

Source: the parameter names and shapes that its models have. Its ViT is its own: timm's names, but an epsilon of 1e-5 in
the LayerNorms, which the file does not state. The linear decoder is one layer, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vitseg.checkpoint.architecture import HALF, IMAGENET, Architecture
from vitseg.checkpoint.plain_vits import grid_of_tokens
from vitseg.checkpoint.reference_names import count, rename_all, shape_of
from vitseg.errors import CheckpointError
from vitseg.types import Size, StateDict

LEFT_OUT = {r"^encoder\.head(_dist)?\.": "the classifiers of the pretrained ViT"}

VITS = {
    (192, 12, 16): "vit_tiny_patch16_384",
    (384, 12, 16): "vit_small_patch16_384",
    (384, 12, 32): "vit_small_patch32_384",
    (768, 12, 8): "vit_base_patch8_224",
    (768, 12, 16): "vit_base_patch16_384",
    (768, 12, 32): "vit_base_patch32_384",
    (1024, 24, 16): "vit_large_patch16_384",
    (1024, 24, 32): "vit_large_patch32_384",
}
"""timm's name of the ViT with a width, a depth and a patch; the one with a distillation token is `DISTILLED`."""

DISTILLED = (768, 12, 16), "deit_base_distilled_patch16_384"

NORM_EPS = 1e-5


def is_segmenter(names: Iterable[str]) -> bool:
    """Whether the parameter names are those of the Segmenter repository."""
    names = set(names)
    if "encoder.pos_embed" not in names:
        return False
    return "decoder.cls_emb" in names or _linear_layer(names) is not None


def convert_segmenter(state: StateDict) -> StateDict:
    """A reference state dictionary in our names and shapes.

    Raises:
        CheckpointError: It holds parameters that a Segmenter does not have.
    """
    linear = _linear_layer(state)

    def rename(name: str) -> str | None:
        part, _, rest = name.partition(".")
        if part == "encoder":
            return f"backbone.{rest}"
        if linear is not None and name.startswith(f"{linear}."):
            return "decoder.head" + name.removeprefix(linear)
        if part != "decoder" or linear is not None:
            return None
        return f"{name}.weight" if rest in ("proj_patch", "proj_classes") else name

    converted = rename_all(state, rename, "Segmenter", LEFT_OUT)
    for name in ("decoder.proj_patch.weight", "decoder.proj_classes.weight"):
        if name in converted:  # the reference multiplies by the matrix from the right
            converted[name] = converted[name].t().contiguous()
    if linear is not None:
        converted["decoder.head.weight"] = converted["decoder.head.weight"][..., None, None]
    return converted


def segmenter_architecture(state: StateDict, grid: Size | None = None) -> Architecture:
    """The model of a reference state dictionary.

    Args:
        state: Parameters by the reference's names.
        grid: Token grid of the position embeddings; square where not given.

    Raises:
        CheckpointError: Its size is that of no published model.
    """
    is_distilled = "encoder.dist_token" in state
    patch = shape_of(state, "encoder.patch_embed.proj.weight", 4)[-1]
    _, num_tokens, embed_dim = shape_of(state, "encoder.pos_embed", 3)
    depth = count(state, r"encoder\.blocks\.(\d+)\.")
    size = (embed_dim, depth, patch)
    name = VITS.get(size)
    if is_distilled:
        name = DISTILLED[1] if size == DISTILLED[0] else None
    if name is None:
        raise CheckpointError(
            f"no published Segmenter has width {embed_dim}, {depth} blocks and patches of {patch} pixels"
            f"{' with a distillation token' if is_distilled else ''}. Known: {', '.join(VITS.values())}, "
            f"{DISTILLED[1]}."
        )
    num_prefix = 2 if is_distilled else 1
    height, width = grid_of_tokens("encoder.pos_embed", num_tokens, num_prefix, grid)
    decoder, num_classes = _decoder(state)
    config = {
        "backbone": {
            "name": name,
            "pretrained": False,
            "taps": (depth - 1,),
            "tap_norm": True,
            "pos_embed_interpolation": "bilinear",
            "norm_eps": NORM_EPS,
        },
        "decoder": decoder,
    }
    normalisation = IMAGENET if is_distilled else HALF
    return Architecture(config, num_classes, (patch * height, patch * width), normalisation)


def _decoder(state: StateDict) -> tuple[dict[str, Any], int]:
    """The decoder's configuration, and the number of classes."""
    linear = _linear_layer(state)
    if linear is not None:
        return {"kind": "linear"}, shape_of(state, f"{linear}.weight", 2)[0]
    width, _ = shape_of(state, "decoder.proj_dec.weight", 2)
    num_layers = count(state, r"decoder\.blocks\.(\d+)\.")
    config = {"kind": "mask", "embed_dim": width, "num_layers": num_layers}
    return config, shape_of(state, "decoder.cls_emb", 3)[1]


def _linear_layer(names: Iterable[str]) -> str | None:
    """The name of the decoder's one layer, if it has only one."""
    layers = {name.rpartition(".")[0] for name in names if name.startswith("decoder.")}
    return layers.pop() if len(layers) == 1 and "decoder" not in layers else None
