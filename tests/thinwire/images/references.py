"""What files of known samples look like, by NumPy: 8-bit RGB over white."""

import numpy as np


def scaled(samples, low, high, inverted=False):
    """Grey of samples between what is black and what is white."""
    shares = np.clip((np.asarray(samples, dtype=np.float64) - low) / (high - low), 0, 1)
    return grey(255 * (1 - shares if inverted else shares))


def grey(values):
    return np.repeat(np.asarray(values, dtype=np.float64)[..., None], 3, axis=-1)


def over_white(colours, alpha):
    """Colours, 0 to 255, under a share of opacity between 0 and 1."""
    share = np.asarray(alpha, dtype=np.float64)[..., None]
    return colours * share + 255 * (1 - share)


def of_cmyk(inks):
    """What ink leaves of 255; each channel 0 to 255."""
    inks = np.asarray(inks, dtype=np.float64)
    return (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255


def of_ycbcr(values):
    """JFIF 1.02."""
    y, cb, cr = np.moveaxis(np.asarray(values, dtype=np.float64) - (0, 128, 128), -1, 0)
    return np.clip(np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1), 0, 255)


# From XYZ with the white of D50 to linear sRGB, after Bradford's adaptation. Source: ICC's description of sRGB.
D50_TO_SRGB = np.linalg.inv([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
D50 = np.array([0.9642, 1.0, 0.8249])


def of_xyz(xyz):
    """sRGB, 0 to 255, of XYZ with the white of D50. Source: IEC 61966-2-1."""
    linear = np.clip(np.asarray(xyz) @ D50_TO_SRGB.T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def of_lab(lab):
    """sRGB of CIELab with the white of D50: lightness 0 to 100, a and b signed."""
    lightness, a, b = np.moveaxis(np.asarray(lab, dtype=np.float64), -1, 0)
    y = (lightness + 16) / 116
    f = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    return of_xyz(D50 * np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)))
