"""`vitseg video`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitseg.cli import frame, options
from vitseg.errors import ConfigError


def video(
    model: options.PredictingModel,
    source: Annotated[Path, typer.Argument(metavar="IN", help="A video file.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="The video to write: .mp4, .mov or .mkv.")
    ],
    *,
    every: Annotated[
        int, typer.Option(metavar="N", help="Segment every N-th frame, hold its labels between.")
    ] = 1,
    opacity: Annotated[
        float, typer.Option(help="Weight of the class colours, from 0 to 1.")
    ] = 0.55,
    protocol: options.Protocol = None,
    value_range: options.ValueRange = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "fp32",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it exists.")
    ] = False,
) -> None:
    """Paint a video's segmentation over it, frame by frame; sound is dropped. Needs the extra [video].

    Size, pixel shape and frame rate stay. Memory does not grow with the length of the video. Damaged frames get the
    labels before them, and are counted; of a file that ends early all there is is written, and the exit code is 2.
    """
    from vitseg.inference.video_files import check_target, require_another
    from vitseg.inference.video_reader import read_facts

    options.require_range(value_range)
    check_target(target)
    if target.is_dir():
        raise ConfigError(f"{target} is a folder: give the name of the video to write.")
    if target.exists() and not overwrite:
        raise ConfigError(
            f"{target} exists: give another name, or pass --overwrite. Nothing was changed."
        )
    facts = read_facts(source)
    require_another(target, source)

    from vitseg.inference.predictor import load
    from vitseg.inference.video import segment_video

    predictor = load(model, device, protocol or (), value_range, dtype)
    with frame.bar("video", facts.num_frames) as advance:
        done = segment_video(predictor, source, target, every, opacity, advance)
    of = "" if done.expected_frames is None else f" of about {done.expected_frames}"
    line = f"{done.num_frames}{of} frames -> {target}"
    if done.num_damaged:
        line += f"; {done.num_damaged} damaged, with the labels before them"
    if done.expected_frames is not None:
        line += f"; {source} ends early"
    typer.echo(line)
    if facts.has_sound:
        typer.echo("the sound was dropped", err=True)
    if done.expected_frames is not None:
        raise typer.Exit(2)
