import sys

import pytest

from policies.plot.canvas import png_bytes
from policies.plot.data import choose_axes, series
from policies.plot.draw import draw_fronts
from policies.plot.page import front_page
from policies.plot.png import front_figure
from thinwire.errors import InvalidRequestError, UnavailableError

AXES = choose_axes(("channel_uses", "accuracy"))


def test_the_suffix_chooses_between_picture_and_page(study_data, tmp_path):
    shown = [series(study_data(), AXES)]
    for name in ("front.png", "front.html"):
        draw_fronts([study_data()], AXES, tmp_path / name)
    assert (tmp_path / "front.png").read_bytes() == png_bytes(front_figure(shown, AXES))
    assert (tmp_path / "front.html").read_text(encoding="utf-8") == front_page(shown, AXES)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["front.pdf", "front", "front.PNG.txt"])
def test_another_suffix_is_told(study_data, tmp_path, name):
    with pytest.raises(InvalidRequestError, match=r"ends in \.png or \.html, got"):
        draw_fronts([study_data()], AXES, tmp_path / name)


def test_studies_are_one_to_four_and_different(study_data, tmp_path):
    for names in ((), ("a", "a"), "abcde"):
        with pytest.raises(InvalidRequestError, match="one to 4 different studies"):
            draw_fronts([study_data(name) for name in names], AXES, tmp_path / "a.png")
    draw_fronts([study_data(name) for name in "abcd"], AXES, tmp_path / "a.png")


def test_a_folder_that_is_not_there_is_told(study_data, tmp_path):
    with pytest.raises(InvalidRequestError, match=r"cannot write the drawing .*a\.png: No such file or directory"):
        draw_fronts([study_data()], AXES, tmp_path / "none" / "a.png")


def test_what_cannot_be_written_leaves_the_old_file_and_no_other(study_data, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"old")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("policies.files.os.fsync", refuse)
    with pytest.raises(InvalidRequestError, match="Permission denied"):
        draw_fronts([study_data()], AXES, tmp_path / "a.png")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.png", b"old")]


@pytest.mark.parametrize(("suffix", "library"), [("png", "matplotlib"), ("html", "plotly")])
def test_a_missing_library_is_told_with_the_extra_that_brings_it(study_data, tmp_path, monkeypatch, suffix, library):
    for name in [
        name for name in sys.modules if name.startswith((f"{library}.", "policies.plot.p", "policies.plot.c"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UnavailableError, match=r"pip install -e '\.\[search\]'.*" + library):
        draw_fronts([study_data()], AXES, tmp_path / f"a.{suffix}")
    assert not list(tmp_path.iterdir())
