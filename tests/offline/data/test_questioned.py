"""Reading images with questions, splitting and sampling them; what is broken or hostile ends in a clear error."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offline.data import questioned as vqa_data
from offline.data.images import in_select
from offline.data.questioned import load_vqa, split_select
from thinwire.errors import InvalidImageError, InvalidRequestError, PayloadTooLargeError
from thinwire.images import Preprocessing

PREPROCESSING = Preprocessing(8, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
# Not in the order of the images; image 3 is asked nothing.
ENTRIES = [["what is it?", "two", 2], ["how grey?", "zero", 0], ["is it dark?", "no", 2], ["is it?", "yes", 1]]


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (value, value, value)).save(stream, "PNG")
    return stream.getvalue()


def write(folder: Path, entries: object = None, images: int = 4) -> Path:
    (folder / "test" / "images").mkdir(parents=True)
    content = ENTRIES if entries is None else entries
    (folder / "test" / "questions.json").write_text(content if isinstance(content, str) else json.dumps(content))
    for index in range(images):
        (folder / "test" / "images" / f"{index}.png").write_bytes(png(20 * index))
    return folder


def pack(folder: Path, tar: Path, mode: str = "w") -> str:
    with tarfile.open(tar, mode) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, arcname=str(path.relative_to(folder)), recursive=False)
    return str(tar)


def test_a_folder_and_its_tars_are_the_same(tmp_path):
    folder = write(tmp_path / "data")
    sources = [str(folder), pack(folder, tmp_path / "a.tar"), pack(folder, tmp_path / "a.tar.gz", "w:gz")]
    read = [load_vqa(source, PREPROCESSING) for source in sources]
    assert len({images.digest() for images in read}) == 1
    images = read[0]
    assert images.names == ("test/images/0.png", "test/images/1.png", "test/images/2.png")
    assert [int(image[0, 0, 0]) for image in images.pixels] == [0, 20, 40]
    assert images.rows == [
        [("how grey?", "zero")],
        [("is it?", "yes")],
        [("what is it?", "two"), ("is it dark?", "no")],
    ]
    assert images.owners.tolist() == [0, 1, 2, 2]


def test_images_are_taken_with_their_questions(tmp_path):
    images = load_vqa(str(write(tmp_path)), PREPROCESSING).take(np.array([2, 0]))
    assert images.names == ("test/images/2.png", "test/images/0.png")
    assert images.rows == [[("what is it?", "two"), ("is it dark?", "no")], [("how grey?", "zero")]]
    assert [int(image[0, 0, 0]) for image in images.pixels] == [40, 0]


def test_samples_are_nested_and_the_split_goes_by_name(tmp_path):
    images = load_vqa(str(write(tmp_path, [["?", "!", index] for index in range(60)], 60)), PREPROCESSING)
    few, more = images.even_sample(7), images.even_sample(20)
    assert (len(few), len(more)) == (7, 20)
    assert set(few.names) < set(more.names) < set(images.names)
    assert images.even_sample(100).names == images.names
    # Not the first ones.
    assert max(images.names.index(name) for name in more.names) > 40
    train, select = split_select(images)
    assert sorted(train.names + select.names) == sorted(images.names)
    assert set(select.names) == {name for name in images.names if in_select(name)}
    assert len(select) > 0


def test_the_digest_sees_every_part(tmp_path):
    def read(entries, images=4):
        nonlocal tmp_path
        tmp_path = tmp_path / "next"
        return load_vqa(str(write(tmp_path, entries, images)), PREPROCESSING)

    one = read(ENTRIES)
    digests = [one.digest(), one.take(np.array([0, 1])).digest(), one.take(np.array([1, 0, 2])).digest()]
    digests += [read([["what?", *ENTRIES[0][1:]], *ENTRIES[1:]]).digest()]
    digests += [read([[ENTRIES[0][0], "three", 2], *ENTRIES[1:]]).digest()]
    digests += [read([[*ENTRIES[0][:2], 1], *ENTRIES[1:]]).digest()]
    one.pixels[0, 0, 0, 0] ^= 1
    assert len({*digests, one.digest()}) == 7


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("not json", "no readable JSON"),
        ("[" * 100_000, "no readable JSON"),
        ({}, "must be a list"),
        ([], "one at least"),
        ([["a", "b"]], r"entry 0: expected \[question, answer, image number\]"),
        ([["a", "b", 0], ["a", 1, 0]], "entry 1"),
        ([["a", "b", True]], "entry 0"),
        ([["a", "b", -1]], "entry 0"),
        ([["a", "b", "../../etc/passwd"]], "entry 0"),
        ('[["\\ud800", "b", 0]]', "holds half a character"),
        ([["", "b", 0]], "question has 0 characters; expected 1 to 2000"),
        ([["a" * 2001, "b", 0]], "question has 2001 characters"),
        ([["a", "", 0]], "answer has 0 characters"),
        ([["a", "b", 9]], "asks about test/images/9.png, which is not in"),
    ],
)
def test_broken_questions_are_refused(tmp_path, entries, message):
    with pytest.raises(InvalidRequestError, match=message):
        load_vqa(str(write(tmp_path, entries)), PREPROCESSING)


def test_questions_that_are_not_utf_8_are_refused(tmp_path):
    (write(tmp_path) / "test" / "questions.json").write_bytes(b'[["\xff", "b", 0]]')
    with pytest.raises(InvalidRequestError, match="no readable JSON"):
        load_vqa(str(tmp_path), PREPROCESSING)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidRequestError, match="no data at"):
        load_vqa(str(tmp_path / "nothing"), PREPROCESSING)
    with pytest.raises(InvalidRequestError, match=r"no train/questions\.json in"):
        load_vqa(str(write(tmp_path / "data")), PREPROCESSING, "train")
    (tmp_path / "text").write_text("no tar")
    with pytest.raises(InvalidRequestError, match="is no readable tar"):
        load_vqa(str(tmp_path / "text"), PREPROCESSING)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    (write(tmp_path) / "test" / "images" / "1.png").write_bytes(png(7)[:40])
    with pytest.raises(InvalidImageError, match=r"test/images/1\.png"):
        load_vqa(str(tmp_path), PREPROCESSING)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_that_is_cut_off_or_garbled_is_refused(tmp_path, mode):
    whole = Path(pack(write(tmp_path / "data"), tmp_path / "a.tar", mode)).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "garbled.tar").write_bytes(whole[:20] + bytes(len(whole) // 2) + whole[len(whole) // 2 + 20 :])
    for name in ("cut.tar", "garbled.tar"):
        with pytest.raises((InvalidRequestError, InvalidImageError)):
            load_vqa(str(tmp_path / name), PREPROCESSING)


def test_links_of_a_tar_are_no_files(tmp_path):
    folder = write(tmp_path / "data")
    (folder / "test" / "images" / "1.png").unlink()
    (folder / "test" / "images" / "1.png").symlink_to("0.png")
    with pytest.raises(InvalidRequestError, match="which is not in"):
        load_vqa(pack(folder, tmp_path / "a.tar"), PREPROCESSING)


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_QUESTIONS_BYTES", 20, "questions.json has .* bytes; the limit is 20"),
        ("MAX_BYTES", 20, "images/0.png has .* bytes; the limit is 20"),
        ("MAX_PIXEL_BYTES", 500, "3 images of test make 576 bytes; at most 500"),
        ("MAX_MEMBERS", 3, "more than 3 members"),
    ],
)
def test_limits_hold(tmp_path, monkeypatch, limit, value, message):
    tar = pack(write(tmp_path / "data"), tmp_path / "a.tar")
    monkeypatch.setattr(vqa_data, limit, value)
    with pytest.raises(PayloadTooLargeError, match=message):
        load_vqa(tar, PREPROCESSING)


@pytest.mark.data
def test_easy_vqa_is_read_whole(easy_vqa):
    for split, images, questions in (("train", 4000, 38575), ("test", 500, 4847)):
        read = load_vqa(easy_vqa, PREPROCESSING, split)
        assert len(read) == images
        assert len(read.questions) == questions


def test_fewer_questions_keep_the_order_and_do_not_depend_on_other_images(tmp_path):
    entries = [[f"question {number} of {image}", "yes", image] for number in range(6) for image in range(3)]
    images = load_vqa(str(write(tmp_path / "data", entries)), PREPROCESSING)
    few, fewer = images.fewer_questions(4), images.fewer_questions(2)
    for whole, four, two in zip(images.rows, few.rows, fewer.rows, strict=True):
        assert (len(four), len(two)) == (4, 2)
        assert set(two) < set(four) < set(whole)
        assert four == [pair for pair in whole if pair in four]
    assert images.take(np.array([2])).fewer_questions(2).rows == [fewer.rows[2]]
    assert images.fewer_questions(100).rows == images.rows
