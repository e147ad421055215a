from __future__ import annotations

import errno
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from tests.tiny import make_model, make_predictor, make_record, photo
from vitseg.errors import ConfigError, DataError
from vitseg.inference.image_source import read_source as as_rgb
from vitseg.inference.predictor import Predictor
from vitseg.inference.segmentation import Segmentation
from vitseg.inference.video import FramePainter, segment_video
from vitseg.inference.video_files import VideoWriter
from vitseg.inference.video_reader import VideoReader, read_facts


class CountingPredictor(Predictor):
    """Labels each frame with a class that alternates from call to call; counts the calls."""

    def __init__(self):
        super().__init__(make_model(), make_record(), "cpu")
        self.calls = 0

    def __call__(self, source):
        self.calls += 1
        frame = as_rgb(source)
        labels = np.full(frame.shape[:2], self.calls % 3, np.uint8)
        return Segmentation(labels, self.classes, frame)


def write_clip(
    path: Path,
    frames: int = 6,
    size=(48, 64),
    rate: Fraction | int = 10,
    sound=False,
    degrees=0,
    codec="mpeg4",
    picture: np.ndarray | None = None,
    start: int = 0,
) -> Path:
    """The picture again and again, else frames that grow lighter, their upper left quarter red.

    The first frame has the number `start`, at the clip's rate.
    """
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        if degrees:
            stream.set_display_rotation(degrees)
        audio = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for number in range(frames):
            pixels = np.full((*size, 3), 60 + 4 * number, np.uint8)
            pixels[: size[0] // 2, : size[1] // 2] = (220, 30, 30)
            pixels = pixels if picture is None else picture
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = start + number, 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            container.mux(audio.encode(silence()))
            container.mux(audio.encode(None))
    return path


def silence() -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
    frame.sample_rate = 8000
    return frame


def read_back(path: Path) -> tuple[list[np.ndarray], Fraction | None]:
    with av.open(str(path)) as container:
        assert not container.streams.audio
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv420p"
        rate = stream.average_rate
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], rate


def frames_of(path: Path) -> list:
    with VideoReader(path) as reader:
        return list(reader.frames())


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_size_and_rate_stay_and_sound_goes(tmp_path, suffix):
    source = write_clip(tmp_path / "in.mp4", sound=True)
    target = tmp_path / f"out{suffix}"
    assert segment_video(make_predictor(), source, target).num_frames == 6
    frames, rate = read_back(target)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 6
    assert rate == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", target.name]


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), 60])
def test_usual_frame_rates_are_exact(tmp_path, rate):
    source = write_clip(tmp_path / "in.mp4", frames=30, size=(16, 16), rate=rate)
    segment_video(CountingPredictor(), source, tmp_path / "out.mp4", every=30)
    assert read_facts(tmp_path / "out.mp4").rate == rate
    assert read_facts(tmp_path / "out.mp4").num_frames == 30


def test_the_overlay_is_what_the_predictor_says(tmp_path):
    source, predictor = tmp_path / "in.mp4", make_predictor()
    write_clip(source, size=(64, 96), picture=photo(64, 96))
    segment_video(predictor, source, tmp_path / "out.mp4", opacity=0.9)
    (first, *_), _ = read_back(tmp_path / "out.mp4")
    pixels = frames_of(source)[0].pixels
    found = predictor(pixels)
    assert len(found.class_areas) > 1
    expected = np.asarray(found.overlay(opacity=0.9, legend=False)).astype(int)
    assert np.abs(first - expected).mean() < 12  # H.264 halves the resolution of colours


def test_colours_survive_the_way_through_the_file(tmp_path):
    source = write_clip(tmp_path / "in.mp4", size=(64, 64))
    segment_video(CountingPredictor(), source, tmp_path / "out.mp4", opacity=0.0)
    (first, *_), _ = read_back(tmp_path / "out.mp4")
    assert np.abs(first[4:28, 4:28].mean((0, 1)) - (220, 30, 30)).max() < 8
    assert np.abs(first[40:, 40:].mean((0, 1)) - 60).max() < 8


