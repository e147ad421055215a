"""Labels of a 1024 x 2048 image with 150 classes: row strips against one full-size score map.

Claim: the strips give the same labels, in no more time, with at most a third of the memory above the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from _measure import alternating_medians, peak_above, print_table

from vitseg.inference.operations import peak_memory
from vitseg.inference.scores import OutputScores, label_map, pixel_scores
from vitseg.methods import METHODS
from vitseg.types import SegOutput

SIZE, NUM_CLASSES = (1024, 2048), 150
READOUTS = ("mixing", "presence")


def direct(output: SegOutput) -> np.ndarray:
    """Upsample all masks, mix all classes, compare: the form of the papers' code."""
    return pixel_scores(output)[0].argmax(0).numpy()


def fused(output: SegOutput) -> np.ndarray:
    """The same, some rows at a time."""
    return label_map(OutputScores(output))


FORMS: dict[str, Callable[[SegOutput], np.ndarray]] = {
    "direct": direct,
    "row strips": fused,
}


def make_output(readout: str) -> SegOutput:
    """What a decoder returns for the image, with masks and probabilities that vary."""
    generator = torch.Generator().manual_seed(0)
    grid = (SIZE[0] // 16, SIZE[1] // 16)
    num_logits = 2 if readout == "presence" else NUM_CLASSES + 1
    masks = torch.randn(1, NUM_CLASSES, *grid, generator=generator) * 3
    logits = torch.randn(1, NUM_CLASSES, num_logits, generator=generator) * 3
    return SegOutput(masks, logits, readout, SIZE, SIZE)


def prepare_labels(form: str, readout: str) -> Callable[[], object]:
    """Everything but the labels, for the memory of the labels alone."""
    output = make_output(readout)
    FORMS[form](SegOutput(output.mask_logits[..., :2, :2], output.class_logits, readout, (32, 32), (32, 32)))  # fmt: skip
    return lambda: FORMS[form](output)


def prepare_model(form: str) -> Callable[[], object]:
    """A whole SegViT-B, for the memory above its weights."""
    backbone = {"name": "vit_base_patch16_384", "pretrained": False, "taps": [5, 7, 11]}
    config = METHODS["segvit"].config.model_validate({"backbone": backbone})
    model = METHODS["segvit"].build(config, NUM_CLASSES, SIZE).eval().requires_grad_(False)
    images = torch.randn(1, 3, *SIZE)
    FORMS[form](model(images[..., :64, :64]))  # libraries' own buffers
    return lambda: FORMS[form](model(images))


def main() -> None:
    times, memory = [], []
    for readout in READOUTS:
        output = make_output(readout)
        labels = {name: form(output) for name, form in FORMS.items()}
        same = float((labels["direct"] == labels["row strips"]).mean())
        runs = {name: partial(form, output) for name, form in FORMS.items()}
        medians = alternating_medians(runs, rounds=5, warmups=1)
        tensors = {
            name: peak_memory(run, torch.device("cpu")) / 2**20 for name, run in runs.items()
        }
        for name in FORMS:
            before, peak = peak_above(partial(prepare_labels, name, readout))
            times.append([f"{readout}, {name}", f"{medians[name] / medians['direct']:.2f}", f"{same:.4%}"])  # fmt: skip
            memory.append(
                _memory_row(f"{readout}, {name}, labels only", peak - before, tensors[name])
            )
    for name in FORMS:
        before, peak = peak_above(partial(prepare_model, name))
        memory.append(_memory_row(f"SegViT-B, {name}", peak - before, None))
    title = f"{SIZE[0]} x {SIZE[1]}, {NUM_CLASSES} classes: masks to labels"
    print_table(title, ["form", "time ratio", "pixels labelled alike"], times)
    print_table(
        "Peak memory above weights and masks",
        ["form", "process MiB", "tensors MiB"],
        memory,
    )


def _memory_row(name: str, process: float, tensors: float | None) -> list[str]:
    return [name, f"{process:.0f}", "-" if tensors is None else f"{tensors:.0f}"]


if __name__ == "__main__":
    main()
