"""Memory of segmenting large images in tiles. Claim: below the bound that is given, and the same at any height.

The model is tiny, since the claim is about all but the model: the tiles that are read, the scores of 19 classes, and
the labels that are written. 20,000 x 20,000 pixels take some minutes. Needs the extra `geo`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
from _measure import peak_above, print_table
from rasterio.windows import Window

from vitseg.checkpoint.model_dir import ModelRecord
from vitseg.classes import ClassTable
from vitseg.images.preprocess import Preprocessing
from vitseg.inference.options import parse_memory
from vitseg.inference.predictor import Predictor
from vitseg.inference.tiles import predict_large
from vitseg.methods import METHODS

NUM_CLASSES = 19
CROP = (512, 512)
ROWS = 512


def make_predictor() -> Predictor:
    backbone = {"name": "test_vit", "pretrained": False, "patch_size": 16, "taps": [1, 3]}
    decoder = {"num_layers": 1, "classifier": "presence"}
    config = METHODS["segvit"].model_validate({"backbone": backbone, "decoder": decoder})
    record = ModelRecord(
        method="segvit",
        architecture=config.model_dump(mode="json"),
        image_size=CROP,
        classes=ClassTable.from_names([f"class {index}" for index in range(NUM_CLASSES)]),
        preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    )
    return Predictor(config.build(NUM_CLASSES, CROP), record, "cpu")


def write_image(path: Path, height: int, width: int) -> None:
    """Noise in tiles of 256 x 256, deflated, as GDAL writes them."""
    noise = np.random.default_rng(0).integers(0, 256, (3, ROWS, width), dtype=np.uint8)
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8"}
    tiling = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    with rasterio.open(path, "w", zlevel=1, **tiling, **profile) as raster:
        for top in range(0, height, ROWS):
            rows = min(ROWS, height - top)
            window = Window(0, top, width, rows)  # pyright: ignore[reportCallIssue]
            raster.write(np.roll(noise[:, :rows], top, axis=2), window=window)


def prepare(source: Path, target: Path, max_memory: str) -> Callable[[], object]:
    warnings.simplefilter("ignore")
    predictor = make_predictor()
    predictor(np.zeros((64, 64, 3), np.uint8))  # libraries' own buffers
    return partial(predict_large, predictor, source, target, max_memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=20_000)
    parser.add_argument("--heights", type=int, nargs="+", default=[4_000, 20_000])
    parser.add_argument("--max-memory", nargs="+", default=["1600MB", "600MB"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for height in arguments.heights:
            source = Path(folder) / f"{height}.tif"
            write_image(source, height, arguments.width)
            for max_memory in arguments.max_memory:
                target = Path(folder) / f"{height}-{max_memory}.tif"
                start = time.perf_counter()
                before, peak = peak_above(partial(prepare, source, target, max_memory))
                seconds = time.perf_counter() - start
                bound = parse_memory(max_memory) / 2**20
                above = peak - before
                facts = (f"{number:.0f}" for number in (bound, above, before, seconds))
                rows.append([f"{arguments.width} x {height}", max_memory, *facts])
                print(rows[-1], flush=True)
    header = ["width x height", "max_memory", "= MiB", "above model MiB", "before MiB", "seconds"]
    print_table(f"Peak memory in tiles of {CROP}, {NUM_CLASSES} classes", header, rows)


if __name__ == "__main__":
    main()
