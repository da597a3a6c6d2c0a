"""Colour profiles by hand, and what colours they mean. Source: ICC.1:2022, in its version 2 forms."""

import itertools
import struct

import numpy as np

from tests.thinwire.images import references as ref

# Red, green, blue of a wide space (Adobe RGB (1998)) in XYZ with the white of D50, as columns.
WIDE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
GAMMA = 2.2


def fixed(value):
    return struct.pack(">i", round(value * 65536))


def xyz(values):
    return b"XYZ \0\0\0\0" + b"".join(fixed(value) for value in values)


def curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))


def profile(space, tags, *, kind=b"mntr", pcs=b"XYZ ", padding=0):
    """A profile of a colour space with tags; `padding` makes it larger."""
    text = b"by hand\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text\0\0\0\0" + text,
        b"wtpt": xyz(ref.D50),
        **tags,
        **({b"priv": b"data\0\0\0\0" + bytes(padding)} if padding else {}),
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    header = struct.pack(">I4xI4s4s4s12x4s", size, 0x02400000, kind, space, pcs, b"acsp")
    header = header.ljust(68, b"\0") + b"".join(fixed(value) for value in ref.D50)
    return header.ljust(128, b"\0") + table + body


def wide_rgb(**options):
    columns = {name: xyz(WIDE[:, place]) for place, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    curves = {name: curve(GAMMA) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return profile(b"RGB ", columns | curves, **options)


def linear_grey():
    """Grey whose samples are shares of light."""
    return profile(b"GRAY", {b"kTRC": curve(1.0)})


def lab_of_inks(*inks):
    """Lab of full inks, each 0 or 1: colours that no such inks have, but white and black."""
    left = 1 - sum(inks) / 4
    angle = 2 * np.pi * (8 * inks[0] + 4 * inks[1] + 2 * inks[2] + inks[3]) / 16
    chroma = 60 * left * (1 - left)
    return np.round([100 * left, chroma * np.cos(angle), chroma * np.sin(angle)])


def inks():
    """CMYK by a table of its corners."""
    corners = b"".join(
        bytes([round(lightness * 2.55), int(128 + a), int(128 + b)])
        for lightness, a, b in (lab_of_inks(*corner) for corner in itertools.product((0, 1), repeat=4))
    )
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + b"".join(fixed(float(i % 4 == 0)) for i in range(9))
    table += bytes(range(256)) * 4 + corners + bytes(range(256)) * 3
    return profile(b"CMYK", {b"A2B0": table, b"A2B1": table}, kind=b"prtr", pcs=b"Lab ")


def of_wide(rgb):
    """sRGB of colours in the wide space, 0 to 255."""
    return ref.of_xyz((np.asarray(rgb) / 255.0) ** GAMMA @ WIDE.T)


def of_linear(grey):
    return ref.of_xyz((np.asarray(grey) / 255.0)[..., None] * ref.D50)
