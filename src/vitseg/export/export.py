"""A model directory to a file for another runtime, which is kept only if it gives the same labels."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vitseg.checkpoint.model_dir import ModelRecord, load_model
from vitseg.checkpoint.places import sha256_of
from vitseg.checkpoint.versions import package_versions
from vitseg.config import parse
from vitseg.errors import ConfigError
from vitseg.export.comparison import compare_file
from vitseg.export.graph import ExportedModel
from vitseg.export.onnx_file import OPSET, write_onnx
from vitseg.export.openvino_file import write_openvino
from vitseg.export.parity import (
    MOST_DIFFERING,
    Parity,
    require_parity,
)
from vitseg.export.photos import Photos, graph_inputs, timed_images
from vitseg.export.precision import Repeated, require_held
from vitseg.export.speed import compare_times
from vitseg.export.torch_file import write_program
from vitseg.export.trace import padded_to, trace
from vitseg.files import write_json
from vitseg.inference.config import InferenceConfig
from vitseg.methods import METHODS
from vitseg.methods.method import MethodConfig
from vitseg.methods.model import SegmentationModel
from vitseg.runtimes.layout import OutputLayout
from vitseg.runtimes.open_graph import open_session, read_export_record
from vitseg.runtimes.places import FORMATS, record_place
from vitseg.runtimes.record import ExportRecord, Form, Format, Precision
from vitseg.types import Size

WRITERS = {"onnx": write_onnx, "openvino": write_openvino, "torch-export": write_program}
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
        batches = Repeated(lambda: graph_inputs(record, photos))
        WRITERS[options.format](program, record, fresh, batches)
        record = record.model_copy(update={"sha256": _sums(Path(folder))})
        write_json(record_place(fresh), record.model_dump(mode="json"))
        session = open_session(fresh, read_export_record(fresh), torch.device("cpu"))
        loss = None if options.precision == "fp32" else options.max_miou_loss
        parity = compare_file(exported, session, record, fresh, photos, options.max_differing, loss)
        require_parity(parity, f"this export of {path}")
        images = timed_images(record, photos)
        parity.times = compare_times(model, session, record, fresh, images)
        write_json(parity_place(fresh), parity.to_json())
        del session
        for file in files_in_order(Path(folder)):
            os.replace(file, out.parent / file.name)
    return record, parity


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
