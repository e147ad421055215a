"""Images of any size in memory that does not grow with them: windows in, bands of labels out.

The image is run in the windows of a sliding window. Their weighted scores are held for one window row only: as soon as
no further window covers a row, its labels are taken and written. Where the image is too wide for that, it is run in
column blocks.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from vitseg.errors import ConfigError, DataError
from vitseg.files import is_same_file, is_utf8
from vitseg.images.label_raster import write_label_tiff
from vitseg.images.label_store import LabelStore
from vitseg.images.notices import about, say_notices
from vitseg.images.pixel_source import PixelSource
from vitseg.images.placement import Placement, place
from vitseg.images.polygons import write_polygons
from vitseg.images.read_files import files_read, state_of
from vitseg.images.reader import has_rasterio, open_windows
from vitseg.images.window import Window
from vitseg.inference.blending import Blend
from vitseg.inference.config import InferenceConfig
from vitseg.inference.options import parse_memory
from vitseg.inference.predictor import Predictor
from vitseg.inference.tile_bands import label_bands, window_bytes
from vitseg.inference.tile_plan import TilePlan, plan_tiles
from vitseg.render.palette import label_dtype, save_label_png
from vitseg.runtimes.graph_model import GraphModel
from vitseg.types import Size

LARGEST_BATCH = 8
"""Windows per batch on a GPU. On the CPU it is one: larger batches are no faster there."""

PNG_BYTES = 4
"""Copies of the label map while a PNG is written, which is done at once."""

_log = logging.getLogger("vitseg")


@dataclass(frozen=True)
class LargePrediction:
    """What `predict_large` has written.

    Attributes:
        path: The label map.
        size: (height, width) of the label map in pixels.
        class_areas: Share of the pixels that hold data that each class covers, largest first; absent ones left out.
        plan: How it was run.
        num_polygons: Polygons written, where they were asked for.
    """

    path: Path
    size: Size
    class_areas: dict[str, float]
    plan: TilePlan
    num_polygons: int | None = None


def predict_large(
    predictor: Predictor,
    source: str | Path,
    target: str | Path,
    max_memory: int | str = "4GB",
    blend: Blend = "cosine",
    polygons: str | Path | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> LargePrediction:
    """Segment an image of any size, window by window, at its own resolution.

    Windows are those of the model's sliding window or, of a model that runs images whole, of its training size with a
    quarter of overlap. The protocol's resizing, scales and mirrored views are left out, which is logged. A TIFF keeps
    its place (coordinate system, ground control points, RPCs), and pixels without data (nodata, alpha 0) are without
    data in the labels, too: 255, or 65535 where there are more than 255 classes. A PNG has these and no place.

    What is done stays beside the target, under a hidden name, when a run is interrupted; the same call continues it.
    The target appears when it is whole.

    Args:
        predictor: The model.
        source: A file; in what formats, and which of them in windows, says `open_windows`.
        target: Label map to write: .tif (tiled, deflated, needs the extra `geo`) or .png (for what fits in memory).
        max_memory: Most memory above the loaded model, in bytes or as "500MB", "4GB", "2GiB". On a GPU the memory of
            the process and of the device together.
        blend: How overlapping windows are weighted (`window_weights`); "mean" is the plain sliding window.
        polygons: GeoJSON file to write as well (needs the extra `geo`).
        on_progress: Called with the finished share of the windows, in [0, 1].

    Raises:
        ConfigError: Too little memory, which the message names; a target of another kind, or one that would replace
            what is read; or no room to write.
        DataError: The source cannot be read as a whole, or polygons are asked for where its place cannot be turned
            into longitude and latitude, which is found before anything is computed.
    """
    source, target = Path(source), Path(target)
    polygons = None if polygons is None else Path(polygons)
    limit = parse_memory(max_memory) if isinstance(max_memory, str) else max_memory
    _require_writers(target, polygons)
    _require_others(files_read(source, _extra_images(predictor)), target, polygons)
    _say_what_is_left_out(predictor.inference)
    crop_size, stride = _windows(predictor)
    predictor.model.eval()
    with open_windows(source, limit, predictor.preprocessing.reading) as pixels:
        say_notices(str(source), pixels.notices)
        placement = None
        if polygons is not None:
            placement = place(pixels.georeference, pixels.size, pixels.name)
        plan = plan_tiles(
            pixels.size,
            crop_size,
            stride,
            predictor.classes.num_classes,
            limit,
            window_bytes(predictor, crop_size, pixels.size),
            pixels.held_bytes,
            1 if predictor.device.type == "cpu" else LARGEST_BATCH,
        )
        dtype = label_dtype(predictor.classes.num_classes)
        _require_png_fits(target, pixels, dtype, limit)
        run = run_id(predictor, source, blend)
        layout = json.dumps([run, [block.owned for block in plan.blocks]])
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            store = LabelStore(target, pixels.size, dtype, layout)
            try:
                _fill(store, predictor, pixels, plan, blend, on_progress or (lambda share: None))
                prediction = _finish(store, predictor, pixels, plan, target, polygons, placement)
            finally:
                store.close()
            store.remove()
        except OSError as error:
            reason = error.strerror or str(error).rstrip(".")
            raise ConfigError(
                f"{target} could not be written: {reason}. Make room or give another place; the same command continues "
                "where this one stopped."
            ) from error
    return prediction


def run_id(predictor: Predictor, source: Path, blend: Blend) -> str:
    """SHA-256 of all that the labels depend on: source files, model, windows and their weights."""
    digest = hashlib.sha256()
    for name, value in predictor.model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().flatten().cpu().contiguous().view(torch.uint8).numpy())
    model = predictor.model  # a graph has no parameters, but files with hashes
    graph = [model.record.sha256] if isinstance(model, GraphModel) else []
    facts = [
        str(source.resolve()), *state_of(source, _extra_images(predictor)), predictor.record.method,
        predictor.record.architecture,
        predictor.classes.model_dump(mode="json"), predictor.preprocessing.model_dump(mode="json"),
        _windows(predictor), blend, version("vitseg"), predictor.dtype, *graph,
    ]  # fmt: skip
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def _require_writers(target: Path, polygons: Path | None) -> None:
    if not is_utf8(target) and has_rasterio():
        raise ConfigError(
            f"{target} has a name that is not in UTF-8, which rasterio needs: rename the image, or its folder."
        )
    if target.suffix.lower() not in (".tif", ".tiff", ".png"):
        raise ConfigError(f"{target}: label maps of large images are saved as .tif or .png.")
    if (target.suffix.lower() != ".png" or polygons is not None) and not has_rasterio():
        raise ConfigError(
            f"{polygons or target} needs rasterio: pip install 'vitseg[geo]', or save a .png without polygons."
        )


def _extra_images(predictor: Predictor) -> tuple[str, ...]:
    bands = predictor.preprocessing.bands
    return () if bands is None else bands.extra_images


def _require_others(read: Sequence[Path], target: Path, polygons: Path | None) -> None:
    """See that nothing that is written replaces a file of the image, or each other."""
    for written in filter(None, (target, polygons)):
        if any(is_same_file(written, each) for each in read):
            raise ConfigError(
                f"{written} is the image to read, or a part of it: give what is written another name."
            )
    if polygons is not None and is_same_file(target, polygons):
        raise ConfigError(f"{target} is named for labels and for polygons: give two names.")


def _require_png_fits(target: Path, pixels: PixelSource, dtype: np.dtype, limit: int) -> None:
    if target.suffix.lower() != ".png":
        return
    needed = pixels.held_bytes + PNG_BYTES * pixels.size[0] * pixels.size[1] * dtype.itemsize
    if needed > limit:
        raise ConfigError(
            f"{target}: a PNG of {pixels.size[1]}x{pixels.size[0]} pixels is written at once, which takes {needed:,} "
            f"bytes, but max_memory is {limit:,}. Save a .tif."
        )


def _windows(predictor: Predictor) -> tuple[Size, Size]:
    """(crop_size, stride) of the windows."""
    config = predictor.inference
    if config.mode == "slide":
        assert config.crop_size is not None and config.stride is not None
        return config.crop_size, config.stride
    height, width = predictor.record.image_size
    return (height, width), (height - height // 4, width - width // 4)


def _say_what_is_left_out(config: InferenceConfig) -> None:
    left_out = [
        f"{name} {value}"
        for name, value, default in (
            ("resize", config.resize, None),
            ("scales", config.scales, (1.0,)),
            ("flip", config.flip, False),
        )
        if value != default
    ]
    if left_out:
        _log.info(
            "large images run at their own resolution, once: %s of the model's protocol is not applied.",
            ", ".join(left_out),
            extra=about(""),
        )


def _fill(
    store: LabelStore,
    predictor: Predictor,
    pixels: PixelSource,
    plan: TilePlan,
    blend: Blend,
    on_progress: Callable[[float], None],
) -> None:
    """Write what is still missing of the labels."""
    first_block, first_row = store.done or (0, 0)
    total = len(plan.tops) * sum(len(block.lefts) for block in plan.blocks)
    finished = len(plan.tops) * sum(len(block.lefts) for block in plan.blocks[:first_block])
    nodata = np.iinfo(store.dtype).max
    for number, block in enumerate(plan.blocks):
        if number < first_block:
            continue
        start = first_row if number == first_block else 0
        for top, stop, labels in label_bands(predictor, pixels, plan, block, blend, start):
            window = Window(top, block.owned[0], *labels.shape)
            valid = pixels.valid(window)
            labels = labels.astype(store.dtype, copy=False)
            store.write(
                top, window.left, labels if valid is None else np.where(valid, labels, nodata)
            )
            store.mark(number, stop)
            done_rows = sum(1 for first in plan.tops if first < stop)
            on_progress((finished + done_rows * len(block.lefts)) / total)
        finished += len(plan.tops) * len(block.lefts)


def _finish(
    store: LabelStore,
    predictor: Predictor,
    pixels: PixelSource,
    plan: TilePlan,
    target: Path,
    polygons: Path | None,
    placement: Placement | None,
) -> LargePrediction:
    """Write the target from the stored labels."""
    classes, num_classes = predictor.classes, predictor.classes.num_classes
    counts = np.zeros(np.iinfo(store.dtype).max + 1, dtype=np.int64)
    for window in store.windows(1024, 1024):
        counts += np.bincount(store.read(window).reshape(-1), minlength=len(counts))
    nodata = len(counts) - 1 if counts[-1] else None
    num_polygons = None
    if polygons is not None:  # first, so that no mask is left of an image that fails
        try:
            num_polygons = write_polygons(polygons, store, classes, nodata, placement)
        except DataError:
            store.remove()  # to go on from here would end here again
            raise
    if target.suffix.lower() == ".png":
        labels = store.read(Window(0, 0, *store.size))
        save_label_png(target, labels, classes, None if nodata is None else labels != nodata)
    else:
        write_label_tiff(target, store, classes, nodata, pixels.georeference)
    total = max(1, counts[:num_classes].sum())
    ordered: list[int] = np.argsort(-counts[:num_classes], kind="stable").tolist()
    order = [index for index in ordered if counts[index]]
    areas = {classes.names[index]: float(counts[index] / total) for index in order}
    return LargePrediction(target, store.size, areas, plan, num_polygons)
