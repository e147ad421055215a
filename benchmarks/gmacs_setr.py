"""Multiply-adds and parameters of SETR against the reference. Claim: GMACs within 1 %, parameters exactly.

Nothing is computed: the models are built on torch's meta device and their operators counted. `reference` is what fvcore
counts on the models of the SETR repository, `paper` the parameters of the paper's table 2, in 10^6: those of the whole
training network on ADE20K, in which every head has a classifier more that it never runs.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from vitseg.inference.operations import count_operations
from vitseg.methods import METHODS

OPERATORS = ("linear", "attention", "convolution")
CLASSES, CROP = 150, 512
UNUSED = 512 * CLASSES + CLASSES
"""Parameters of the classifier that every head of the reference has and none runs."""


class Row(NamedTuple):
    """A model: its taps, the blocks of its auxiliary heads, and its published figures."""

    name: str
    vit: str
    kind: str
    taps: tuple[int, ...]
    auxiliary: tuple[int, ...]
    reference: float
    paper: float


BASE, LARGE = "vit_base_patch16_384", "vit_large_patch16_384"
ROWS = (
    Row("Naive-B", BASE, "naive", (2, 5, 8, 11), (2, 5, 8), 107.68, 87.69),
    Row("PUP-B", BASE, "pup", (4, 7, 9, 11), (4, 7, 9, 11), 162.64, 97.64),
    Row("MLA-B", BASE, "mla", (2, 5, 8, 11), (2, 5, 8, 11), 123.73, 92.59),
    Row("Naive-L", LARGE, "naive", (9, 14, 19, 23), (9, 14, 19), 362.87, 305.67),
    Row("PUP-L", LARGE, "pup", (9, 14, 19, 23), (9, 14, 19, 23), 418.36, 318.31),
    Row("MLA-L", LARGE, "mla", (5, 11, 17, 23), (5, 11, 17, 23), 378.84, 310.57),
)


def measure(row: Row) -> tuple[dict[str, int], int, int]:
    """Multiply-adds by operator, parameters that a prediction uses, and all parameters."""
    backbone: dict[str, Any] = {
        "name": row.vit,
        "taps": row.taps,
        "prefix_tokens": "drop" if row.kind == "mla" else "keep",
    }
    decoder = {"kind": row.kind, "auxiliary": row.auxiliary}
    method = METHODS["setr"]
    config = method.model_validate({"backbone": backbone, "decoder": decoder})
    with torch.device("meta"):
        model = config.build(CLASSES, (CROP, CROP), load_pretrained=False).eval()
        image = torch.empty(1, 3, CROP, CROP)
    operations = count_operations(model, lambda: model(image).scores())
    macs: dict[str, int] = {}
    for part in operations.macs.values():
        for operator, number in part.items():
            macs[operator] = macs.get(operator, 0) + number
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return macs, operations.used_parameters, parameters


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    table = Table(
        title=f"SETR, one {CROP} x {CROP} image, {CLASSES} classes: multiply-adds in 10^9, parameters in 10^6",
        caption=f"torch {torch.__version__}, counted on the meta device",
    )
    columns = ("model", "reference", "ours", "ours / reference", *OPERATORS)
    columns += ("used in a prediction", "all", "with unused classifiers", "paper")
    for name in columns:
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in ROWS:
        macs, used, parameters = measure(row)
        total = sum(macs.values()) / 1e9
        table.add_row(
            row.name,
            f"{row.reference:.2f}",
            f"{total:.2f}",
            f"{100 * (total / row.reference - 1):+.1f} %",
            *(f"{macs.get(name, 0) / 1e9:.2f}" for name in OPERATORS),
            f"{used / 1e6:.2f}",
            f"{parameters / 1e6:.2f}",
            f"{(parameters + UNUSED * (1 + len(row.auxiliary))) / 1e6:.2f}",
            f"{row.paper:.2f}",
        )
    console = Console(width=150)
    console.print(table)
    console.print(
        "Ours counts matrix products, convolutions and both products of attention; fvcore adds normalisation and "
        "resizing.\nAuxiliary heads run in training only, and so do the unused classifiers count there.",
        highlight=False,
    )


if __name__ == "__main__":
    main()
