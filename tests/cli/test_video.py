from __future__ import annotations

import sys

import pytest

from tests.inference.test_video import overwrite, packets_of, read_back, write_clip
from tests.tiny import content


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "in.mp4", frames=5)


def test_a_video_is_segmented(vitseg, tmp_path, model, clip):
    result = vitseg("video", model, clip, tmp_path / "out.mp4", "--every", 2, "--opacity", 0.8)
    assert result.code == 0, result.err
    assert not result.messages
    assert result.out.startswith("5 frames -> ")
    assert len(read_back(tmp_path / "out.mp4")[0]) == 5


def test_dropped_sound_is_said(vitseg, tmp_path, model):
    source = write_clip(tmp_path / "in.mp4", frames=2, sound=True)
    result = vitseg("video", model, source, tmp_path / "out.mkv")
    assert result.code == 0
    assert result.messages == ["the sound was dropped"]


def test_an_existing_video_is_kept_unless_asked(refused, vitseg, tmp_path, model, clip):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"mine")
    assert "pass --overwrite" in refused("video", model, clip, target)
    assert target.read_bytes() == b"mine"
    assert vitseg("video", model, clip, target, "--overwrite").code == 0
    assert len(read_back(target)[0]) == 5


def test_the_input_is_never_replaced(refused, tmp_path, model, clip):
    before = content(tmp_path)
    assert "is the video to read" in refused("video", model, clip, clip, "--overwrite")
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.mp4", "out.mp4"], "none.mp4 is no file"),
        (["in.mp4", "out.avi"], "videos are written as .mp4, .mov, .mkv"),
        (["in.mp4", "none/out.mp4"], "does not exist"),
        (["in.mp4", "out.mp4", "--every", "0"], "every is 0"),
        (["in.mp4", "out.mp4", "--opacity", "2"], "opacity is 2.0"),
        (["in.mp4", "folder.mp4"], "folder.mp4 is a folder"),
        (["text.mp4", "out.mp4"], "text.mp4 is no video"),
    ],
)
def test_mistakes_are_named(refused, tmp_path, model, clip, monkeypatch, arguments, words):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "folder.mp4").mkdir()
    monkeypatch.chdir(tmp_path)
    before = content(tmp_path)
    assert words in refused("video", model, *arguments)
    assert content(tmp_path) == before


def test_without_the_extra_one_line_names_it(refused, tmp_path, model, clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    line = refused("video", model, clip, tmp_path / "out.mp4")
    assert (
        line == "ConfigError: videos need PyAV, which is not installed: pip install 'vitseg[video]'"
    )


def test_the_protocol_is_changed_as_in_predict(refused, vitseg, tmp_path, model, clip):
    assert vitseg("video", model, clip, tmp_path / "a.mp4", "--set", "flip=true").code == 0
    message = refused("video", model, clip, tmp_path / "b.mp4", "--set", "flop=true")
    assert "flop" in message
    assert not (tmp_path / "b.mp4").exists()


def test_damaged_frames_are_counted_in_the_closing_line(vitseg, tmp_path, model):
    source = tmp_path / "in.mp4"
    place, size = packets_of(source, frames=10)[6]
    overwrite(source, place, bytes(size))
    result = vitseg("video", model, source, tmp_path / "out.mp4")
    assert result.code == 0, result.err
    assert result.out.startswith("10 frames -> ")
    assert "1 damaged, with the labels before them" in " ".join(result.out.split())


def test_a_file_that_ends_early_is_said_and_is_no_success(vitseg, tmp_path, model):
    source = tmp_path / "in.mkv"
    place, _ = packets_of(source, frames=20)[11]
    source.write_bytes(source.read_bytes()[:place])
    result = vitseg("video", model, source, tmp_path / "out.mp4")
    assert result.code == 2
    assert "of about 20 frames -> " in result.out
    assert "in.mkv ends early" in "".join(result.out.splitlines())
    assert len(read_back(tmp_path / "out.mp4")[0]) >= 10