@pytest.mark.parametrize(("every", "calls"), [(1, 7), (2, 4), (3, 3), (7, 1), (100, 1)])
def test_labels_are_held_between_segmented_frames(every, calls):
    predictor = CountingPredictor()
    paint = FramePainter(predictor, every, 1.0)
    painted = [paint(photo(8, 8, seed=number)) for number in range(7)]
    assert predictor.calls == calls
    for number, picture in enumerate(painted):
        color = predictor.classes.palette[(number // every + 1) % 3]
        assert (picture == color).all()


def test_a_frame_of_another_size_is_segmented_anew():
    predictor = CountingPredictor()
    paint = FramePainter(predictor, every=10)
    assert paint(photo(8, 8)).shape == (8, 8, 3)
    assert paint(photo(8, 12)).shape == (8, 12, 3)
    paint(photo(8, 12))
    assert predictor.calls == 2


def test_only_one_frame_is_alive(tmp_path, monkeypatch):
    source = write_clip(tmp_path / "in.mp4", frames=12)
    under_way = []

    class CountedReader(VideoReader):
        def frames(self):
            for number, frame in enumerate(super().frames()):
                under_way.append(number)
                yield frame

    written = []

    class CountedWriter(VideoWriter):
        def write(self, *frame):
            super().write(*frame)
            written.append(len(under_way))

    monkeypatch.setattr("vitseg.inference.video.VideoReader", CountedReader)
    monkeypatch.setattr("vitseg.inference.video.VideoWriter", CountedWriter)
    segment_video(CountingPredictor(), source, tmp_path / "out.mp4")
    assert written == list(range(1, 13))  # each frame is written before the next is read


def test_odd_sizes_grow_by_one_pixel(tmp_path):
    source = write_clip(tmp_path / "in.mkv", size=(33, 47), codec="ffv1")
    segment_video(make_predictor(), source, tmp_path / "out.mp4")
    frames, _ = read_back(tmp_path / "out.mp4")
    assert frames[0].shape == (34, 48, 3)


def test_times_of_a_variable_rate_stay(tmp_path):
    times = [Fraction(n, 10) for n in (0, 1, 5, 6, 20)]
    facts = read_facts(write_clip(tmp_path / "rate.mp4"))
    with VideoWriter(tmp_path / "in.mkv", tmp_path / "in.mkv", facts) as writer:
        for time in times:
            writer.write(photo(32, 32), time)
    segment_video(CountingPredictor(), tmp_path / "in.mkv", tmp_path / "out.mp4")
    assert [frame.time for frame in frames_of(tmp_path / "out.mp4")] == times


def test_times_within_one_unit_of_the_source_follow_each_other(tmp_path):
    facts = read_facts(write_clip(tmp_path / "rate.mp4"))
    facts = replace(facts, time_base=Fraction(1, 10))
    with VideoWriter(tmp_path / "out.mkv", tmp_path / "out.mkv", facts) as writer:
        for hundredths in (0, 10, 12, 20, 40):
            writer.write(photo(32, 32), Fraction(hundredths, 100))
    times = [frame.time for frame in frames_of(tmp_path / "out.mkv")]
    assert times == [Fraction(n, 10) for n in (0, 1, 2, 3, 4)]


def test_frames_too_large_for_the_encoder_are_named(tmp_path):
    wide = np.zeros((16, 16386, 3), np.uint8)
    source = write_clip(tmp_path / "in.mkv", 1, wide.shape[:2], codec="ffv1", picture=wide)
    with pytest.raises(DataError, match=r"16386x16 pixels.*scale the video down"):
        segment_video(CountingPredictor(), source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.skipif(
    not hasattr(VideoStream, "set_display_rotation"), reason="needs a newer PyAV to write its input"
)
@pytest.mark.parametrize(
    ("degrees", "corner"), [(90, (1, 0)), (-90, (0, 1)), (180, (1, 1)), (0, (0, 0))]
)
def test_videos_on_their_side_are_turned_upright(tmp_path, degrees, corner):
    source = write_clip(tmp_path / "in.mp4", size=(48, 64), degrees=degrees)
    pixels = frames_of(source)[0].pixels
    assert pixels.shape[:2] == ((64, 48) if degrees in (90, -90) else (48, 64))
    halves = [np.array_split(row, 2, axis=1) for row in np.array_split(pixels, 2)]
    redness = [[float(cell[..., 0].mean() - cell[..., 1].mean()) for cell in row] for row in halves]
    assert np.unravel_index(np.argmax(redness), (2, 2)) == corner


def test_facts_of_a_file(tmp_path):
    facts = read_facts(write_clip(tmp_path / "in.mp4", frames=7, rate=25, sound=True))
    assert (facts.num_frames, facts.rate, facts.has_sound) == (7, 25, True)
    assert read_facts(write_clip(tmp_path / "in.mkv")).num_frames is None


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is no video"), (b"just text\n" * 50, "is no video"), (b"\x00\x00\x00\x18ftypmp42", "is no video")],
)  # fmt: skip
def test_files_that_are_no_video(tmp_path, content, words):
    source = tmp_path / "in.mp4"
    source.write_bytes(content)
    with pytest.raises(DataError, match=rf"in\.mp4 {words}"):
        segment_video(CountingPredictor(), source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def noise(number: int = 0, size=(64, 96)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def packets_of(
    path: Path, frames: int = 20, codec="mpeg4", b_frames: int = 0, gop: int = 5
) -> list[tuple[int, int]]:
    """Writes a clip of noise and gives place and size in the file of each packet."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, b_frames
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise(number), format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        return [(packet.pos or 0, packet.size) for packet in packets]


def overwrite(path: Path, place: int, content: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[place : place + len(content)] = content
    path.write_bytes(whole)


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("lost", [(7,), (7, 8), (19,), (0,)])
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_broken_frame_holds_the_labels_and_the_work_goes_on(tmp_path, suffix, lost, b_frames):
    source = tmp_path / f"in.{suffix}"
    packets = packets_of(source, b_frames=b_frames)
    times = [frame.time for frame in frames_of(source)]
    for number in lost:
        place, size = packets[number]
        overwrite(source, place, bytes(size))
    found = frames_of(source)
    damaged = [number for number, frame in enumerate(found) if frame.damaged]
    assert damaged or lost == (0,)
    if lost != (0,):  # there is nothing to show in place of the first
        assert [frame.time for frame in found] == times
    predictor = CountingPredictor()
    done = segment_video(predictor, source, tmp_path / "out.mp4")
    assert (done.num_frames, done.num_damaged) == (len(found), len(damaged))
    assert done.expected_frames is None
    assert predictor.calls == len(found) - len(damaged)
    assert len(read_back(tmp_path / "out.mp4")[0]) == len(found)


@pytest.mark.parametrize("suffix", ["mkv", "avi", "ts"])
def test_damage_between_frames_is_passed_over(tmp_path, suffix):
    source = tmp_path / f"in.{suffix}"
    packets = packets_of(source)
    overwrite(source, packets[9][0] + 30, noise(99).tobytes()[:400])
    done = segment_video(CountingPredictor(), source, tmp_path / "out.mp4")
    assert 15 <= done.num_frames <= 20
    assert done.num_damaged >= 1
    assert done.expected_frames is None


@pytest.mark.parametrize("codec", ["mpeg4", "h264"])
@pytest.mark.parametrize("suffix", ["mkv", "avi"])
def test_a_file_that_ends_early_says_so(tmp_path, suffix, codec):
    source = tmp_path / f"in.{suffix}"
    packets = packets_of(source, frames=50, codec=codec)
    assert segment_video(CountingPredictor(), source, tmp_path / "a.mp4").expected_frames is None
    source.write_bytes(source.read_bytes()[: packets[27][0]])
    done = segment_video(CountingPredictor(), source, tmp_path / "out.mp4")
    assert 25 <= done.num_frames <= 27
    assert done.expected_frames == 50
    assert len(read_back(tmp_path / "out.mp4")[0]) == done.num_frames


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_a_file_that_begins_late_does_not_end_early(tmp_path, suffix):
    source = write_clip(tmp_path / f"in.{suffix}", start=50)
    done = segment_video(CountingPredictor(), source, tmp_path / "out.mp4")
    assert (done.num_frames, done.expected_frames) == (6, None)


def test_sound_that_is_longer_is_no_early_end(tmp_path):
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        video: Any = container.add_stream("mpeg4", rate=10)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        audio: Any = container.add_stream("aac", rate=8000, layout="mono")
        for number in range(10):
            pixels = noise(number, (48, 64))
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
        for number in range(40):  # five seconds
            frame = silence()
            frame.pts = 1024 * number
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    done = segment_video(CountingPredictor(), source, tmp_path / "out.mp4")
    assert (done.num_frames, done.expected_frames) == (10, None)


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_cut_index_is_named(tmp_path, suffix):
    source = tmp_path / f"in.{suffix}"
    packets_of(source)
    content = source.read_bytes()
    index = content.index(b"moov") - 4
    for length, words in (
        (index // 2, r"[\d,]+ bytes and its index \(moov\) is missing"),
        (index, r"its index \(moov\) is missing"),
        (index + 6, r"its index \(moov\) is missing"),
        (index + 100, r"its index \(moov\) is cut: [\d,]+ bytes are missing at the end"),
    ):
        source.write_bytes(content[:length])
        with pytest.raises(DataError, match=rf"in\.{suffix} is no video that can be read.*{words}"):
            segment_video(CountingPredictor(), source, tmp_path / "out.mp4")
        assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_an_mp4_with_its_index_in_front_is_read_as_far_as_it_goes(tmp_path):
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w", options={"movflags": "faststart"}) as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for number in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise(number), format="rgb24")))
        container.mux(stream.encode(None))
    content = source.read_bytes()
    source.write_bytes(content[: len(content) * 6 // 10])
    done = segment_video(CountingPredictor(), source, tmp_path / "out.mp4")
    assert 25 <= done.num_frames <= 32
    assert done.expected_frames == 50


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(
    "aspect", [Fraction(16, 15), Fraction(64, 45), Fraction(8, 9), Fraction(1)]
)
def test_the_shape_of_pixels_stays(tmp_path, suffix, aspect):
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for number in range(3):
            pixels = noise(number, (48, 64))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    assert frames_of(source)[0].pixel_aspect == aspect
    segment_video(CountingPredictor(), source, tmp_path / f"out{suffix}")
    assert {frame.pixel_aspect for frame in frames_of(tmp_path / f"out{suffix}")} == {aspect}


@pytest.mark.skipif(
    not hasattr(VideoStream, "set_display_rotation"), reason="needs a newer PyAV to write its input"
)
def test_pixels_of_a_video_on_its_side_are_turned_with_it(tmp_path):
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(90)
        frame = av.VideoFrame.from_ndarray(noise(0, (48, 64)), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    segment_video(CountingPredictor(), source, tmp_path / "out.mp4")
    (frame,) = frames_of(tmp_path / "out.mp4")
    assert frame.pixels.shape[:2] == (64, 48)
    assert frame.pixel_aspect == Fraction(3, 4)


def test_a_cut_file_without_one_frame_is_damaged(tmp_path):
    content = write_clip(tmp_path / "in.mkv", size=(128, 128)).read_bytes()
    (tmp_path / "in.mkv").write_bytes(content[:800])
    with pytest.raises(DataError, match=r"in\.mkv"):
        segment_video(CountingPredictor(), tmp_path / "in.mkv", tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        container.mux(stream.encode(silence()))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="holds no video track"):
        read_facts(tmp_path / "in.mkv")


def test_a_playlist_reaches_no_other_file_over_the_net(tmp_path):
    (tmp_path / "in.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(DataError, match="is no video that can be read"):
        read_facts(tmp_path / "in.m3u8")


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.mp4", tmp_path):
        with pytest.raises(DataError, match="is no file"):
            read_facts(path)


def test_nothing_is_left_of_a_failed_run(tmp_path):
    source, target = write_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    target.write_bytes(b"the old one")

    class Failing(CountingPredictor):
        def __call__(self, source):
            if self.calls == 3:
                raise DataError("the model failed")
            return super().__call__(source)

    with pytest.raises(DataError, match="the model failed"):
        segment_video(Failing(), source, target)
    assert target.read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_a_video_is_not_written_over_itself(tmp_path):
    source = write_clip(tmp_path / "in.mp4")
    before = source.read_bytes()
    with pytest.raises(ConfigError, match="is the video to read"):
        segment_video(CountingPredictor(), source, tmp_path / "." / "in.mp4")
    assert source.read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_of_the_system(tmp_path):
    facts = read_facts(write_clip(tmp_path / "in.mp4"))

    def fill():
        with VideoWriter(Path("/dev/full"), Path("out.mkv"), facts) as writer:
            for number in range(50):
                writer.write(photo(128, 128, seed=number), Fraction(number, 10))

    with pytest.raises(OSError, match="No space left") as raised:
        fill()
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"every": 0}, "every is 0"),
        ({"opacity": 1.5}, "opacity is 1.5"),
        ({"target": "out.gif"}, r"written as \.mp4, \.mov, \.mkv"),
        ({"target": "none/out.mp4"}, "does not exist"),
    ],
)
def test_wrong_values_are_named(tmp_path, values, words):
    source = write_clip(tmp_path / "in.mp4", frames=1)
    target = tmp_path / values.pop("target", "out.mp4")
    with pytest.raises(ConfigError, match=words):
        segment_video(CountingPredictor(), source, target, **values)


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    source = write_clip(tmp_path / "in.mp4", frames=1)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"pip install 'vitseg\[video\]'"):
        segment_video(CountingPredictor(), source, tmp_path / "out.mp4")
