"""A model directory to a file for another runtime, which is kept only if it gives the same labels."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer, UInt8
from torch import Tensor

from vitseg.checkpoint.model_dir import ModelRecord, load_model
from vitseg.checkpoint.places import sha256_of
from vitseg.checkpoint.versions import package_versions
from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.export.graph import ExportedModel
from vitseg.export.onnx_file import OPSET, write_onnx
from vitseg.export.openvino_file import write_openvino
from vitseg.export.parity import (
    MOST_DIFFERING,
    Answer,
    Answering,
    Parity,
    Photo,
    cases,
    compare,
    compare_photos,
    gap,
    probabilities,
    require_parity,
)
from vitseg.export.precision import Repeated, require_held
from vitseg.export.speed import compare_times
from vitseg.export.torch_file import write_program
from vitseg.export.trace import example_of, padded_to, trace
from vitseg.files import write_json
from vitseg.images.geometry import resize_image, resize_labels
from vitseg.images.preprocess import to_tensor
from vitseg.inference.config import InferenceConfig
from vitseg.inference.predictor import Predictor
from vitseg.inference.scores import label_map
from vitseg.methods import METHODS
from vitseg.methods.method import MethodConfig
from vitseg.methods.model import SegmentationModel
from vitseg.runtimes.graph_model import GraphModel, Session, run_graph
from vitseg.runtimes.layout import OutputLayout
from vitseg.runtimes.open_graph import open_session, read_export_record
from vitseg.runtimes.places import FORMATS, record_place
from vitseg.runtimes.record import ExportRecord, Form, Format, Precision
from vitseg.types import Size

WRITERS = {"onnx": write_onnx, "openvino": write_openvino, "torch-export": write_program}
TIMED = 2
"""Photos that a file is timed on: some models do more on one than on another."""

ENDINGS = {format: ending for ending, format in FORMATS.items()}


@dataclass(frozen=True)
class ExportOptions:
    """What is exported.

    Attributes:
        format: What shall run it.
        form: What it gives.
        normalises: Whether pixels in [0, 255] go in, which are normalised inside.
        resizes: Whether the protocol's rule of sizes is followed inside; not of form masks.
        size: (height, width) of the only images that it takes; None: any.
        batch: Images at a time; None: any number.
        precision: Numbers to compute with.
        max_miou_loss: With other numbers than float32, and labelled photos: by how much their mIoU may fall, in [0, 1];
            labels may differ then.
        max_differing: Share of the labels that may differ.
        unpruned: Of a model that drops tokens: the form that keeps them all.
    """

    format: Format = "onnx"
    form: Form = "masks"
    normalises: bool = True
    resizes: bool = True
    size: Size | None = None
    batch: int | None = None
    precision: Precision = "fp32"
    max_miou_loss: float = 0.005
    max_differing: float = MOST_DIFFERING
    unpruned: bool = False


class LabelledPhoto(NamedTuple):
    """A photo to compare on.

    Attributes:
        pixels: RGB, or the bands of the model.
        labels: True classes, or IGNORE_INDEX; None: not known.
    """

    pixels: UInt8[np.ndarray, "H W c"]
    labels: Integer[np.ndarray, "H W"] | None = None


class Photos(Protocol):
    """Photos that are read when they are asked for, more than once."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> LabelledPhoto: ...


def in_turn(photos: Photos) -> Iterator[LabelledPhoto]:
    """All photos, one after the other."""
    return (photos[index] for index in range(len(photos)))


def export_model(
    path: Path | str, out: Path, options: ExportOptions, photos: Photos = ()
) -> tuple[ExportRecord, Parity]:
    """Write a model for another runtime, with what it is and the proof that it gives the same labels.

    Beside `out` are written `OUT.json`, the record, and `OUT.parity.json`.

    Args:
        path: A model directory, a run folder or `hf://user/name`.
        out: The file; its ending is that of the format.
        options: What is exported.
        photos: Photos to compare on, beside made images of many sizes; those that int8 is calibrated on, too.

    Raises:
        CheckpointError: There is no such model, or it is damaged.
        ConfigError: The model cannot be exported so, or a package is missing.
        VitsegError: More than 0.1 % of the labels differ; no file is left.
        OSError: The files cannot be written.
    """
    _require_ending(out, options.format)
    require_held(options.format, options.precision, len(photos) > 0)
    model, told = load_model(path)
    if options.unpruned:
        model, told = unpruned(model, told, path)
    options = _held_batch(options, told, path)
    record, exported = _prepared(model, told, options)
    program = trace(exported, told.preprocessing.num_channels, options.size, options.batch, path)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name[:80]}-") as folder:
        fresh = Path(folder) / out.name
        batches = Repeated(lambda: _inputs(record, photos))
        WRITERS[options.format](program, record, fresh, batches)
        record = record.model_copy(update={"sha256": _sums(Path(folder))})
        write_json(record_place(fresh), record.model_dump(mode="json"))
        session = open_session(fresh, read_export_record(fresh), torch.device("cpu"))
        parity = _compared(model, exported, session, record, fresh, photos, options)
        require_parity(parity, f"this export of {path}")
        images = timed_images(record, photos)
        parity.times = compare_times(model, session, record, fresh, images)
        write_json(parity_place(fresh), parity.to_json())
        del session
        for file in files_in_order(Path(folder)):
            os.replace(file, out.parent / file.name)
    return record, parity


