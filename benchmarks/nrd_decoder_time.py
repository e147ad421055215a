"""NRD's decoder beside DeepLabV3+'s on the same features of an undilated ResNet-50, 19 classes.

Claims, at 1024 x 2048: it takes less time, and its memory above the features is below one full-resolution class map.
Both end with class logits at stride 4, so what follows is the same. Multiply-adds are given without the pyramid
pooling, too, which the papers leave to the encoder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from _measure import alternating_medians, peak_above, print_table
from torch import Tensor, nn

from vitseg.decoders.deeplab import DeepLabDecoder, DeepLabDecoderConfig
from vitseg.decoders.nrd import NrdDecoder, NrdDecoderConfig
from vitseg.features import Features
from vitseg.inference.operations import count_operations, peak_memory
from vitseg.types import Size

NUM_CLASSES = 19
CHANNELS, STRIDES = (256, 1024, 2048), (4, 16, 32)
NAMES = ("NRD", "NRD without guidance", "DeepLabV3+")


class OnFeatures(nn.Module):
    """A decoder on given features, counted as if they cost nothing."""

    def __init__(self, name: str, features: Features):
        super().__init__()
        torch.manual_seed(0)
        self.features = features
        self.backbone = nn.Identity()
        if name == "DeepLabV3+":
            config = DeepLabDecoderConfig(kind="v3plus")
            self.decoder: nn.Module = DeepLabDecoder(CHANNELS, NUM_CLASSES, config)
        else:
            guidance_dim = 16 if name == "NRD" else None
            config = NrdDecoderConfig(guidance_dim=guidance_dim)
            self.decoder = NrdDecoder(CHANNELS, NUM_CLASSES, config)
        self.eval().requires_grad_(False)

    def forward(self) -> Tensor:
        return self.decoder(self.features).mask_logits


def pooling_operations(run: OnFeatures) -> int:
    """Multiply-adds of the pyramid pooling alone."""
    context, deepest = run.decoder.context, run.features.maps[-1]
    return count_operations(run, lambda: context(deepest)).total


def features_of(size: Size) -> Features:
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.rand(1, width, size[0] // stride, size[1] // stride, generator=generator)
        for width, stride in zip(CHANNELS, STRIDES, strict=True)
    ]
    return Features(tuple(maps), size, size)


def prepare(name: str, size: Size, threads: int) -> Callable[[], object]:
    torch.set_num_threads(threads)
    model = OnFeatures(name, features_of(size))

    @torch.inference_mode()
    def run() -> Tensor:
        return model()

    with torch.inference_mode():
        model.decoder(features_of((64, 64)))  # libraries' own buffers
    return run


def compare(size: Size, rounds: int, warmups: int) -> list[list[str]]:
    # First: a process starts with the peak of the one that starts it.
    processes = {
        name: peak_above(partial(prepare, name, size, torch.get_num_threads())) for name in NAMES
    }
    features = features_of(size)
    runs = {name: OnFeatures(name, features) for name in NAMES}
    medians = alternating_medians(runs, rounds=rounds, warmups=warmups)
    class_map = NUM_CLASSES * size[0] * size[1] * 4
    rows = []
    for name, run in runs.items():
        before, peak = processes[name]
        tensors = peak_memory(run, torch.device("cpu"))
        macs = count_operations(run, run).total
        rows.append(
            [
                name,
                f"{macs / 1e9:.2f}",
                f"{(macs - pooling_operations(run)) / 1e9:.2f}",
                f"{medians[name] / medians['DeepLabV3+']:.3f}",
                f"{tensors / class_map:.2f}",
                f"{(peak - before) * 2**20 / class_map:.2f}",
            ]
        )
    return rows


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warmups", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=[1024, 2048], metavar="PIXELS")
    options = parser.parse_args()
    height, width = options.size
    header = [
        "decoder",
        "GMACs",
        "without pooling",
        "time / DeepLabV3+",
        "tensors, maps",
        "process, maps",
    ]
    mebibytes = NUM_CLASSES * height * width * 4 / 2**20
    print_table(
        f"{height} x {width}: time, and peak memory above weights and features, in full-size class maps "
        f"({mebibytes:.0f} MiB)",
        header,
        compare((height, width), options.rounds, options.warmups),
    )


if __name__ == "__main__":
    main()
