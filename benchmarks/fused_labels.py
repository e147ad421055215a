"""Labels of a 1024 x 2048 image with 150 classes: row strips against one full-size score map.

Claim: the strips give the same labels, in no more time, with at most a third of the memory above the weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from _measure import alternating_medians, peak_above, print_table

from vitseg.inference.operations import peak_memory
from vitseg.inference.scores import OutputScores, label_map
from vitseg.methods import METHODS
from vitseg.outputs import MixedMasks, PresenceMasks, QueryMasks, SegOutput

SIZE, NUM_CLASSES = (1024, 2048), 150
OUTPUTS: dict[str, type[QueryMasks]] = {"mixing": MixedMasks, "presence": PresenceMasks}


def direct(output: SegOutput) -> np.ndarray:
    """Upsample all masks, mix all classes, compare: the form of the papers' code."""
    return output.scores()[0].argmax(0).numpy()


def fused(output: SegOutput) -> np.ndarray:
    """The same, some rows at a time."""
    return label_map(OutputScores(output))


FORMS: dict[str, Callable[[SegOutput], np.ndarray]] = {
    "direct": direct,
    "row strips": fused,
}


def make_output(kind: str) -> QueryMasks:
    """What a decoder returns for the image, with masks and probabilities that vary."""
    generator = torch.Generator().manual_seed(0)
    grid = (SIZE[0] // 16, SIZE[1] // 16)
    num_logits = 2 if kind == "presence" else NUM_CLASSES + 1
    masks = torch.randn(1, NUM_CLASSES, *grid, generator=generator) * 3
    logits = torch.randn(1, NUM_CLASSES, num_logits, generator=generator) * 3
    return OUTPUTS[kind](masks, SIZE, SIZE, class_logits=logits)


def prepare_labels(form: str, kind: str) -> Callable[[], object]:
    """Everything but the labels, for the memory of the labels alone."""
    output = make_output(kind)
    masks = output.mask_logits[..., :2, :2]
    corner = OUTPUTS[kind](masks, (32, 32), (32, 32), class_logits=output.class_logits)
    FORMS[form](corner)  # libraries' own buffers
    return lambda: FORMS[form](output)


def prepare_model(form: str) -> Callable[[], object]:
    """A whole SegViT-B, for the memory above its weights."""
    backbone = {"name": "vit_base_patch16_384", "pretrained": False, "taps": [5, 7, 11]}
    config = METHODS["segvit"].model_validate({"backbone": backbone})
    model = config.build(NUM_CLASSES, SIZE).eval().requires_grad_(False)
    images = torch.randn(1, 3, *SIZE)
    FORMS[form](model(images[..., :64, :64]))  # libraries' own buffers
    return lambda: FORMS[form](model(images))


def process_peak(prepare: Callable[[], Callable[[], object]]) -> float:
    """MiB above what is held before the run."""
    before, peak = peak_above(prepare)
    return peak - before


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    # First of all: a new process starts with the peak of the one that starts it.
    process = {
        (kind, form): process_peak(partial(prepare_labels, form, kind))
        for kind in OUTPUTS
        for form in FORMS
    }
    whole = {form: process_peak(partial(prepare_model, form)) for form in FORMS}

    rows = []
    for kind in OUTPUTS:
        output = make_output(kind)
        expected = direct(output)
        runs: dict[str, Callable[[], np.ndarray]] = {
            name: partial(form, output) for name, form in FORMS.items()
        }
        medians = alternating_medians({**runs}, rounds=5, warmups=1)
        for name, run in runs.items():
            tensors = peak_memory(run, torch.device("cpu")) / 2**20
            alike = float((run() == expected).mean())
            cells = [f"{medians[name] / medians['direct']:.2f}", f"{alike:.4%}"]
            rows.append([f"{kind}, {name}", *cells, f"{process[kind, name]:.0f}", f"{tensors:.0f}"])
    header = ["masks to labels", "time ratio", "labelled alike", "process MiB", "tensors MiB"]
    title = f"{SIZE[0]} x {SIZE[1]}, {NUM_CLASSES} classes; peak memory above the masks"
    print_table(title, header, rows)
    rows = [
        [form, f"{above:.0f}", f"{above / whole['direct']:.2f}"] for form, above in whole.items()
    ]
    print_table("SegViT-B, image to labels", ["form", "MiB above weights", "ratio"], rows)


if __name__ == "__main__":
    main()
