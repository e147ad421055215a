"""Reading the golden tensors of the reference implementations (their README states the rules)."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor


@dataclass(frozen=True)
class Golden:
    """Tensors by their slash-separated names, and the scalars of the metadata."""

    tensors: dict[str, Tensor]
    scalars: dict

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Entries below `prefix`/, by the rest of their names."""
        start = len(prefix) + 1
        return {n[start:]: v for n, v in self.tensors.items() if n.startswith(prefix + "/")}

    def series(self, prefix: str) -> list[Tensor]:
        """Entries `prefix`/0, `prefix`/1, ... in order."""
        entries = self.group(prefix)
        return [entries[str(index)] for index in range(len(entries))]

    def state_dict(self) -> dict[str, Tensor]:
        """The reference's parameters: stored ones and those of the weight recipe."""
        state = self.group("state_dict")
        for name, (shape, prefix) in self.scalars.get("recipe_weights", {}).items():
            state[name] = recipe_weight(prefix + name, shape)
        for name, shape in self.scalars.get("keys", {}).items():
            state.setdefault(name, recipe_weight(name, shape))
        return state


def load_golden(shared: Path, name: str) -> Golden:
    with safe_open(shared / "golden" / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        scalars = json.loads(file.metadata()["scalars"])
    return Golden(tensors, scalars)


def recipe_weight(name: str, shape: list[int]) -> Tensor:
    """The value that the golden files' weight recipe gives a parameter of this name."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    r = torch.randn(shape, generator=generator)
    last = name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.long)
    if last == "running_var":
        return 1 + 0.2 * r.abs()
    if last in ("pos_embed", "cls_token"):
        return 0.1 * r
    if name == "q.weight" or (name.endswith(".q.weight") and "multihead_attn" not in name):
        return r
    if len(shape) == 1:
        return 1 + 0.1 * r if last == "weight" else 0.1 * r
    return r / r[0].numel() ** 0.5