def _inputs(record: ExportRecord, photos: Photos) -> Iterator[Float32[np.ndarray, "1 c _ _"]]:
    """Photos as the graph takes them, at the size that the protocol runs them at."""
    for pixels, _ in in_turn(photos):
        own = pixels.shape[0], pixels.shape[1]
        size = own if record.resizes and record.size is None else _run_size(record, own)
        image = to_tensor(resize_image(pixels, size), record.preprocessing)
        yield image[None].contiguous().numpy()


def _run_size(record: ExportRecord, size: Size) -> Size:
    """The size at which the model runs an image of a size, or a window of it."""
    protocol = parse(InferenceConfig, record.model.inference, "inference")
    if record.size is not None:
        return record.size
    height, width = protocol.input_size(size)
    if protocol.crop_size is None:
        return height, width
    return min(height, protocol.crop_size[0]), min(width, protocol.crop_size[1])


def timed_images(record: ExportRecord, photos: Photos) -> list[Float[Tensor, "1 channels H W"]]:
    """Some photos at the size that they are run at, of one size; without photos a made one."""
    few = [photos[index] for index in range(min(len(photos), TIMED))]
    if not few:
        size = record.size or record.model.image_size
        return [example_of(record.model.preprocessing.num_channels, size, 1)]
    size = _run_size(record, (few[0].pixels.shape[0], few[0].pixels.shape[1]))
    return [_as_images(resize_image(pixels, size)) for pixels, _ in few]


def parity_place(graph: Path) -> Path:
    """The file beside a graph that has its parity report."""
    return graph.with_name(f"{graph.name}.parity.json")


def _require_ending(out: Path, format: Format) -> None:
    if out.suffix.lower() != ENDINGS[format]:
        raise ConfigError(
            f"--out {out}: files of {format} end in {ENDINGS[format]}. Give --out {out.with_suffix(ENDINGS[format])}."
        )
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder: give the file to write.")


def unpruned(
    model: SegmentationModel, told: ModelRecord, path: Path | str
) -> tuple[SegmentationModel, ModelRecord]:
    """A model that drops no token, and its record.

    Raises:
        ConfigError: It has no such form.
    """
    config = _config_of(told).unpruned()
    if config is None:
        raise ConfigError(
            f"--unpruned: {path} ({told.method}) has no form that keeps all tokens: leave it out."
        )
    kept = config.build(told.classes.num_classes, told.image_size, load_pretrained=False)
    kept.load_state_dict(model.state_dict())
    return kept.eval(), told.model_copy(update={"architecture": config.model_dump(mode="json")})


def _held_batch(options: ExportOptions, told: ModelRecord, path: Path | str) -> ExportOptions:
    """The options for a model whose graph holds for one number of images: one, where nothing else is asked for."""
    config = _config_of(told)
    if not config.packs_images:
        return options
    if options.batch not in (None, 1) and not config.has_static_tokens:
        raise ConfigError(
            f"--batch {options.batch}: {path} drops tokens by what is in the image ({told.method}), so that images "
            "have different numbers of them: a graph takes one at a time. Leave --batch out."
        )
    return replace(options, batch=options.batch or 1)


def _config_of(told: ModelRecord) -> MethodConfig:
    return METHODS[told.method].model_validate(told.architecture)


