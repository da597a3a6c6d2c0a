"""Frames of videos and images of folders, as they are, and what is no video."""

import re
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from deploy import pictures
from deploy.cli.main import main
from deploy.pictures import pictures_of
from tests.videos import coloured, write_video
from thinwire.errors import InvalidImageError, InvalidRequestError, PayloadTooLargeError
from thinwire.images import decode


def pixels(picture):
    return np.asarray(decode(picture.data))


def test_frames_of_a_video_come_whole_and_in_order(tmp_path):
    frames = coloured(7)
    found = list(pictures_of([write_video(tmp_path / "clip.mp4", frames)]))
    assert np.array_equal([pixels(picture) for picture in found], frames)
    assert [found[0].name, found[6].name] == ["clip.mp4 at 0.00 s", "clip.mp4 at 1.20 s"]
    assert {picture.media_type for picture in found} == {"image/bmp"}


@pytest.mark.parametrize(("rotation", "quarters"), [(90, 1), (-90, -1), (180, 2)])
def test_frames_stand_upright(tmp_path, rotation, quarters):
    frames = coloured(1)
    (found,) = pictures_of([write_video(tmp_path / "phone.mp4", frames, rotation=rotation)])
    assert np.array_equal(pixels(found), np.rot90(frames[0], quarters))


def test_a_folder_gives_its_images_by_name_and_nothing_else(tmp_path):
    for name in ("b.png", "a.JPG", "c.webp", "notes.txt", "clip.mp4"):
        (tmp_path / name).write_bytes(name.encode())
    found = list(pictures_of([tmp_path]))
    assert [(one.name, one.data) for one in found] == [(name, name.encode()) for name in ("a.JPG", "b.png", "c.webp")]
    assert [one.media_type for one in found] == ["image/jpeg", "image/png", "image/webp"]


def test_a_source_is_not_touched_before_its_turn(tmp_path):
    clip = write_video(tmp_path / "clip.mp4", coloured(2))
    (tmp_path / "last.png").write_bytes(b"x")
    found = pictures_of([clip, tmp_path / "last.png", tmp_path / "none.mp4"])
    assert [next(found).name for _ in range(3)] == ["clip.mp4 at 0.00 s", "clip.mp4 at 0.20 s", "last.png"]
    with pytest.raises(InvalidRequestError, match=r"cannot read .*none\.mp4"):
        next(found)


def test_a_video_that_breaks_gives_the_frames_before(tmp_path):
    path = write_video(tmp_path / "clip.mov", coloured(4), codec="png")
    content = bytearray(path.read_bytes())
    third = [place for place in range(len(content)) if content.startswith(b"\x89PNG", place)][2]
    content[third : third + 8] = bytes(8)
    path.write_bytes(content)
    found = pictures_of([path])
    assert len([next(found), next(found)]) == 2
    with pytest.raises(InvalidImageError, match=r"clip\.mov cannot be read as a video"):
        next(found)


def test_frames_that_are_too_large_are_refused_before_one_is_decoded(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", coloured(1))
    monkeypatch.setattr(pictures, "MAX_PIXELS", 32 * 16 - 1)
    with pytest.raises(PayloadTooLargeError, match="32 x 16 pixels"):
        next(pictures_of([path]))


def test_a_frame_too_large_for_the_edge_as_it_is_goes_as_a_jpeg(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", [np.full((64, 64, 3), 120, np.uint8)])
    monkeypatch.setattr(pictures, "MAX_BYTES", 64 * 64 * 3)
    (found,) = pictures_of([path])
    assert found.media_type == "image/jpeg"
    assert np.abs(pixels(found).astype(int) - 120).max() <= 2


def write_sound(path: Path) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.mp4", r"invalid_image: .*text\.mp4 cannot be read as a video"),
        ("empty.mp4", "invalid_image: .*cannot be read as a video"),
        ("half.mp4", "invalid_image: .*cannot be read as a video"),
        ("sound.mp4", r"invalid_image: .*sound\.mp4 has no video"),
        ("none.mp4", r"invalid_request: cannot read .*none\.mp4"),
        ("folder", "invalid_request: no pictures in .*folder"),
        ("/dev/zero", "invalid_request: cannot read /dev/zero"),
    ],
)
def test_what_is_no_video_is_told(tmp_path, capsys, name, message):
    (tmp_path / "text.mp4").write_text("hello\n" * 100)
    (tmp_path / "empty.mp4").touch()
    whole = write_video(tmp_path / "whole.mp4", coloured(3)).read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    write_sound(tmp_path / "sound.wav")
    (tmp_path / "sound.wav").rename(tmp_path / "sound.mp4")
    (tmp_path / "folder").mkdir()
    assert main(["stream", str(tmp_path / name), "--url", "http://127.0.0.1:9"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert re.search(message, line)


def test_without_the_package_a_video_is_refused_and_images_are_not(tmp_path, capsys, monkeypatch):
    clip = write_video(tmp_path / "clip.mp4", coloured(1))
    (tmp_path / "image.png").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["stream", str(clip), "--url", "http://127.0.0.1:9"]) == 1
    assert "this needs the package av" in capsys.readouterr().err
    assert len(list(pictures_of([tmp_path]))) == 1
