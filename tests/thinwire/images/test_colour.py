"""Colour profiles: what they mean becomes sRGB, and what is broken or foreign changes nothing."""

import itertools
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tests.thinwire.images import profiles
from tests.thinwire.images import references as ref
from tests.thinwire.images.files import bmp, png, tiff
from tests.thinwire.images.making import saved, smooth, some, whole
from tests.thinwire.test_images import LOSSLESS
from thinwire.images import decode, limits

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WIDE = profiles.wide_rgb()
# Inside of sRGB, whose borders clip what is wider.
MUTED = (100 + some(60, 3)).astype(np.uint8)


def pixels_of(data):
    return np.asarray(decode(data), dtype=np.float64)


def away(data, expected):
    return np.abs(pixels_of(data) - expected).max()


@pytest.mark.parametrize("form", [form for form in LOSSLESS if form != "BMP"])
def test_colours_of_a_profile_become_srgb(form):
    data = saved(Image.fromarray(MUTED), form, icc_profile=WIDE, **LOSSLESS[form])
    assert away(data, profiles.of_wide(MUTED)) <= 2
    # The test would see a profile that is ignored.
    assert np.abs(profiles.of_wide(MUTED) - MUTED).max() > 10


def test_colours_of_a_profile_become_srgb_in_jpeg_and_bmp():
    plain = pixels_of(saved(Image.fromarray(smooth()), "JPEG", quality=95))
    profiled = saved(Image.fromarray(smooth()), "JPEG", quality=95, icc_profile=WIDE)
    assert away(profiled, profiles.of_wide(plain)) <= 2
    rows = b"".join(row[:, ::-1].tobytes() + bytes(-3 * len(row) % 4) for row in MUTED[::-1])
    data = bmp(rows, MUTED.shape[1], MUTED.shape[0], 24, header=124, profile=WIDE)
    assert away(data, profiles.of_wide(MUTED)) <= 2


def test_a_profile_of_many_segments():
    large = profiles.wide_rgb(padding=300_000)
    data = saved(Image.fromarray(smooth()), "JPEG", icc_profile=large)
    assert data.count(b"ICC_PROFILE") == 5
    np.testing.assert_array_equal(
        pixels_of(data), pixels_of(saved(Image.fromarray(smooth()), "JPEG", icc_profile=WIDE))
    )
    # One of the five is lost: the rest are no profile.
    at = data.rindex(b"ICC_PROFILE")
    lost = data[:at] + b"XCC_PROFILE" + data[at + 11 :]
    np.testing.assert_array_equal(pixels_of(lost), pixels_of(saved(Image.fromarray(smooth()), "JPEG")))


def test_alpha_stays_and_white_is_white():
    rgba = np.concatenate([MUTED, some(255, 1)], axis=-1)
    data = saved(Image.fromarray(rgba), "PNG", icc_profile=WIDE)
    assert away(data, ref.over_white(profiles.of_wide(MUTED), rgba[..., 3] / 255)) <= 3


def test_a_palette_has_its_profile():
    image = Image.fromarray(MUTED).quantize(16)
    expected = profiles.of_wide(np.asarray(image.convert("RGB")))
    assert away(saved(image, "PNG", icc_profile=WIDE), expected) <= 2
    assert away(saved(image, "PNG", icc_profile=WIDE, transparency=200), expected) <= 2


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_grey_has_a_profile_of_grey(dtype):
    samples = whole(dtype)
    most = 1 if dtype == "f4" else np.iinfo(dtype).max
    data = tiff(samples, tags=[(34675, 7, profiles.linear_grey())])
    shares = np.rint(samples.astype(np.float64) / most * 255)
    assert away(data, profiles.of_linear(shares)) <= 2
    assert np.abs(profiles.of_linear(shares) - ref.grey(shares)).max() > 40


def test_grey_with_alpha_has_a_profile_of_grey():
    pair = some(255, 2)
    data = saved(Image.fromarray(pair), "PNG", icc_profile=profiles.linear_grey())
    assert away(data, ref.over_white(profiles.of_linear(pair[..., 0]), pair[..., 1] / 255)) <= 3


