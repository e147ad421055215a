"""Segment a picture with an exported model: onnxruntime, numpy and Pillow alone, no torch and no vitseg.

vitseg export runs/mine --form labels --out mine.onnx
python onnx_without_torch.py mine.onnx photo.jpg labels.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def main(model: str, photo: str, target: str) -> None:
    """Write the labels of a photo as a PNG with the classes' colours, and print each class's share."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    classes = json.loads(Path(f"{model}.json").read_text())["model"]["classes"]

    image = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1)[None]  # (1, 3, H, W), 0 to 255
    (labels,) = session.run(None, {session.get_inputs()[0].name: pixels})

    picture = Image.fromarray(labels[0].astype(np.uint8))
    picture.putpalette([channel for color in classes["palette"] for channel in color])
    picture.save(target)
    for index, name in enumerate(classes["names"]):
        print(f"{name}: {100 * (labels == index).mean():.1f} %")


if __name__ == "__main__":
    main(*sys.argv[1:])
