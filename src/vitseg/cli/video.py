"""`vitseg video`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitseg.cli import frame, options
from vitseg.errors import ConfigError


def video(
    model: options.Model,
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
    device: options.Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it exists.")
    ] = False,
) -> None:
    """Paint a video's segmentation over it, frame by frame; sound is dropped. Needs the extra [video].

    Size and frame rate stay. Memory does not grow with the length of the video.
    """
    from vitseg.inference.predictor import load
    from vitseg.inference.video import segment_video
    from vitseg.inference.video_files import check_target, read_facts

    check_target(target)
    if target.is_dir():
        raise ConfigError(f"{target} is a folder: give the name of the video to write.")
    if target.exists() and not overwrite:
        raise ConfigError(
            f"{target} exists: give another name, or pass --overwrite. Nothing was changed."
        )
    facts = read_facts(source)
    if target.exists() and target.samefile(source):
        raise ConfigError(f"{target} is the video to read: give the output another name.")
    predictor = load(model, device)
    with frame.bar("video", facts.num_frames) as advance:
        count = segment_video(predictor, source, target, every, opacity, advance)
    typer.echo(f"{count} frames -> {target}")
    if facts.has_sound:
        typer.echo("the sound was dropped", err=True)