@pytest.mark.parametrize("form", ["TIFF", "JPEG"])
@pytest.mark.parametrize("corner", list(itertools.product((0, 1), repeat=4)))
def test_inks_have_a_profile_of_inks(form, corner):
    image = Image.new("CMYK", (16, 16), tuple(255 * ink for ink in corner))
    assert away(saved(image, form, icc_profile=profiles.inks()), ref.of_lab(profiles.lab_of_inks(*corner))) <= 4


FOREIGN = {
    "grey of RGB": (Image.fromarray(some(255)), WIDE),
    "RGB of grey": (Image.fromarray(MUTED), profiles.linear_grey()),
    "RGB of inks": (Image.fromarray(MUTED), profiles.inks()),
    "inks of RGB": (Image.fromarray(whole("u1", 4), "CMYK"), WIDE),
    "a link of devices": (Image.fromarray(MUTED), profiles.wide_rgb(kind=b"link")),
    "cut": (Image.fromarray(MUTED), WIDE[:300]),
    "no profile": (Image.fromarray(MUTED), b"no profile at all" * 20),
    "zeros": (Image.fromarray(MUTED), bytes(2000)),
    "without curves": (Image.fromarray(MUTED), profiles.profile(b"RGB ", {})),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_profile_that_is_broken_or_of_other_colours_is_ignored(what):
    image, profile = FOREIGN[what]
    plain = saved(image, "TIFF")
    np.testing.assert_array_equal(pixels_of(saved(image, "TIFF", icc_profile=profile)), pixels_of(plain))


@pytest.mark.parametrize("form", [*LOSSLESS, "JPEG"])
def test_srgb_changes_no_pixel(form):
    image = Image.fromarray(whole("u1", 3))
    options = LOSSLESS.get(form, {})
    plain = pixels_of(saved(image, form, **options))
    np.testing.assert_array_equal(pixels_of(saved(image, form, icc_profile=SRGB, **options)), plain)


def test_a_profile_is_the_same_whether_it_is_applied_at_once_or_by_bands(monkeypatch):
    rgba = np.concatenate([MUTED, some(255, 1)], axis=-1)
    for data in (
        saved(Image.fromarray(rgba), "PNG", icc_profile=WIDE),
        saved(Image.fromarray(MUTED), "TIFF", icc_profile=WIDE),
        tiff(whole("i2"), tags=[(34675, 7, profiles.linear_grey())]),
    ):
        at_once = pixels_of(data)
        for rows in (1, 3):
            monkeypatch.setattr(limits, "BAND_PIXELS", 23 * rows + 5)
            np.testing.assert_array_equal(pixels_of(data), at_once)
        monkeypatch.undo()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_a_profile_is_obeyed_up_to_its_limit(form, monkeypatch):
    image, options = Image.fromarray(MUTED), LOSSLESS[form]
    large = saved(image, form, icc_profile=profiles.wide_rgb(padding=2_000_000), **options)
    assert away(large, profiles.of_wide(MUTED)) <= 2
    monkeypatch.setattr("thinwire.images.reading.MAX_PROFILE_BYTES", 1_000_000)
    monkeypatch.setattr("thinwire.images.png.MAX_PROFILE_BYTES", 1_000_000)
    np.testing.assert_array_equal(pixels_of(large), MUTED)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**63), which=st.sampled_from(["wide", "grey", "inks"]))
def test_damaged_profiles_never_cost_the_pixels(seed, which):
    source = random.Random(seed)
    image, profile = {
        "wide": (Image.fromarray(MUTED), WIDE),
        "grey": (Image.fromarray(some(255)), profiles.linear_grey()),
        "inks": (Image.fromarray(whole("u1", 4), "CMYK"), profiles.inks()),
    }[which]
    damaged = bytearray(profile)
    for _ in range(source.choice((1, 2, 5))):
        at = source.randrange(min(len(damaged), source.choice((132, 400, len(damaged)))))
        damaged[at : at + source.randrange(1, 5)] = source.randbytes(source.randrange(1, 5))
    assert decode(saved(image, "TIFF", icc_profile=bytes(damaged))).size == image.size


def test_png_of_grey_with_a_profile_keeps_its_clear_sample():
    samples = some(255)
    clear = int(samples[0, 0])
    chunks = [(b"iCCP", b"linear\0\0" + zlib.compress(profiles.linear_grey())), (b"tRNS", struct.pack(">H", clear))]
    expected = np.where((samples == clear)[..., None], 255, profiles.of_linear(samples))
    assert away(png(samples, 0, chunks=chunks), expected) <= 2
