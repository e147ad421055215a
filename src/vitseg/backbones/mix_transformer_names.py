"""Parameter names of Mix Transformers in files.

They are those of the transformers library, as it has them now and as the published files have them, or those of
SegFormer's authors. Source: the parameter names of the published files.
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


def mix_transformer_name(name: str) -> str:
    """The library's present name of a parameter; one that is in no other naming stays as it is.

    The authors have keys and values in one layer, which the library never had: it is called `kv_proj` here.
    """
    match = _PART.match(name)
    if not match:
        return name
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
        if ".kv_proj." in ours and len(value) % 2 == 0:
            keys, values = value.chunk(2)  # rows of all heads' keys, then of all heads' values
            renamed[ours.replace("kv_proj", "k_proj")] = keys
            renamed[ours.replace("kv_proj", "v_proj")] = values
        else:
            renamed[ours] = value
    return renamed