def _prepared(
    model: SegmentationModel, told: ModelRecord, options: ExportOptions
) -> tuple[ExportRecord, ExportedModel]:
    channels = told.preprocessing.num_channels
    with torch.no_grad():
        layout = OutputLayout.of(model(torch.zeros(1, channels, 32, 32)))
    protocol = parse(InferenceConfig, told.inference, "inference")
    resizes = options.resizes and options.form != "masks" and protocol.mode == "whole"
    exported = ExportedModel(
        model,
        options.form,
        told.preprocessing if options.normalises else None,
        protocol if resizes else None,
        # OpenVINO rounds by itself, as the record tells it
        options.precision == "bf16" and options.format == "torch-export",
    ).eval()
    is_masks = options.form == "masks"
    record = ExportRecord(
        format=options.format,
        form=options.form,
        precision=options.precision,
        normalises=options.normalises,
        resizes=exported.protocol is not None,
        size=options.size,
        batch=options.batch,
        layout=layout if is_masks else None,
        padding=padded_to(model, channels),
        inputs=("images",),
        outputs=tuple(layout.names()) if is_masks else (options.form,),
        model=told,
        versions={**package_versions(), "opset": str(OPSET)},
    )
    return record, exported


def _sums(folder: Path) -> dict[str, str]:
    return {file.name: sha256_of(file) for file in sorted(folder.iterdir())}


def files_in_order(folder: Path) -> list[Path]:
    """The files of an export, in the order in which they are to be moved: what records list is there then."""
    return sorted(folder.iterdir(), key=lambda file: file.suffix == ".json")


def _compared(
    model: SegmentationModel,
    exported: ExportedModel,
    session: Session,
    record: ExportRecord,
    source: Path,
    photos: Photos,
    options: ExportOptions,
) -> Parity:
    loss = None if options.precision == "fp32" else options.max_miou_loss
    parity = Parity(session.name, options.max_differing, max_miou_loss=loss)
    expected, found = _of_model(exported, record), _of_file(session, record, source)
    channels = record.model.preprocessing.num_channels
    for size, batch in cases(record.size, record.batch, record.model.image_size):
        images = example_of(channels, size, batch)
        name = f"{size[1]}x{size[0]}, batch {batch}"
        parity.sizes.append(compare(name, expected(images), found(images)))
    own, each = Predictor(model, record.model, "cpu"), in_turn(photos)
    if record.size is not None:
        pairs = _answered(expected, found, _of_size(each, record.size))
    elif record.form == "masks":
        theirs = Predictor(GraphModel(session, record, source), record.predicting, "cpu")
        pairs = _predicted(own, lambda pixels: label_map(theirs.scores(pixels)), each)
    elif _follows_protocol(record):
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
    mean, std = (
        torch.from_numpy(level)[:, None, None] for level in record.model.preprocessing.levels()
    )
    graph = GraphModel(session, record, source) if record.form == "masks" else None

    @torch.inference_mode()
    def answer(images: Float[Tensor, "b channels H W"]) -> Answer:
        if not record.normalises:
            images = (images - mean) / std
        if graph is not None:
            output = graph(images)
            probs = probabilities(output.scores(), output.distribution)
            return Answer(probs.argmax(1), probs)
        (found,) = run_graph(session, images, source)
        return Answer(found, None) if record.form == "labels" else Answer(found.argmax(1), found)

    return answer


def _follows_protocol(record: ExportRecord) -> bool:
    """Whether a graph of labels or probabilities does all that the model's protocol asks."""
    protocol = parse(InferenceConfig, record.model.inference, "inference")
    is_simple = protocol.mode == "whole" and protocol.scales == (1.0,) and not protocol.flip
    return is_simple and record.resizes == (protocol.resize is not None)


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
    return answer(_as_images(pixels)).labels[0].numpy()


def _answered(
    expected: Answering, found: Answering, photos: Iterable[LabelledPhoto]
) -> Iterator[Photo]:
    """Photos at their own size, as a file that leaves the protocol to others runs them."""
    for pixels, labels in photos:
        own, theirs = expected(_as_images(pixels)), found(_as_images(pixels))
        assert own.probs is not None
        differ = own.labels != theirs.labels
        gaps = gap(own.probs, own.labels, theirs.labels)[differ].numpy()
        yield Photo(own.labels[0].numpy(), theirs.labels[0].numpy(), gaps, labels)


def _of_size(photos: Iterable[LabelledPhoto], size: Size) -> Iterator[LabelledPhoto]:
    """Photos brought to the only size that a file takes."""
    for pixels, labels in photos:
        own = None if labels is None else resize_labels(labels, size)
        yield LabelledPhoto(resize_image(pixels, size), own)


def _as_images(pixels: UInt8[np.ndarray, "H W c"]) -> Float[Tensor, "1 c H W"]:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
