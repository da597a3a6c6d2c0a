import pytest

from policies.files import write_whole


def test_a_file_is_written_and_replaced_and_nothing_else_stays(tmp_path):
    for content in (b"one", b"another"):
        write_whole(tmp_path / "a", content)
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", content)]


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    write_whole(tmp_path / "a", b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("policies.files.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_a_folder_in_its_place_is_told(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
