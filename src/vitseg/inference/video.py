"""Videos and other streams of frames: each frame in, the same frame with its segmentation painted over it out.

Nothing here keeps more than one frame and one label map, so the length of a stream does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vitseg.errors import ConfigError, DataError
from vitseg.files import whole_file
from vitseg.inference.predictor import Predictor
from vitseg.inference.video_files import VideoWriter, check_target, require_another
from vitseg.inference.video_reader import VideoReader
from vitseg.render.overlay import draw_overlay


class FramePainter:
    """Paints the segmentation over frame after frame, of a camera as well as of a file.

    Args:
        predictor: The model.
        every: Every so manieth frame is segmented; in between, its labels are held. A frame of another size than the
            one before is always segmented.
        opacity: Weight of the class colours over the frame, in [0, 1].

    Raises:
        ConfigError: `every` is below 1, or the opacity outside [0, 1].
    """

    def __init__(self, predictor: Predictor, every: int = 1, opacity: float = 0.55):
        if every < 1:
            raise ConfigError(
                f"every is {every}, but must be 1 (each frame is segmented) or larger."
            )
        if not 0 <= opacity <= 1:
            raise ConfigError(
                f"opacity is {opacity}, but must be in [0, 1]: 0 shows the frames only, 1 the classes only."
            )
        self.predictor = predictor
        self.every = every
        self.opacity = opacity
        self._labels: np.ndarray | None = None
        self._held = 0  # frames that have shown these labels

    def __call__(
        self, frame: UInt8[np.ndarray, "H W 3"], damaged: bool = False
    ) -> UInt8[np.ndarray, "H W 3"]:
        """The frame, RGB, with its classes painted over it.

        Args:
            frame: The frame.
            damaged: Whether its pixels are not to be trusted: the labels before it are held, however long.
        """
        labels = self._labels
        due = self._held >= self.every and not damaged
        if labels is None or labels.shape != frame.shape[:2] or due:
            labels = self._labels = self.predictor(frame).label_map
            self._held = 0
        self._held += 1
        classes = self.predictor.classes
        return np.asarray(draw_overlay(frame, labels, classes, opacity=self.opacity, legend=False))


@dataclass(frozen=True)
class SegmentedVideo:
    """What `segment_video` has written.

    Attributes:
        num_frames: Frames written.
        num_damaged: Those among them that could not be decoded as a whole, with the labels of the frame before.
        expected_frames: Where the source ends early: how many frames it had by its header; else None.
    """

    num_frames: int
    num_damaged: int = 0
    expected_frames: int | None = None


def segment_video(
    predictor: Predictor,
    source: Path,
    target: Path,
    every: int = 1,
    opacity: float = 0.55,
    on_frame: Callable[[], object] = lambda: None,
) -> SegmentedVideo:
    """Write a video with its segmentation painted over it.

    Frames keep their times, so the frame rate, their size and the shape of their pixels; an odd height or width grows
    by one pixel, as H.264 needs. A video that is stored on its side is turned upright. Sound is dropped. A frame that
    cannot be decoded is the one before once more, one that is decoded in part gets the labels of the one before; a
    source that ends early gives what there is of it. The target appears whole or not at all: it is written beside its
    place and then moved.

    Args:
        predictor: The model.
        source: A video file in any format that FFmpeg reads.
        target: .mp4, .mov or .mkv; an existing file is replaced.
        every: See `FramePainter`.
        opacity: See `FramePainter`.
        on_frame: Called after each frame, for a progress bar.

    Raises:
        ConfigError: PyAV is not installed, the target has another suffix, is the source or its folder does not exist,
            or a value that `FramePainter` refuses.
        DataError: The source holds no video or not one frame that can be decoded, or it changes its frame size.
    """
    check_target(target)
    require_another(target, source)
    bands = predictor.preprocessing.bands
    if bands is not None:
        raise ConfigError(
            f"the model sees the bands {bands.words} of pictures, and the frames of a video have red, green and blue "
            "only: a model of these is needed."
        )
    paint = FramePainter(predictor, every, opacity)
    count, num_damaged = 0, 0
    with whole_file(target) as partial:
        with (
            VideoReader(source, predictor.preprocessing.limits) as reader,
            VideoWriter(partial, target, reader.facts) as writer,
        ):
            for frame in reader.frames():
                painted = paint(frame.pixels, frame.damaged)
                writer.write(painted, frame.time, frame.pixel_aspect)
                count += 1
                num_damaged += frame.damaged
                on_frame()
        if not count:
            raise DataError(f"{source} has a video track, but not one frame in it.")
    expected = reader.facts.expected_frames if reader.ends_early else None
    return SegmentedVideo(count, num_damaged, expected)
