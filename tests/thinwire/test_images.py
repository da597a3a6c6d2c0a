"""Images that people send: every format upright and in three channels, and the pixels that a bundle asks for."""

import io

import numpy as np
import pytest
from PIL import Image

from thinwire.errors import InvalidImageError
from thinwire.images import MAX_ASPECT, Preprocessing, area_of, decode, limits, normalise, to_pixels

LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "BMP": {}, "TIFF": {}}
ORIENTATION = 0x0112


def encode(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def colours(width=24, height=16):
    """A picture that no flip or rotation maps on itself, smooth enough for JPEG."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    values = np.stack([40 + 180 * x, 200 - 150 * y, 60 + 90 * x * y], axis=-1)
    return Image.fromarray(values.round().astype(np.uint8))


def pixels_of(data):
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def preprocessing(size=20, crop=1.0, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)):
    return Preprocessing(size, crop, interpolation, mean, std)


@pytest.mark.parametrize("form", LOSSLESS)
def test_lossless_formats_come_back_exactly(form):
    np.testing.assert_array_equal(pixels_of(encode(colours(), form, **LOSSLESS[form])), np.asarray(colours()))


@pytest.mark.parametrize(("form", "tolerance"), [("JPEG", 24), ("GIF", 40), ("WEBP", 24)])
def test_lossy_formats_come_back_nearly(form, tolerance):
    difference = pixels_of(encode(colours(), form)).astype(int) - np.asarray(colours())
    assert np.abs(difference).max() <= tolerance


def test_other_formats_are_not_tried():
    for form in ("PPM", "ICO", "TGA", "PCX"):
        with pytest.raises(InvalidImageError, match="not an image"):
            decode(encode(colours(), form))


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_one_channel_becomes_three(mode):
    image = colours().convert(mode)
    np.testing.assert_array_equal(pixels_of(encode(image)), np.asarray(image.convert("RGB")))


def test_cmyk():
    # 20% cyan, 40% magenta, 60% yellow, no black: red, green and blue are what is left of 255.
    image = Image.new("CMYK", (16, 16), (51, 102, 153, 0))
    for form, tolerance in (("JPEG", 3), ("TIFF", 0)):
        difference = pixels_of(encode(image, form)).astype(int) - (204, 153, 102)
        assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(form):
    grey = np.linspace(0, 65535, 400).round().astype(np.uint16).reshape(20, 20)
    decoded = pixels_of(encode(Image.fromarray(grey), form))
    assert np.abs(decoded[..., 0] - grey / 257.0).max() < 1
    assert decoded[0, 0, 0] == 0
    assert decoded[-1, -1, 0] == 255
    np.testing.assert_array_equal(decoded[..., 0], decoded[..., 1])
    np.testing.assert_array_equal(decoded[..., 0], decoded[..., 2])


def test_transparency_is_over_white():
    image = Image.new("RGBA", (3, 1))
    for x, colour in enumerate([(200, 0, 100, 255), (200, 0, 100, 0), (200, 0, 100, 51)]):
        image.putpixel((x, 0), colour)
    expected = [[200, 0, 100], [255, 255, 255], [244, 204, 224]]
    assert np.abs(pixels_of(encode(image))[0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_palette_with_transparency_is_over_white(form):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert pixels_of(encode(image, form, transparency=0))[0].tolist() == [[255, 255, 255], [200, 100, 50]]


def test_a_palette_with_shares_of_transparency():
    image = Image.new("P", (3, 1))
    image.putpalette([0, 0, 0, 200, 100, 50, 0, 0, 255])
    image.putdata([0, 1, 2])
    decoded = pixels_of(encode(image, transparency=bytes([51, 255, 0])))[0]
    assert np.abs(decoded.astype(int) - [[204] * 3, [200, 100, 50], [255] * 3]).max() <= 1


def test_grey_with_alpha_is_over_white():
    assert pixels_of(encode(Image.new("LA", (2, 2), (100, 0)))).min() == 255


GREY = np.arange(24 * 16, dtype=np.uint16).reshape(16, 24) * 170
OF_EVERY_MODE = {
    **{mode: encode(colours().convert(mode)) for mode in ("RGB", "RGBA", "L", "LA", "1", "P")},
    "a clear colour of a palette": encode(colours().quantize(16), transparency=3),
    "shares for a palette": encode(colours().quantize(4), transparency=bytes([0, 80, 160, 255])),
    "a clear colour": encode(colours(), transparency=(40, 200, 60)),
    "CMYK": encode(colours().convert("CMYK"), "JPEG"),
    "I;16": encode(Image.fromarray(GREY)),
    "I;16B": encode(Image.fromarray(GREY.astype(">u2")), "TIFF"),
    "I": encode(Image.fromarray(GREY.astype(np.int32)), "TIFF"),
    "F": encode(Image.fromarray(GREY.astype(np.float32) / 65535), "TIFF"),
}


@pytest.mark.parametrize("mode", OF_EVERY_MODE)
def test_an_image_is_the_same_whether_it_is_converted_at_once_or_by_bands(mode, monkeypatch):
    at_once = pixels_of(OF_EVERY_MODE[mode])
    for rows in (1, 3, 15):
        monkeypatch.setattr(limits, "BAND_PIXELS", 24 * rows + 5)
        np.testing.assert_array_equal(pixels_of(OF_EVERY_MODE[mode]), at_once)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda upright: upright),
        (2, lambda upright: upright[:, ::-1]),
        (3, lambda upright: upright[::-1, ::-1]),
        (4, lambda upright: upright[::-1]),
        (5, lambda upright: upright.transpose(1, 0, 2)),
        (6, lambda upright: np.rot90(upright, 1)),
        (7, lambda upright: upright[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda upright: np.rot90(upright, -1)),
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_rotated_photograph_stands_upright(orientation, stored, form):
    upright = np.asarray(colours())
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(Image.fromarray(np.ascontiguousarray(stored(upright))), form, exif=exif)
    decoded = pixels_of(data)
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).max() <= 24


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 65_535), (65_535, 1), (2, 3), (1, 1), (33, 20), (21, 400)])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.3])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_any_shape_becomes_the_exact_size(size, crop, interpolation):
    pixels = to_pixels(Image.new("RGB", size, (1, 2, 3)), preprocessing(crop=crop, interpolation=interpolation))
    assert pixels.shape == (20, 20, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == (1, 2, 3)).all()


def test_a_long_image_is_not_enlarged_as_a_whole(monkeypatch):
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda image, size, *rest: sizes.append(size) or resize(image, size, *rest)
    )
    to_pixels(Image.new("RGB", (1, 65_535)), preprocessing(224, crop=0.875))
    assert len(sizes) == 1
    assert sizes[0][0] * sizes[0][1] < 2e6


@pytest.mark.parametrize("length", [MAX_ASPECT * 3, MAX_ASPECT * 3 + 1, 100, 101])
@pytest.mark.parametrize("crop", [1.0, 0.5])
@pytest.mark.parametrize("upright", [True, False])
def test_the_middle_of_a_long_image_is_what_resizing_all_of_it_gives(length, crop, upright):
    shape = (length, 3, 3) if upright else (3, length, 3)
    image = Image.fromarray(np.random.default_rng(length).integers(0, 256, shape, dtype=np.uint8))
    size = 18
    scale = size / crop / 3
    enlarged = image.resize(tuple(round(side * scale) for side in image.size), Image.Resampling.BICUBIC)
    left, top = (enlarged.width - size) // 2, (enlarged.height - size) // 2
    whole = np.asarray(enlarged.crop((left, top, left + size, top + size)))
    np.testing.assert_array_equal(to_pixels(image, preprocessing(size, crop=crop)), whole)


def test_an_image_of_that_size_already_stays_as_it_is():
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_pixels(Image.fromarray(noise), preprocessing()), noise)


@pytest.mark.parametrize(("shape", "rows", "columns"), [((20, 31), (0, 20), (5, 25)), ((27, 20), (3, 23), (0, 20))])
def test_the_centre_is_cropped(shape, rows, columns):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = noise[slice(*rows), slice(*columns)]
    np.testing.assert_array_equal(to_pixels(Image.fromarray(noise), preprocessing()), expected)


def test_the_crop_is_a_share_of_the_shorter_side():
    # 20 / 0.5 = 40: a square of 40 keeps its scale, and the middle half of each side is left.
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_pixels(Image.fromarray(noise), preprocessing(crop=0.5)), noise[10:30, 10:30])


def test_each_interpolation_is_its_own():
    step = np.zeros((4, 4, 3), dtype=np.uint8)
    step[:, 2:] = 200
    bilinear = to_pixels(Image.fromarray(step), preprocessing(interpolation="bilinear"))
    bicubic = to_pixels(Image.fromarray(step), preprocessing(interpolation="bicubic"))
    # Only cubic interpolation overshoots at an edge.
    assert bilinear.max() == 200
    assert bicubic.max() > 200


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_normalise_against_float64(batch):
    pixels = np.random.default_rng(0).integers(0, 256, (*batch, 20, 20, 3), dtype=np.uint8)
    how = preprocessing()
    result = normalise(pixels, how)
    assert result.shape == (*batch, 3, 20, 20)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    for channel in range(3):
        expected = (pixels[..., channel].astype(np.float64) / 255 - how.mean[channel]) / how.std[channel]
        np.testing.assert_allclose(result[..., channel, :, :], expected, atol=2e-6)


@pytest.mark.parametrize("size", [(300, 200), (200, 301), (100, 100), (20, 900), (901, 20)])
@pytest.mark.parametrize("crop", [1.0, 0.6])
@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_the_area_is_where_the_pixels_are_from(size, crop, fit):
    # An image whose colours tell where they stand, in 256ths of its width and height.
    x, y = np.meshgrid((np.arange(size[0]) + 0.5) / size[0], (np.arange(size[1]) + 0.5) / size[1])
    image = Image.fromarray(np.stack([255 * x, 255 * y, 0 * x], axis=-1).round().astype(np.uint8))
    how = Preprocessing(50, crop, "bilinear", (0.5,) * 3, (0.25,) * 3, fit)
    seen = to_pixels(image, how).mean(axis=(0, 1)) / 255 * (*size, 0)
    left, top, right, bottom = area_of(size, how)
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx(seen[:2], abs=max(size) / 256 + 0.5)
    # From the first row of pixels to the last it is one row less than the area.
    spread = np.ptp(to_pixels(image, how).astype(float).mean(axis=0)[:, 0]) / 255 * size[0]
    assert right - left == pytest.approx(spread * 50 / 49, abs=2 * size[0] / 255 + 1)
