"""Parameter names of Mix Transformers in files.

They are those of the transformers library, as it has them now and as the published files have them, those of
SegFormer's authors, or those of mmsegmentation, alike in its versions 0 and 1. Source: the parameter names of the
published files.
"""

from __future__ import annotations

import re

from vitseg.types import StateDict

_PART = re.compile(
    r"^(encoder\.)?(patch_embed|patch_embeddings|block|norm|layer_norm)\.?(\d)\.(.+)$"
)
"""With `encoder.` in front stages are counted from 0, else from 1."""

_PARTS = {
    "patch_embed": "patch_embeddings",
    "block": "blocks",
    "norm": "layer_norm",
}
_LAYERS = (
    ("layer_norm_1.", "layernorm_before."),
    ("layer_norm_2.", "layernorm_after."),
    ("attention.self.query.", "attention.q_proj."),
    ("attention.self.key.", "attention.k_proj."),
    ("attention.self.value.", "attention.v_proj."),
    ("attention.self.sr.", "attention.sequence_reduction.sequence_reduction."),
    ("attention.self.layer_norm.", "attention.sequence_reduction.layer_norm."),
    ("attention.output.dense.", "attention.o_proj."),
    ("mlp.dense1.", "mlp.fc1."),
    ("mlp.dense2.", "mlp.fc2."),
    # of the authors
    ("norm1.", "layernorm_before."),
    ("norm2.", "layernorm_after."),
    ("attn.q.", "attention.q_proj."),
    ("attn.kv.", "attention.kv_proj."),
    ("attn.sr.", "attention.sequence_reduction.sequence_reduction."),
    ("attn.norm.", "attention.sequence_reduction.layer_norm."),
    ("attn.proj.", "attention.o_proj."),
)

_MMSEG = re.compile(
    r"^layers\.([0-3])\.(?:0\.(projection|norm)|1\.(\d+)\.(.+?)|2)\."
    r"(weight|bias|in_proj_weight|in_proj_bias)$"
)
_MMSEG_LAYERS = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.attn": "attention.qkv_proj",
    "attn.attn.out_proj": "attention.o_proj",
    "attn.sr": "attention.sequence_reduction.sequence_reduction",
    "attn.norm": "attention.sequence_reduction.layer_norm",
    "ffn.layers.0": "mlp.fc1",
    "ffn.layers.1": "mlp.dwconv.dwconv",
    "ffn.layers.4": "mlp.fc2",
}
_LINEAR = (".mlp.fc1.weight", ".mlp.fc2.weight")
"""Which mmsegmentation has as convolutions of 1 x 1."""


_JOINT = {
    "kv_proj": ("k_proj", "v_proj"),
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
}
"""Layers that give several at once: rows of all heads of the first, then of all heads of the next."""


def _mmseg_name(name: str) -> str:
    """The library's name of a parameter of mmsegmentation; queries, keys and values together are `qkv_proj` here."""
    match = _MMSEG.match(name)
    if not match:
        return name
    stage, embed, block, layer, part = match.groups()
    part = part.removeprefix("in_proj_")
    if embed:
        return f"stages.{stage}.patch_embeddings.{'proj' if embed == 'projection' else 'layer_norm'}.{part}"
    if block is None:
        return f"stages.{stage}.layer_norm.{part}"
    ours = _MMSEG_LAYERS.get(layer)
    return name if ours is None else f"stages.{stage}.blocks.{block}.{ours}.{part}"


def mix_transformer_name(name: str) -> str:
    """The library's present name of a parameter; one that is in no other naming stays as it is.

    The authors have keys and values in one layer, which the library never had: it is called `kv_proj` here.
    """
    match = _PART.match(name)
    if not match:
        return _mmseg_name(name)
    encoder, part, number, rest = match.groups()
    stage = int(number) - (0 if encoder else 1)
    if part == "block":
        index, _, layer = rest.partition(".")
        for old, new in _LAYERS:
            if layer.startswith(old):
                layer = new + layer.removeprefix(old)
                break
        rest = f"{index}.{layer}"
    elif part == "patch_embed":
        rest = rest.replace("norm.", "layer_norm.")
    return f"stages.{stage}.{_PARTS.get(part, part)}.{rest}"


def rename_mix_transformer(state: StateDict) -> StateDict:
    """Parameters of any of the namings in the library's present one."""
    renamed: StateDict = {}
    for name, value in state.items():
        ours = mix_transformer_name(name)
        joint = next((j for j in _JOINT if f".{j}." in ours), None)
        if joint is not None and len(value) % len(_JOINT[joint]) == 0:
            parts = _JOINT[joint]
            for part, rows in zip(parts, value.chunk(len(parts)), strict=True):
                renamed[ours.replace(joint, part)] = rows
        elif ours.endswith(_LINEAR) and value.ndim == 4 and value.shape[2:] == (1, 1):
            renamed[ours] = value.flatten(1)
        else:
            renamed[ours] = value
    return renamed
