"""A file beside its model: on made images of many sizes, and on photos by the model's whole protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from vitseg.config import parse
from vitseg.export.graph import ExportedModel
from vitseg.export.parity import (
    Answer,
    Answering,
    Parity,
    Photo,
    cases,
    compare,
    compare_photos,
    gap,
    probabilities,
)
from vitseg.export.photos import LabelledPhoto, Photos, as_images, in_turn, of_size
from vitseg.export.trace import example_of
from vitseg.images.preprocess import normalised
from vitseg.inference.config import InferenceConfig
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import label_map
from vitseg.runtimes.graph_model import GraphModel, Session, run_graph
from vitseg.runtimes.record import ExportRecord


def compare_file(
    exported: ExportedModel,
    session: Session,
    record: ExportRecord,
    source: Path,
    photos: Photos,
    limit: float,
    max_miou_loss: float | None,
) -> Parity:
    """Compare a written file with the model that it was made of.

    Args:
        exported: The model as it was written.
        session: The loaded file.
        record: What it is.
        source: The file, for messages.
        photos: Compared beside made images.
        limit: Share of the labels that may differ.
        max_miou_loss: See `Parity`.
    """
    parity = Parity(session.name, limit, max_miou_loss=max_miou_loss)
    expected, found = _of_model(exported, record), _of_file(session, record, source)
    channels = record.model.preprocessing.num_channels
    for size, batch in cases(record.size, record.batch, record.model.image_size):
        images = example_of(channels, size, batch)
        name = f"{size[1]}x{size[0]}, batch {batch}"
        parity.sizes.append(compare(name, expected(images), found(images)))
    own, each = Predictor(exported.model, record.model, "cpu"), in_turn(photos)
    if record.size is not None:
        pairs = _answered(expected, found, of_size(each, record.size))
    elif record.form == "masks":
        theirs = Predictor(GraphModel(session, record, source), record.predicting, "cpu")
        pairs = _predicted(own, lambda pixels: label_map(theirs.scores(pixels)), each)
    elif not left_out(record):
        pairs = _predicted(own, lambda pixels: _labels(found, pixels), each)
    else:
        pairs = _answered(expected, found, each)
    compare_photos(pairs, record.model.classes.num_classes, parity)
    return parity


def _of_model(exported: ExportedModel, record: ExportRecord) -> Answering:
    """What the model itself says, by the same rule of sizes."""
    own = ExportedModel(
        exported.model, "probs", record.model.preprocessing, exported.protocol
    ).eval()

    @torch.no_grad()
    def answer(images: Float[Tensor, "b channels H W"]) -> Answer:
        (probs,) = own(images)
        return Answer(probs.argmax(1), probs)

    return answer


def _of_file(session: Session, record: ExportRecord, source: Path) -> Answering:
    graph = GraphModel(session, record, source) if record.form == "masks" else None

    @torch.inference_mode()
    def answer(images: Float[Tensor, "b channels H W"]) -> Answer:
        if not record.normalises:
            images = normalised(images, record.model.preprocessing)
        if graph is not None:
            output = graph(images)
            probs = probabilities(output.scores(), output.distribution)
            return Answer(probs.argmax(1), probs)
        (found,) = run_graph(session, images, source)
        return Answer(found, None) if record.form == "labels" else Answer(found.argmax(1), found)

    return answer


def left_out(record: ExportRecord) -> tuple[str, ...]:
    """What the model's protocol asks and a graph of labels or probabilities does not do, in words.

    Of masks nothing is left out: whoever reads the record makes labels of them, by the protocol.
    """
    if record.form == "masks":
        return ()
    protocol = parse(InferenceConfig, record.model.inference, "inference")
    asked = {
        "resize": protocol.resize is not None and not record.resizes,
        "sliding window": protocol.mode == "slide",
        "mirrored image (flip)": protocol.flip,
        f"scales {', '.join(map(str, protocol.scales))}": protocol.scales != (1.0,),
    }
    return tuple(what for what, is_left_out in asked.items() if is_left_out)


def _predicted(
    own: Predictor,
    labels_by_file: Callable[[UInt8[np.ndarray, "H W c"]], Integer[np.ndarray, "H W"]],
    photos: Iterable[LabelledPhoto],
) -> Iterator[Photo]:
    """Photos by the model's whole protocol: resize, windows, views."""
    for pixels, labels in photos:
        scores = own.scores(pixels)
        expected, found = label_map(scores), labels_by_file(pixels)
        gaps = [np.zeros(0, np.float32)]
        for row in np.flatnonzero((expected != found).any(1)).tolist():
            probs = probabilities(scores.rows(row, row + 1)[None], scores.distribution)
            labels_of = (
                torch.from_numpy(each[row : row + 1].astype(np.int64))[None]
                for each in (expected, found)
            )
            gaps.append(gap(probs, *labels_of)[0, 0].numpy()[expected[row] != found[row]])
        yield Photo(expected, found, np.concatenate(gaps), labels)


def _labels(answer: Answering, pixels: UInt8[np.ndarray, "H W c"]) -> Integer[np.ndarray, "H W"]:
    return answer(as_images(pixels)).labels[0].numpy()


def _answered(
    expected: Answering, found: Answering, photos: Iterable[LabelledPhoto]
) -> Iterator[Photo]:
    """Photos at their own size, as a file that leaves the protocol to others runs them."""
    for pixels, labels in photos:
        own, theirs = expected(as_images(pixels)), found(as_images(pixels))
        assert own.probs is not None
        differ = own.labels != theirs.labels
        gaps = gap(own.probs, own.labels, theirs.labels)[differ].numpy()
        yield Photo(own.labels[0].numpy(), theirs.labels[0].numpy(), gaps, labels)
