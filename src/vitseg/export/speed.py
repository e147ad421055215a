"""How long an image takes to its labels, by a model in torch and by files of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vitseg.export.parity import Times
from vitseg.images.preprocess import normalised
from vitseg.inference.precision import Precision, narrowed, precise
from vitseg.inference.profile import label_batch
from vitseg.inference.timing import alternating_medians
from vitseg.methods.model import SegmentationModel
from vitseg.runtimes.graph_model import GraphModel, Session, run_graph
from vitseg.runtimes.record import ExportRecord
from vitseg.types import Size, spatial_size

ROUNDS, WARMUPS = 5, 1

Images = Sequence[Float[Tensor, "1 channels H W"]]
"""Pixels in [0, 255], at the sizes that the model runs them at."""

Run = Callable[[], object]


def run_of_model(
    model: SegmentationModel, record: ExportRecord, images: Images, precision: Precision = "fp32"
) -> Run:
    """Images to labels by torch.

    Args:
        model: The model.
        record: Of any export of it.
        images: All are labelled in a run.
        precision: See `vitseg.inference.precision`.
    """
    inputs = [normalised(image, record.model.preprocessing) for image in images]
    runner = model if precision == "fp32" else narrowed(model)

    @torch.inference_mode()
    def run() -> None:
        for each in inputs:
            with precise(torch.device("cpu"), precision):
                label_batch(runner, each)

    return run


def run_of_file(session: Session, record: ExportRecord, source: Path, images: Images) -> Run:
    """Images to labels, or whatever the file gives, by its runtime.

    Args:
        session: The loaded file.
        record: What it is.
        source: The file, for messages.
        images: All are labelled in a run.
    """
    inputs = (
        list(images)
        if record.normalises
        else [normalised(one, record.model.preprocessing) for one in images]
    )
    if record.batch is not None and record.form != "masks":
        inputs = [each.expand(record.batch, -1, -1, -1) for each in inputs]
    graph = GraphModel(session, record, source) if record.form == "masks" else None

    @torch.inference_mode()
    def run() -> None:
        for each in inputs:
            if graph is not None:
                label_batch(graph, each)
            else:
                run_graph(session, each, source)

    return run


def milliseconds(runs: Mapping[str, Run], images: Images) -> dict[str, float]:
    """Per image, of every run; see `alternating_medians`."""
    medians = alternating_medians(runs, ROUNDS, WARMUPS)
    return {name: 1000 * seconds / len(images) for name, seconds in medians.items()}


def compare_times(
    model: SegmentationModel, session: Session, record: ExportRecord, source: Path, images: Images
) -> Times:
    """A file beside its model.

    Args:
        model: The model.
        session: The loaded file.
        record: What it is.
        source: The file, for messages.
        images: What is labelled.
    """
    runs = {
        "model": run_of_model(model, record, images),
        "file": run_of_file(session, record, source, images),
    }
    found = milliseconds(runs, images)
    at_once = record.batch if record.form != "masks" and record.batch else 1
    size: Size = spatial_size(images[0])
    return Times(size, torch.get_num_threads(), found["model"], found["file"] / at_once)
