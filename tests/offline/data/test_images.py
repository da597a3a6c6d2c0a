"""Reading labelled images, splitting them, sampling them."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offline.data.images import EXTENSIONS, in_select, load, split_select
from thinwire.errors import InvalidImageError, InvalidRequestError
from thinwire.images import FORMATS, Preprocessing, decode

PREPROCESSING = Preprocessing(8, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
CLASSES = ("cat", "dog", "eel")
DIGEST = "034fc441a271e2589f2fec1c1d4ebcab7b0c1837168e081e445c78cf31b83e9b"


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (value, value, value)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    for label, name in enumerate(CLASSES):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(10 * (label + 1)):
            (tmp_path / "data" / name / f"{index:04}.png").write_bytes(png(50 * label + index))
    return tmp_path / "data"


def test_a_folder_and_its_tar_are_the_same(folder, tmp_path):
    with tarfile.open(tmp_path / "data.tar", "w") as tar:
        for name in CLASSES:
            tar.add(folder / name, arcname=name)
    from_folder, from_tar = load(str(folder), PREPROCESSING), load(str(tmp_path / "data.tar"), PREPROCESSING)
    assert from_folder.classes == from_tar.classes == CLASSES
    assert len(from_folder) == len(from_tar) == 60
    assert sorted(Path(name).parts[-2:] for name in from_tar.names) == sorted(
        Path(name).parts[-2:] for name in from_folder.names
    )
    for images in (from_folder, from_tar):
        for name, pixels, label in zip(images.names, images.pixels, images.labels, strict=True):
            assert CLASSES[label] == Path(name).parent.name
            assert (pixels == 50 * label + int(Path(name).stem)).all()


def test_labels_follow_the_models_classes(folder):
    images = load(str(folder), PREPROCESSING, ("eel", "ape", "dog", "cat"))
    assert images.classes == ("eel", "ape", "dog", "cat")
    assert {Path(name).parent.name: int(label) for name, label in zip(images.names, images.labels, strict=True)} == {
        "cat": 3,
        "dog": 2,
        "eel": 0,
    }


def test_a_class_that_the_model_does_not_know_is_refused(folder):
    with pytest.raises(InvalidRequestError, match="does not know: eel"):
        load(str(folder), PREPROCESSING, ("cat", "dog"))


def test_every_format_of_the_service_is_read_and_what_is_none_is_said(folder, tmp_path, caplog):
    before = load(str(folder), PREPROCESSING)
    assert not caplog.records
    for index, (form, end) in enumerate(
        [("WEBP", "webp"), ("BMP", "BMP"), ("GIF", "gif"), ("TIFF", "tif"), ("TIFF", "tiff"), ("JPEG", "jfif")]
    ):
        Image.new("RGB", (8, 8), (index,) * 3).save(folder / "dog" / f"z{index}.{end}", form)
    (folder / "eel" / "notes.heic").write_bytes(b"of another camera")
    (folder / "eel" / ".DS_Store").write_bytes(b"nobody's")
    with tarfile.open(tmp_path / "data.tar", "w") as tar:
        tar.add(folder, arcname=".")
    for source in (folder, tmp_path / "data.tar"):
        caplog.clear()
        images = load(str(source), PREPROCESSING)
        assert len(images) == len(before) + 6
        assert sum(label == 1 for label in images.labels) == 26
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "files left out as no images by their names: 1, such as " in record.message
        assert record.message.endswith("eel/notes.heic")


def test_names_of_the_formats_cover_all_that_is_decoded():
    kinds = {Image.registered_extensions()[end] for end in EXTENSIONS}
    assert kinds == set(FORMATS)


def test_images_without_classes_are_told_as_such(tmp_path):
    (tmp_path / "flat").mkdir()
    for index in range(3):
        (tmp_path / "flat" / f"{index}.png").write_bytes(png(index))
    for name in ("", "."):
        with tarfile.open(tmp_path / f"flat{name}.tar", "w") as tar:
            for path in sorted((tmp_path / "flat").iterdir()):
                tar.add(path, arcname=f"{name}/{path.name}" if name else path.name)
    for source in ("flat", "flat.tar", "flat..tar"):
        for classes in (None, CLASSES):
            with pytest.raises(InvalidRequestError, match=r"class/image in .*, got the folder itself as a class"):
                load(str(tmp_path / source), PREPROCESSING, classes)


@pytest.mark.parametrize("name", ["data.tar.gz", "data.tgz", "data.TAR", "data.tar"])
def test_a_tar_that_is_compressed_or_named_otherwise_is_refused(folder, tmp_path, name):
    with tarfile.open(tmp_path / name, "w" if name.endswith("TAR") else "w:gz") as tar:
        tar.add(folder, arcname=".")
    named = f"uncompressed tar named .tar, got {name}"
    says = "whole, uncompressed tar, got ReadError" if name == "data.tar" else named
    with pytest.raises(InvalidRequestError, match=f"no labelled images in .*: expected .*{says}"):
        load(str(tmp_path / name), PREPROCESSING)


def test_other_files_alone_are_no_data(tmp_path):
    (tmp_path / "data" / "cat").mkdir(parents=True)
    (tmp_path / "data" / "cat" / "0.heic").write_text("of another camera")
    with tarfile.open(tmp_path / "data.tar", "w") as tar:
        tar.add(tmp_path / "data" / "cat", arcname="cat")
    for source in ("data", "data.tar"):
        with pytest.raises(InvalidRequestError, match=r"ending in .*\.webp, got 1 other files, as cat/0\.heic"):
            load(str(tmp_path / source), PREPROCESSING)


def test_the_digest_of_a_data_set_is_what_it_was(folder, tmp_path):
    # Studies in people's stores name their data by it: computed before timm was told of more formats.
    with tarfile.open(tmp_path / "data.tar", "w") as tar:
        for name in CLASSES:
            tar.add(folder / name, arcname=name)
    assert load(str(folder), PREPROCESSING).digest() == DIGEST
    assert load(str(tmp_path / "data.tar"), PREPROCESSING).digest() == DIGEST


def test_no_data_is_refused(tmp_path):
    with pytest.raises(InvalidRequestError, match="no data at"):
        load(str(tmp_path / "nothing.tar"), PREPROCESSING)


def test_a_broken_image_is_named_an_error(folder):
    (folder / "cat" / "0003.png").write_bytes(b"broken")
    with pytest.raises(InvalidImageError):
        load(str(folder), PREPROCESSING)


@pytest.mark.parametrize("name", ["empty", "file.txt", "file.tar", "empty.tar"])
def test_a_source_without_images_is_refused(tmp_path, name):
    if name == "empty":
        (tmp_path / name).mkdir()
    elif name == "empty.tar":
        tarfile.open(tmp_path / name, "w").close()
    else:
        (tmp_path / name).write_text("no images")
    with pytest.raises(InvalidRequestError, match="no labelled images"):
        load(str(tmp_path / name), PREPROCESSING)


def test_the_sample_is_even_over_the_classes_and_nested(folder):
    images = load(str(folder), PREPROCESSING)
    assert np.bincount(images.even_sample(15).labels).tolist() == [5, 5, 5]
    assert np.bincount(images.even_sample(35).labels).tolist() == [10, 13, 12]
    assert set(images.even_sample(7).names) <= set(images.even_sample(20).names)
    assert images.even_sample(1000).names == images.names


def test_train_and_select_part_the_images_by_name_alone(folder):
    images = load(str(folder), PREPROCESSING)
    train, select = split_select(images)
    assert sorted(train.names + select.names) == sorted(images.names)
    backwards = images.take(np.arange(len(images))[::-1])
    assert set(split_select(backwards)[1].names) == set(select.names)
    assert 0.08 < np.mean([in_select(f"class/{index}") for index in range(20_000)]) < 0.12


@pytest.mark.parametrize("part", ["select", "train"])
def test_a_part_or_a_sample_is_that_of_the_whole_and_nothing_else_is_decoded(folder, part, monkeypatch):
    whole = load(str(folder), PREPROCESSING)
    parts = dict(zip(("train", "select"), split_select(whole), strict=True))
    decoded = []
    monkeypatch.setattr("offline.data.images.decode", lambda content: decoded.append(1) or decode(content))
    assert load(str(folder), PREPROCESSING, part=part).digest() == parts[part].digest()
    assert len(decoded) == len(parts[part])
    decoded.clear()
    assert load(str(folder), PREPROCESSING, part=part, limit=4).digest() == parts[part].even_sample(4).digest()
    assert len(decoded) == min(4, len(parts[part]))


def test_a_source_of_which_nothing_is_selected_is_refused(tmp_path):
    name = next(f"{index:04}.png" for index in range(99) if not in_select(f"cat/{index:04}.png"))
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / name).write_bytes(png(1))
    with pytest.raises(InvalidRequestError, match=r"of the 1 images of .*, none is of the select split"):
        load(str(tmp_path), PREPROCESSING, part="select")


def test_the_digest_sees_every_part(folder):
    images = load(str(folder), PREPROCESSING)
    digests = {images.digest(), images.take(np.arange(59)).digest()}
    images.pixels[0, 0, 0, 0] ^= 1
    digests.add(images.digest())
    images.labels[0] ^= 1
    digests.add(images.digest())
    assert len(digests) == 4
