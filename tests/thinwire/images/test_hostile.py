"""Images that nobody should send: each ends in an error of ours, soon and without much memory."""

import asyncio
import contextlib
import random
import struct
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from tests.thinwire.test_images import colours, encode, pixels_of, preprocessing
from thinwire.errors import InvalidImageError, PayloadTooLargeError, ThinwireError
from thinwire.images import MAX_BYTES, MAX_SIDE, area_of, decode, decode_apart, decoding, limits, to_pixels


def png(width, height, data=b""):
    """A PNG of 8-bit grey by hand, whatever its header claims."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    framed = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"not an image",
        b"\xff\xd8",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBP",
        b"II*\0",
        b"<svg/>",
    ],
)
def test_what_is_no_image_is_refused(data):
    with pytest.raises(InvalidImageError):
        decode(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_half_an_image_is_refused(form, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), form)
    with pytest.raises(InvalidImageError):
        decode(data[: int(share * len(data))])


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (0, 0)])
def test_an_image_without_pixels_is_refused(width, height):
    with pytest.raises(InvalidImageError):
        decode(png(width, height))


def test_too_many_bytes_are_not_even_looked_at(monkeypatch):
    monkeypatch.setattr(decoding, "open_image", lambda _: pytest.fail("opened"))
    with pytest.raises(PayloadTooLargeError, match="20000000"):
        decode(b"\0" * 20_000_000)
    with pytest.raises(PayloadTooLargeError):
        decode(b"\0" * (MAX_BYTES + 1))


def test_as_many_bytes_as_allowed_are_looked_at():
    data = encode(colours())
    np.testing.assert_array_equal(pixels_of(data + b"\0" * (MAX_BYTES - len(data))), np.asarray(colours()))


@pytest.mark.parametrize("size", [(50_000, 50_000), (9_000, 9_000), (12_000, 9_000), (1, MAX_SIDE + 1)])
def test_a_bomb_is_refused_by_its_header(size, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    data = png(*size, data=b"\0" * 100)
    assert len(data) < 200
    start = time.perf_counter()
    with pytest.raises(PayloadTooLargeError, match="pixels"):
        decode(data)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("action", ["error", "ignore"])
def test_a_bomb_is_refused_whatever_happens_to_warnings(action):
    with warnings.catch_warnings():
        warnings.simplefilter(action, Image.DecompressionBombWarning)
        with pytest.raises(PayloadTooLargeError, match="pixels"):
            decode(png(12_000, 9_000))


@pytest.mark.parametrize(("limit", "enough"), [("MAX_PIXELS", 24 * 16), ("MAX_SIDE", 24)])
def test_as_many_pixels_as_allowed_are_no_bomb(limit, enough, monkeypatch):
    monkeypatch.setattr(limits, limit, enough)
    assert pixels_of(encode(colours())).shape == (16, 24, 3)
    monkeypatch.setattr(limits, limit, enough - 1)
    with pytest.raises(PayloadTooLargeError):
        decode(encode(colours()))


def test_webp_may_have_fewer_pixels(monkeypatch):
    monkeypatch.setattr(limits, "MAX_WEBP_PIXELS", 24 * 16)
    assert pixels_of(encode(colours(), "WEBP")).shape == (16, 24, 3)
    monkeypatch.setattr(limits, "MAX_WEBP_PIXELS", 24 * 16 - 1)
    with pytest.raises(PayloadTooLargeError, match="the limit is 383, and"):
        decode(encode(colours(), "WEBP"))
    assert pixels_of(encode(colours())).shape == (16, 24, 3)


async def test_few_images_are_decoded_at_once(monkeypatch):
    inside, most, lock = 0, 0, threading.Lock()
    load = ImageFile.ImageFile.load

    def slow(image):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        with lock:
            inside -= 1
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", slow)
    data = encode(colours(), "BMP")
    decoded = await asyncio.gather(*(decode_apart(data, preprocessing()) for _ in range(8)))
    assert most <= 2
    for pixels, area in decoded:
        assert area == area_of(colours().size, preprocessing())
        np.testing.assert_array_equal(pixels, to_pixels(colours(), preprocessing()))
    with pytest.raises(InvalidImageError):
        await decode_apart(b"no image", preprocessing())


def test_decodings_side_by_side_leave_the_filters_of_warnings_alone(monkeypatch):
    before = list(warnings.filters)
    data = encode(colours(), "BMP")
    first_inside, second_inside = threading.Event(), threading.Event()
    first, second = (threading.Thread(target=decode, args=(data,)) for _ in range(2))
    load = ImageFile.ImageFile.load

    def overlapping(image):
        # The second enters while the first is inside, and leaves after it.
        if threading.current_thread() is first:
            first_inside.set()
            second_inside.wait(10)
        else:
            second_inside.set()
            first.join(10)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", overlapping)
    first.start()
    assert first_inside.wait(10)
    second.start()
    second.join(20)
    assert second_inside.is_set()
    assert not first.is_alive()
    assert warnings.filters == before


SAMPLES = {
    "jpeg": encode(colours(), "JPEG"),
    "progressive": encode(colours(), "JPEG", progressive=True),
    "cmyk": encode(colours().convert("CMYK"), "JPEG"),
    "png": encode(colours()),
    "palette": encode(colours().quantize(16), transparency=3),
    "grey16": encode(Image.fromarray(np.arange(300, dtype=np.uint16).reshape(15, 20))),
    "webp": encode(colours(), "WEBP"),
    "webp alpha": encode(colours().convert("RGBA"), "WEBP", lossless=True),
    "bmp": encode(colours(), "BMP"),
    "gif": encode(colours(), "GIF", save_all=True, append_images=[colours().rotate(90)]),
    "tiff": encode(colours(), "TIFF", compression="tiff_lzw"),
    "tiff raw": encode(colours(), "TIFF"),
}


def mutate(data, seed):
    """Some bytes changed, removed, repeated or moved; mostly near the beginning, where the structure is."""
    source, mutated = random.Random(seed), bytearray(data)
    for _ in range(source.choice((1, 1, 2, 5, 20))):
        if not mutated:
            break
        reach = source.choice((64, len(mutated)))
        at = source.randrange(min(reach, len(mutated)))
        span = source.randrange(1, 9)
        kind = source.randrange(5)
        if kind == 0:
            mutated[at] ^= 1 << source.randrange(8)
        elif kind == 1:
            mutated[at : at + span] = source.choice((b"\0", b"\xff", b"\x7f")) * span
        elif kind == 2:
            del mutated[at : at + span]
        elif kind == 3:
            mutated[at:at] = mutated[at : at + span]
        else:
            mutated[at : at + span] = source.randbytes(span)
    return bytes(mutated)


@pytest.mark.parametrize("action", ["error", "ignore"])
@pytest.mark.parametrize("sample", SAMPLES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**63))
def test_damaged_images_decode_or_end_in_an_error_of_ours(sample, action, seed):
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        with contextlib.suppress(ThinwireError):
            image = decode(mutate(SAMPLES[sample], seed))
            assert image.mode == "RGB"
            assert to_pixels(image, preprocessing()).shape == (20, 20, 3)


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"MM\0*"])
)
def test_noise_behind_a_signature_ends_in_an_error_of_ours(noise, signature):
    with pytest.raises(ThinwireError):
        decode(signature + noise)
